"""asv suites: speed of kernels and steps over the history of the repository. Shapes are those of ``qnn bench``."""
