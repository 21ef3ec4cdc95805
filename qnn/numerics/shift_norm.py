"""Shift-based batch norm: deviations on a grid of sixteenths, exact integer sums, multiplication by powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .float32 import Float32, scale_by_power, to_float32_once
from .pow2 import ap2

Ints = NDArray[Any]

FRACTION_BITS = 4
"""Deviations from the mean are whole numbers of 2**-4 steps of the input."""


@dataclass(frozen=True)
class ShiftStatistics:
    """Per-channel statistics of shift-based batch norm (each [C]).

    ``mean_q`` is a multiple of 2**-4 in integer units, ``shift`` and ``k`` are powers of two: ``xhat = (q - mean_q) *
    k``; ``mean``, ``inv_std`` and ``shift`` are in real units.
    """

    mean_q: Float32
    mean: Float32
    inv_std: Float32
    shift: Float32
    k: Float32


def shift_bn_mean(s1: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The mean in sixteenths: ``M = floor((2 * 16 * S1 + count) / (2 * count))``, halves up.

    Parameters
    ----------
    s1 : int64 array [C]
        Sums of the integers.
    count : int
        Entries a channel, 1 to 2**22.

    Notes
    -----
    Bit-exactness: clause BIT-9; nothing may vary.
    """
    if not 1 <= count <= 1 << 22:
        raise ValueError(
            f"got {count} entries a channel; shift-based statistics take 1 to {1 << 22}: make the batch smaller"
        )
    return (2 * (s1 << FRACTION_BITS) + count) // (2 * count)


def shift_bn_deviations(
    x: Ints, mean: NDArray[np.int64], reading: str = "nearest"
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Deviations ``C = 16 q - M`` and their powers of two ``AP2(C)``, both exact integers.

    Parameters
    ----------
    x : int8 or int16 array [..., C]
    mean : int64 array [C]
        M of `shift_bn_mean`.
    reading : {"nearest", "top"}
        Of AP2, as in `ap2`; so in the other functions.

    Notes
    -----
    Source: BNN paper, Algorithm 2. Bit-exactness: clauses BIT-9 and POW-5; nothing may vary.
    """
    deviations = (x.astype(np.int32) << FRACTION_BITS) - mean.astype(np.int32)
    return deviations, ap2(deviations.astype(np.float32), reading).astype(np.int32)


def shift_bn_statistics(
    mean: NDArray[np.int64],
    spread: NDArray[np.int64],
    count: int,
    exponent: int,
    eps: float,
    reading: str = "nearest",
) -> ShiftStatistics:
    """Batch statistics from exact sums.

    In this order, all float32::

        mean_q  = f32(M) * 2**-4
        var     = (f32(V) / f32(count)) * 2**(2*(exponent - 4))        V = sum AP2(C)*C, exact
        inv_std = 1 / sqrt(var + eps)
        shift   = AP2(inv_std)
        k       = shift * 2**exponent

    Parameters
    ----------
    mean, spread : int64 arrays [C]
        M and V.
    count : int
    exponent : int
        Of the tensor.
    eps : float
        Positive.
    reading : {"nearest", "top"}

    Notes
    -----
    Source: BNN paper, Algorithm 2, and its Torch code. Bit-exactness: clause BIT-9; nothing may vary.
    """
    mean_q = scale_by_power(to_float32_once(mean), -FRACTION_BITS)
    var = scale_by_power(to_float32_once(spread) / to_float32_once(count), 2 * (exponent - FRACTION_BITS))
    inv_std = np.asarray(np.float32(1) / np.sqrt(var + _positive(eps)), np.float32)
    return _with_shift(mean_q, scale_by_power(mean_q, exponent), inv_std, exponent, reading)


def shift_bn_eval_statistics(
    mean: Float32, inv_std: Float32, exponent: int, reading: str = "nearest"
) -> ShiftStatistics:
    """Statistics for inference from the running mean and inverse deviation, which are in real units.

    ``mean_q = rint(mean * 2**(4 - exponent)) * 2**-4``, ties to even; the powers of two as in `shift_bn_statistics`.

    Notes
    -----
    Bit-exactness: clause BIT-9; nothing may vary.
    """
    mean_q = scale_by_power(np.rint(scale_by_power(mean, FRACTION_BITS - exponent)), -FRACTION_BITS)
    return _with_shift(mean_q, mean, inv_std, exponent, reading)


def shift_bn_grad_coefficients(
    stats: ShiftStatistics, sg: NDArray[np.int64], sag: NDArray[np.int64], count: int, exponent: int, g_exponent: int
) -> tuple[Float32, Float32, Float32]:
    """Coefficients a, b, c of the input gradient ``dx = (a*g + b*AP2(C)) + c`` in training.

    In this order, all float32, with ``sigma = shift * 2**g_exponent`` and ``u = shift * 2**(exponent - 4)``::

        a = sigma
        b = -(sigma * ((u*u) * (f32(Sag) / f32(count))))
        c = -(sigma * (f32(Sg) / f32(count)))

    Parameters
    ----------
    stats : ShiftStatistics
        Of the forward pass.
    sg, sag : int64 arrays [C]
        ``sum g`` and ``sum g*AP2(C)``.
    count : int
    exponent, g_exponent : int
        Of the forward input and of the incoming gradient.

    Notes
    -----
    Source: the BNN paper's Torch code, ``dx = s*(g - mean(g) - AP2(C)*s^2*mean(AP2(C)*g))``. Bit-exactness: clause
    BIT-10; nothing may vary.
    """
    n = to_float32_once(count)
    sigma = scale_by_power(stats.shift, g_exponent)
    u = scale_by_power(stats.shift, exponent - FRACTION_BITS)
    b = -(sigma * ((u * u) * (to_float32_once(sag) / n)))
    return sigma, np.asarray(b), np.asarray(-(sigma * (to_float32_once(sg) / n)))


def ap2_dots(g: Ints, q: Ints, reading: str = "nearest") -> NDArray[np.int64]:
    """Exact per-channel sums of ``g * AP2(q)``: the gradient of gamma.

    Parameters
    ----------
    g, q : int8 or int16 arrays of one shape [..., C]
    reading : {"nearest", "top"}

    Notes
    -----
    Bit-exactness: clause BIT-11; nothing may vary.
    """
    powers = ap2(q.astype(np.float32), reading).astype(np.int64)
    return (g.astype(np.int64) * powers).reshape(-1, q.shape[-1]).sum(axis=0)


def _with_shift(mean_q: Float32, mean: Float32, inv_std: Float32, exponent: int, reading: str) -> ShiftStatistics:
    shift = ap2(inv_std, reading)
    return ShiftStatistics(mean_q, mean, inv_std, shift, scale_by_power(shift, exponent))


def _positive(eps: float) -> np.float32:
    eps32 = np.float32(eps)
    if not (np.isfinite(eps32) and eps32 > 0):
        raise ValueError(f"got eps {eps}; it must be positive and finite in float32; the paper's value is 1e-5")
    return eps32
