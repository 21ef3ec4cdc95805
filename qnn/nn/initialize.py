"""Initial weights from addressed noise: the seed and the place of the parameter decide them, nothing else."""

from __future__ import annotations

from qnn.nn.module import Module
from qnn.numerics import INIT_STREAM, uniform


def initialize(*modules: Module, seed: int) -> None:
    """Draw the weights that still wait for it; parameters that were set or loaded stay.

    Parameters
    ----------
    *modules : Module
    seed : int
        Parameter number i, counted over all modules in order of definition, is uniform in its bound from stream
        ``INIT_STREAM + i``.

    Notes
    -----
    Bit-exactness: clauses INI-1 and INI-2.
    """
    number = 0
    for module in modules:
        for parameter in module.parameters():
            if parameter.initial is not None:
                drawn = uniform(seed, INIT_STREAM + number, parameter.shape, parameter.initial)
                parameter.data = drawn if parameter.update is None else parameter.update.first(drawn)
            number += 1


__all__ = ["initialize"]
