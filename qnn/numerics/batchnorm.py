"""Batch norm without affine part (Caffe's "normalise") and the scale layer: exact sums, then stated float32 steps.

The sums over batch and space are exact integers and are converted to float32 once, so any split of the batch gives the
same statistics.  Every float32 step is one IEEE operation in the order written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dfp import Target, quantize, requantize
from .exponent import Counts
from .float32 import Float32, scale_by_power, to_float32_once
from .layers import relu, relu_grad

Ints = NDArray[Any]
Sums = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Exact sums per channel: of a tensor, and of its products with another one (`channel_dots`)."""


@dataclass(frozen=True)
class Statistics:
    """Per-channel float32 statistics of a batch (each [C]).

    ``mean_q`` and ``k`` are in integer units (``xhat = (q - mean_q) * k``), the others in real ones.
    """

    mean_q: Float32
    mean: Float32
    var: Float32
    inv_std: Float32
    k: Float32


def channel_sums(x: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Exact per-channel sums S1 = sum q and S2 = sum q*q over all axes but the last.

    Parameters
    ----------
    x : int8 or int16 array [..., C]; fewer than 2**33 entries a channel

    Returns
    -------
    two int64 arrays [C]

    Notes
    -----
    Bit-exactness: clause BN-1; nothing may vary.
    """
    flat = _flat(x, "x").astype(np.int64)
    return flat.sum(axis=0), (flat * flat).sum(axis=0)


def channel_dots(g: Ints, x: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Exact per-channel sums Sg = sum g and Sgx = sum g*x over all axes but the last.

    Parameters
    ----------
    g, x : int8 or int16 arrays of one shape [..., C]; fewer than 2**33 entries a channel

    Returns
    -------
    two int64 arrays [C]

    Notes
    -----
    Bit-exactness: clause BN-1; nothing may vary.
    """
    if g.shape != x.shape:
        raise ValueError(f"got shapes {g.shape} (g) and {x.shape} (x); they must be equal; check the layer's input")
    flat_g, flat_x = _flat(g, "g").astype(np.int64), _flat(x, "x").astype(np.int64)
    return flat_g.sum(axis=0), (flat_g * flat_x).sum(axis=0)


def bn_statistics(s1: NDArray[np.int64], s2: NDArray[np.int64], count: int, exponent: int, eps: float) -> Statistics:
    """Batch statistics of a DFP tensor from its exact sums.

    In this order, all float32::

        mean_q  = f32(S1) / f32(count)
        mean    = mean_q * 2**exponent
        V       = count*S2 - S1*S1                       (exact integer)
        var     = (f32(V) / (f32(count)*f32(count))) * 2**(2*exponent)
        inv_std = 1 / sqrt(var + eps)
        k       = inv_std * 2**exponent

    Parameters
    ----------
    s1, s2 : int64 arrays [C] of `channel_sums`, summed over the whole batch
    count : entries a channel, at least 1
    exponent : the tensor's exponent
    eps : positive (as float32)

    Raises
    ------
    ValueError
        If count < 1 or eps is not positive.
    OverflowError
        If the variance is beyond float32.

    Notes
    -----
    Biased variance, as in the paper's batch norm.  Bit-exactness: clause BN-2; nothing may vary.
    """
    if count < 1:
        raise ValueError(f"got {count} entries a channel; statistics need at least 1; do not normalise an empty batch")
    eps32 = _positive_eps(eps)
    n = to_float32_once(count)
    mean_q = to_float32_once(s1) / n
    spread = _difference_of_products(np.full_like(s2, count), s2, s1, s1)
    var = scale_by_power(spread / (n * n), 2 * exponent)
    if not np.isfinite(var).all():
        raise OverflowError(
            f"got a variance beyond float32 at exponent {exponent}; activations must stay far smaller; "
            "check the input's scale and the learning rate"
        )
    inv_std = _inverse_std(var, eps32)
    return Statistics(mean_q, scale_by_power(mean_q, exponent), var, inv_std, scale_by_power(inv_std, exponent))


def bn_eval_statistics(mean: Float32, var: Float32, exponent: int, eps: float) -> Statistics:
    """Statistics for inference from running mean and variance, which are in real units.

    ``mean_q = mean * 2**-exponent``; ``inv_std`` and ``k`` as in `bn_statistics`.

    Notes
    -----
    Bit-exactness: clause BN-4; nothing may vary.
    """
    inv_std = _inverse_std(var, _positive_eps(eps))
    mean_q = scale_by_power(mean, -exponent)
    return Statistics(mean_q, mean, var, inv_std, scale_by_power(inv_std, exponent))


def running_update(running: Float32, new: Float32, momentum: float) -> Float32:
    """``(momentum * running) + ((1 - momentum) * new)`` in float32, with ``1 - momentum`` computed in float32.

    Notes
    -----
    Bit-exactness: clause BN-3; nothing may vary.
    """
    keep = np.float32(momentum)
    take = np.float32(1) - keep
    return np.asarray((running * keep) + (new * take))  # an array's product with a scalar, not a scalar's with an array


def normalize(x: Ints, mean_q: Float32, k: Float32, target: Target) -> tuple[Ints, Counts]:
    """``y = (f32(q) - mean_q) * k`` per channel (the last axis), quantised.

    Notes
    -----
    Bit-exactness: clause BN-5; nothing may vary.
    """
    return quantize((x.astype(np.float32) - mean_q) * k, target)


def bn_grad_coefficients(
    stats: Statistics,
    s1: NDArray[np.int64],
    sg: NDArray[np.int64],
    sgx: NDArray[np.int64],
    count: int,
    g_exponent: int,
) -> tuple[Float32, Float32, Float32]:
    """Coefficients a, b, c of the batch norm's input gradient ``dx = (a*g + b*q) + c`` (training mode).

    In this order, all float32 (``D`` is ``count * sum g*(q - mean)``, an exact integer)::

        D  = count*Sgx - Sg*S1
        d  = f32(D) / (f32(count)*f32(count))
        t  = (k*k) * d
        b' = -(inv_std * t)
        c' = -(inv_std * (f32(Sg)/f32(count))) - (b' * mean_q)
        a, b, c = inv_std * 2**g_exponent, b' * 2**g_exponent, c' * 2**g_exponent

    Parameters
    ----------
    stats : Statistics of the forward pass
    s1, sg, sgx : int64 [C], the sums of the forward input and of `channel_dots`
    count : entries a channel
    g_exponent : exponent of the incoming gradient

    Notes
    -----
    The scaling by ``2**g_exponent`` comes last and is exact while the results are normal numbers.
    Bit-exactness: clause BN-6; nothing may vary.
    """
    n = to_float32_once(count)
    d = _difference_of_products(np.full_like(sgx, count), sgx, sg, s1) / (n * n)
    b = -(stats.inv_std * ((stats.k * stats.k) * d))
    c = -(stats.inv_std * (to_float32_once(sg) / n)) - (b * stats.mean_q)
    return scale_by_power(stats.inv_std, g_exponent), scale_by_power(b, g_exponent), scale_by_power(c, g_exponent)


def bn_eval_grad_coefficients(stats: Statistics, g_exponent: int) -> tuple[Float32, Float32, Float32]:
    """Coefficients with the statistics held constant: ``a = inv_std * 2**g_exponent``, b = c = 0.

    Notes
    -----
    Bit-exactness: clause BN-6; nothing may vary.
    """
    zero = np.zeros_like(stats.inv_std)
    return scale_by_power(stats.inv_std, g_exponent), zero, zero


def normalize_grad(g: Ints, x: Ints, a: Float32, b: Float32, c: Float32, target: Target) -> tuple[Ints, Counts]:
    """``y = (a*f32(g) + b*f32(x)) + c`` per channel (the last axis), quantised.

    Notes
    -----
    Bit-exactness: clause BN-7; nothing may vary.
    """
    return quantize(((a * g.astype(np.float32)) + (b * x.astype(np.float32))) + c, target)


def scale(
    x: Ints,
    gamma: Ints,
    bias: NDArray[np.int64] | None,
    exponent: int,
    target: Target,
    rectify: bool = False,
) -> tuple[Ints, Counts]:
    """The scale layer ``(x*gamma + bias) * 2**exponent`` per channel (the last axis), exact, rounded once.

    Parameters
    ----------
    x : int8 or int16 array [..., C]
    gamma : int8 or int16 array [C]
    bias : int64 array [C] on the product's grid, or None
    exponent : sum of the exponents of x and gamma
    rectify : whether a ReLU follows, which the counts do not see

    Notes
    -----
    Bit-exactness: clauses BN-8 and LAY-2; nothing may vary.
    """
    if gamma.shape != x.shape[-1:]:
        raise ValueError(f"got gamma {gamma.shape} for an input {x.shape}; one factor a channel (last axis) is needed")
    product = x.astype(np.int32) * gamma.astype(np.int32)  # at most 2**30
    ints, counts = requantize(product, exponent, target, bias=bias)
    return relu(ints) if rectify else ints, counts


def normalize_scale(
    x: Ints,
    mean_q: Float32,
    k: Float32,
    target: Target,
    gamma: Ints,
    bias: NDArray[np.int64] | None,
    exponent: int,
    scaled: Target,
    rectify: bool = False,
) -> tuple[Ints, Counts, Ints, Counts]:
    """Normalisation and scale layer in one step: integers and counts of `normalize`, and of `scale` of those integers.

    Parameters
    ----------
    x, mean_q, k, target : as for `normalize`
    gamma, bias, exponent, scaled, rectify : as for `scale`; ``scaled`` is its target

    Notes
    -----
    Bit-exactness: clauses BN-5, BN-8 and LAY-2; nothing may vary.
    """
    ints, counts = normalize(x, mean_q, k, target)
    return ints, counts, *scale(ints, gamma, bias, exponent, scaled, rectify)


def scale_grad(
    g: Ints,
    x: Ints,
    gamma: Ints,
    exponent: int,
    target: Target,
    behind: Ints | None = None,
    output: Ints | None = None,
) -> tuple[Ints, Counts, Sums, Sums | None]:
    """The scale layer's gradients in one step, and the sums that a normalisation behind it needs of them.

    Parameters
    ----------
    g, x : int8 or int16 arrays of one shape [..., C]
        Gradient of the layer's output, and its input.
    gamma : int8 or int16 array [C]
    exponent : sum of the exponents of g and gamma
    target : Target
        Of the gradient of x.
    behind : int8 or int16 array of that shape, optional
        Input of the normalisation that made x.
    output : int8 or int16 array of that shape, optional
        Output of a ReLU after the layer; g is then the gradient of that, and counts where the output is positive.

    Returns
    -------
    tuple
        The gradient of x and its counts (`scale`), the sums of g and of g*x for beta and gamma (`channel_dots`), and
        the same sums of the gradient of x with ``behind``, or None without it.

    Notes
    -----
    Bit-exactness: clauses BN-1, BN-8 and LAY-2; nothing may vary.
    """
    if output is not None:
        if output.shape != g.shape:
            raise ValueError(f"got an output {output.shape} for a gradient {g.shape}; they must be equal")
        g = relu_grad(g, output)
    sums = channel_dots(g, x)
    out, counts = scale(g, gamma, None, exponent, target)
    return out, counts, sums, None if behind is None else channel_dots(out, behind)


def _flat(x: Ints, name: str) -> Ints:
    if x.dtype not in (np.int8, np.int16) or x.ndim < 1:
        raise TypeError(f"got {name} of dtype {x.dtype} and {x.ndim} axes; int8 or int16 [..., C] is wanted; quantise")
    return x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, x.shape[-1])


def _difference_of_products(
    a: NDArray[np.int64], b: NDArray[np.int64], c: NDArray[np.int64], d: NDArray[np.int64]
) -> Float32:
    """``a*b - c*d`` as exact integers, then one rounding; Python integers where int64 could be too small."""
    if max(_largest(a) * _largest(b), _largest(c) * _largest(d)) >= 2**62:
        a, b, c, d = (v.astype(object) for v in (a, b, c, d))
    return to_float32_once(a * b - c * d)


def _largest(values: NDArray[np.int64]) -> int:
    return max(int(values.max()), -int(values.min())) if values.size else 0


def _positive_eps(eps: float) -> np.float32:
    eps32 = np.float32(eps)
    if not (np.isfinite(eps32) and eps32 > 0):
        raise ValueError(f"got eps {eps}; it must be positive and finite in float32; the paper's value is 1e-5")
    return eps32


def _inverse_std(var: Float32, eps: np.float32) -> Float32:
    return np.asarray(np.float32(1) / np.sqrt(var + eps))
