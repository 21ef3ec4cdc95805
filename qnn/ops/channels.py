"""Arithmetic per channel on float32 arrays [..., C], with NumPy's inner loop over many pixels instead of C numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

_WIDTH = 4096  # numbers of a row at most


def wide(x: Float, *vectors: Float) -> tuple[Float, ...]:
    """x as [rows, k*C] and the vectors [C] repeated k times, for element-wise work; a view where x is contiguous."""
    channels = x.shape[-1]
    repeat = _repeat(x)
    return (x.reshape(-1, repeat * channels), *(np.tile(vector, repeat) for vector in vectors))


def channel_sum(x: Float) -> Any:
    """Sum over all axes but the last (order of the additions not promised)."""
    channels = x.shape[-1]
    rows = x.reshape(-1, _repeat(x) * channels).sum(axis=0)
    return rows.reshape(-1, channels).sum(axis=0)


def _repeat(x: Float) -> int:
    """How many pixels make a row: a power of two that divides their number."""
    channels = max(1, x.shape[-1])
    most = 1 << max(0, (_WIDTH // channels).bit_length() - 1)
    return math.gcd(max(1, x.size // channels), most)
