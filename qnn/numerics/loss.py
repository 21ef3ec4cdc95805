"""Losses: float32 in a stated order per sample, fixed point and hence exact over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elementary import exp32, log32
from .float32 import Float32, to_float32_once

LOSS_FRACTION_BITS = 20
LOSS_LIMIT = 2.0**22  # a larger loss of one sample is an error; so 2**21 samples sum up safely in int64


def softmax_cross_entropy(
    logits: Float32, labels: NDArray[Any], batch_size: int | None = None
) -> tuple[NDArray[np.int64], Float32]:
    """Cross-entropy of the softmax: loss per sample in units of 2**-20, and the gradient of the mean loss.

    Per sample, all float32, sums over classes in index order::

        z_c  = x_c - max x          e_c = exp32(z_c)          s = (((e_0 + e_1) + e_2) + ...)
        loss = log32(s) - z_label   rounded to a multiple of 2**-20, ties to even
        grad_c = (e_c / s - [c = label]) * (1 / f32(batch_size))

    Parameters
    ----------
    logits : float32 array [N, C], finite
    labels : integer array [N] with values 0..C-1
    batch_size : size of the whole batch when this is a part of it (default N); so any split gives the same bits

    Returns
    -------
    losses : int64 array [N]
    grad : float32 array [N, C]

    Raises
    ------
    TypeError, ValueError
        For wrong types and shapes, labels out of range, NaN or infinity.
    OverflowError
        If a sample's loss is 2**22 or more.

    Notes
    -----
    Bit-exactness: clauses LOSS-1 to LOSS-3; nothing may vary.
    """
    labels = _checked(logits, labels)
    inverse = _inverse_batch(len(labels) if batch_size is None else batch_size)
    with np.errstate(over="ignore"):  # too far apart gives -inf, hence e = 0 and, for the label, an error
        z = logits - logits.max(axis=1, keepdims=True)
    e = exp32(z)
    total = _sum_in_order(e)
    rows = np.arange(len(labels))
    losses = _fixed_point(log32(total) - z[rows, labels])
    grad = e / total[:, None]
    grad[rows, labels] = grad[rows, labels] - np.float32(1)
    return losses, grad * inverse


def square_hinge(
    outputs: Float32, labels: NDArray[Any], batch_size: int | None = None
) -> tuple[NDArray[np.int64], Float32]:
    """Square hinge loss against targets t = +1 (label) and -1 (others), in the form of `softmax_cross_entropy`.

    Per sample, all float32::

        h_c  = max(0, 1 - t_c*y_c)   loss = h_0*h_0 + h_1*h_1 + ...   in index order, rounded as above
        grad_c = ((-2*t_c) * h_c) * (1 / f32(batch_size))

    Parameters
    ----------
    outputs : float32 array [N, C], finite
    labels : integer array [N] with values 0..C-1
    batch_size : size of the whole batch when this is a part of it (default N)

    Returns
    -------
    losses : int64 array [N]
    grad : float32 array [N, C]

    Notes
    -----
    Source: BNN code (section 3.7 of the research notes).  Bit-exactness: clauses LOSS-3 and LOSS-4; nothing may vary.
    """
    labels = _checked(outputs, labels)
    inverse = _inverse_batch(len(labels) if batch_size is None else batch_size)
    target = np.full(outputs.shape, -1, np.float32)
    target[np.arange(len(labels)), labels] = 1
    with np.errstate(over="ignore"):
        h = np.maximum(np.float32(0), np.float32(1) - target * outputs)
        losses = _fixed_point(_sum_in_order(h * h))
    return losses, ((np.float32(-2) * target) * h) * inverse


def predict(outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Class of each row: the smallest index among the largest outputs.

    Notes
    -----
    Bit-exactness: clause LOSS-5; nothing may vary.
    """
    return np.argmax(outputs, axis=1).astype(np.int64)


def _sum_in_order(terms: Float32) -> Float32:
    total = terms[:, 0].copy()
    for c in range(1, terms.shape[1]):
        total = total + terms[:, c]
    return total


def _fixed_point(loss: Float32) -> NDArray[np.int64]:
    bad = ~(loss < LOSS_LIMIT)  # true for NaN as well
    if bad.any():
        raise OverflowError(
            f"got a loss of {loss[bad][0]} for sample {int(np.flatnonzero(bad)[0])}; a loss must stay below 2**22; "
            "the run has diverged: use a smaller learning rate"
        )
    return np.rint(loss.astype(np.float64) * 2.0**LOSS_FRACTION_BITS).astype(np.int64)


def _inverse_batch(batch_size: int) -> np.float32:
    if batch_size < 1:
        raise ValueError(f"got a batch of {batch_size}; at least 1 sample is needed; pass the size of the whole batch")
    return np.float32(np.float32(1) / to_float32_once(batch_size))


def _checked(outputs: Float32, labels: NDArray[Any]) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if outputs.dtype != np.float32 or labels.dtype.kind not in "iu":
        raise TypeError(
            f"got outputs {outputs.dtype} and labels {labels.dtype}; float32 and integers are wanted; convert"
        )
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or outputs.shape[1] < 1:
        raise ValueError(f"got outputs {outputs.shape} and labels {labels.shape}; [N, C] and [N] are wanted; reshape")
    bad = outputs.size - int(np.count_nonzero(np.isfinite(outputs)))
    if bad:
        raise ValueError(
            f"got {bad} outputs that are NaN or infinite; a loss needs finite ones; lower the learning rate"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < outputs.shape[1]:
        raise ValueError(
            f"got labels from {labels.min()} to {labels.max()}; allowed are 0 to {outputs.shape[1] - 1}; "
            "check the labels or the number of classes"
        )
    return labels.astype(np.int64)
