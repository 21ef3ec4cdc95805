"""Mean and standard deviation of images per channel, from exact integer sums."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_BLOCK_IMAGES = 1024


def channel_moments(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of pixel / 255.

    With ``S1`` and ``S2`` the exact sums of a channel's pixels and their squares and ``n`` their number, the mean is
    ``S1 / (255 n)`` and the variance ``(n S2 - S1^2) / (255 n)^2``: each one correctly rounded division of integers,
    then one correctly rounded square root. A constant channel gets 1.0, so that dividing by it is harmless.

    Parameters
    ----------
    images : uint8 [N, H, W, C], N >= 1

    Returns
    -------
    mean, std : tuples of C floats

    Notes
    -----
    Bit-exactness: clause DAT-7; nothing may vary.
    """
    channels = images.shape[-1]
    total = [0] * channels
    squares = [0] * channels
    for start in range(0, len(images), _BLOCK_IMAGES):
        block = images[start : start + _BLOCK_IMAGES].reshape(-1, channels).astype(np.int64)
        sums, sums_of_squares = block.sum(axis=0), (block * block).sum(axis=0)
        for c in range(channels):
            total[c] += int(sums[c])
            squares[c] += int(sums_of_squares[c])
    n = images.size // channels
    mean, std = [], []
    for s1, s2 in zip(total, squares, strict=True):
        spread = n * s2 - s1 * s1
        mean.append(s1 / (255 * n))
        std.append(math.sqrt(spread / (255 * n) ** 2) if spread else 1.0)
    return tuple(mean), tuple(std)
