"""WAGE: weights of few levels over masters of kG bits, scaled layers, shifted updates, sum of squares (INT)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .float32 import Float32
from .integer_training import nearest_power
from .layers import passed_within
from .loss import _checked, _fixed_point, _sum_in_order


def wage_limit(bits: int) -> float:
    """``1 - 2**(1-k)``, the largest level of k bits.

    Notes
    -----
    Bit-exactness: clause INT-10; exact.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"got {bits} bits for WAGE; allowed are 2 to 8; the paper takes 2 for weights and 8 else")
    return 1.0 - 2.0 ** (1 - bits)


def wage_layer(fan_in: int, bits: int) -> tuple[float, int]:
    """Bound of the first masters, ``f32(max(sqrt(3/fan_in), 1.5*2**(1-k)))``, and log2 of the layer's alpha.

    Notes
    -----
    ``alpha = max(1, 2**round(log2(1.5*2**(1-k) / sqrt(3/fan_in))))``, the rounding exact.
    Source: WAGE, section 3.1 and its code. Bit-exactness: clause INT-10; nothing may vary.
    """
    if fan_in < 1:
        raise ValueError(f"got a fan of {fan_in}; it must be at least 1; pass the number of inputs of one output")
    wage_limit(bits)
    least = Fraction(3, 2) * Fraction(2) ** (1 - bits)
    squared = least * least * fan_in / 3
    # round(log2 r) of r = sqrt(squared): p with 2^(2p-1) <= r^2 < 2^(2p+1), that is floor((log2 r^2 + 1) / 2)
    p = squared.numerator.bit_length() - squared.denominator.bit_length()
    p -= int(Fraction(2) ** p > squared)
    return float(np.float32(max(math.sqrt(3.0 / fan_in), float(least)))), max((p + 1) // 2, 0)


def wage_masters(values: Float32, bits: int) -> Float32:
    """Real numbers on the grid of ``2**(1-kG)``, nearest, ties to even.

    Notes
    -----
    Bit-exactness: clause INT-10; nothing may vary.
    """
    steps = np.float32(2.0 ** (bits - 1))
    return np.asarray(np.rint(values * steps) / steps)


def wage_weights(masters: Float32, bits: int, log2_alpha: int) -> Float32:
    """``clip(W, +-(1 - 2**(1-k))) / alpha``, which a site at the exponent ``1 - k - log2(alpha)`` rounds to k bits.

    Notes
    -----
    Bit-exactness: clause INT-10; exact before the site's rounding (NEAREST_EVEN).
    """
    limit = np.float32(wage_limit(bits))
    return np.asarray(np.clip(masters, -limit, limit) * np.float32(2.0**-log2_alpha))


def wage_update(
    masters: Float32, gradient: Float32, lr: float, words: NDArray[np.uint16], w_bits: int, g_bits: int
) -> Float32:
    """One step of WAGE: the gradient shifted to about 1, times lr, rounded to steps of ``2**(1-kG)`` by noise.

    In this order, float32 but for the integers n and r::

        s = lr * (g * 2**-round(log2 max|g|))                     n = rint(s * 2**15), ties to even
        d = sign(n) * ((|n| >> 15) + [(|n| mod 2**15) * 2 > u])   u: a noise word of 16 bits
        W = clip(W, +-(1 - 2**(1-kW))) - d * 2**(1-kG)

    Notes
    -----
    Source: WAGE, section 3.3 and its code. Bit-exactness: clause INT-11; nothing may vary.
    """
    if gradient.shape != masters.shape or words.size != masters.size:
        raise ValueError(
            f"got masters {masters.shape}, a gradient {gradient.shape} and {words.size} noise words; all must agree"
        )
    if not np.isfinite(gradient).all():
        raise OverflowError("got a gradient that is not finite; a step needs finite ones; lower the learning rate")
    limit = np.float32(wage_limit(w_bits))
    clipped = np.clip(masters, -limit, limit)
    largest = float(np.max(np.abs(gradient), initial=np.float32(0)))
    if largest == 0:
        return np.asarray(clipped)
    scaled = gradient.astype(np.float64) * 2.0 ** -nearest_power(largest)  # exact, and normal in float32
    steps = np.rint((np.float32(lr) * scaled.astype(np.float32)).astype(np.float64) * 2.0**15).astype(np.int64)
    magnitude = np.abs(steps)
    up = (magnitude & 0x7FFF) * 2 > words.reshape(masters.shape).astype(np.int64)
    d = np.sign(steps) * ((magnitude >> 15) + up)
    return np.asarray(clipped - d.astype(np.float32) * np.float32(2.0 ** (1 - g_bits)))


def sum_of_squares(
    outputs: Float32, labels: NDArray[Any], batch_size: int | None = None
) -> tuple[NDArray[np.int64], Float32]:
    """Half the sum of squares of the errors against 1 for the label and 0 else; the gradient is that of the sum.

    Per sample, all float32, sums over classes in index order::

        d_c = y_c - t_c        loss = 0.5 * (((d_0*d_0) + (d_1*d_1)) + ...)        grad_c = d_c

    Parameters
    ----------
    outputs : float32 array [N, C], finite
    labels : integer array [N] with values 0..C-1
    batch_size : taken for the form of the other losses; the gradient is not divided by it

    Notes
    -----
    Source: WAGE, section 3.1. Bit-exactness: clauses LOSS-3 and INT-12; nothing may vary.
    """
    labels = _checked(outputs, labels)
    target = np.zeros(outputs.shape, np.float32)
    target[np.arange(len(labels)), labels] = 1
    with np.errstate(over="ignore"):
        d = outputs - target
        losses = _fixed_point(np.float32(0.5) * _sum_in_order(d * d))
    return losses, d


def relu_clip_grad(g: NDArray[Any], x: NDArray[Any], exponent: int, bits: int) -> NDArray[Any]:
    """``g`` where ``0 < x * 2**exponent <= 1 - 2**(1-k)``, else 0.

    Notes
    -----
    Bit-exactness: clause INT-13; nothing may vary.
    """
    shift = 1 - bits - exponent  # units of x in one step of the k bits
    top = ((1 << (bits - 1)) - 1) * Fraction(2) ** shift
    high = min(top.numerator // top.denominator, int(np.iinfo(x.dtype).max))
    return passed_within(g, x, 1, high)
