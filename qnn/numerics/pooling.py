"""Pooling over windows of NHWC integers: the maximum with its place, exact sums, and both gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .mac import Pair, conv_output_hw

Shape4 = tuple[int, int, int, int]


def max_pool(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Largest entry of each window and its place; the first in row-major order wins a tie, padding never wins.

    Parameters
    ----------
    x : array [N, H, W, C], int8 or int16 (float32 works as well)
    padding : smaller than the kernel, so that each window holds at least one entry

    Returns
    -------
    y : array [N, OH, OW, C] of the type of x
    index : int32 array of the same shape, ``i * KW + j`` of the winner within its window

    Notes
    -----
    Bit-exactness: clause POOL-2; nothing may vary.
    """
    shape = pool_output_shape(x.shape, kernel, stride, padding)
    y = np.zeros(shape, x.dtype)
    index = np.full(shape, -1, np.int32)
    for place, source, dest in _taps(x.shape, kernel, stride, padding):
        value, best, where = x[source], y[dest], index[dest]
        wins = (where < 0) | (value > best)
        np.copyto(best, value, where=wins)
        np.copyto(where, np.int32(place), where=wins)
    return y, index


def max_pool_grad(
    g: np.ndarray, index: np.ndarray, input_shape: Shape4, kernel: Pair, stride: Pair, padding: Pair = (0, 0)
) -> np.ndarray:
    """Exact sums, per input entry, of the gradients of all windows that it won.

    Returns
    -------
    array of shape ``input_shape``: int32, or of g's type where windows do not overlap (each entry then is one g or 0);
    for float32 g: float32, windows added in row-major order of the place

    Notes
    -----
    Bit-exactness: clause POOL-3; nothing may vary.
    """
    _check_grad(g.shape, pool_output_shape(input_shape, kernel, stride, padding))
    overlap = stride[0] < kernel[0] or stride[1] < kernel[1]
    dx = np.zeros(input_shape, _sum_dtype(g) if overlap else g.dtype)
    for place, source, dest in _taps(input_shape, kernel, stride, padding):
        dx[source] += np.where(index[dest] == place, g[dest], g.dtype.type(0))
    return dx


def sum_pool(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> np.ndarray:
    """Exact sum of each window, padding adding 0; the average is ``requantize(sum, ..., divisor=KH*KW)``.

    Returns
    -------
    int32 array [N, OH, OW, C] (float32 for float32 input, taps added in row-major order)

    Notes
    -----
    Bit-exactness: clause POOL-4; nothing may vary.
    """
    y = np.zeros(pool_output_shape(x.shape, kernel, stride, padding), _sum_dtype(x))
    for _, source, dest in _taps(x.shape, kernel, stride, padding):
        y[dest] += x[source]
    return y


def sum_pool_grad(
    g: np.ndarray, input_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair = (0, 0)
) -> np.ndarray:
    """Exact sums, per input entry, of the gradients of all windows that hold it.

    Returns
    -------
    int32 array of shape ``input_shape`` (int64 for int64 g, float32 for float32 g)

    Notes
    -----
    Bit-exactness: clause POOL-5; nothing may vary.
    """
    _check_grad(g.shape, pool_output_shape(input_shape, kernel, stride, padding))
    dx = np.zeros(input_shape, _sum_dtype(g))
    for _, source, dest in _taps(input_shape, kernel, stride, padding):
        dx[source] += g[dest]
    return dx


def window_weights(
    input_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair = (0, 0)
) -> tuple[np.ndarray, int]:
    """What brings the sums of windows with unequal numbers of real entries to one divisor.

    Returns
    -------
    weights : int64 array [1, OH, OW, 1]
        ``whole`` divided by the number of real entries of the window.
    whole : int
        The least common multiple of these numbers; the mean is ``sum * weights / whole``, one exact ratio.

    Notes
    -----
    Bit-exactness: clause POOL-6; nothing may vary.
    """
    _, height, width, _ = pool_output_shape(input_shape, kernel, stride, padding)
    rows, columns = (
        [min(start + k, size) - max(start, 0) for start in range(-pad, steps * step - pad, step)]
        for size, k, step, pad, steps in zip(input_shape[1:3], kernel, stride, padding, (height, width), strict=True)
    )
    counts = np.outer(rows, columns).astype(np.int64)
    whole = math.lcm(*(int(count) for count in np.unique(counts)))
    return (whole // counts)[np.newaxis, :, :, np.newaxis], whole


def pool_output_shape(input_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> Shape4:
    """Shape [N, OH, OW, C] of the pooled array; ValueError when a window could lie wholly in the padding.

    Notes
    -----
    Bit-exactness: clause POOL-1; nothing may vary.
    """
    if len(input_shape) != 4:
        raise ValueError(f"got shape {input_shape}; pooling takes [N, H, W, C]; reshape")
    if padding[0] >= kernel[0] or padding[1] >= kernel[1]:
        raise ValueError(
            f"got padding {padding} with kernel {kernel}; padding must be smaller than the kernel; reduce it"
        )
    n, h, w, c = input_shape
    oh, ow = conv_output_hw((h, w), kernel, stride, padding)
    return n, oh, ow, c


def _taps(
    input_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair
) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """For each place of the window, in row-major order: the inputs there and the outputs whose window has them."""
    _, oh, ow, _ = pool_output_shape(input_shape, kernel, stride, padding)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = _overlap(i - padding[0], input_shape[1], stride[0], oh)
            cols = _overlap(j - padding[1], input_shape[2], stride[1], ow)
            if rows is not None and cols is not None:
                yield i * kernel[1] + j, (slice(None), rows[0], cols[0]), (slice(None), rows[1], cols[1])


def _overlap(offset: int, size: int, stride: int, outputs: int) -> tuple[slice, slice] | None:
    """Inputs ``offset + stride*o`` inside 0..size-1, and the range of o that gives them (None if there is none)."""
    first = max(0, -(offset // stride))
    last = min(outputs - 1, (size - 1 - offset) // stride)
    if last < first:
        return None
    start = offset + stride * first
    return slice(start, offset + stride * last + 1, stride), slice(first, last + 1)


def _sum_dtype(x: np.ndarray) -> np.dtype:
    return np.dtype(np.int32) if x.dtype.kind in "iu" and x.dtype.itemsize < 8 else x.dtype


def _check_grad(got: tuple[int, ...], expected: Shape4) -> None:
    if got != expected:
        raise ValueError(
            f"got a gradient of shape {got}; this pooling's output has {expected}; check kernel, stride and padding"
        )
