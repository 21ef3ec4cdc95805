"""Training without floats: exponents from the batch, pseudo-stochastic rounding, integer updates and loss (INT)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dfp import DFP, Target, requantize
from .exponent import EXP_MAX, EXP_MIN, Counts, checked_bits
from .float32 import Float32
from .loss import LOSS_FRACTION_BITS
from .rounding import Rounding, round_ratio

SOFTMAX_TOP = 10
"""Exponent of the largest of the integer powers of two that stand for a sample's e^x (clause INT-7)."""
SOFTMAX_BITS = 11
"""Fraction bits of the integer softmax's quotients (clause INT-7)."""
_LOG2_E = 47274  # / 2^15
_LN_2 = 45426  # / 2^16


def batch_exponent(largest: int | float | Fraction, exponent: int, bits: int, shift_left: bool = False) -> int:
    """Exponent at which data whose largest magnitude is ``largest * 2**exponent`` fit n symmetric bits.

    Parameters
    ----------
    largest : int, float or Fraction
        Not negative and finite.
    exponent : int
        Of the accumulators.
    bits : int
        Width n of the result.
    shift_left : bool
        Whether small data may be shifted to the left, to fill the format; accumulators are not.

    Returns
    -------
    int
        Within -64 to 63.

    Notes
    -----
    Source: NITI, section 3 (range estimation); the bit length of the integer part replaces its ceil(log2 max).
    Bit-exactness: clause INT-1; nothing may vary.
    """
    value = Fraction(largest)
    length = _floor_log2(value) + 1 if value > 0 else 0
    if not shift_left:
        length = max(length, 0)
    shift = length - (checked_bits(bits) - 1) if value > 0 else 0
    return min(max(exponent + (shift if shift_left else max(shift, 0)), EXP_MIN), EXP_MAX)


def nearest_power(value: int | float | Fraction) -> int:
    """``round(log2 value)`` for a positive number, exactly: p with ``2**(2p-1) <= value**2 < 2**(2p+1)``.

    Notes
    -----
    There is no tie: ``2**(p + 1/2)`` is not rational. Source: WAGE, Shift(x). Bit-exactness: clause INT-9.
    """
    exact = Fraction(value)
    if exact <= 0:
        raise ValueError(f"got {value} for the nearest power of two; it must be positive; handle zero before")
    p = _floor_log2(exact)
    return p + int(exact * exact >= Fraction(2) ** (2 * p + 1))


def saturate_symmetric(ints: NDArray[Any], bits: int) -> tuple[NDArray[Any], int]:
    """``max(q, -(2**(n-1) - 1))`` for n-bit integers, and how many that changed.

    Notes
    -----
    Bit-exactness: clause INT-2; nothing may vary.
    """
    low = 1 - (1 << (checked_bits(bits) - 1))
    below = int(np.count_nonzero(ints < low))
    return (np.maximum(ints, ints.dtype.type(low)) if below else ints), below


def pseudo_stochastic(x: NDArray[Any], shift: int) -> NDArray[Any]:
    """``x / 2**shift`` rounded by its own lower bits: NITI's pseudo-stochastic rounding.

    With ``t = trunc(x / 2**k)`` and ``f = |x - t * 2**k|``, ``sign(x)`` is added where the upper bits of f exceed the
    lower ones: ``p = f >> (k // 2) > q = f & (2**(k // 2) - 1)``, q doubled for odd k.

    Parameters
    ----------
    x : integer array
        Python integers (dtype object) stay so.
    shift : int
        k, 0 to 62, more for Python integers; with 0 nothing is rounded.

    Notes
    -----
    Source: NITI and its code. Bit-exactness: clause INT-4; nothing may vary.
    """
    k = operator.index(shift)
    if not 0 <= k <= 62 and not (k > 62 and np.asarray(x).dtype == object):
        raise ValueError(f"got a shift of {k} for pseudo-stochastic rounding; allowed are 0 to 62; use the exponent")
    wide = np.asarray(x)
    if wide.dtype != object:
        wide = wide.astype(np.int64)
    magnitude = np.abs(wide)
    whole, f = magnitude >> k, magnitude & ((1 << k) - 1)
    half = k // 2
    upper, lower = f >> half, (f & ((1 << half) - 1)) << (k & 1)
    return np.asarray(np.sign(wide) * (whole + (upper > lower)))


def pseudo_requantize(
    acc: NDArray[Any],
    exponent: int,
    target: Target,
    divisor: int = 1,
    bias: NDArray[np.int64] | None = None,
    kernel: Callable[..., tuple[NDArray[Any], Counts]] = requantize,
) -> tuple[NDArray[Any], Counts]:
    """:func:`requantize` with pseudo-stochastic rounding in the place of the target's rule.

    Parameters
    ----------
    acc, exponent, target, divisor, bias
        As for :func:`requantize`. Over a divisor ``2**h * m`` with odd m the sums are first divided by m, truncated;
        h belongs to the shift. A shift to the left is exact.
    kernel : callable
        What requantises: the definition or one of its compiled twins.

    Notes
    -----
    Source: NITI's code of 2020. Bit-exactness: clause INT-4; nothing may vary.
    """
    plain = replace(target, rounding=Rounding.TRUNCATE, noise=None)
    _, counts = kernel(acc, exponent, plain, divisor, bias)  # counts look at the unrounded values
    halvings = (divisor & -divisor).bit_length() - 1
    shift = target.exponent - exponent + halvings
    large = bias is not None or shift > 62 or (acc.size and int(acc.min()) == -(2**63))  # magnitudes must fit as well
    exact = acc.astype(object if large else np.int64)
    if bias is not None:
        exact = exact + bias
    if (odd := divisor >> halvings) > 1:
        exact = np.asarray(np.sign(exact) * (np.abs(exact) // odd))
    rounded = pseudo_stochastic(exact, max(shift, 0))
    ints, last = kernel(rounded, target.exponent - min(shift, 0), plain)
    return ints, replace(counts, saturated=last.saturated)


def update_shift(gradient: NDArray[Any], mu: int) -> int | None:
    """Bits to drop so that the largest magnitude of a gradient has mu bits; None for a gradient of zeros.

    Notes
    -----
    Bit-exactness: clause INT-5; nothing may vary.
    """
    if not 1 <= mu <= 7:
        raise ValueError(f"got mu={mu}; allowed are 1 to 7 bits: a step is added to an 8-bit weight")
    length = int(max(abs(int(gradient.min())), abs(int(gradient.max())))).bit_length() if gradient.size else 0
    return max(length - mu, 0) if length else None


def integer_update(
    weight: NDArray[np.int8], gradient: NDArray[Any], mu: int, words: NDArray[np.uint16] | None = None
) -> NDArray[np.int8]:
    """``clip(w - g', -127, 127)`` with the gradient rounded to mu bits.

    Parameters
    ----------
    weight : int8 array
    gradient : integer array of the same shape
        Exact; its exponent has no influence.
    mu : int
        1 to 7.
    words : uint16 array, optional
        Noise words for true stochastic rounding (RND-11); pseudo-stochastic without.

    Notes
    -----
    Source: NITI, section 3. Bit-exactness: clause INT-5; nothing may vary.
    """
    if gradient.shape != weight.shape or weight.dtype != np.int8:
        raise ValueError(
            f"got weights {weight.dtype} {weight.shape} and a gradient {gradient.shape}; int8 and equal shapes are "
            "needed; check the gradient"
        )
    shift = update_shift(gradient, mu)
    if shift is None:
        return weight
    if words is None:
        step = pseudo_stochastic(gradient, shift)
    else:
        step = np.asarray(round_ratio(gradient, shift, Rounding.STOCHASTIC, words))
    return np.clip(weight.astype(np.int64) - step, -127, 127).astype(np.int8)


def mu_at(mu: int, progress: float) -> int:
    """mu up to half of the training, one bit less up to three quarters, two less after; at least 1.

    Notes
    -----
    Source: NITI code (5, 4 from epoch 100 and 3 from epoch 150 of 200). Bit-exactness: clause INT-5.
    """
    return max(mu - (progress > 0.5) - (progress > 0.75), 1)


def first_weights(values: Float32) -> DFP:
    """Real first weights to int8, once: ``rint((x / max|x|) * 127)`` at the exponent ``ceil(log2 max|x|) - 7``.

    Notes
    -----
    Source: NITI code. Bit-exactness: clause INT-6; float32 in the order written, ties to even.
    """
    largest = np.float32(np.max(np.abs(values), initial=np.float32(0)))
    if largest == 0:
        return DFP(np.zeros(values.shape, np.int8), -7, 8)
    exact = Fraction(float(largest))
    p = _floor_log2(exact)
    exponent = p + int(exact > Fraction(2) ** p) - 7
    ints = np.rint((values / largest) * np.float32(127)).astype(np.int8)
    return DFP(ints, min(max(exponent, EXP_MIN), EXP_MAX), 8)


def integer_cross_entropy(
    q: NDArray[Any], exponent: int, labels: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cross-entropy of integer outputs without a float: losses in units of 2**-20, gradient in units of 2**-11.

    Parameters
    ----------
    q : int8 or int16 array [N, C]
    exponent : int
        The outputs are ``q * 2**exponent``.
    labels : integer array [N]

    Returns
    -------
    losses : int64 array [N]
    grad : int64 array [N, C], each within -2**11 and 2**11

    Notes
    -----
    Source: NITI, section 3, and its code of 2020 (the gradient); the loss is ours, for the eye.
    Bit-exactness: clauses INT-7 and INT-8; nothing may vary.
    """
    labels = _checked(q, labels)
    p = _powers(q.astype(np.int64), operator.index(exponent))
    total = p.sum(axis=1, keepdims=True)
    grad = (p << SOFTMAX_BITS) // total
    rows = np.arange(len(labels))
    own = p[rows, labels]
    grad[rows, labels] -= grad.sum(axis=1)
    bits = log2_fixed(total[:, 0]) - log2_fixed(np.maximum(own, 1))
    return (bits * _LN_2 + (1 << 15)) >> 16, grad


def log2_fixed(value: NDArray[np.int64]) -> NDArray[np.int64]:
    """``log2`` of positive integers below 2**62 with 20 fraction bits, by repeated squaring of a 31-bit mantissa.

    Notes
    -----
    Bit-exactness: clause INT-8; nothing may vary.
    """
    value = np.asarray(value, np.int64)
    whole = np.zeros(value.shape, np.int64)
    rest = value.copy()
    for bits in (32, 16, 8, 4, 2, 1):
        large = rest >> bits > 0
        whole += large * bits
        rest = np.where(large, rest >> bits, rest)
    mantissa = np.where(whole > 30, value >> np.maximum(whole - 30, 0), value << np.maximum(30 - whole, 0))
    result = whole
    for _ in range(LOSS_FRACTION_BITS):
        mantissa = (mantissa * mantissa) >> 30
        carry = mantissa >> 31
        mantissa >>= carry
        result = (result << 1) + carry
    return result


def _powers(q: NDArray[np.int64], e: int) -> NDArray[np.int64]:
    """Integers in proportion to e^x of each output: powers of two, or the second-order sum where all |x| < 1."""
    if e <= -7:
        fine = max(e, -15)
        s = q >> (fine - e if fine - e < 63 else 63)
        return (1 << (1 - 2 * fine)) + (s << (1 - fine)) + s * s
    s = (q * _LOG2_E) >> 15
    s = s << min(e, 8) if e > 0 else s >> -e
    s = np.maximum(s - s.max(axis=1, keepdims=True) + SOFTMAX_TOP, 0)
    return (np.int64(1) << s) - 1


def _checked(q: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if q.dtype not in (np.int8, np.int16) or labels.dtype.kind not in "iu":
        raise TypeError(f"got outputs {q.dtype} and labels {labels.dtype}; int8 or int16 and integers are wanted")
    if q.ndim != 2 or labels.shape != q.shape[:1] or q.shape[1] < 1:
        raise ValueError(f"got outputs {q.shape} and labels {labels.shape}; [N, C] and [N] are wanted; reshape")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < q.shape[1]:
        raise ValueError(
            f"got labels from {labels.min()} to {labels.max()}; allowed are 0 to {q.shape[1] - 1}; "
            "check the labels or the number of classes"
        )
    return labels.astype(np.int64)


def _floor_log2(value: Fraction) -> int:
    """The largest p with ``2**p <= value``, for value > 0."""
    p = value.numerator.bit_length() - value.denominator.bit_length()
    return p if Fraction(2) ** p <= value else p - 1
