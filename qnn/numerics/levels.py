"""Weights of a few levels: codebooks with explicit thresholds, reconstructed weights, and the gradients of both.

Everything is float32, one IEEE operation at a time in the order written; what a library sums is summed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .arguments import number, whole
from .elementary import exp64
from .float32 import Float32
from .layers import hardtanh_grad
from .pow2 import ap2, pow2_levels

THRESHOLD_PRESETS = ("paper", "truncate", "nearest", "log")
_PAPER = (0.14, 0.07, 0.02)  # of the largest magnitude, for 3 bits: the n-BQ-NN code
_ABOVE_SQRT2 = np.uint32(0x3FB504F4).view(np.float32)  # the smallest binary32 number above sqrt(2)
_LN2 = 0.6931471805599453  # the binary64 number nearest to ln 2


def level_thresholds(bits: int, chosen: str | Sequence[float]) -> Float32:
    """Thresholds D_1 > D_2 > ... > D_r of ``bits``-bit levels; level ``2**-(i-1)`` begins at D_i.

    Parameters
    ----------
    bits : int
        2 to 5; 1 bit has no threshold and gives an empty array.
    chosen : str or sequence of float
        A preset, "paper" (3 bits only), "truncate", "nearest" or "log", or r numbers.

    Returns
    -------
    float32 array [r], r = 2**(bits-1) - 1

    Raises
    ------
    ValueError
        For other bits, an unknown preset, another count of numbers, or numbers that are not positive, finite and
        strictly decreasing in float32.
    TypeError
        If what is given for numbers holds something else.

    Notes
    -----
    Bit-exactness: clause WGT-2; nothing may vary.
    """
    bits = _checked_bits(bits)
    if bits == 1:
        if not isinstance(chosen, str) and len(chosen):
            raise ValueError(f"got thresholds {tuple(chosen)} for 1 bit; a sign has none: leave them out")
        return np.empty(0, np.float32)
    r = pow2_levels(bits)
    powers = np.ldexp(np.float32(1), -np.arange(r)).astype(np.float32)  # 1, 1/2, ..., 2**-(r-1)
    if not isinstance(chosen, str):
        return _own_thresholds(bits, r, chosen)
    if chosen == "paper":
        if bits != 3:
            raise ValueError(
                f"got the thresholds 'paper' with {bits} bits; the n-BQ-NN code has numbers for 3 bits alone: choose "
                "'truncate', 'nearest' or 'log', or give numbers"
            )
        return np.array(_PAPER, np.float32)
    if chosen == "truncate":
        return powers
    if chosen == "nearest":
        middle = np.float32(0.75) * powers
        middle[-1] = powers[-1] / np.float32(2)
        return middle
    if chosen == "log":
        return _ABOVE_SQRT2 * (powers / np.float32(2))
    raise ValueError(f"got thresholds {chosen!r}; known are {', '.join(THRESHOLD_PRESETS)}, or give {r} numbers")


def quantize_levels(
    w: Float32,
    bits: int,
    thresholds: str | Sequence[float] = "nearest",
    relative: bool = False,
    inclusive: bool = True,
) -> Float32:
    """Q(w): the level of each weight, 0 or ``sign(w) * 2**-i``; for 1 bit the sign, where 0 gives +1.

    Parameters
    ----------
    w : float32 array
    bits : int
        1 to 5.
    thresholds : str or sequence of float
        As in :func:`level_thresholds`.
    relative : bool
        Thresholds are shares of the largest magnitude of w: each is multiplied by it, one float32 product. The levels
        stay absolute.
    inclusive : bool
        A level begins at its threshold, as the n-BQ-NN paper says it; False: above it, as its companion, the AQE paper,
        does, so that a magnitude equal to D_r gives 0.

    Returns
    -------
    float32 array of the shape of w

    Raises
    ------
    ValueError
        For wrong bits or thresholds, and for weights that are NaN or infinite.

    Notes
    -----
    Source: n-BQ-NN paper, equations 4 and 5; AQE paper, equation 22. Bit-exactness: clauses WGT-1 and
    WGT-3; nothing may vary.
    """
    bounds = level_thresholds(bits, thresholds)
    w = _finite(w, "quantize_levels")
    if bits == 1:
        return np.where(w >= 0, np.float32(1), np.float32(-1))
    magnitude = np.abs(w)
    if relative:
        bounds = bounds * magnitude.max(initial=np.float32(0))
    side: Literal["right", "left"] = "right" if inclusive else "left"  # of thresholds equal to |w|: counted, or not
    reached = np.searchsorted(bounds[::-1], magnitude, side=side)
    levels = np.ldexp(np.float32(1), np.arange(len(bounds) + 1) - len(bounds)).astype(np.float32)
    levels[0] = 0
    return np.where(w == 0, np.float32(0), np.copysign(levels[reached], w) + np.float32(0))  # + 0: no negative zero


def reconstruct(w: Float32, q: Float32, alpha: float) -> Float32:
    """``((1 - alpha) * q) + (alpha * w)``: what multiplies in training; alpha is the share of the latent weight.

    Notes
    -----
    Source: n-BQ-NN paper, equation 14. Bit-exactness: clause WGT-4; nothing may vary.
    """
    a = _share(alpha)
    return ((np.float32(1) - a) * q) + (a * w)


def reconstruct_grad(g: Float32, alpha: float) -> Float32:
    """``alpha * g``: the slope of each segment, wherever the latent weight lies.

    Notes
    -----
    Source: n-BQ-NN paper, equations 15 and 23. Bit-exactness: clause WGT-4; nothing may vary.
    """
    return _share(alpha) * g


def alpha_schedule(progress: float) -> float:
    """Share of the latent weight in the n-BQ-NN code: ``1 - 0.5 * 2**progress``, from 1/2 down to exactly 0.

    Parameters
    ----------
    progress : float
        (epoch + 1) / epochs, 0 to 1.

    Returns
    -------
    float
        Exactly a float32 number: ``1 - (0.5 * f32(exp64(progress * ln2)))`` in float32.

    Notes
    -----
    Bit-exactness: clause WGT-5; nothing may vary.
    """
    done = number(progress)
    if done is None:
        raise TypeError(f"got progress {progress!r}; allowed is a number from 0 to 1: the share of the training done")
    if not 0.0 <= done <= 1.0:
        raise ValueError(f"got progress {progress}; allowed is 0 to 1: the share of the training that is done")
    power = np.float32(exp64(np.array([done * _LN2]))[0])
    return float(np.float32(1) - (np.float32(0.5) * power))


def aqe_grad(g: Float32, w: Float32, alpha: float) -> Float32:
    """``(2 * (1 - alpha)) * g`` where ``|w| <= 1``, else 0: the asymptotic-estimated gradient.

    ``alpha`` is the share of the latent weight, as in :func:`reconstruct`, so 1 - alpha is the AQE paper's.

    Notes
    -----
    Source: AQE paper. Bit-exactness: clause WGT-6; nothing may vary.
    """
    slope = np.float32(2) * (np.float32(1) - _share(alpha))
    return np.where(np.abs(w) <= 1, slope * g, np.float32(0))


def level_format(bits: int) -> tuple[int, int]:
    """Exponent and width of the smallest fixed-point format that holds the levels of ``bits`` bits.

    Notes
    -----
    Bit-exactness: clause WGT-7; nothing may vary.
    """
    bits = _checked_bits(bits)
    r = 1 if bits == 1 else pow2_levels(bits)
    return 1 - r, {1: 2, 3: 4, 7: 8, 15: 16}[r]


def deepshift(w: Float32, bits: int) -> Float32:
    """``sign(w) * 2**p``, p = round(log2 |w|) kept in ``-(2**(bits-1) - 2) .. 0``; 0 for 0.

    Notes
    -----
    Source: DeepShift-Q. Bit-exactness: clause WGT-8; nothing may vary.
    """
    r = pow2_levels(bits)
    w = _finite(w, "deepshift")
    smallest = np.float32(2.0 ** (1 - r))
    held = np.clip(np.abs(w), smallest, np.float32(1))  # between two powers of two the nearest power is one of them
    return np.where(w == 0, np.float32(0), np.copysign(ap2(held), w))


def deepshift_ps(shift: Float32, sign: Float32, bits: int) -> Float32:
    """``s * 2**p``: p the shift held in ``-(2**(bits-1) - 2) .. 0`` and rounded, s the sign rounded to -1, 0 or 1.

    Parameters
    ----------
    shift : float32 array
        Its middle is 0: the exponent is ``shift - (2**(bits-2) - 1)``.
    sign : float32 array of that shape
        Ties of both roundings go to the even integer, so a magnitude of 1/2 gives 0.
    bits : int
        2 to 5.

    Notes
    -----
    Source: DeepShift-PS. Bit-exactness: clause WGT-14; nothing may vary.
    """
    lowest = 1 - pow2_levels(bits)
    shift, sign = _finite(shift, "deepshift_ps"), _finite(sign, "deepshift_ps")
    exponent = np.rint(np.clip(shift + np.float32(lowest / 2), lowest, 0)).astype(np.int64)
    return np.ldexp(np.sign(np.rint(sign)), exponent).astype(np.float32) + np.float32(0)  # no -0


def deepshift_ps_grad(g: Float32, w: Float32) -> Float32:
    """Gradient of the shift from that of the weights ``w``: ``(g * w) * ln 2``. That of the sign is g itself.

    Notes
    -----
    Source: DeepShift-PS, its code. Bit-exactness: clause WGT-14; nothing may vary.
    """
    return (g * w) * np.float32(_LN2)


def ternary(w: Float32, scaled: bool = True) -> Float32:
    """Weights of -s, 0 and s: 0 where ``|w| <= 0.7 * mean |w|``, and s the mean of the others' magnitudes, or 1.

    Parameters
    ----------
    w : float32 array
    scaled : bool
        False: s = 1.

    Notes
    -----
    The sums are exact and rounded once, so no order of summation shows. Source: ternary weight networks.
    Bit-exactness: clause WGT-9; nothing may vary.
    """
    w = _finite(w, "ternary")
    magnitude = np.abs(w)
    if not w.size:
        return w.copy()
    bound = np.float32(0.7 * (exact_sum(magnitude) / w.size))
    kept = magnitude > bound
    scale = np.float32(1)
    if scaled:
        scale = np.float32(exact_sum(magnitude[kept]) / max(1, int(kept.sum())))
    return np.where(kept, np.copysign(scale, w), np.float32(0))


def exact_sum(x: NDArray[np.float32]) -> float:
    """The binary64 number nearest to the exact sum of finite float32 numbers, in whatever order they come.

    Notes
    -----
    Mantissas are summed per exponent as integers (below 2**53 for up to 2**29 numbers), then correctly rounded.
    Bit-exactness: clause WGT-9; nothing may vary.
    """
    fraction, exponent = np.frexp(x.ravel())
    mantissas = np.ldexp(fraction.astype(np.float64), 24)  # integers
    partial = np.bincount(exponent + 148, weights=mantissas, minlength=1)
    return math.fsum(math.ldexp(total, place - 148 - 24) for place, total in enumerate(partial.tolist()))


def staircase(
    q: NDArray[Any],
    exponent: int,
    bits: int,
    thresholds: str | Sequence[float] = "nearest",
    inclusive: bool = True,
) -> NDArray[Any]:
    """Levels of integer activations: Q(q * 2**exponent) as integers at the exponent of :func:`level_format`.

    Returns
    -------
    int8 array, int16 for 5 bits

    Notes
    -----
    Source: n-BQ-NN paper, section III-E. Bit-exactness: clause WGT-10; nothing may vary.
    """
    place, width = level_format(bits)
    values = np.ldexp(q.astype(np.float64), exponent)  # exact
    exact = values.astype(np.float32)  # at most 16 bits
    levels = quantize_levels(exact, bits, thresholds, inclusive=inclusive)
    return np.ldexp(levels, -place).astype(np.int16 if width > 8 else np.int8)


def staircase_slope(bits: int, reading: str = "printed") -> tuple[int, int]:
    """lambda of the staircase's gradient as ``numerator * 2**exponent``.

    "printed": ``2 * sum 4**-i``, "derived": ``2 * sum 2**-i``, both over the level magnitudes ``2**-i``, i = 0..r-1;
    "straight": 1, the straight-through estimator of LogQuant.

    Notes
    -----
    Source: n-BQ-NN paper, equations 31 to 34 as printed, and what 28 to 30 give. Bit-exactness: clauses WGT-10 and
    WGT-13.
    """
    last = -level_format(bits)[0]
    if reading not in ("printed", "derived", "straight"):
        raise ValueError(f"got the reading {reading!r} of lambda; allowed are 'printed', 'derived' and 'straight'")
    if reading == "straight":
        return 1, 0
    step = 2 if reading == "printed" else 1
    return sum(1 << (step * i) for i in range(last + 1)), 1 - step * last


def staircase_grad(g: NDArray[Any], q: NDArray[Any], exponent: int, width: int, numerator: int) -> NDArray[np.int64]:
    """``numerator * g`` where -1 <= q * 2**exponent <= 1 (as LAY-3 says it), else 0: exact, still to be rounded.

    Notes
    -----
    Bit-exactness: clause WGT-10; nothing may vary.
    """
    return hardtanh_grad(g, q, exponent, width).astype(np.int64) * numerator


def _own_thresholds(bits: int, r: int, chosen: Sequence[float]) -> Float32:
    given = tuple(chosen) if np.iterable(chosen) else (chosen,)
    if len(given) != r:
        raise ValueError(f"got {len(given)} thresholds for {bits} bits; there are {r} levels above 0: give {r}")
    if any(number(v) is None for v in given):
        raise TypeError(f"got thresholds {given}; each must be a number: give the {r} where the levels begin")
    numbers = np.array(given, np.float32)
    if not (np.isfinite(numbers).all() and (numbers > 0).all() and (numbers[1:] < numbers[:-1]).all()):
        raise ValueError(
            f"got thresholds {tuple(float(v) for v in given)}; they must be positive, finite and strictly decreasing, "
            "that of the level 1 first: sort them"
        )
    return numbers


def _share(alpha: float) -> np.float32:
    share = number(alpha)
    if share is None:
        raise TypeError(f"got alpha = {alpha!r}; allowed is a number from 0 to 1: the share of the latent weight")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"got alpha = {alpha}; allowed is 0 to 1: the share of the latent weight")
    return np.float32(share)


def _checked_bits(bits: int) -> int:
    found = whole(bits)
    if found is None or not 1 <= found <= 5:
        raise ValueError(f"got n = {bits!r} bits for levels; allowed are 1, 2, 3, 4 and 5; choose one of them")
    return found


def _finite(w: Any, name: str) -> Float32:
    w = np.asarray(w)
    if w.dtype != np.float32:
        raise TypeError(f"got dtype {w.dtype} in {name}; it takes float32; convert knowingly")
    bad = w.size - int(np.isfinite(w).sum())
    if bad:
        raise ValueError(f"got {bad} weights that are NaN or infinite in {name}; they must be finite; find them")
    return w
