"""Caffe's scale layer: one factor and one shift per channel, in float32 and in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, align_bias
from qnn.operation import ExactSum, Operation
from qnn.ops.channels import channel_sum, wide
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


class ScaleFloat(Operation):
    """y = gamma x + beta per channel."""

    name = "scale"

    def forward(self, x: Float, gamma: Float, beta: Float) -> Float:
        self.x, self.gamma = x, gamma
        pixels, factor, offset = wide(x, gamma, beta)
        y = pixels * factor
        y += offset
        return y.reshape(x.shape)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        g, factor = wide(gradient, self.gamma)
        return (g * factor).reshape(gradient.shape), channel_sum(gradient * self.x), channel_sum(gradient)


class ScaleInteger(Operation):
    """y = gamma x + beta on integers: exact product and sum, rounded once (clause BN-8)."""

    name = "scale"

    def __init__(self, gamma: DFP, beta: DFP, output: Quantizer, gradient: Quantizer) -> None:
        self.gamma, self.beta, self.output, self.gradient = gamma, beta, output, gradient

    def forward(self, x: DFP, *masters: Float) -> DFP:
        self.x = x
        exponent = x.exponent + self.gamma.exponent
        return self._emit(self.output, x.ints, align_bias(self.beta, exponent), exponent)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        dx = None
        if self.needs[0]:
            dx = self._emit(self.gradient, gradient.ints, None, gradient.exponent + self.gamma.exponent)
        sums, dots = _kernels.call("channel_dots", gradient.ints, self.x.ints)
        return dx, ExactSum(dots, gradient.exponent + self.x.exponent), ExactSum(sums, gradient.exponent)

    def _emit(self, site: Quantizer, ints: NDArray[Any], bias: NDArray[np.int64] | None, exponent: int) -> DFP:
        gamma = self.gamma.ints
        return site.emit(
            ints.shape,
            lambda target: _kernels.call("scale", ints, gamma, bias, exponent, target),
            lambda: site.first_of_range(ints.astype(np.int64) * gamma, exponent, bias=bias),
        )

    def operands(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return [inputs[0], self.gamma, self.beta]
