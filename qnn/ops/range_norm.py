"""Range batch norm on integers: exact extremes and sums, float32 constants per channel, quantised result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import (
    DFP,
    RANGE_READINGS,
    channel_extremes,
    range_grad,
    range_statistics,
    scale_by_power,
)
from qnn.operation import Operation
from qnn.ops.batchnorm import normalized
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


class RangeInteger(Operation):
    """Range batch norm of integers.

    Parameters
    ----------
    eps : float
    reading : {"code", "paper"}
        Which constant, and of how many chunks (INT-14).
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.
    frozen : (mean, inverse scale) or None
        Running values in evaluation; None takes those of the batch.

    Notes
    -----
    Source: Banner et al. Bit-exactness: clauses INT-14 to INT-16, BN-1 and BN-5.
    """

    name = "range_norm"

    def __init__(
        self, eps: float, reading: str, output: Quantizer, gradient: Quantizer, frozen: tuple[Float, Float] | None
    ) -> None:
        self.eps, self.reading, self.output, self.gradient, self.frozen = eps, reading, output, gradient, frozen

    def forward(self, x: DFP) -> DFP:
        self.x = x
        if self.frozen is not None:
            self.mean, self.inverse = self.frozen
            mean_q = scale_by_power(self.mean, -x.exponent)
        else:
            self.count = int(np.prod(x.shape[:-1], dtype=np.int64))
            self.extremes = channel_extremes(x.ints, RANGE_READINGS[self.reading])
            self.s1, _ = _kernels.call("channel_sums", x.ints)
            mean_q, self.mean, self.inverse = range_statistics(
                self.extremes, self.s1, self.count, x.exponent, self.eps, self.reading
            )
        return normalized(x, mean_q, scale_by_power(self.inverse, x.exponent), self.output)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        g = gradient.ints
        if self.frozen is not None:
            return (self.gradient.quantize(scale_by_power(self.inverse * g.astype(np.float32), gradient.exponent)),)
        sums = (self.s1, *_kernels.call("channel_dots", g, self.x.ints))
        dx = range_grad(
            g, gradient.exponent, self.extremes, self.inverse, sums, self.count, self.x.exponent, self.reading
        )
        return (self.gradient.quantize(dx),)
