"""Optimiser steps: float32, one IEEE operation at a time in the order written, new arrays out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .elementary import power64
from .float32 import Float32
from .pow2 import ap2


def sgd(
    w: Float32,
    g: Float32,
    velocity: Float32,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> tuple[Float32, Float32]:
    """Stochastic gradient descent with momentum.

    In this order, all float32; a term whose factor is exactly 0 is left out::

        d = g + (weight_decay * w)
        v = (momentum * velocity) + d
        w = w - (lr * v)                          or, with nesterov:  w = w - (lr * (d + (momentum * v)))

    Parameters
    ----------
    w, g, velocity : float32 arrays of one shape (velocity starts at 0)
    lr, momentum, weight_decay : rounded once to float32

    Returns
    -------
    w, velocity : new float32 arrays

    Raises
    ------
    OverflowError
        If a new weight or velocity is not finite.

    Notes
    -----
    Bit-exactness: clause UPD-1; nothing may vary.
    """
    _check("sgd", w, g, velocity)
    rate, mu, decay = np.float32(lr), np.float32(momentum), np.float32(weight_decay)
    with np.errstate(over="ignore", invalid="ignore"):
        d = g + (decay * w) if decay != 0 else g
        v = (mu * velocity) + d if mu != 0 else d.copy()
        direction = d + (mu * v) if nesterov and mu != 0 else v
        new = w - (rate * direction)
    _check_finite("sgd", new, v)
    return np.asarray(new), np.asarray(v)  # of no axes NumPy would make scalars


def adam(
    w: Float32,
    g: Float32,
    m: Float32,
    v: Float32,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Float32, Float32, Float32]:
    """Adam with bias correction; ``step`` counts from 1.

    In this order, all float32; ``1 - beta`` and ``1 - power64(beta, step)`` are made in binary64 and rounded once::

        d = g + (weight_decay * w)                 (left out when weight_decay is 0)
        m = (beta1 * m) + ((1 - beta1) * d)
        v = (beta2 * v) + ((1 - beta2) * (d * d))
        w = w - ((lr * (m / (1 - beta1**step))) / (sqrt(v / (1 - beta2**step)) + eps))

    Parameters
    ----------
    w, g, m, v : float32 arrays of one shape (m and v start at 0)
    lr, beta1, beta2, eps, weight_decay : as float32

    Returns
    -------
    w, m, v : new float32 arrays

    Raises
    ------
    ValueError
        If ``step`` is below 1 or a beta outside [0, 1).
    OverflowError
        If a new value is not finite.

    Notes
    -----
    Bit-exactness: clause UPD-2; nothing may vary.
    """
    _check("adam", w, g, m, v)
    if step < 1 or not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(
            f"got step {step}, beta1 {beta1}, beta2 {beta2}; steps count from 1 and betas lie in [0, 1); correct them"
        )
    rate, decay, tiny = np.float32(lr), np.float32(weight_decay), np.float32(eps)
    b1, b2 = np.float32(beta1), np.float32(beta2)
    take1, take2 = np.float32(1.0 - beta1), np.float32(1.0 - beta2)
    correct1, correct2 = np.float32(1.0 - power64(beta1, step)), np.float32(1.0 - power64(beta2, step))
    with np.errstate(over="ignore", invalid="ignore"):
        d = g + (decay * w) if decay != 0 else g
        new_m = (b1 * m) + (take1 * d)
        new_v = (b2 * v) + (take2 * (d * d))
        new = w - ((rate * (new_m / correct1)) / (np.sqrt(new_v / correct2) + tiny))
    _check_finite("adam", new, new_m, new_v)
    return new, new_m, new_v


def shift_adamax(
    w: Float32,
    g: Float32,
    m: Float32,
    v: Float32,
    step: int,
    lr: float,
    beta1: float = 0.875,
    beta2: float = 1.0 - 2.0**-10,
    eps: float = 2.0**-27,
    weight_decay: float = 0.0,
    store: str = "exact",
    reading: str = "nearest",
) -> tuple[Float32, Float32, Float32]:
    """AdaMax whose step and divisor are powers of two; ``step`` counts from 1.

    In this order, all float32; ``1 - beta1`` and ``lr / (1 - power64(beta1, step))`` are made in binary64 and rounded
    once::

        d = g + (weight_decay * w)                 (left out when weight_decay is 0)
        m = (beta1 * m) + ((1 - beta1) * d)
        v = max(beta2 * v, |d|)
        s = AP2(lr / (1 - beta1**step))
        w = w - ((s * m) / AP2(max(v, eps)))

    With ``store="ap2"``, the form of the authors' Torch code, the state is the divisor::

        v = AP2(max(beta2 * v, |d|)) + eps
        w = w - ((s * m) / v)

    Parameters
    ----------
    w, g, m, v : float32 arrays of one shape (m and v start at 0)
    lr, beta1, beta2, eps, weight_decay : as float32
    store : {"exact", "ap2"}
        What is kept as v.
    reading : {"nearest", "top"}
        Of AP2, as in `ap2`.

    Returns
    -------
    w, m, v : new float32 arrays

    Raises
    ------
    ValueError
        If ``step`` is below 1 or a beta outside [0, 1), or for another ``store`` or ``reading``.
    OverflowError
        If a new value is not finite.

    Notes
    -----
    Source: BNN paper, Algorithm 3, and its Torch code. Bit-exactness: clauses UPD-4 and POW-5; nothing may vary.
    """
    _check("shift_adamax", w, g, m, v)
    if step < 1 or not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ValueError(
            f"got step {step}, beta1 {beta1}, beta2 {beta2}; steps count from 1 and betas lie in [0, 1); correct them"
        )
    stores = stores_ap2(store)
    decay, b1, b2, tiny = np.float32(weight_decay), np.float32(beta1), np.float32(beta2), np.float32(eps)
    take = np.float32(1.0 - beta1)
    rate = ap2(np.asarray(np.float32(float(lr) / (1.0 - power64(beta1, step)))), reading)
    with np.errstate(over="ignore", invalid="ignore"):
        d = g + (decay * w) if decay != 0 else g
        new_m = (b1 * m) + (take * d)
        new_v = np.maximum(b2 * v, np.abs(d))
    _check_finite("shift_adamax", new_m, new_v)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if stores:
            divisor = new_v = ap2(new_v, reading) + tiny
        else:
            divisor = ap2(np.maximum(new_v, tiny), reading)
        new = w - ((rate * new_m) / divisor)
    _check_finite("shift_adamax", new)
    return new, new_m, new_v


def stores_ap2(store: str) -> bool:
    """Whether AdaMax by shifts keeps its rounded divisor (clause UPD-4).

    Raises
    ------
    ValueError
    """
    if store not in ("exact", "ap2"):
        raise ValueError(
            f"got store={store!r}; allowed are 'exact', the largest gradient as it is, and 'ap2', its rounded divisor"
        )
    return store == "ap2"


def clip(w: Float32, limit: float) -> Float32:
    """``min(max(w, -limit), limit)``, what keeps the masters of binary and power-of-two weights in their range.

    Parameters
    ----------
    w : float32 array
    limit : float
        Positive; rounded once to float32.

    Notes
    -----
    Source: QNN paper, Algorithm 1. Bit-exactness: clause UPD-3; nothing may vary.
    """
    bound = np.float32(limit)
    if not (np.isfinite(bound) and bound > 0):
        raise ValueError(f"got limit {limit} for clip; it must be positive and finite; the papers take 1")
    return np.clip(w, -bound, bound)


def unpruned(w: Float32, share: float) -> NDArray[np.bool_]:
    """False for the ``floor(share * n)`` smallest of ``n`` magnitudes, of equal ones the first; else True.

    Notes
    -----
    Bit-exactness: clause UPD-5; nothing may vary. Source: Han, Mao, Dally, *Deep Compression*, section 2.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"got share = {share} to prune; allowed is 0 <= share < 1")
    order = np.argsort(np.abs(w).ravel(), kind="stable")
    kept = np.ones(w.shape, bool)
    kept.ravel()[order[: math.floor(share * w.size)]] = False
    return kept


def keep(w: Float32, kept: NDArray[np.bool_]) -> Float32:
    """``w`` where ``kept``, else +0: what an update leaves of pruned weights.

    Notes
    -----
    Bit-exactness: clause UPD-5; nothing may vary.
    """
    if kept.shape != w.shape or kept.dtype != np.bool_:
        raise ValueError(
            f"got {kept.dtype} of shape {kept.shape} for weights of shape {w.shape}; allowed is one bool for each: "
            "make it anew from the weights"
        )
    return np.where(kept, w, np.float32(0))


def _check(name: str, w: Float32, *others: Float32) -> None:
    for array in (w, *others):
        if array.dtype != np.float32:
            raise TypeError(
                f"got dtype {array.dtype} in {name}; weights, gradients and state are float32; convert knowingly"
            )
        if array.shape != w.shape:
            raise ValueError(f"got shapes {array.shape} and {w.shape} in {name}; all must be equal; check the gradient")


def _check_finite(name: str, *arrays: Float32) -> None:
    bad = sum(int(a.size - np.count_nonzero(np.isfinite(a))) for a in arrays)
    if bad:
        raise OverflowError(
            f"got {bad} values that are not finite after a step of {name}; weights and state must stay finite; "
            "the run has diverged: use a smaller learning rate"
        )
