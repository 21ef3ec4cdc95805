"""Activations: relu and hardtanh, in float32 and in integers (where they are exact and keep the exponent)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP
from qnn.tensor import Operation, register

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
    """max(q, 0) at the same exponent; no rounding in either direction (clause ACT-1)."""

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
    """Clip of the integers to +-2^-e (clause ACT-2); +1 itself is kept where the format holds it."""

    name = "hardtanh"

    def forward(self, x: DFP) -> DFP:
        one = 1 << min(-x.exponent, 16) if x.exponent <= 0 else 0
        if x.exponent > 0:
            raise ValueError(
                f"got integers at exponent {x.exponent} for hardtanh, whose limit 1 is not on that grid; scale the "
                f"layer before it or use relu"
            )
        low, high = max(-one, -(1 << (x.bits - 1))), min(one, (1 << (x.bits - 1)) - 1)
        self.mask = (x.ints >= low) & (x.ints <= one)
        return DFP(_kernels.call("clip_ints", x.ints, low, high), x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (DFP(gradient.ints * self.mask, gradient.exponent, gradient.bits),)
