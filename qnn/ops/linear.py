"""Fully connected layer: forward and backward in float32 and in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, accumulator_bits_needed, align_bias
from qnn.operation import ExactSum, Operation
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


class LinearFloat(Operation):
    """y = x W^T + b in float32 (NumPy's BLAS; bits not promised)."""

    name = "linear"

    def forward(self, x: Float, weight: Float, bias: Float | None = None) -> Float:
        check_linear(x.shape, weight.shape)
        self.x, self.weight = x, weight
        y = x @ weight.T
        return y if bias is None else y + bias

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        dx = gradient @ self.weight if self.needs[0] else None
        dw = gradient.T @ self.x if self.needs[1] else None
        return (dx, dw, gradient.sum(axis=0)) if len(self.needs) == 3 else (dx, dw)

    def cost(self) -> dict[str, int]:
        return {"macs": int(np.prod(self.x.shape)) * self.weight.shape[0]}


class LinearInteger(Operation):
    """y = x W^T + b on integers; both products are exact and rounded once.

    Parameters
    ----------
    weight : DFP [out, in]
    bias : DFP [out] or None
        At an exponent not below that of the accumulator.
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.
    incoming_bits : int
        Width of the gradient that arrives, for the table of accumulator widths.

    Where ``split`` is a site, the gradient of the input is made from a copy that this site rounds (clause INT-17).
    Where ``samples`` is one, it first rounds the gradient that arrives, sample by sample (clause BIT-13).

    Bit-exactness: clauses MAC-3, REQ-1, REQ-6 and LAY-9; the weight gradient is exact until its conversion to float32.
    """

    name = "linear"
    split: Quantizer | None = None
    samples: Quantizer | None = None

    def __init__(
        self, weight: DFP, bias: DFP | None, output: Quantizer, gradient: Quantizer, incoming_bits: int
    ) -> None:
        self.weight, self.bias, self.output, self.gradient = weight, bias, output, gradient
        self.incoming_bits = incoming_bits

    def forward(self, x: DFP, *masters: Float) -> DFP:
        check_linear(x.shape, self.weight.shape)
        self.x = x
        exponent = x.exponent + self.weight.exponent
        bias = None if self.bias is None else align_bias(self.bias, exponent)
        w = self.weight.ints
        return self.output.product(
            (x.shape[0], w.shape[0]),
            lambda target: _kernels.call("gemm_requantize", x.ints, w, True, bias, exponent, target),
            lambda part: _kernels.call("gemm", x.ints[part], w, False, True),
            exponent,
            bias,
        )

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        w = self.weight.ints
        gradient = gradient if self.samples is None else self.samples.samples(gradient)
        dx = None
        if self.needs[0]:
            copy = narrowed(gradient, self.split)
            g, exponent = copy.ints, copy.exponent + self.weight.exponent
            dx = self.gradient.product(
                self.x.shape,
                lambda target: _kernels.call("gemm_requantize", g, w, False, None, exponent, target),
                lambda part: _kernels.call("gemm", g[part], w, False, False),
                exponent,
            )
        dw = ExactSum(
            _kernels.call("gemm", gradient.ints, self.x.ints, True, False), gradient.exponent + self.x.exponent
        )
        return (dx, dw, column_sums(gradient)) if self.bias is not None else (dx, dw)

    def operands(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return [inputs[0], self.weight] + ([self.bias] if self.bias is not None else [])

    def cost(self) -> dict[str, int]:
        n, k = self.x.shape
        out = self.weight.shape[0]
        widths = (self.x.bits, self.weight.bits)
        return {
            "macs": n * k * out,
            "accumulator": accumulator_bits_needed(k, *widths),
            "accumulator_input_gradient": accumulator_bits_needed(out, self.incoming_bits, self.weight.bits),
            "accumulator_weight_gradient": accumulator_bits_needed(n, self.incoming_bits, self.x.bits),
        }


def check_linear(x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    """Shapes of a fully connected layer."""
    if len(x) != 2 or len(weight) != 2 or x[1] != weight[1]:
        raise ValueError(
            f"got input {x} for weights {weight} of `linear`; allowed is [N, {weight[-1]}]: flatten the input or "
            f"change the layer"
        )


def narrowed(gradient: DFP, split: Quantizer | None) -> DFP:
    """The copy of a gradient that makes the gradient of the input (clause INT-17); the gradient without a site."""
    return gradient if split is None else split.requantize(gradient.ints, gradient.exponent)


def column_sums(gradient: DFP) -> ExactSum:
    """Exact sum over all axes but the last: the gradient of a bias."""
    sums, _ = _kernels.call("channel_sums", gradient.ints)
    return ExactSum(sums, gradient.exponent)
