"""Addressed noise for users: words of the two generators by seed, stream, step and element (spec chapter NOI)."""

from __future__ import annotations

import operator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import LFSR_TAPS, Noise, philox32
from qnn.numerics import lfsr16 as _lfsr16

__all__ = ["Noise", "lfsr16", "philox", "philox32"]


def philox(seed: int, stream: int, start: int, count: int, step: int = 0) -> NDArray[np.uint16]:
    """Return ``count`` 16-bit Philox words from word ``start`` on.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    stream : int
        0 to 2**32 - 1; names layer and role.
    start, count : int
        The range of words; word i is the (i mod 8)-th of block i // 8.
    step : int, default 0
        0 to 2**32 - 1; the training step.

    Returns
    -------
    ndarray of uint16 [count]

    Raises
    ------
    ValueError
        A part of the address is out of its range.

    Notes
    -----
    Philox4x32-10 (Salmon et al., 2011); numerics N5. Bit-exactness: clauses NOI-1 to NOI-3; nothing may vary.

    Examples
    --------
    >>> [f"{word:04X}" for word in philox(seed=0, stream=0, start=0, count=4)]
    ['E8D5', '6627', 'C58D', 'E169']
    """
    noise = Noise("philox", seed, stream, step, operator.index(start), 16)
    return cast("NDArray[np.uint16]", _kernels.call("noise_u16", noise, count))


def lfsr16(seed: int, start: int, count: int, taps: tuple[int, ...] = LFSR_TAPS) -> NDArray[np.uint16]:
    """Return ``count`` words of the 16-bit LFSR from word ``start`` on; word i is the state after i + 1 shifts.

    Parameters
    ----------
    seed : int
        State before the first shift, 1 to 65535; 0 never leaves 0 and is an error.
    start, count : int
        The range of words; any start costs the same.
    taps : tuple of int, default (0, 2, 3, 5)
        Bits whose XOR becomes the new leftmost bit.

    Returns
    -------
    ndarray of uint16 [count]

    Raises
    ------
    ValueError
        Seed 0 or out of range; taps without the full period of 65535.

    Notes
    -----
    The DFP paper's generator (section 5, Figure 6); the taps are our choice, the paper names none.
    Bit-exactness: clause NOI-5; nothing may vary.

    Examples
    --------
    >>> [f"{word:04X}" for word in lfsr16(seed=0xACE1, start=0, count=3)]
    ['5670', 'AB38', '559C']
    """
    return _lfsr16(seed, start, count, taps)
