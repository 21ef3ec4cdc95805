"""Activations: relu and hardtanh, in float32 and in integers (where they are exact and keep the exponent)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.lazy import Masked, Rectifying
from qnn.numerics import (
    DFP,
    Noise,
    dorefa_activations,
    hardtanh_grad,
    hardtanh_limits,
    level_format,
    log_activations,
    passed_within,
    relu_clip_grad,
    sign,
    sign_stochastic,
    staircase,
    staircase_grad,
)
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
    takes_lazy = True

    def forward(self, x: DFP) -> DFP:
        self.y = x.rectified() if isinstance(x, Rectifying) else _kernels.call("relu", x.ints)
        return DFP(self.y, x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (Masked.by(gradient, self.y),)


class HardtanhFloat(Operation):
    """min(max(x, -1), 1); the gradient passes where \\|x\\| <= 1, borders included."""

    name = "hardtanh"

    def forward(self, x: Float) -> Float:
        self.x = x
        return np.clip(x, np.float32(-1), np.float32(1))

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * (np.abs(self.x) <= 1),)


class _WithinOne(Operation):
    """What hands a gradient on as it is where the input, kept as ``x``, lies in -1 .. 1 (clause LAY-3)."""

    x: DFP

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        passed = hardtanh_grad(gradient.ints, self.x.ints, self.x.exponent, self.x.bits)
        return (DFP(passed, gradient.exponent, gradient.bits),)


class HardtanhInteger(_WithinOne):
    """Clip of the integers to +-2^-e (clause LAY-3); +1 itself is kept where the format holds it."""

    name = "hardtanh"

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return DFP(_kernels.call("clip_ints", x.ints, *hardtanh_limits(x.exponent, x.bits)), x.exponent, x.bits)


class SignInteger(_WithinOne):
    """+1 where q >= 0, else -1, at exponent 0; the gradient passes where -1 <= x <= 1 (clause LAY-13)."""

    name = "sign"

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return DFP(sign(x.ints), 0, 2)


class DrawnSignInteger(_WithinOne):
    """+1 with the probability (x + 1) / 2, else -1, by noise words; the gradient as for the sign (clause LAY-15)."""

    name = "drawn_sign"  # no SignInteger: what is frozen takes signs, and a drawn one must never pass for one

    def __init__(self, noise: Noise) -> None:
        self.noise = noise

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return DFP(sign_stochastic(x.ints, x.exponent, self.noise.u16(x.ints.size)), 0, 2)


class ClippedInteger(_WithinOne):
    """Rounded and saturated to the few bits of a site; the gradient passes where -1 <= x <= 1 (clause LAY-14)."""

    name = "quantized_activation"

    def __init__(self, output: Quantizer) -> None:
        self.output = output

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return self.output.requantize(x.ints, x.exponent)


class LogInteger(_WithinOne):
    """Signed powers of two of k bits, 0 for 0 alone; the gradient passes where -1 <= x <= 1 (clause BIT-14)."""

    name = "log_activation"

    def __init__(self, bits: int, reading: str) -> None:
        self.bits, self.reading = bits, reading

    def forward(self, x: DFP) -> DFP:
        self.x = x
        return DFP(log_activations(x.ints, x.exponent, self.bits, self.reading), *level_format(self.bits))


class StaircaseInteger(Operation):
    """Levels by thresholds, exactly; the gradient times lambda where -1 <= x <= 1, rounded once (clause WGT-10)."""

    name = "staircase"

    def __init__(
        self,
        bits: int,
        thresholds: str | Sequence[float],
        inclusive: bool,
        slope: tuple[int, int],
        gradient: Quantizer,
    ) -> None:
        self.bits, self.thresholds, self.inclusive = bits, thresholds, inclusive
        self.slope, self.gradient = slope, gradient

    def forward(self, x: DFP) -> DFP:
        self.x = x
        levels = staircase(x.ints, x.exponent, self.bits, self.thresholds, self.inclusive)
        return DFP(levels, *level_format(self.bits))

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        numerator, exponent = self.slope
        exact = staircase_grad(gradient.ints, self.x.ints, self.x.exponent, self.x.bits, numerator)
        return (self.gradient.requantize(exact, gradient.exponent + exponent),)


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


class UnitInteger(Operation):
    """Clipped to 0 .. 1 and rounded to ``2**k`` even levels; the gradient passes where 0 <= x <= 1 (clause BIT-8)."""

    name = "unit_activation"

    def __init__(self, output: Quantizer) -> None:
        self.output = output

    def forward(self, x: DFP) -> DFP:
        self.x = x
        bits = self.output.bits - 1
        return self.output.emit(
            x.shape, lambda target: dorefa_activations(x.ints, x.exponent, bits, target), lambda: self.output.exponent
        )

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        one = 1 << min(-self.x.exponent, 16) if self.x.exponent <= 0 else 0
        passed = passed_within(gradient.ints, self.x.ints, 0, one)
        return (DFP(passed, gradient.exponent, gradient.bits),)
