"""Range batch norm (Banner et al.): the spread of a channel from the extremes of chunks, float32 in stated order."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elementary import log64
from .float32 import Float32, scale_by_power, to_float32_once

RANGE_CHUNKS = 16
"""Chunks that a batch is cut into (clause INT-14)."""
RANGE_READINGS = {"code": RANGE_CHUNKS, "paper": 1}
"""Readings of Banner et al.'s range batch norm, and the chunks of each (clause INT-14)."""


@dataclass(frozen=True)
class Extremes:
    """Exact per-channel sums [C] over the chunks' extremes, and the rows [K, C] where each chunk has them first."""

    sum_max: NDArray[np.int64]
    sum_min: NDArray[np.int64]
    row_max: NDArray[np.int64]
    row_min: NDArray[np.int64]
    chunk: int

    @property
    def chunks(self) -> int:
        """K, the number of chunks."""
        return len(self.row_max)


def channel_extremes(x: NDArray[Any], chunks: int = RANGE_CHUNKS) -> Extremes:
    """Largest and smallest integers per channel in each chunk of rows, and where they are first.

    Parameters
    ----------
    x : int8 or int16 array [..., C]
        M rows of C channels, in C order; at least 1.
    chunks : int
        Wanted number; there are ``K = max(1, min(chunks, M // 2))``, chunk k with the rows ``k*M // K`` up to but not
        including ``(k+1)*M // K``.

    Notes
    -----
    Bit-exactness: clause INT-14; nothing may vary.
    """
    if x.ndim < 1 or x.size == 0 or chunks < 1:
        raise ValueError(
            f"got {x.shape} in {chunks} chunks for range batch norm; at least one entry a channel and one chunk are "
            "needed; do not normalise an empty batch"
        )
    flat = x.reshape(-1, x.shape[-1])
    rows = len(flat)
    count = max(1, min(chunks, rows // 2))
    starts = [k * rows // count for k in range(count + 1)]
    parts = [flat[a:b] for a, b in itertools.pairwise(starts)]
    row_max = np.array([a + part.argmax(axis=0) for a, part in zip(starts, parts, strict=False)], np.int64)
    row_min = np.array([a + part.argmin(axis=0) for a, part in zip(starts, parts, strict=False)], np.int64)
    channels = np.arange(flat.shape[1])
    sum_max, sum_min = (flat[at, channels].astype(np.int64).sum(axis=0) for at in (row_max, row_min))
    return Extremes(sum_max, sum_min, row_max, row_min, rows // count)


def range_factor(chunk: int, reading: str = "code") -> float:
    """``f32(c / sqrt(2 * ln n))``, in binary64, n = max(chunk, 2).

    Parameters
    ----------
    chunk : int
        Entries of which one range was taken.
    reading : {"code", "paper"}
        c is ``0.5 * 0.35 * (1 + sqrt(pi * ln 4))`` in the authors' code, and 1 in their paper.

    Notes
    -----
    Both logarithms are those of clause FLT-5. Source: Banner et al., section 3, and their code. Bit-exactness: clause
    INT-14.
    """
    if reading not in RANGE_READINGS:
        raise ValueError(f"got reading={reading!r} of range batch norm; allowed are {', '.join(RANGE_READINGS)}")
    if chunk < 1:
        raise ValueError(f"got a chunk of {chunk} rows; at least 1 is needed; do not normalise an empty batch")
    ln4, ln_n = (float(log64(np.float32(n))) for n in (4, max(chunk, 2)))
    gauss = 0.5 * 0.35 * (1.0 + math.sqrt(math.pi * ln4)) if reading == "code" else 1.0
    return float(np.float32(gauss / math.sqrt(2.0 * ln_n)))


def range_statistics(
    extremes: Extremes, s1: NDArray[np.int64], count: int, exponent: int, eps: float, reading: str = "code"
) -> tuple[Float32, Float32, Float32]:
    """Mean in integer units, mean in real units, and the inverse scale ``1 / (range * f + eps)``.

    In this order, all float32, K chunks::

        mean_q = f32(S1) / f32(count)                       mean  = mean_q * 2**exponent
        R      = f32(sum max - sum min) / f32(K)            range = R * 2**exponent
        inv    = 1 / ((range * f) + eps)

    Notes
    -----
    Source: Banner et al. and their code. Bit-exactness: clause INT-15; nothing may vary.
    """
    eps32 = np.float32(eps)
    if not (np.isfinite(eps32) and eps32 > 0):
        raise ValueError(f"got eps {eps}; it must be positive and finite in float32; the code's value is 1e-5")
    mean_q = to_float32_once(s1) / to_float32_once(count)
    spread = to_float32_once(extremes.sum_max - extremes.sum_min) / to_float32_once(extremes.chunks)
    wide = scale_by_power(spread, exponent)
    inverse = np.float32(1) / ((wide * np.float32(range_factor(extremes.chunk, reading))) + eps32)
    return np.asarray(mean_q), scale_by_power(mean_q, exponent), np.asarray(inverse)


def range_grad(
    g: NDArray[Any],
    g_exponent: int,
    extremes: Extremes,
    inverse: Float32,
    sums: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    count: int,
    exponent: int,
    reading: str = "code",
) -> Float32:
    """Gradient of range batch norm's input, real units, before it is quantised.

    In this order, all float32; D is an exact integer::

        D  = count*Sgx - Sg*S1                              count times the sum of g*(q - mean)
        t  = ((inv * inv) * f) * ((f32(D) / f32(count)) * 2**exponent)
        r  = t / f32(K)
        dx = (inv * f32(g)) + (-(inv * (f32(Sg) / f32(count))))
        dx = dx - r at each chunk's first largest entry, then dx = dx + r at its first smallest one
        dx = dx * 2**g_exponent

    Parameters
    ----------
    g : int8 or int16 array [..., C]
        Integers of the gradient of the result, at ``g_exponent``.
    extremes, inverse
        Of the forward pass.
    sums : S1, Sg, Sgx
        Of :func:`channel_sums` and :func:`channel_dots`.
    count, exponent : int
        Entries a channel, and the exponent of the input.
    reading : {"code", "paper"}
        That of the forward pass.

    Notes
    -----
    The range passes its gradient to the entries that are its ends. Source: calculus on Banner et al.'s forward pass.
    Bit-exactness: clause INT-16; nothing may vary.
    """
    s1, sg, sgx = (v.astype(object) for v in sums)
    n = to_float32_once(count)
    dot = scale_by_power(to_float32_once(np.asarray(count * sgx - sg * s1, object)) / n, exponent)
    factor = np.float32(range_factor(extremes.chunk, reading))
    pull = ((inverse * inverse) * factor * dot) / to_float32_once(extremes.chunks)
    out = (inverse * g.astype(np.float32)) + (-(inverse * (to_float32_once(sums[1]) / n)))
    flat = out.reshape(-1, out.shape[-1])
    channels = np.arange(flat.shape[1])
    flat[extremes.row_max, channels] -= pull
    flat[extremes.row_min, channels] += pull
    return scale_by_power(out, g_exponent)
