"""Dynamic fixed point: the format, quantising real values and requantising exact integers (chapters FMT and REQ)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exponent import EXP_MAX, EXP_MIN, Counts, checked_bits, checked_exponent
from .noise import Noise
from .rounding import Rounding, noise_words, round_ratio, round_real, scale_exact

_INT64_SAFE = 2**62

INTEGER_OVERFLOW_BITS = 14
"""Widest format whose doubled limits, and what lies beyond them, fit 16 bits (clause EXP-1)."""

_INT8, _INT16 = np.dtype(np.int8), np.dtype(np.int16)


def storage_dtype(bits: int) -> np.dtype[Any]:
    """int8 up to 8 bits, int16 up to 16 (clause FMT-2)."""
    return _INT8 if checked_bits(bits) <= 8 else _INT16


def int_limits(bits: int) -> tuple[int, int]:
    """Smallest and largest integer of an n-bit format: ``-2**(n-1)``, ``2**(n-1) - 1`` (clause FMT-1)."""
    half = 1 << (checked_bits(bits) - 1)
    return -half, half - 1


def _normal_format(of: DFP | Target) -> int:
    """Check exponent and width and make them Python integers; returns the width."""
    exponent, bits = checked_exponent(of.exponent), checked_bits(of.bits)
    object.__setattr__(of, "exponent", exponent)
    object.__setattr__(of, "bits", bits)
    return bits


@dataclass(frozen=True, eq=False)
class DFP:
    """A dynamic fixed-point tensor: integers and one exponent; it stands for ``ints * 2**exponent``.

    Parameters
    ----------
    ints : ndarray of int8 (bits <= 8) or int16 (bits <= 16)
        Any shape; each within ``-2**(bits-1)`` and ``2**(bits-1) - 1``.
    exponent : int
        -64 to 63.
    bits : int, default 8
        2 to 16.

    Raises
    ------
    TypeError
        ``ints`` is no array of the storage type.
    ValueError
        Exponent, width or an integer out of range.

    Notes
    -----
    Source: DFP paper, section 2.1. Bit-exactness: clauses FMT-1 to FMT-3; nothing may vary.
    """

    ints: NDArray[Any]
    exponent: int
    bits: int = 8

    def __post_init__(self) -> None:
        exponent, bits = self.exponent, self.bits
        # A training step makes hundreds of these objects, nearly all from normal numbers.
        if not (type(exponent) is type(bits) is int and EXP_MIN <= exponent <= EXP_MAX and 2 <= bits <= 16):
            bits = _normal_format(self)
        wanted = _INT8 if bits <= 8 else _INT16
        if not isinstance(self.ints, np.ndarray) or self.ints.dtype != wanted:
            got = getattr(self.ints, "dtype", type(self.ints).__name__)
            raise TypeError(f"got integers of type {got}; a {bits}-bit DFP is stored as {wanted}; convert them")
        if bits in (8, 16) or not self.ints.size:
            return
        lo, hi = int_limits(bits)
        if self.ints.min() < lo or self.ints.max() > hi:
            raise ValueError(
                f"got integers from {self.ints.min()} to {self.ints.max()}; {bits} bits hold {lo} to {hi}; "
                "requantise them or use more bits"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.ints.shape

    def to_float(self) -> NDArray[np.float32]:
        """The values as float32, always exact: 16 bits fit the 24-bit mantissa, and 2**-64 .. 2**78 is normal.

        Notes
        -----
        Bit-exactness: clause FMT-3; exact.
        """
        return np.asarray(self.ints.astype(np.float32) * np.float32(2.0**self.exponent))

    def __repr__(self) -> str:
        return f"DFP(shape={self.shape}, exponent={self.exponent}, bits={self.bits})"


@dataclass(frozen=True, eq=False)
class Target:
    """How an exact value becomes an n-bit integer: the format and the one rounding.

    Parameters
    ----------
    exponent : int
        Exponent of the result, -64 to 63.
    bits : int, default 8
        Width of the result, 2 to 16.
    rounding : Rounding, str or int, default ``NEAREST_DOWN``
    noise : Noise or ndarray of uint16, optional
        For ``STOCHASTIC``: the address of the first word, or one word per element in u16 form.

    Notes
    -----
    Bit-exactness: clauses REQ-1 and RND-1.
    """

    exponent: int
    bits: int = 8
    rounding: Rounding = Rounding.NEAREST_DOWN
    noise: Noise | NDArray[np.uint16] | None = None

    def __post_init__(self) -> None:
        _normal_format(self)
        if type(self.rounding) is not Rounding:
            object.__setattr__(self, "rounding", Rounding.parse(self.rounding))
        if not (self.noise is None or isinstance(self.noise, (Noise, np.ndarray))):
            raise TypeError(
                f"got noise of type {type(self.noise).__name__}; allowed are Noise, a uint16 array or None; "
                "pass one of them"
            )

    def words(self, shape: tuple[int, ...]) -> NDArray[np.uint16] | None:
        """The noise words for a tensor of this shape in C order, or None when the rule takes no noise (NOI-1)."""
        if self.rounding is not Rounding.STOCHASTIC:
            return None
        noise = self.noise
        if isinstance(noise, Noise):
            noise = noise.u16(int(np.prod(shape, dtype=np.int64)))
        return noise_words(noise, shape).astype(np.uint16)


def quantize(x: NDArray[np.float32], target: Target) -> tuple[NDArray[Any], Counts]:
    """Real values to n-bit integers at the target's exponent, and the counts of the same pass.

    Parameters
    ----------
    x : ndarray of float32
        Any shape, finite.
    target : Target

    Returns
    -------
    ints : ndarray of int8 or int16, same shape
    counts : Counts

    Raises
    ------
    TypeError
        ``x`` is not a float32 array.
    ValueError
        NaN or infinity in ``x`` (the message has their number), or noise is missing.

    Notes
    -----
    Round, then saturate. Source: DFP paper, section 2.1. Bit-exactness: clauses FMT-4 to FMT-6, RND-2 to RND-12, EXP-1.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"got input of type {got}; only float32 arrays are allowed; convert with x.astype(np.float32)")
    bad = x.size - int(np.count_nonzero(np.isfinite(x)))
    if bad:
        nans = int(np.count_nonzero(np.isnan(x)))
        raise ValueError(
            f"got {nans} NaN and {bad - nans} infinite values among {x.size}; only finite values can be quantised; "
            "find where they arise (a too high learning rate is the usual cause)"
        )
    steps = scale_exact(x, target.exponent)
    bound = 2.0 ** (target.bits - 1)
    rounded = round_real(x, target.exponent, target.rounding, target.words(x.shape))
    ints, saturated = _saturate(rounded, target.bits)
    counts = Counts(
        total=x.size,
        nonzero=int(np.count_nonzero(x)),
        overflow=int(np.count_nonzero((steps < -bound) | (steps >= bound))),
        overflow_double=int(np.count_nonzero((steps < -bound / 2) | (steps >= bound / 2))),
        saturated=saturated,
    )
    return ints, counts


def requantize(
    acc: NDArray[Any],
    exponent: int,
    target: Target,
    divisor: int = 1,
    bias: NDArray[np.int64] | None = None,
) -> tuple[NDArray[Any], Counts]:
    """Exact accumulators to n-bit integers: ``(acc + bias) * 2**exponent / divisor`` rounded once, then saturated.

    Parameters
    ----------
    acc : ndarray of int8..int64, or of object (Python integers)
        Any shape.
    exponent : int
        Exponent of the accumulators, any integer.
    target : Target
    divisor : int, default 1
        Positive; the element count of an average.
    bias : ndarray of int64 [C], optional
        Already on the accumulators' grid, one per entry of the last axis.

    Returns
    -------
    ints : ndarray of int8 or int16, same shape
    counts : Counts

    Raises
    ------
    TypeError, ValueError
        No integers; bias of another length; divisor below 1; noise missing.

    Notes
    -----
    Source: DFP paper, section 5.4. Bit-exactness: clauses REQ-1 to REQ-6, REQ-8 and EXP-1; nothing may vary.
    """
    acc = _accumulators(acc)
    if bias is not None:
        acc = _add_bias(acc, bias)
    divisor = operator.index(divisor)
    if divisor < 1:
        raise ValueError(f"got divisor {divisor}; it must be 1 or more; put the sign into the accumulators")
    shift = target.exponent - operator.index(exponent)
    words = target.words(acc.shape)
    small, small_shift = _tame_left_shift(acc, shift, divisor)
    rounded = round_ratio(small, small_shift, target.rounding, words, divisor)
    ints, saturated = _saturate(rounded, target.bits)
    return ints, Counts(
        total=acc.size,
        nonzero=int(np.count_nonzero(acc)),
        overflow=_count_outside(acc, shift + target.bits - 1, divisor),
        overflow_double=_count_outside(acc, shift + target.bits - 2, divisor),
        saturated=saturated,
    )


def align_bias(bias: DFP, exponent: int) -> NDArray[np.int64]:
    """A bias as integers on an accumulator's grid: ``ints << (bias.exponent - exponent)``.

    Parameters
    ----------
    bias : DFP
        Quantised at an exponent that is not below the accumulator's: ``max(own exponent, exponent)``.
    exponent : int
        Exponent of the accumulator.

    Returns
    -------
    ndarray of int64, same shape

    Raises
    ------
    ValueError
        The bias has bits below the accumulator's grid, which would need a second rounding.
    OverflowError
        A result does not fit int64.

    Notes
    -----
    Source: DFP paper, section 5.4 (the code adds ``b * 2**(e_b - e_x - e_w)``). Bit-exactness: clause REQ-6; exact.
    """
    shift = bias.exponent - operator.index(exponent)
    if shift < 0:
        raise ValueError(
            f"got a bias at exponent {bias.exponent}; the accumulator's {exponent} or more is allowed; "
            "quantise the bias at max(own exponent, accumulator exponent)"
        )
    if bias.bits + shift > 63 and _largest(bias.ints) << shift >= 2**63:
        raise OverflowError(
            f"got a bias of {_largest(bias.ints)} to be shifted left by {shift}; int64 is the bound; "
            "quantise it at a lower exponent"
        )
    return np.asarray(np.left_shift(bias.ints, min(shift, 63), dtype=np.int64))


def add_requantize(
    terms: Sequence[tuple[NDArray[Any], int]],
    target: Target,
    rectify: bool = False,
    output: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], Counts]:
    """The exact sum of integer tensors with different exponents, rounded once to n bits.

    Parameters
    ----------
    terms : sequence of (ints, exponent)
        One or more integer arrays of one shape, each with its exponent.
    target : Target
    rectify : bool
        Whether a ReLU follows, which the counts do not see.
    output : ndarray of int8 or int16, same shape, optional
        The result of a ReLU whose gradient follows: zeros where it is not positive. The counts do not see it either.

    Returns
    -------
    ints : ndarray of int8 or int16, same shape
    counts : Counts

    Raises
    ------
    ValueError
        No terms, or shapes differ.

    Notes
    -----
    Bit-exactness: clauses REQ-7 and LAY-2; nothing may vary, for any difference of exponents.
    """
    if not terms:
        raise ValueError("got no terms to add; one or more (ints, exponent) are needed; pass the tensors of the sum")
    arrays = [_accumulators(ints) for ints, _ in terms]
    exponents = [operator.index(exponent) for _, exponent in terms]
    shapes = sorted({a.shape for a in (arrays if output is None else [*arrays, output])})
    if len(shapes) > 1:
        raise ValueError(f"got terms of shapes {shapes}; all must be equal; reshape them before adding")
    lowest = min(exponents)
    bound = sum(_largest(a) << (e - lowest) for a, e in zip(arrays, exponents, strict=True))
    dtype = np.int64 if bound <= _INT64_SAFE else object  # beyond int64 the sum is made of Python integers
    total = np.zeros(shapes[0], dtype=dtype)
    for ints, exponent in zip(arrays, exponents, strict=True):
        factor = 1 << (exponent - lowest) if _largest(ints) else 1  # an all-zero term adds nothing at any exponent
        total = np.asarray(total + ints.astype(dtype) * factor, dtype=dtype)
    ints, counts = requantize(total, lowest, target)
    zero = ints.dtype.type(0)
    ints = np.maximum(ints, zero) if rectify else ints
    return ints if output is None else np.where(output > 0, ints, zero), counts


def integer_overflow(
    counts: Counts, exponent: int, bits: int, make: Callable[[Target], tuple[NDArray[Any], Counts]]
) -> Counts:
    """Counts whose overflows are of values outside ``[-2**(n-1), 2**(n-1) - 1]``, the range of the integers.

    Parameters
    ----------
    counts : Counts
        Of the result itself.
    exponent, bits : int
        Of the result; 2 to 14 bits.
    make : callable
        Rounds the same exact values to any target: it is asked for floor and ceiling of their doubles in 16 bits.

    Notes
    -----
    A value lies above an integer if its ceiling does, and below one if its floor does. Bit-exactness: clause EXP-1.
    """
    if not 2 <= bits <= INTEGER_OVERFLOW_BITS:
        raise ValueError(f"got {bits} bits for the overflow of integers; allowed are 2 to {INTEGER_OVERFLOW_BITS}")
    low, high = int_limits(bits)
    fine = max(exponent - 1, EXP_MIN)
    floor, _ = make(Target(fine, 16, Rounding.FLOOR))
    ceiling, _ = make(Target(fine, 16, Rounding.CEIL))

    def outside(factor: int) -> int:
        return int(np.count_nonzero(ceiling > factor * high) + np.count_nonzero(floor < factor * low))

    if fine == exponent:  # no exponent is below, so nothing asks for the double
        return replace(counts, overflow=outside(1))
    return replace(counts, overflow=outside(2), overflow_double=outside(1))


def _saturate(rounded: NDArray[Any], bits: int) -> tuple[NDArray[Any], int]:
    """Clip rounded values to n bits and count the clipped ones (clause RND-12: saturation after rounding)."""
    lo, hi = int_limits(bits)
    saturated = int(np.count_nonzero((rounded < lo) | (rounded > hi)))
    return np.clip(rounded, lo, hi).astype(storage_dtype(bits)), saturated


def _count_outside(acc: NDArray[Any], power: int, divisor: int) -> int:
    """Entries with ``acc / divisor`` outside ``[-2**power, 2**power)``, by integer thresholds."""
    bound_num, bound_den = (divisor << power, 1) if power >= 0 else (divisor, 1 << -power)
    first_high = -(-bound_num // bound_den)  # acc >= bound  <=>  acc >= ceil(bound)
    last_low = -(bound_num // bound_den)  # acc < -bound  <=>  acc < ceil(-bound) = -floor(bound)
    outside = 0
    if acc.dtype == object or first_high < 2**63:
        outside += int(np.count_nonzero(acc >= first_high))
    if acc.dtype == object or last_low > -(2**63):
        outside += int(np.count_nonzero(acc < last_low))
    return outside


def _tame_left_shift(acc: NDArray[Any], shift: int, divisor: int) -> tuple[NDArray[Any], int]:
    """For left shifts: operands that saturate alike but fit int64.

    Every result of 2**16 or more saturates at any width, whatever the noise. So accumulators are first clipped to the
    smallest one that gives at least 2**16, and the shift is cut off where a single unit gives at least 2**16.
    """
    if shift >= 0 or acc.dtype == object:
        return acc, shift
    shift = max(shift, -(17 + divisor.bit_length()))
    enough = -(-(divisor << 17) // (1 << -shift))
    if enough >= 2**63:
        return acc, shift
    return np.clip(acc, -enough, enough), shift


def _accumulators(acc: NDArray[Any]) -> NDArray[Any]:
    allowed = (np.int8, np.int16, np.int32, np.int64, object)
    if not isinstance(acc, np.ndarray) or acc.dtype not in allowed:
        got = getattr(acc, "dtype", type(acc).__name__)
        raise TypeError(f"got integers of type {got}; allowed are arrays of int8, int16, int32, int64; convert them")
    return acc if acc.dtype == object else acc.astype(np.int64, copy=False)


def _add_bias(acc: NDArray[Any], bias: NDArray[np.int64]) -> NDArray[Any]:
    """``acc + bias`` over the last axis, exact: Python integers where int64 could overflow."""
    if not isinstance(bias, np.ndarray) or bias.dtype != np.int64:
        got = getattr(bias, "dtype", type(bias).__name__)
        raise TypeError(f"got a bias of type {got}; it must be an int64 array on the accumulator's grid; convert it")
    if acc.ndim == 0 or bias.shape != acc.shape[-1:]:
        raise ValueError(
            f"got a bias of shape {bias.shape} for accumulators of shape {acc.shape}; "
            "one entry per index of the last axis is allowed; reshape the bias"
        )
    if acc.dtype != object and _largest(acc) + _largest(bias) < 2**63:
        return np.asarray(acc + bias)
    return np.asarray(acc.astype(object) + bias.astype(object), dtype=object)


def _largest(values: NDArray[Any]) -> int:
    """The largest magnitude as a Python integer."""
    return max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
