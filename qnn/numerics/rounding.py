"""The nine rounding rules: an exact value becomes an integer (spec chapter RND).

Everything here is integer arithmetic or exact float64 scaling; no rounding happens before the one that is asked for.
"""

from __future__ import annotations

import enum
import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .exponent import checked_exponent

FRACTION_BITS = 16
"""Fraction bits of the integer definitions, and the width of a noise word in u16 form (RND-1, RND-11)."""

REAL_LIMIT = 2.0**40
"""Real values beyond +-2**40 steps are replaced by this bound before they become int64 (RND-2); it is 2**24 times
further out than the widest format, so saturation gives the same result."""

_INT64_SAFE = 2**62


class Rounding(enum.IntEnum):
    """The nine rounding rules, named by what they do with a tie, with their fixed numbers (clause RND-1).

    The numbers are the same in golden vectors, C and RTL. The bare word "nearest" and the name "half up" are not used.

    Source: DFP paper, section 3 (``NEAREST_DOWN`` and ``STOCHASTIC``); the authors' code (``NEAREST_EVEN``).
    Bit-exactness: clauses RND-1 and RND-3 to RND-11.
    """

    NEAREST_EVEN = 0
    NEAREST_AWAY = 1
    NEAREST_UP = 2
    NEAREST_DOWN = 3
    NEAREST_TO_ZERO = 4
    FLOOR = 5
    CEIL = 6
    TRUNCATE = 7
    STOCHASTIC = 8

    @classmethod
    def parse(cls, value: str | SupportsIndex | Rounding) -> Rounding:
        """Turn a name (any case), a number or a rule into a rule.

        Parameters
        ----------
        value : str, int or Rounding
            For example ``"nearest_down"``, ``3`` or ``Rounding.NEAREST_DOWN``.

        Raises
        ------
        ValueError
            The name or number is not one of the nine.
        TypeError
            The value is neither a name nor an integer.

        Notes
        -----
        Bit-exactness: clause RND-1; names and numbers never change.
        """
        if isinstance(value, cls):
            return value
        allowed = ", ".join(f"{rule.name.lower()} ({rule.value})" for rule in cls)
        if isinstance(value, str):
            rule = cls.__members__.get(value.strip().upper())
            if rule is not None:
                return rule
            raise ValueError(f"got rounding {value!r}; allowed are {allowed}; name the rule by its tie")
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"got rounding {value!r}, a bool; allowed are {allowed}; pass a name or a number")
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(
                f"got rounding of type {type(value).__name__}; allowed are {allowed}; pass a name or a number"
            ) from None
        try:
            return cls(number)
        except ValueError:
            raise ValueError(f"got rounding {number}; allowed are {allowed}; pass one of these numbers") from None


def round_ratio(
    num: NDArray[Any],
    shift: int,
    rounding: Rounding | str | int,
    u: NDArray[np.uint16] | None = None,
    divisor: int = 1,
) -> NDArray[Any]:
    """Round the exact ratio ``num / (divisor * 2**shift)`` to integers.

    Parameters
    ----------
    num : ndarray of int8..int64 or of object (Python integers)
        Numerators, any shape.
    shift : int
        Power of two of the denominator; may be negative and of any size.
    rounding : Rounding, str or int
        One of the nine rules.
    u : ndarray of uint16, same shape as ``num``, optional
        Noise words in u16 form; needed by ``STOCHASTIC``, ignored by the others.
    divisor : int, default 1
        Positive integer.

    Returns
    -------
    ndarray of int64, same shape
        The rounded values; an array of Python integers (dtype object) where int64 could not hold them.

    Raises
    ------
    TypeError, ValueError
        Not integers; divisor below 1; noise missing or of another shape.

    Notes
    -----
    With ``q`` the floor and ``r`` the remainder of the division by ``d``, each rule decides from ``2r - d``, the
    sign of ``num`` and the parity of ``q`` whether one is added. Source: DFP paper, sections 3 and 5.4.
    Bit-exactness: clauses RND-3 to RND-11 and REQ-2; nothing may vary, no intermediate overflows.
    """
    rule = Rounding.parse(rounding)
    num = _integers(num)
    words = noise_words(u, num.shape) if rule is Rounding.STOCHASTIC else None
    shift, divisor = operator.index(shift), operator.index(divisor)
    if divisor < 1:
        raise ValueError(f"got divisor {divisor}; it must be 1 or more; put the sign into the numerators")
    if num.size == 0:
        return np.zeros(num.shape, dtype=np.int64)
    flat, d = _common_denominator(num.reshape(-1), shift, divisor)
    if d == 1:
        return _shrink(flat).reshape(num.shape)
    if words is not None:
        words = words.reshape(-1)
    if divisor == 1 and flat.dtype != object:
        quotient, rest = flat >> shift, flat & (d - 1)
    else:
        quotient, rest = flat // d, flat % d
    up = _goes_up(rule, flat < 0, quotient, rest, d, words)
    return _shrink(quotient + up).reshape(num.shape)


def round_real(
    x: NDArray[np.float32],
    exponent: int,
    rounding: Rounding | str | int,
    u: NDArray[np.uint16] | None = None,
) -> NDArray[np.int64]:
    """Round ``x / 2**exponent`` to integers, by the definition for real input (in integers, RND-2).

    Parameters
    ----------
    x : ndarray of float32
        Finite values of any shape; subnormals count like all others.
    exponent : int
        Scale exponent, -64 to 63.
    rounding : Rounding, str or int
        One of the nine rules.
    u : ndarray of uint16, same shape as ``x``, optional
        Noise words in u16 form; needed by ``STOCHASTIC``.

    Returns
    -------
    ndarray of int64, same shape
        The rounded values; a value beyond +-2**40 gives the bound +-2**40.

    Raises
    ------
    TypeError
        ``x`` is not float32.
    ValueError
        Exponent out of range, or noise missing.

    Notes
    -----
    The scaling by a power of two and the ``floor`` and ``ceil`` of ``x * 2**16`` are exact in float64; all that
    follows is integer. ``x - floor(x)`` is not exact and is not used. Source: DFP paper, section 3.2.
    Bit-exactness: clauses RND-2 to RND-11; nothing may vary.
    """
    rule = Rounding.parse(rounding)
    words = noise_words(u, np.shape(x)) if rule is Rounding.STOCHASTIC else None
    steps = scale_exact(x, exponent)
    return _round_steps(steps, rule, words)


def scale_exact(x: NDArray[np.float32], exponent: int) -> NDArray[np.float64]:
    """Divide float32 by ``2**exponent`` without any rounding (clause FMT-4).

    Parameters
    ----------
    x : ndarray of float32
    exponent : int
        -64 to 63: the smallest float32 is 2**-149, so the result keeps all bits as a normal float64.

    Returns
    -------
    ndarray of float64, same shape

    Notes
    -----
    Bit-exactness: clause FMT-4; exact.
    """
    x = np.asarray(x)
    if x.dtype != np.float32:
        raise TypeError(f"got real input of dtype {x.dtype}; only float32 is allowed; use x.astype(np.float32)")
    return np.asarray(x.astype(np.float64) * 2.0 ** -checked_exponent(exponent))


def noise_words(u: NDArray[np.uint16] | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Check noise words for ``STOCHASTIC`` and return them as int64 of the wanted shape (clause RND-11)."""
    if u is None:
        raise ValueError("got no noise for STOCHASTIC rounding; one word per element is needed; pass noise")
    u = np.asarray(u)
    if u.dtype != np.uint16:
        raise TypeError(f"got noise of dtype {u.dtype}; only uint16 is allowed; 8-bit words go into the upper byte")
    if u.size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"got {u.size} noise words for shape {shape}; one per element is needed; pass as many")
    return u.astype(np.int64).reshape(shape)


def _round_steps(steps: NDArray[np.float64], rule: Rounding, words: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Round exact float64 values by the integer definitions; ``steps`` is already ``x / 2**e``."""
    scaled = np.clip(steps, -REAL_LIMIT, REAL_LIMIT) * 2.0**FRACTION_BITS  # power of two: exact
    below = np.floor(scaled).astype(np.int64)
    if words is not None:
        return np.asarray((below + words) >> FRACTION_BITS)
    above = np.ceil(scaled).astype(np.int64)
    half = 1 << (FRACTION_BITS - 1)
    # floor(x*2^16) never passes a tie from above, ceil(x*2^16) never from below; each tie direction has its own side.
    if rule in (Rounding.FLOOR, Rounding.CEIL, Rounding.TRUNCATE):
        floor, ceil = below >> FRACTION_BITS, -((-above) >> FRACTION_BITS)
        if rule is Rounding.FLOOR:
            return np.asarray(floor)
        return np.asarray(ceil if rule is Rounding.CEIL else np.where(scaled < 0, ceil, floor))
    if rule is Rounding.NEAREST_UP:
        return np.asarray((below + half) >> FRACTION_BITS)
    down = (above + (half - 1)) >> FRACTION_BITS
    if rule is Rounding.NEAREST_DOWN:
        return np.asarray(down)
    up = (below + half) >> FRACTION_BITS  # up and down differ exactly at ties
    if rule is Rounding.NEAREST_AWAY:
        return np.where(scaled < 0, down, up)
    if rule is Rounding.NEAREST_TO_ZERO:
        return np.where(scaled < 0, up, down)
    return np.where(up & 1, down, up)  # NEAREST_EVEN: at a tie exactly one of the two is even, elsewhere they are equal


def _goes_up(
    rule: Rounding,
    negative: NDArray[np.bool_],
    quotient: NDArray[Any],
    rest: NDArray[Any],
    d: int,
    words: NDArray[np.int64] | None,
) -> NDArray[np.bool_]:
    """Whether one is added to the floor ``quotient``; ``0 <= rest < d``."""
    if rule is Rounding.FLOOR:
        return np.zeros(rest.shape, dtype=bool)
    if rule is Rounding.CEIL:
        return np.asarray(rest > 0)
    if rule is Rounding.TRUNCATE:
        return np.asarray((rest > 0) & negative)
    if rule is Rounding.STOCHASTIC:
        assert words is not None  # checked by the caller, for the type checker
        return _noise_carries(rest, d, words)
    twice = 2 * rest - d  # |twice| <= d <= 2^62 on the int64 route
    if rule is Rounding.NEAREST_DOWN:
        return np.asarray(twice > 0)
    if rule is Rounding.NEAREST_UP:
        return np.asarray(twice >= 0)
    if rule is Rounding.NEAREST_AWAY:
        tie_up = ~negative
    elif rule is Rounding.NEAREST_TO_ZERO:
        tie_up = negative
    else:
        tie_up = (quotient & 1) == 1
    return np.asarray((twice > 0) | ((twice == 0) & tie_up))


def _noise_carries(rest: NDArray[Any], d: int, words: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether ``rest/d + word/2**16 >= 1``, exactly; ``_common_denominator`` chose int64 or Python integers for it."""
    if rest.dtype == object:
        return np.asarray(words.astype(object) * d >= (d - rest) * (1 << FRACTION_BITS))
    if d < _INT64_SAFE >> FRACTION_BITS:
        return np.asarray(words * d >= (d - rest) << FRACTION_BITS)
    shift = d.bit_length() - 1  # so large a denominator is on the int64 route only as a power of two, 16 bits or more
    return np.asarray(rest + (words << (shift - FRACTION_BITS)) >= d)


def _common_denominator(num: NDArray[Any], shift: int, divisor: int) -> tuple[NDArray[Any], int]:
    """Numerators and one positive denominator; int64 where that is safe, else Python integers."""
    factor, d = (1 << -shift, divisor) if shift < 0 else (1, divisor << shift)
    largest = max(abs(int(num.min())), abs(int(num.max()))) if factor > 1 or num.dtype == object else 0
    safe = largest * factor <= _INT64_SAFE and (d <= _INT64_SAFE if divisor == 1 else d < _INT64_SAFE >> FRACTION_BITS)
    wide = num.astype(np.int64 if safe else object)
    return (wide * factor if factor > 1 else wide), d


def _integers(num: NDArray[Any]) -> NDArray[Any]:
    num = np.asarray(num)
    if num.dtype != object and not (num.dtype.kind in "iu" and np.can_cast(num.dtype, np.int64)):
        raise TypeError(f"got numerators of dtype {num.dtype}; allowed are int8 to int64 and Python integers; convert")
    return num


def _shrink(values: NDArray[Any]) -> NDArray[Any]:
    """Python integers back to int64 where all of them fit."""
    if values.dtype == object and min(values) >= -(2**63) and max(values) < 2**63:
        return values.astype(np.int64)
    return values
