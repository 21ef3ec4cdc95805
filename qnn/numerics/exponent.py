"""Algorithm 1: how a tensor's scale exponent moves, from counts alone (spec chapter EXP)."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from fractions import Fraction

from .arguments import index

EXP_MIN = -64
EXP_MAX = 63
"""Bounds of every scale exponent (clause EXP-4): float32 data scaled by them stay normal float64, hence exact."""


@dataclass(frozen=True)
class Counts:
    """What one quantisation counted; enough to replay the exponent rule (clause EXP-1).

    Attributes
    ----------
    total : int
        Elements.
    nonzero : int
        Elements that are not zero, before rounding.
    overflow : int
        Elements with x / 2**e outside [-2**(n-1), 2**(n-1)), before rounding.
    overflow_double : int
        The same for 2x.
    saturated : int
        Elements whose rounded value was clipped.

    Notes
    -----
    Counts of parts add up to the counts of the whole, in any split. Bit-exactness: clauses EXP-1 and REQ-5.
    """

    total: int = 0
    nonzero: int = 0
    overflow: int = 0
    overflow_double: int = 0
    saturated: int = 0

    def __init__(
        self, total: int = 0, nonzero: int = 0, overflow: int = 0, overflow_double: int = 0, saturated: int = 0
    ) -> None:
        values = self.__dict__  # half the time of the constructor of a frozen dataclass, and a step makes hundreds
        values["total"] = total
        values["nonzero"] = nonzero
        values["overflow"] = overflow
        values["overflow_double"] = overflow_double
        values["saturated"] = saturated

    def __add__(self, other: Counts) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(
            self.total + other.total,
            self.nonzero + other.nonzero,
            self.overflow + other.overflow,
            self.overflow_double + other.overflow_double,
            self.saturated + other.saturated,
        )


def next_exponent(counts: Counts, exponent: int, r_max: float = 0.0) -> int:
    """One step of Algorithm 1: the exponent for the next step from the counts of this one.

    Parameters
    ----------
    counts : Counts
        Of the tensor quantised with ``exponent``.
    exponent : int
        -64 to 63.
    r_max : float, default 0
        Overflow rate that is tolerated, 0 <= r_max < 1; the paper has 0.

    Returns
    -------
    int
        ``exponent`` + 1, - 1 or + 0, kept within -64 to 63.

    Raises
    ------
    ValueError
        Exponent or rate out of range.

    Notes
    -----
    The rate is compared exactly: ``overflow > r_max * total`` with ``r_max`` as the binary fraction that the float is.
    Source: DFP paper, Algorithm 1. Bit-exactness: clauses EXP-2 to EXP-4; nothing may vary.
    """
    if type(exponent) is not int or not EXP_MIN <= exponent <= EXP_MAX:
        exponent = checked_exponent(exponent)
    if not 0.0 <= r_max < 1.0:
        raise ValueError(f"got r_max {r_max}; allowed are 0 <= r_max < 1; the paper's value is 0")
    if counts.nonzero == 0:
        return exponent
    allowed = Fraction(r_max) * counts.total if r_max else 0
    if counts.overflow > allowed:
        return min(exponent + 1, EXP_MAX)
    if counts.overflow_double <= allowed:
        return max(exponent - 1, EXP_MIN)
    return exponent


def first_exponent_float(lo: float, hi: float, bits: int) -> int | None:
    """The smallest exponent at which real data between ``lo`` and ``hi`` do not overflow.

    Parameters
    ----------
    lo, hi : float
        Minimum and maximum of the first data, finite.
    bits : int
        Width n, 2 to 16.

    Returns
    -------
    int or None
        Within -64 to 63; None when both are 0 (the caller keeps its default).

    Raises
    ------
    ValueError
        NaN or infinity, or lo > hi.

    Notes
    -----
    Source: the paper starts from a fixed number; ours starts from the first data. Bit-exactness: clause EXP-5.
    """
    if not (math.isfinite(lo) and math.isfinite(hi)):
        raise ValueError(f"got a range from {lo} to {hi}; it must be finite; look for NaN or infinity in the data")
    return _smallest(Fraction(float(lo)), Fraction(float(hi)), bits)


def first_exponent_int(lo: int, hi: int, exponent: int, bits: int, divisor: int = 1) -> int | None:
    """The smallest exponent at which accumulators between ``lo`` and ``hi`` do not overflow.

    Parameters
    ----------
    lo, hi : int
        Minimum and maximum of the accumulators.
    exponent : int
        Their exponent: a value is ``acc * 2**exponent / divisor``.
    bits : int
        Width n of the result, 2 to 16.
    divisor : int, default 1

    Returns
    -------
    int or None
        Within -64 to 63; None when both are 0.

    Notes
    -----
    Bit-exactness: clause EXP-5; exact.
    """
    if operator.index(divisor) < 1:
        raise ValueError(f"got divisor {divisor}; it must be 1 or more; put the sign into the accumulators")
    scale = Fraction(2) ** operator.index(exponent) / operator.index(divisor)
    return _smallest(operator.index(lo) * scale, operator.index(hi) * scale, bits)


def checked_exponent(exponent: int) -> int:
    """An exponent as int, within the bounds of clause EXP-4."""
    number = index("exponent", exponent)
    if not EXP_MIN <= number <= EXP_MAX:
        raise ValueError(f"got exponent {number}; allowed are {EXP_MIN} to {EXP_MAX}; rescale the data")
    return number


def checked_bits(bits: int) -> int:
    """A bit width as int, within the bounds of clause FMT-1."""
    number = index("a width of", bits)
    if not 2 <= number <= 16:
        raise ValueError(f"got {number} bits; allowed are 2 to 16; choose a width in this range")
    return number


def _smallest(lo: Fraction, hi: Fraction, bits: int) -> int | None:
    """Smallest e with ``-2**(n-1) <= lo/2**e`` and ``hi/2**e < 2**(n-1)``, clamped."""
    bits = checked_bits(bits)
    if lo > hi:
        raise ValueError(f"got a range from {float(lo)} to {float(hi)}; the minimum must come first; swap them")
    if lo == 0 == hi:
        return None
    powers = []
    if hi > 0:
        powers.append(_floor_log2(hi) + 1)  # hi < 2**p: strictly
    if lo < 0:
        powers.append(-_floor_log2(1 / -lo))  # -lo <= 2**p: the lower end belongs to the format
    return min(max(max(powers) - (bits - 1), EXP_MIN), EXP_MAX)


def _floor_log2(value: Fraction) -> int:
    """The largest p with ``2**p <= value``, for value > 0."""
    p = value.numerator.bit_length() - value.denominator.bit_length()
    return p if Fraction(2) ** p <= value else p - 1
