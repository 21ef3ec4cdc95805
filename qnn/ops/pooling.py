"""Max and average pooling with any kernel, stride and padding, in float32 and in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, max_pool, max_pool_grad, sum_pool, sum_pool_grad, window_weights
from qnn.operation import Operation
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]
Pair = tuple[int, int]


class MaxPoolFloat(Operation):
    """Largest value of each window; its first maximum in row-major order gets the gradient."""

    name = "max_pool"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair) -> None:
        self.window = (kernel, stride, padding)

    def forward(self, x: Float) -> Float:
        self.shape = x.shape
        y, self.index = max_pool(x, *self.window)
        return y

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (max_pool_grad(gradient, self.index, self.shape, *self.window),)


class AveragePoolFloat(Operation):
    """Mean of each window; padding counts in the divisor."""

    name = "average_pool"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair) -> None:
        self.window = (kernel, stride, padding)
        self.share = np.float32(1) / np.float32(kernel[0] * kernel[1])

    def forward(self, x: Float) -> Float:
        self.shape = x.shape
        return sum_pool(x, *self.window) * self.share

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (sum_pool_grad(gradient * self.share, self.shape, *self.window),)


class MaxPoolInteger(Operation):
    """Largest integer of each window, exact; where windows overlap, the summed gradient is rounded at ``gradient``
    (clauses POOL-2, POOL-3 and LAY-9)."""

    name = "max_pool"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, gradient: Quantizer) -> None:
        self.kernel, self.stride, self.padding, self.gradient = kernel, stride, padding, gradient

    def forward(self, x: DFP) -> DFP:
        self.shape = x.shape
        y, self.index = _kernels.call("max_pool", x.ints, self.kernel, self.stride, self.padding)
        return DFP(y, x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        sums = _kernels.call(
            "max_pool_grad", gradient.ints, self.index, self.shape, self.kernel, self.stride, self.padding
        )
        if self.stride[0] >= self.kernel[0] and self.stride[1] >= self.kernel[1]:
            return (DFP(sums, gradient.exponent, gradient.bits),)
        return (self.gradient.requantize(sums, gradient.exponent),)


class AveragePoolInteger(Operation):
    """Mean of each window: exact sum, divided by kh*kw and rounded once (clauses POOL-4 and REQ-8); backward too."""

    name = "average_pool"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, output: Quantizer, gradient: Quantizer) -> None:
        self.kernel, self.stride, self.padding, self.output, self.gradient = kernel, stride, padding, output, gradient

    def forward(self, x: DFP) -> DFP:
        self.shape = x.shape
        sums = _kernels.call("sum_pool", x.ints, self.kernel, self.stride, self.padding)
        return self.output.requantize(sums, x.exponent, divisor=self.kernel[0] * self.kernel[1])

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        sums = _kernels.call("sum_pool_grad", gradient.ints, self.shape, self.kernel, self.stride, self.padding)
        return (self.gradient.requantize(sums, gradient.exponent, divisor=self.kernel[0] * self.kernel[1]),)


class RealAverageFloat(AveragePoolFloat):
    """Mean of the real entries of each window; padding does not count."""

    def forward(self, x: Float) -> Float:
        self.shape = x.shape
        weights, whole = window_weights(x.shape, *self.window)
        self.shares = weights.astype(np.float32) / np.float32(whole)
        return sum_pool(x, *self.window) * self.shares

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (sum_pool_grad(gradient * self.shares, self.shape, *self.window),)


class RealAverageInteger(AveragePoolInteger):
    """Mean of the real entries of each window: exact sum, divided by their number and rounded once (clause POOL-6);
    backward too."""

    def forward(self, x: DFP) -> DFP:
        self.shape = x.shape
        weights, whole = window_weights(x.shape, self.kernel, self.stride, self.padding)
        sums = _kernels.call("sum_pool", x.ints, self.kernel, self.stride, self.padding)
        return self.output.requantize(sums.astype(np.int64) * weights, x.exponent, divisor=whole)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        weights, whole = window_weights(self.shape, self.kernel, self.stride, self.padding)
        shares = gradient.ints.astype(np.int64) * weights
        sums = sum_pool_grad(shares, self.shape, self.kernel, self.stride, self.padding)
        return (self.gradient.requantize(sums, gradient.exponent, divisor=whole),)
