"""Shift-based batch normalisation and scale: multiplications by powers of two only, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import (
    DFP,
    ShiftStatistics,
    ap2_dots,
    scale_by_power,
    shift_bn_deviations,
    shift_bn_eval_statistics,
    shift_bn_grad_coefficients,
    shift_bn_mean,
    shift_bn_statistics,
)
from qnn.operation import ExactSum, Operation
from qnn.ops.batchnorm import first_of_reals, normalized
from qnn.ops.scale import ScaleInteger
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


class ShiftNormalizeInteger(Operation):
    """(q - mean) times a power of two per channel, quantised.

    Parameters
    ----------
    eps : float
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.
    frozen : pair of float32 arrays [C] or None
        Running mean and inverse deviation in evaluation; None takes the batch's.
    ap2 : {"nearest", "top"}

    Notes
    -----
    Source: BNN paper, Algorithm 2, and its Torch code for the gradient. Bit-exactness: clauses BIT-9 and BIT-10.
    """

    name = "shift_norm"

    def __init__(
        self,
        eps: float,
        output: Quantizer,
        gradient: Quantizer,
        frozen: tuple[Float, Float] | None = None,
        ap2: str = "nearest",
    ) -> None:
        self.eps, self.output, self.gradient, self.frozen, self.ap2 = eps, output, gradient, frozen, ap2

    def forward(self, x: DFP) -> DFP:
        self.x = x
        self.batch = self._statistics(x)
        self.mean, self.inv_std = self.batch.mean, self.batch.inv_std
        return normalized(x, self.batch.mean_q, self.batch.k, self.output)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        g = gradient.ints.astype(np.float32)
        if self.frozen is not None:
            values = g * scale_by_power(self.batch.shift, gradient.exponent)
        else:
            flat = gradient.ints.reshape(-1, gradient.shape[-1]).astype(np.int64)
            sag = (flat * self.powers.reshape(flat.shape)).sum(axis=0)
            a, b, c = shift_bn_grad_coefficients(
                self.batch, flat.sum(axis=0), sag, self.count, self.x.exponent, gradient.exponent
            )
            values = ((a * g) + (b * self.powers.astype(np.float32))) + c
        return (
            self.gradient.emit(
                self.x.shape,
                lambda target: _kernels.call("quantize", np.ascontiguousarray(values), target),
                lambda: first_of_reals([values], self.gradient.bits),
            ),
        )

    def _statistics(self, x: DFP) -> ShiftStatistics:
        if self.frozen is not None:
            return shift_bn_eval_statistics(*self.frozen, x.exponent, self.ap2)
        self.count = int(np.prod(x.shape[:-1], dtype=np.int64))
        s1, _ = _kernels.call("channel_sums", x.ints)
        mean = shift_bn_mean(s1, self.count)
        deviations, self.powers = shift_bn_deviations(x.ints, mean, self.ap2)
        products = deviations.astype(np.int64) * self.powers
        spread = products.reshape(-1, x.shape[-1]).sum(axis=0)
        return shift_bn_statistics(mean, spread, self.count, x.exponent, self.eps, self.ap2)


class ShiftScaleInteger(ScaleInteger):
    """y = AP2(gamma) x + beta; the gradient of gamma sums AP2(x) times that of y (clause BIT-11).

    ``gamma`` comes as the integers of AP2(gamma).
    """

    name = "shift_scale"

    def __init__(self, gamma: DFP, beta: DFP, output: Quantizer, gradient: Quantizer, ap2: str = "nearest") -> None:
        super().__init__(gamma, beta, output, gradient)
        self.ap2 = ap2

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        dx, _, sums = super().backward(gradient)
        dots = ap2_dots(gradient.ints, self.x.ints, self.ap2)
        return dx, ExactSum(dots, gradient.exponent + self.x.exponent), sums
