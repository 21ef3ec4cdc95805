"""The three arithmetic functions for users: quantise, requantise, and one step of the exponent rule."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels, numerics
from qnn.numerics import DFP, Noise, Rounding, Target

__all__ = ["next_exponent", "quantize", "requantize"]


def quantize(
    x: NDArray[np.float32],
    exponent: int,
    bits: int = 8,
    rounding: Rounding | str | int = Rounding.NEAREST_DOWN,
    noise: Noise | NDArray[np.uint16] | None = None,
) -> DFP:
    """Quantise real values to n-bit integers at ``2**exponent``: round once, then saturate.

    Parameters
    ----------
    x : ndarray of float32
        Any shape, finite.
    exponent : int
        -64 to 63.
    bits : int, default 8
        Width n of the integers, 2 to 16.
    rounding : Rounding, str or int, default NEAREST_DOWN
        One of the nine rules, for example ``qnn.STOCHASTIC`` or ``"stochastic"``.
    noise : Noise or ndarray of uint16, optional
        For STOCHASTIC: the address of the first word, or one word per element; the other rules do not look at it.

    Returns
    -------
    DFP
        ``ints`` (int8 up to 8 bits, else int16) of the shape of x, ``exponent``, ``bits``.

    Raises
    ------
    TypeError
        ``x`` is not a float32 array; float64 has to be converted knowingly, since that is a rounding of its own.
    ValueError
        NaN or infinity in ``x`` (the message has their number), a number out of range, or noise is missing.

    Notes
    -----
    Source: DFP paper, section 2.1. Bit-exactness: clauses FMT-4 to FMT-6 and RND-2 to RND-12; nothing may vary.

    Examples
    --------
    >>> import numpy as np
    >>> quantize(np.array([0.3, -0.5, 100], np.float32), exponent=-4).ints
    array([  5,  -8, 127], dtype=int8)
    """
    x = _float32(x)
    target = Target(exponent, bits, Rounding.parse(rounding), noise)
    ints, _ = _kernels.call("quantize", x, target)
    return DFP(np.asarray(ints), target.exponent, target.bits)


def requantize(
    acc: NDArray[Any],
    shift: int,
    bits: int = 8,
    rounding: Rounding | str | int = Rounding.NEAREST_DOWN,
    noise: Noise | NDArray[np.uint16] | None = None,
) -> NDArray[Any]:
    """Requantise exact accumulators: ``acc / 2**shift`` rounded once to n bits, then saturated.

    Parameters
    ----------
    acc : ndarray of integers
        Any shape and any integer type, or Python integers (dtype object) of any size.
    shift : int
        Exponent of the result minus exponent of the accumulators; any integer, negative shifts go to the left.
    bits, rounding, noise
        As for `quantize`.

    Returns
    -------
    ndarray of int8 (bits <= 8) or int16, same shape

    Raises
    ------
    TypeError
        ``acc`` holds no integers.
    ValueError
        A number out of range, or noise is missing.

    Notes
    -----
    Source: DFP paper, section 5.4. Bit-exactness: clauses REQ-1 to REQ-4; nothing may vary, no intermediate overflows.

    Examples
    --------
    >>> import numpy as np
    >>> requantize(np.array([24, 40, -24, 5000]), shift=4)
    array([  1,   2,  -2, 127], dtype=int8)
    """
    target = Target(0, bits, Rounding.parse(rounding), noise)
    ints, _ = _kernels.call("requantize", _accumulators(acc), -_whole(shift), target)
    return np.asarray(ints)


def next_exponent(x: NDArray[np.float32], exponent: int, bits: int = 8) -> int:
    """One step of Algorithm 1 on real values: the exponent that follows ``exponent`` after the data ``x``.

    Parameters
    ----------
    x : ndarray of float32
        Any shape, finite.
    exponent : int
        The exponent that ``x`` is quantised with, -64 to 63.
    bits : int, default 8
        Width n, 2 to 16.

    Returns
    -------
    int
        ``exponent + 1`` if an entry overflows, ``exponent - 1`` if not even the doubled entries do, else ``exponent``;
        an all-zero ``x`` keeps it, and it stays within -64 to 63.

    Raises
    ------
    TypeError, ValueError
        As for `quantize`.

    Notes
    -----
    Source: DFP paper, Algorithm 1 with r_max = 0. Bit-exactness: clauses EXP-1 to EXP-4; nothing may vary.

    Examples
    --------
    >>> import numpy as np
    >>> [next_exponent(np.array([value], np.float32), exponent=-4) for value in (8.0, 4.0, 3.9)]
    [-3, -4, -5]
    """
    target = Target(exponent, bits)
    _, counts = _kernels.call("quantize", _float32(x), target)
    return numerics.next_exponent(counts, target.exponent)


def _float32(x: Any) -> NDArray[np.float32]:
    """The input as a float32 array; anything else is an error and never converted silently."""
    if isinstance(x, np.float32):
        return np.asarray(x)
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        got = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(
            f"got {got}; real input is a NumPy array of float32 (in this machine's byte order); "
            "convert it with numpy.asarray(x, dtype=numpy.float32), which is a rounding of its own"
        )
    return x


def _whole(shift: int) -> int:
    if not hasattr(shift, "__index__"):
        raise TypeError(f"got a shift of type {type(shift).__name__}; it must be a whole number; pass an int")
    return operator.index(shift)


def _accumulators(acc: NDArray[Any]) -> NDArray[Any]:
    """Integers of any type as one that the kernels take; exact."""
    array = np.asarray(acc)
    if array.dtype.kind not in "iu" and not (
        array.dtype == object and all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in array.flat)
    ):
        raise TypeError(
            f"got accumulators of {array.dtype}; allowed are arrays of integers; quantise real values with qnn.quantize"
        )
    if array.dtype.kind == "u":
        return array.astype(object if array.dtype.itemsize == 8 else np.int64)
    return array if array.dtype == object else array.astype(array.dtype.newbyteorder("="), copy=False)
