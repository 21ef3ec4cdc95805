"""The package's own exceptions. Each message says what was got, what is allowed and what to do."""

from __future__ import annotations


class QnnError(Exception):
    """Base class of the package's own errors."""


class SpecError(QnnError):
    """A promise of the specification would be broken (for example an accumulator bound)."""


class StrictError(QnnError):
    """An operation left integers where the recipe does not say so, and ``strict`` is on."""


class ConfigError(QnnError, ValueError):
    """A configuration names something unknown or a value that is not allowed."""


class DataError(QnnError, ValueError):
    """A data set is missing, truncated, corrupt or inconsistent."""


class CheckpointError(QnnError):
    """A checkpoint cannot be read, was changed, or belongs to another model, recipe or version."""


class FreezeError(QnnError, ValueError):
    """A network cannot be frozen for inference: its outputs would depend on more than one input."""


class NoProductsError(FreezeError):
    """A network has no layer that can multiply in the way that was asked for; it can be frozen in others."""


class SiteError(QnnError, ValueError):
    """What a kernel refuses, with the name of the site whose integers it was to make."""


class RunError(QnnError):
    """A run failed: a loss that is not finite, a folder in use, a disk that is full."""
