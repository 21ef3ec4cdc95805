"""One to a few bits: binarised weights, linear grids and powers of two; Glorot coefficients; DoReFa's maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dfp import Rounding, Target, int_limits, quantize, requantize
from .elementary import tanh32
from .exponent import Counts
from .float32 import Float32
from .levels import level_format
from .noise import Noise
from .pow2 import ap2, ap2_carry, pow2_levels

Words = NDArray[np.uint16]


def binarize(w: Float32) -> Float32:
    """+1 where ``w >= 0``, else -1; zero (and -0) is positive.

    Parameters
    ----------
    w : float32 array
        Finite master weights.

    Returns
    -------
    float32 array of +1 and -1

    Notes
    -----
    Source: BNN paper, equation 1. Bit-exactness: clause BIT-1; nothing may vary.
    """
    _check("binarize", w)
    return _signs(w >= 0)


def binarize_stochastic(w: Float32, words: Words) -> Float32:
    """+1 with probability ``clip((w + 1)/2, 0, 1)``: where ``word - 2**15 < w * 2**15``, compared as real numbers.

    Parameters
    ----------
    w : float32 array
        Finite master weights.
    words : uint16 array of as many entries
        Word i, in C order, decides element i.

    Returns
    -------
    float32 array of +1 and -1

    Notes
    -----
    Both sides are exact in binary64, so no rounding decides. A weight gets +1 for ``ceil(clip((w + 1) * 2**15, 0,
    2**16))`` of the 65536 words. Source: BNN paper, equations 2 and 3. Bit-exactness: clause BIT-2; nothing may vary.
    """
    _check("binarize_stochastic", w)
    if words.dtype != np.uint16 or words.size != w.size:
        raise ValueError(
            f"got {words.size} words of {words.dtype} for {w.size} weights; one uint16 word each is needed: take them "
            "from the noise address of the weight site"
        )
    centred = words.reshape(w.shape).astype(np.float64) - 2.0**15
    return _signs(centred < w.astype(np.float64) * 2.0**15)


def linear_quant(w: Float32, bits: int) -> Float32:
    """LinearQuant: the nearest multiple of ``2**-(bits-1)``, ties down, from -1 to ``1 - 2**-(bits-1)``.

    Parameters
    ----------
    w : float32 array
        Finite.
    bits : int
        2 to 16.

    Notes
    -----
    Source: QNN paper, LinearQuant; of its two printed forms the one whose step is ``2**-(bits-1)``.
    Bit-exactness: clause BIT-3; nothing may vary.
    """
    _check("linear_quant", w)
    ints, _ = quantize(w, Target(1 - bits, bits))
    return ints.astype(np.float32) * np.float32(2.0 ** (1 - bits))


def by_largest(w: Float32) -> Float32:
    """``w / M`` with M the largest magnitude of the tensor, 1 where all are 0: LinearQuant's input with scale "max".

    Parameters
    ----------
    w : float32 array
        Finite.

    Notes
    -----
    Source: a third-party implementation of LinearQuant (RedBit), which multiplies with M again behind it.
    Bit-exactness: clause BIT-3; nothing may vary.
    """
    _check("by_largest", w)
    return np.asarray(w / _largest(w), np.float32)


def by_largest_grad(g: Float32, w: Float32) -> Float32:
    """Gradient of the masters of `by_largest`: ``g / M``, M taken as a constant.

    Raises
    ------
    OverflowError
        If a value is not finite, which weights near the smallest numbers give.

    Notes
    -----
    Bit-exactness: clause BIT-3; nothing may vary.
    """
    largest = _largest(w)
    with np.errstate(over="ignore"):
        return _finite_grad(np.asarray(g / largest, np.float32), largest, "scale='max'")


def log_quant(w: Float32, bits: int, reading: str = "nearest") -> Float32:
    """LogQuant: ``AP2(w)`` with its magnitude clipped to ``2**-(r-1) .. 1``, r = ``2**(bits-1) - 1``; 0 stays 0.

    Parameters
    ----------
    w : float32 array
        Finite, below 2**127.
    bits : int
        2 to 5: a sign, and r magnitudes or zero.
    reading : {"nearest", "top"}
        Of AP2, as in `ap2`.

    Notes
    -----
    Source: QNN paper, LogQuant. Bit-exactness: clauses BIT-4 and POW-5; nothing may vary.
    """
    _check("log_quant", w)
    smallest = np.float32(2.0 ** (1 - pow2_levels(bits)))
    power = ap2(w, reading)
    clipped = np.clip(np.abs(power), smallest, np.float32(1))
    return np.where(power == 0, np.float32(0), np.copysign(clipped, power)).astype(np.float32)


def log_activations(q: NDArray[Any], exponent: int, bits: int, reading: str = "nearest") -> NDArray[Any]:
    """LogQuant of integers: ``AP2(q * 2**exponent)`` clipped as in `log_quant`, as integers at ``-(r-1)``; 0 stays 0.

    Parameters
    ----------
    q : int8 or int16 array
        At ``exponent``.
    bits : int
        2 to 5: a sign, and r = ``2**(bits-1) - 1`` magnitudes or zero.
    reading : {"nearest", "top"}
        Of AP2, as in `ap2`.

    Returns
    -------
    int8 array of q's shape, int16 for 5 bits

    Notes
    -----
    A magnitude is above the root of ``2**(2*i - 1)`` where its square, an integer, is above that power: no float
    decides. Source: QNN paper, LogQuant. Bit-exactness: clause BIT-14; nothing may vary.
    """
    ap2_carry(reading)  # refuses another reading
    last = pow2_levels(bits) - 1
    squares = np.square(q.astype(np.int64))
    begins = 1 << (2 * np.arange(1, 16, dtype=np.int64) - (reading == "nearest"))  # squares from which 2**i is taken
    powers = np.searchsorted(begins, squares, side="right")
    magnitudes = 1 << np.clip(powers + (exponent + last), 0, last)
    return np.asarray(np.sign(q) * magnitudes, np.int16 if level_format(bits)[1] > 8 else np.int8)


def glorot_rate(fan_in: int, fan_out: int) -> float:
    """``f32(sqrt((fan_in + fan_out) / 1.5))``: the factor of a binary layer's learning rate.

    Notes
    -----
    In binary64, rounded once. Source: BNN code, ``1/sqrt(1.5/(fan_in + fan_out))``; BNN paper, Algorithm 1 (gamma).
    Bit-exactness: clause BIT-5; nothing may vary.
    """
    if fan_in < 1 or fan_out < 1:
        raise ValueError(f"got fans {fan_in} and {fan_out}; both must be at least 1; pass inputs and outputs")
    return float(np.float32(math.sqrt((fan_in + fan_out) / 1.5)))


def check_exact_terms(terms: int, largest: int, bits: int) -> None:
    """Refuse a product of ``terms`` terms of magnitude at most ``largest`` that ``bits`` bits do not hold exactly.

    Raises
    ------
    OverflowError

    Notes
    -----
    Bit-exactness: clause BIT-6.
    """
    bound = int_limits(bits)[1]
    if terms * largest > bound:
        raise OverflowError(
            f"got {terms} terms of up to {largest} in one product; exact {bits}-bit products hold at most "
            f"{bound // largest}: make the layer narrower, split it, or use a recipe whose products follow the data"
        )


def dorefa_weights(w: Float32, bits: int) -> Float32:
    """DoReFa's weights without their constant factor: odd integers over ``2**bits``, or signs for one bit.

    In this order, float32::

        t = tanh32(w)
        u = t / (2 * max|t|) + 1/2                  (1/2 where the maximum is 0)
        j = round((2**bits - 1) * u), ties to even
        n = 2*j - (2**bits - 1)
        w' = n * 2**-bits

    Parameters
    ----------
    w : float32 array
        Finite.
    bits : int
        1 to 8; one bit is `binarize`.

    Notes
    -----
    The paper has ``n / (2**bits - 1)`` (and for one bit ``mean|w| * sign(w)``); the factor that is left out is the same
    for the whole tensor, and the batch norm behind the product takes it up. Source: DoReFa-Net paper and its code.
    Bit-exactness: clause BIT-7; nothing may vary.
    """
    _check("dorefa_weights", w)
    _check_dorefa_bits(bits)
    if bits == 1:
        return binarize(w)
    t, largest = _tanh_and_largest(w)
    u = (t / (np.float32(2) * largest)) + np.float32(0.5) if largest > 0 else np.full_like(t, 0.5)
    steps = np.float32(2**bits - 1)
    n = np.float32(2) * np.rint(steps * u) - steps
    return np.asarray(n * np.float32(2.0**-bits), np.float32)


def dorefa_weights_grad(g: Float32, w: Float32, bits: int) -> Float32:
    """Gradient of the masters: ``g * ((1 - t*t) / max|t|)`` with ``t = tanh32(w)``; ``g`` itself for one bit.

    Notes
    -----
    Rounding is passed straight through; the maximum (as the mean for one bit) is taken as a constant. A gradient that
    is not finite, which weights near the smallest numbers give, is an `OverflowError`.
    Bit-exactness: clause BIT-7; nothing may vary.
    """
    _check_dorefa_bits(bits)
    if bits == 1:
        return g
    t, largest = _tanh_and_largest(w)
    if largest == 0:
        return np.zeros_like(g)
    with np.errstate(over="ignore"):
        return _finite_grad(np.asarray(g * ((np.float32(1) - (t * t)) / largest), np.float32), largest, "DoReFa")


def dorefa_activations(x: NDArray[Any], exponent: int, bits: int, target: Target) -> tuple[NDArray[Any], Counts]:
    """DoReFa's activations ``j * 2**-bits``, ``j = round((2**bits - 1) * clip(x, 0, 1))``: 0 to ``2**bits - 1``.

    Parameters
    ----------
    x : int8 or int16 array
        At ``exponent``.
    bits : int
        1 to 8.
    target : Target
        Of ``bits + 1`` bits at exponent ``-bits``; its rounding rule rounds j.

    Notes
    -----
    The product ``(2**bits - 1) * q`` is exact and rounded once. The paper's level is ``j / (2**bits - 1)``; see
    `dorefa_weights` for the factor. Source: DoReFa-Net paper, equation 11. Bit-exactness: clause BIT-8.
    """
    if exponent > 0:  # every positive entry is above 1
        clipped, exponent = np.clip(x.astype(np.int64), 0, 1), 0
    else:
        clipped = np.clip(x.astype(np.int64), 0, 1 << min(-exponent, 16))  # beyond 16 bits nothing is cut
    return requantize(clipped * (2**bits - 1), exponent - bits, target)


def sample_shifts(x: NDArray[Any], bits: int) -> NDArray[np.int64]:
    """Per sample the shift ``d`` of `round_samples`: the least with ``max|x| / 2**d`` below ``2**(bits - 1)``.

    Parameters
    ----------
    x : integer array [N, ...]
    bits : int
        2 to 16.

    Notes
    -----
    Bit-exactness: clause BIT-13; nothing may vary.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"got {bits} bits for gradients rounded sample by sample; allowed are 2 to 16; choose one")
    rows = x.reshape(len(x), math.prod(x.shape[1:])).astype(np.int64)
    largest = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))
    length = np.frexp(largest.astype(np.float64))[1].astype(np.int64)  # bits of the magnitude: exact below 2**53
    return np.maximum(length - (bits - 1), 0)


def round_samples(
    x: NDArray[Any], bits: int, noise: Noise | None, rounded: Callable[..., tuple[NDArray[Any], Counts]] = requantize
) -> tuple[NDArray[Any], Counts]:
    """Each sample rounded to ``bits`` bits below its own largest magnitude, by DoReFa's rule for gradients.

    Parameters
    ----------
    x : int8 or int16 array [N, ...]
        All at one exponent, which is that of the result.
    bits : int
        2 to 16.
    noise : Noise
        Of the first element; element i of the batch takes word i.
    rounded : callable
        `requantize`, or a kernel with its bits.

    Returns
    -------
    array of x's type and shape, and the counts of all samples together

    Notes
    -----
    Source: DoReFa-Net paper, equation 12, with the power of two above each sample's maximum. Bit-exactness: clause
    BIT-13; nothing may vary.
    """
    made, counts = np.zeros_like(x), Counts()
    size = x[0].size if len(x) else 0
    for place, shift in enumerate(sample_shifts(x, bits).tolist()):
        own = None if noise is None else replace(noise, start=noise.start + place * size)
        ints, seen = rounded(x[place], 0, Target(shift, bits, Rounding.STOCHASTIC, own))
        np.left_shift(ints.astype(x.dtype), shift, out=made[place])
        counts = counts + seen
    return made, counts


def _signs(positive: NDArray[np.bool_]) -> Float32:
    signs = positive.astype(np.float32)
    signs *= np.float32(2)
    signs -= np.float32(1)
    return signs


def _tanh_and_largest(w: Float32) -> tuple[Float32, np.float32]:
    t = np.asarray(tanh32(w), np.float32)
    return t, np.float32(np.abs(t).max()) if t.size else np.float32(0)


def _largest(w: Float32) -> np.float32:
    """The divisor of `by_largest`."""
    return np.float32(np.abs(w).max(initial=0) or 1)


def _finite_grad(found: Float32, largest: np.float32, who: str) -> Float32:
    if not np.isfinite(found).all():
        raise OverflowError(
            f"got weights of at most {largest:.3g}, whose gradient is not finite: {who} divides by the largest; "
            "give the layer larger weights"
        )
    return found


def _check_dorefa_bits(bits: int) -> None:
    if not 1 <= bits <= 8:
        raise ValueError(f"got {bits} bits for DoReFa's levels; allowed are 1 to 8; choose one of them")


def _check(name: str, w: Float32) -> None:
    if w.dtype != np.float32:
        raise TypeError(f"got dtype {w.dtype} in {name}; master weights are float32; convert knowingly")
    bad = int(w.size - np.count_nonzero(np.isfinite(w)))
    if bad:
        raise ValueError(f"got {bad} weights in {name} that are NaN or infinite; find where they come from")
