"""Parameter-free layers on integers: the image table, relu, hardtanh and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dfp import Target, int_limits, requantize
from .exponent import Counts
from .float32 import Float32
from .noise import philox

Ints = NDArray[Any]


def image_values(mean: Float32, std: Float32) -> Float32:
    """What pixel p of channel c stands for: ``(f32(p)/f32(255) - mean[c]) / std[c]``, float32 in that order.

    Parameters
    ----------
    mean, std : float32 arrays [C]
        Finite means and positive deviations of pixel/255.

    Returns
    -------
    float32 array [256, C]

    Notes
    -----
    Bit-exactness: clause LAY-1; nothing may vary.
    """
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if mean.ndim != 1 or mean.shape != std.shape or not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise ValueError(f"got mean {mean} and std {std}; allowed are as many finite means as stds, one per channel")
    if not (std > 0).all():
        raise ValueError(f"got std {std}; deviations must be positive; a constant channel can take 1")
    pixels = np.arange(256, dtype=np.float32) / np.float32(255)
    return np.asarray((pixels[:, None] - mean) / std)


def look_up(codes: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
    """Each byte replaced by its channel's entry: ``table[c, codes[..., c] mod 256]``.

    Parameters
    ----------
    codes : uint8 or int8 array [..., C]
        A negative code q reads entry 256 + q: the byte is the address.
    table : array [C, 256]
        Of any type, which is the result's.

    Returns
    -------
    array [..., C]

    Raises
    ------
    TypeError
        For codes that are no bytes.
    ValueError
        For a table that has not one row of 256 entries per channel.

    Notes
    -----
    Bit-exactness: clause LAY-11; nothing may vary.
    """
    if not isinstance(codes, np.ndarray) or codes.dtype not in (np.uint8, np.int8):
        got = getattr(codes, "dtype", type(codes).__name__)
        raise TypeError(f"got {got} as codes to look up; allowed are arrays of uint8 and int8: one byte is one address")
    if codes.ndim == 0 or not isinstance(table, np.ndarray) or table.shape != (codes.shape[-1], 256):
        got = f"{getattr(table, 'shape', type(table).__name__)} for codes of shape {codes.shape}"
        raise ValueError(f"got a table of shape {got}; it must be [C, 256] for codes [..., C]: one row per channel")
    return np.asarray(table[np.arange(codes.shape[-1]), codes.astype(np.uint8)])


def relu(x: Ints) -> Ints:
    """``max(q, 0)`` at the same exponent.

    Notes
    -----
    Bit-exactness: clause LAY-2; nothing may vary.
    """
    return np.maximum(x, x.dtype.type(0))


def relu_grad(g: Ints, y: Ints) -> Ints:
    """``g`` where the output y is positive, else 0.

    Notes
    -----
    Bit-exactness: clause LAY-2; nothing may vary.
    """
    return np.where(y > 0, g, g.dtype.type(0))


def subsample(x: NDArray[Any], stride: int, channels: int) -> NDArray[Any]:
    """Every ``stride``-th pixel of [N, H, W, C], with zeros behind its C channels; of the type of x.

    Parameters
    ----------
    x : ndarray [N, H, W, C]
    stride : int
        1 or more.
    channels : int
        Of the result, C or more.

    Returns
    -------
    ndarray [N, ceil(H / stride), ceil(W / stride), channels]

    Raises
    ------
    ValueError
        Other than four axes, fewer channels than x has, or a stride below 1.

    Notes
    -----
    Bit-exactness: clause LAY-10; nothing may vary.
    """
    if x.ndim != 4 or x.shape[3] > channels or stride < 1:
        raise ValueError(
            f"got shape {x.shape} for a shortcut to {channels} channels with stride {stride}; allowed is [N, H, W, C] "
            f"with C <= {channels} and a stride of 1 or more: channels can be added, not dropped"
        )
    picked = x[:, ::stride, ::stride]
    out = np.zeros((*picked.shape[:3], channels), x.dtype)
    out[..., : x.shape[3]] = picked
    return out


def subsample_grad(g: NDArray[Any], stride: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """The gradient of :func:`subsample` for an input of this shape: ``g`` where its pixels came from, 0 elsewhere.

    Raises
    ------
    ValueError
        If no such input has a result of g's shape.

    Notes
    -----
    Bit-exactness: clause LAY-10; nothing may vary.
    """
    picked = (*shape[:1], *(-(-side // stride) for side in shape[1:3])) if stride >= 1 else ()
    if len(shape) != 4 or g.ndim != 4 or g.shape[:3] != picked or g.shape[3] < shape[3]:
        raise ValueError(
            f"got a gradient {g.shape} for an input {shape} with stride {stride}; it must have the shape of the "
            "shortcut's result"
        )
    out = np.zeros(shape, g.dtype)
    out[:, ::stride, ::stride] = g[..., : shape[3]]
    return out


def hardtanh_limits(exponent: int, bits: int) -> tuple[int, int]:
    """The integers nearest to -1 and +1 that an n-bit tensor at this exponent holds: ``-+2**-e``, saturated.

    Raises
    ------
    ValueError
        For a positive exponent, whose grid does not hold 1.

    Notes
    -----
    Bit-exactness: clause LAY-3; nothing may vary.
    """
    if exponent > 0:
        raise ValueError(
            f"got integers at exponent {exponent} for hardtanh, whose limit 1 is not on that grid; "
            "scale the layer before it down or use relu"
        )
    low, high = int_limits(bits)
    one = 1 << -exponent
    return max(-one, low), min(one, high)


def hardtanh(x: Ints, exponent: int, bits: int) -> Ints:
    """``min(max(q, low), high)`` with the limits of :func:`hardtanh_limits`.

    Notes
    -----
    Bit-exactness: clause LAY-3; nothing may vary.
    """
    low, high = hardtanh_limits(exponent, bits)
    return np.clip(x, low, high).astype(x.dtype)


def hardtanh_grad(g: Ints, x: Ints, exponent: int, bits: int) -> Ints:
    """``g`` where the input is within the limits, borders included, else 0.

    Notes
    -----
    Source: BNN paper, eq. 4 (inclusive). Bit-exactness: clause LAY-3; nothing may vary.
    """
    return passed_within(g, x, *hardtanh_limits(exponent, bits))


def passed_within(g: Ints, x: Ints, low: int, high: int) -> Ints:
    """``g`` where ``low <= x <= high``, else 0: what a clipped activation passes back.

    Notes
    -----
    Bit-exactness: clauses LAY-3 and BIT-8; nothing may vary.
    """
    return np.asarray(g * ((x >= low) & (x <= high)).view(np.int8))  # several times faster than np.where


def sign(x: Ints) -> NDArray[np.int8]:
    """+1 where ``q >= 0``, else -1: zero is positive.

    Notes
    -----
    Source: BNN paper, eq. 1. Bit-exactness: clause LAY-13; nothing may vary.
    """
    return np.asarray(((x >= 0).view(np.int8) << 1) - np.int8(1))  # several times faster than np.where


def sign_stochastic(x: Ints, exponent: int, words: NDArray[np.uint16]) -> NDArray[np.int8]:
    """+1 where the 16-bit word is below ``32768 * (q * 2**exponent + 1)``, else -1: +1 with the probability (x + 1)/2.

    Parameters
    ----------
    x : ndarray of int8 or int16
    exponent : int
    words : ndarray of uint16, as many as x has elements
        In the order of the elements.

    Returns
    -------
    ndarray of int8, shaped as x

    Notes
    -----
    Source: BNN paper, eqs. 2 and 3 (the hard sigmoid). Bit-exactness: clause LAY-15; nothing may vary.
    """
    shift = exponent + 15
    above = words.astype(np.int64).reshape(x.shape) - 32768
    # Beyond these shifts every q other than 0 is past both ends, or every word is; int64 holds all between.
    if shift >= 0:
        drawn = above < x.astype(np.int64) << min(shift, 17)
    else:
        drawn = above << min(-shift, 32) < x
    return np.asarray((drawn.view(np.int8) << 1) - np.int8(1))


def dropout_kept(p: float) -> int:
    """How many of the 65,536 noise words keep an element: ``65536 - round(65536 * p)``, ties to even.

    Notes
    -----
    Bit-exactness: clause LAY-4; nothing may vary.
    """
    if not 0.0 <= p < 1.0 or round(65536 * p) == 65536:
        raise ValueError(f"got dropout rate {p}; allowed is 0 <= p < 1 - 2**-17; rates are multiples of 1/65536")
    return 65536 - round(65536 * p)


def dropout_shift(kept: int) -> int | None:
    """``log2(65536 / kept)`` where the factor is a power of two, else None.

    Notes
    -----
    Bit-exactness: clause LAY-4; nothing may vary.
    """
    return 17 - kept.bit_length() if 0 < kept <= 65536 and kept & (kept - 1) == 0 else None


def dropout_mask(seed: int, stream: int, step: int, start: int, shape: tuple[int, ...], kept: int) -> NDArray[np.bool_]:
    """True where the 16-bit PHILOX word of element start + i is below ``kept``.

    Notes
    -----
    Bit-exactness: clause LAY-4; nothing may vary.
    """
    words = philox(seed, stream, start, int(np.prod(shape, dtype=np.int64)), step)
    return (words.astype(np.int32) < kept).reshape(shape)


def dropout(x: Ints, mask: NDArray[np.bool_], kept: int, exponent: int, target: Target) -> tuple[Ints, Counts]:
    """``q * mask * 65536/kept``, an exact ratio, rounded once.

    Notes
    -----
    Bit-exactness: clauses LAY-4 and REQ-8; nothing may vary.
    """
    return requantize(x.astype(np.int32) * mask, exponent + 16, target, divisor=kept)
