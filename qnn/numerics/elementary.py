"""exp, log, tanh and sigmoid in float32, and cos for schedules: defined here, never by a math library.

Inside, only binary64 ``+ - * /``, rounding to an integer, and comparisons are used, in the order written.  Argument
and result are float32, so the result is the exact value rounded once but for errors near 2**-50.  Table entries are
defined as the binary64 number nearest to the exact value; the ``decimal`` module makes them, exact to its last digit.
"""

from __future__ import annotations

import decimal
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .float32 import Float32

Float64 = NDArray[np.float64]

_EXACT = decimal.Context(prec=60)
_LN2 = _EXACT.ln(decimal.Decimal(2))

_EXP_STEPS = 32
_EXP_TABLE = np.array(
    [float(_EXACT.power(decimal.Decimal(2), decimal.Decimal(j * 0.03125))) for j in range(_EXP_STEPS)]
)
_STEPS_PER_UNIT = float(_EXACT.divide(decimal.Decimal(_EXP_STEPS), _LN2))
_STEP_HIGH = int(_EXACT.multiply(_LN2, decimal.Decimal(2**33))) * 2.0**-38  # ln2/32 cut to 33 bits: n * high is exact
_STEP_LOW = float(_EXACT.subtract(_EXACT.divide(_LN2, decimal.Decimal(_EXP_STEPS)), decimal.Decimal(_STEP_HIGH)))

_LOG_STEPS = 128
_LOG_CENTRES = [(2**21 // (257 + 2 * j) + 1) // 2 for j in range(_LOG_STEPS)]  # 4096 / (1 + (j + 1/2)/128), rounded
_LN2_FLOAT = float(_LN2)

_INVERSE_FACTORIALS = [1.0 / math.factorial(n) for n in range(18)]  # n! is exact up to 18!, so one rounding each


def exp64(x: Float64) -> Float64:
    """e**x in binary64 for |x| <= 700, relative error below 2**-50; the inner step of the float32 functions.

    ``n = rint(x * 32/ln2)``, ``r = (x - n*high) - n*low`` (|r| < 0.011), ``e**r`` by its series to r**6 in Horner
    order, times ``2**((n mod 32)/32)`` from the table, times ``2**(n div 32)`` (exact).

    Notes
    -----
    Bit-exactness: clause FLT-4; nothing may vary.
    """
    n = np.rint(x * _STEPS_PER_UNIT)
    r = (x - n * _STEP_HIGH) - n * _STEP_LOW
    series = np.full_like(r, _INVERSE_FACTORIALS[6])
    for degree in range(5, -1, -1):
        series = series * r + _INVERSE_FACTORIALS[degree]
    steps = n.astype(np.int64)
    return np.asarray((series * _EXP_TABLE[steps & 31]) * _power_of_two(steps >> 5))


def exp32(x: Float32) -> Float32:
    """e**x for float32: ``f32(exp64(f64(x)))``; overflow gives inf, NaN stays NaN, subnormal results are rounded once.

    Notes
    -----
    Measured on every argument: the nearest float32 number.  Bit-exactness: clause FLT-4; nothing may vary.
    """
    return _narrow(exp64(_limited(x, 120.0)), x)


def log64(x: Float64) -> Float64:
    """Natural logarithm in binary64 of positive normal numbers, for arguments of at most 24 significant bits.

    ``x = 2**e * z`` with 0.75 <= z < 1.5; ``r = z*c - 1`` with a 13-bit table value c near 1/z, exact; ``log z`` is
    ``-log c`` from the table plus the series of ``log(1+r)`` to r**8 in Horner order; plus ``e * ln2``.

    Notes
    -----
    Bit-exactness: clause FLT-5; nothing may vary.
    """
    fraction, exponent = np.frexp(x)  # exact
    z, e = fraction * 2.0, exponent - 1  # z in [1, 2)
    index = ((z - 1.0) * _LOG_STEPS).astype(np.int64)
    upper = z >= 1.5
    z, e = np.where(upper, z * 0.5, z), np.where(upper, exponent, e)
    table = _log_table()
    c, minus_log_c = table[index, 0], table[index, 1]
    r = z * c - 1.0
    series = np.full_like(r, -1.0 / 8.0)
    for degree in range(7, 0, -1):
        series = series * r + (1.0 if degree % 2 else -1.0) / degree
    return np.asarray(e * _LN2_FLOAT + (minus_log_c + series * r))


def log32(x: Float32) -> Float32:
    """Natural logarithm of float32: ``f32(log64(f64(x)))``; log 0 = -inf, negative and NaN arguments give NaN.

    Notes
    -----
    Measured on every argument: below 0.5001 units in the last place.  Bit-exactness: clause FLT-5; nothing may vary.
    """
    wide = _wide(x)
    positive = (wide > 0) & np.isfinite(wide)
    result = log64(np.where(positive, wide, 1.0))
    special = np.where(wide == 0, -np.inf, np.where(wide > 0, wide, np.nan))
    return _narrow(np.where(positive, result, special), x)


def tanh32(x: Float32) -> Float32:
    """Hyperbolic tangent of float32; odd, and +-1 from about 9 on.

    With ``a = min(|x|, 20)``: for a < 1/32 and ``s = a*a`` the series ``a + a*(s*(-1/3 + s*(2/15 + s*(-17/315 +
    s*(62/2835)))))``, otherwise ``(E - 1) / (E + 1)`` with ``E = exp64(2*a)``; then the sign of x.

    Notes
    -----
    Measured on every argument: the nearest float32 number.  Bit-exactness: clause FLT-6; nothing may vary.
    """
    return _narrow(_tanh64(_limited(x, 20.0)), x)


def sigmoid32(x: Float32) -> Float32:
    """1 / (1 + e**-x) of float32: ``f32(1 / (1 + exp64(-x)))``.

    Notes
    -----
    Measured on every argument: below 0.5001 units in the last place.  Bit-exactness: clause FLT-7; nothing may vary.
    """
    return _narrow(_sigmoid64(_limited(x, 120.0)), x)


def cos_pi(numerator: int, denominator: int) -> float:
    """cos(pi * numerator / denominator) as a binary64 number, for schedules; exact at multiples of one half.

    The fraction is brought to the first octant in integers; then, with ``y = pi * p / q`` (that order) and ``s = y*y``,
    the series of cos to s**8 or of sin to y*s**8, in Horner order.

    Raises
    ------
    ValueError
        If the denominator is not positive.

    Notes
    -----
    Error at most 2**-52.  Bit-exactness: clause FLT-8; nothing may vary.
    """
    if denominator < 1:
        raise ValueError(f"got the denominator {denominator}; it must be at least 1; pass the number of steps")
    p, q = abs(numerator) % (2 * denominator), denominator
    p = min(p, 2 * q - p)  # cos(2 pi - y) = cos y
    sign = 1.0
    if 2 * p > q:  # cos(pi - y) = -cos y
        p, sign = q - p, -1.0
    if 4 * p <= q:
        y = np.pi * p / q
        return sign * _series(y * y, 0)
    y = np.pi * (q - 2 * p) / (2 * q)  # cos(pi p/q) = sin(pi (q - 2p) / (2q))
    return sign * (y * _series(y * y, 1))


def power64(base: float, n: int) -> float:
    """``base**n`` for n >= 0 by repeated squaring in binary64, from the lowest bit of n up.

    Notes
    -----
    Bit-exactness: clause FLT-9; nothing may vary.
    """
    if n < 0:
        raise ValueError(f"got the power {n}; allowed is 0 or more; divide instead")
    result, square = 1.0, float(base)
    while n:
        if n & 1:
            result = result * square
        square = square * square
        n >>= 1
    return result


def _tanh64(x: Float64) -> Float64:
    a = np.abs(x)
    s = a * a
    small = a + a * (s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))))
    e = exp64(2.0 * a)
    return np.asarray(np.copysign(np.where(a < 0.03125, small, (e - 1.0) / (e + 1.0)), x))


def _sigmoid64(x: Float64) -> Float64:
    return np.asarray(1.0 / (1.0 + exp64(-x)))


def _series(s: float, first: int) -> float:
    """1/first! - s/(first+2)! + s**2/(first+4)! - ... , nine terms, in Horner order."""
    total = _INVERSE_FACTORIALS[first + 16]
    for term in range(7, -1, -1):
        total = _INVERSE_FACTORIALS[first + 2 * term] - s * total
    return total


@functools.cache  # at the first use: 128 exact logarithms would slow every import
def _log_table() -> Float64:
    """Rows (c, -log c) for z in [1 + j/128, 1 + (j+1)/128): c is near 1/z, or near 2/z where z is halved."""
    rows = []
    for j, centre in enumerate(_LOG_CENTRES):
        c = (centre if j < _LOG_STEPS // 2 else 2 * centre) / 4096.0  # exact
        if j in (0, _LOG_STEPS - 1):
            c = 1.0  # around 1 the logarithm is the series alone, and so keeps its relative accuracy
        rows.append((c, -float(_EXACT.ln(decimal.Decimal(c)))))
    return np.array(rows)


def constants() -> tuple[Float64, Float64, float, float, float, float]:
    """What `exp64` and `log64` compute with, for compiled twins: the tables [32] and [128, 2], the steps per unit, the
    high and the low part of a step, and ln 2.

    Notes
    -----
    Bit-exactness: clauses FLT-4 and FLT-5; nothing may vary.
    """
    return _EXP_TABLE, _log_table(), _STEPS_PER_UNIT, _STEP_HIGH, _STEP_LOW, _LN2_FLOAT


def _power_of_two(n: NDArray[np.int64]) -> Float64:
    """2**n in binary64 for -1022 <= n <= 1023, made from its bits."""
    return ((n + 1023) << 52).view(np.float64)


def _wide(x: Any) -> Float64:
    array = np.asarray(x)
    if array.dtype != np.float32:
        raise TypeError(f"got dtype {array.dtype}; the specified functions take float32; convert knowingly")
    return array.astype(np.float64)


def _limited(x: Any, bound: float) -> Float64:
    """x in binary64, cut to +-bound, where the result no longer changes; NaN becomes 0 until `_narrow` puts it back."""
    wide = _wide(x)
    return np.clip(np.where(np.isnan(wide), 0.0, wide), -bound, bound)


def _narrow(result: Float64, x: Any) -> Float32:
    """Round once to float32; NaN arguments give NaN."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(np.where(np.isnan(x), np.nan, result).astype(np.float32))
