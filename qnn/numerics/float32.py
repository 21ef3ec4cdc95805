"""The float32 ground rules: one correctly rounded conversion of an exact integer, and exact scaling by powers of two.

Everything called "float32" in this package is IEEE 754 binary32 with round-to-nearest-even, one operation at a time:
NumPy rounds after every elementwise operation, so nothing here can be contracted into a fused multiply-add.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def to_float32_once(value: int | NDArray[Any]) -> Float32:
    """Exact integers to float32 with a single rounding, however large they are.

    Parameters
    ----------
    value : int, or array of int8..int64, or object array of Python integers

    Returns
    -------
    float32 array of the same shape (0-d for an int)

    Raises
    ------
    TypeError
        If the values are no integers.
    OverflowError
        If a value rounds to 2**128 or more.

    Notes
    -----
    Bit-exactness: clause FLT-2; nothing may vary.  No detour through binary64, which would round twice.
    """
    array = np.asarray(value)
    if array.dtype.kind == "i":
        return np.asarray(array.astype(np.float32))  # the hardware's int64 -> binary32 conversion rounds once
    if array.dtype != object and array.dtype.kind != "u":
        raise TypeError(f"got dtype {array.dtype}; exact integers are wanted; do not convert before this step")
    flat = [_integer_to_float(int(v)) for v in array.ravel()]
    return np.array(flat, np.float32).reshape(array.shape)


def _integer_to_float(value: int) -> float:
    """Nearest binary32 of a Python integer, ties to even, as a Python float that is exactly that number."""
    magnitude = abs(value)
    shift = max(magnitude.bit_length() - 24, 0)
    kept, rest = magnitude >> shift, magnitude & ((1 << shift) - 1)
    half = (1 << shift) >> 1
    if shift and (rest > half or (rest == half and kept & 1)):
        kept += 1
    if kept << shift >= 1 << 128:
        raise OverflowError(f"got an integer of {magnitude.bit_length()} bits; float32 ends at 2**128; scale it first")
    return float(kept << shift) * (-1 if value < 0 else 1)


def scale_by_power(x: Float32 | np.float32 | float, exponent: int) -> Float32:
    """``x * 2**exponent`` in float32: exact unless the result is subnormal (rounded once, to even) or too large (inf).

    Parameters
    ----------
    x : float32 array or scalar
    exponent : int, -400 to 400

    Notes
    -----
    Bit-exactness: clause FLT-3; nothing may vary.  Done in binary64, where the product is exact, then rounded once.
    """
    if not -400 <= exponent <= 400:
        raise ValueError(f"got a scaling by 2**{exponent}; allowed is -400 to 400; scale in two steps")
    wide = np.asarray(x, np.float32).astype(np.float64) * 2.0**exponent
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(wide.astype(np.float32))
