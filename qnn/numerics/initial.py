"""First weights and the order of samples, from addressed noise words."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .float32 import Float32
from .noise import philox32

INIT_STREAM = 0xFFFE0000
"""Parameter number i is initialised from stream INIT_STREAM + i (clause INI-1)."""
DATA_STREAM = 0xFFFF0000
"""Stream of the sample order; its step is the epoch (clause INI-3)."""
AUGMENT_STREAM = 0xFFFF0001
"""Stream of the augmentation; its step is the epoch, its element the sample's place in the data set (clause INI-4)."""


def uniform(seed: int, stream: int, shape: tuple[int, ...], bound: float) -> Float32:
    """Uniform numbers in [-bound, bound): ``(f32((word >> 8) - 2**23) * 2**-23) * f32(bound)``, one 32-bit word each.

    Parameters
    ----------
    seed, stream : the noise address (step 0); element i in C order takes word i
    bound : finite, not negative

    Notes
    -----
    The first factor is exact, so there is one rounding.  Bit-exactness: clause INI-1; nothing may vary.
    """
    if not (math.isfinite(bound) and bound >= 0):
        raise ValueError(f"got the bound {bound}; it must be finite and not negative; see kaiming_bound")
    words = philox32(seed, stream, 0, math.prod(shape))
    centred = (words >> np.uint32(8)).astype(np.int32) - np.int32(1 << 23)
    return ((centred.astype(np.float32) * np.float32(2.0**-23)) * np.float32(bound)).reshape(shape)


def kaiming_bound(fan_in: int) -> float:
    """``f32(sqrt(6 / fan_in))``, computed in binary64 and rounded once: keeps the variance through a ReLU layer.

    Notes
    -----
    Bit-exactness: clause INI-2; nothing may vary.
    """
    return _bound(fan_in)


def glorot_bound(fan_in: int, fan_out: int) -> float:
    """``f32(sqrt(6 / (fan_in + fan_out)))``, computed in binary64 and rounded once.

    Notes
    -----
    Bit-exactness: clause INI-2; nothing may vary.
    """
    return _bound(fan_in + fan_out)


def permutation(seed: int, stream: int, step: int, n: int) -> NDArray[np.int64]:
    """Order of n samples: the stable argsort of n 32-bit words.

    Notes
    -----
    Equal words keep their order, so the result is defined whatever the words are.
    Bit-exactness: clause INI-3; nothing may vary.
    """
    return np.argsort(philox32(seed, stream, 0, n, step=step), kind="stable").astype(np.int64)


def _bound(fan: int) -> float:
    if fan < 1:
        raise ValueError(f"got a fan of {fan}; it must be at least 1; pass the number of inputs of one output")
    return float(np.float32(math.sqrt(6.0 / fan)))
