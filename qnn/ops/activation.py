"""Activations: relu and hardtanh, in float32 and in integers (where they are exact and keep the exponent)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, hardtanh_grad, hardtanh_limits, relu_clip_grad, sign
from qnn.operation import Operation, register
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


@register
class ReluFloat(Operation):
    """max(x, 0); the gradient passes where x > 0."""

    name = "relu"

    def forward(self, x: Float) -> Float:
        self.y = np.maximum(x, np.float32(0))
        return self.y

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * (self.y > 0),)


class ReluInteger(Operation):
    """max(q, 0) at the same exponent; no rounding in either direction (clause LAY-2)."""

    name = "relu"

    def forward(self, x: DFP) -> DFP:
        self.y = _kernels.call("relu", x.ints)
        return DFP(self.y, x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (DFP(_kernels.call("relu_grad", gradient.ints, self.y), gradient.exponent, gradient.bits),)


class HardtanhFloat(Operation):
    """min(max(x, -1), 1); the gradient passes where \\|x\\| <= 1, borders included."""

    name = "hardtanh"

    def forward(self, x: Float) -> Float:
        self.x = x
        return np.clip(x, np.float32(-1), np.float32(1))

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * (np.abs(self.x) <= 1),)


class HardtanhInteger(Operation):
    """Clip of the integers to +-2^-e (clause LAY-3); +1 itself is kept where the format holds it."""

    name = "hardtanh"

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return DFP(_kernels.call("clip_ints", x.ints, *hardtanh_limits(x.exponent, x.bits)), x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        passed = hardtanh_grad(gradient.ints, self.x.ints, self.x.exponent, self.x.bits)
        return (DFP(passed, gradient.exponent, gradient.bits),)


class SignInteger(Operation):
    """+1 where q >= 0, else -1, at exponent 0; the gradient passes where -1 <= x <= 1 (clause LAY-13)."""

    name = "sign"

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return DFP(sign(x.ints), 0, 2)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        passed = hardtanh_grad(gradient.ints, self.x.ints, self.x.exponent, self.x.bits)
        return (DFP(passed, gradient.exponent, gradient.bits),)


class ClippedInteger(Operation):
    """Rounded and saturated to the few bits of a site; the gradient passes where -1 <= x <= 1 (clause LAY-14)."""

    name = "quantized_activation"

    def __init__(self, output: Quantizer) -> None:
        self.output = output

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return self.output.requantize(x.ints, x.exponent)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        passed = hardtanh_grad(gradient.ints, self.x.ints, self.x.exponent, self.x.bits)
        return (DFP(passed, gradient.exponent, gradient.bits),)


class ReluClipInteger(Operation):
    """max(x, 0) rounded and saturated at a site; the gradient passes where 0 < x <= the largest level (INT-13)."""

    name = "relu_clip"

    def __init__(self, output: Quantizer) -> None:
        self.output = output

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return self.output.requantize(_kernels.call("relu", x.ints), x.exponent)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        passed = relu_clip_grad(gradient.ints, self.x.ints, self.x.exponent, self.output.bits)
        return (DFP(passed, gradient.exponent, gradient.bits),)
