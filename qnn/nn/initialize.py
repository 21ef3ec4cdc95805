"""Initial weights from addressed noise: the seed and the place of the parameter decide them, nothing else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.nn.module import Module
from qnn.numerics import INIT_STREAM, Noise

_BLOCK = 1 << 18  # values at a time, so that they stay in cache


def draw(seed: int, stream: int, shape: tuple[int, ...], bound: float) -> NDArray[np.float32]:
    """Uniform numbers in [-bound, bound): :func:`qnn.numerics.uniform` with the kernels' noise.

    Parameters
    ----------
    seed, stream : int
        The noise address; element i in C order takes 32-bit word i, the 16-bit words 2i and 2i + 1.
    shape : tuple of int
    bound : float
        Finite, not negative.

    Notes
    -----
    Bit-exactness: clause INI-1; nothing may vary.
    """
    out = np.empty(math.prod(shape), np.float32)
    for start in range(0, out.size, _BLOCK):
        part = out[start : start + _BLOCK]
        noise = Noise("philox", seed, stream, 0, 2 * start, 16)
        words = _kernels.call("noise_u16", noise, 2 * part.size).view("<u4")
        part[:] = (words >> np.uint32(8)).astype(np.int32) - np.int32(1 << 23)
        part *= np.float32(2.0**-23)
        part *= np.float32(bound)
    return out.reshape(shape)


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
                drawn = draw(seed, INIT_STREAM + number, parameter.shape, parameter.initial)
                parameter.data = drawn if parameter.update is None else parameter.update.first(drawn)
            number += 1


__all__ = ["draw", "initialize"]
