"""Caffe's scale layer: one factor and one shift per channel, in float32 and in integers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.lazy import Masked, Rectifying, Scaling
from qnn.numerics import DFP, Counts, Target, align_bias
from qnn.numerics.batchnorm import Sums
from qnn.operation import ExactSum, Operation
from qnn.ops.batchnorm import NormalizeInteger
from qnn.ops.channels import channel_sum, wide
from qnn.quantizer import Quantizer, parts

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
    """y = gamma x + beta on integers: exact product and sum, rounded once (clause BN-8).

    Parameters
    ----------
    gamma, beta : DFP
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.
    behind : NormalizeInteger, optional
        What made x. On the way back it is handed the sums it will need, while the gradient is still in the caches.

    Notes
    -----
    Bit-exactness: clauses BN-1 and BN-8.
    """

    name = "scale"
    takes_lazy = True

    def __init__(
        self,
        gamma: DFP,
        beta: DFP,
        output: Quantizer,
        gradient: Quantizer,
        behind: NormalizeInteger | None = None,
    ) -> None:
        self.gamma, self.beta, self.output, self.gradient, self.behind = gamma, beta, output, gradient, behind

    def forward(self, x: DFP, *masters: Float) -> DFP:
        self.x = x
        exponent = x.exponent + self.gamma.exponent
        bias = align_bias(self.beta, exponent)
        return self.output.emit_lazily(
            Rectifying,
            x.shape,
            partial(self._make, bias, exponent),
            partial(self._first, self.output, x, bias, exponent),
        )

    def _make(self, bias: NDArray[np.int64], exponent: int, target: Target, rectify: bool = False) -> Any:
        """The result and its counts; if nobody has looked at what is normalised, in one pass with that."""
        x, gamma = self.x, self.gamma.ints
        if isinstance(x, Scaling) and gamma.shape == x.shape[-1:]:
            return x.scaled(gamma, bias, exponent, target, rectify)
        return _kernels.call("scale", x.ints, gamma, bias, exponent, target, rectify)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        dx = None
        if self.needs[0]:
            dx, (sums, dots) = self._gradients(gradient)
        else:
            sums, dots = _kernels.call("channel_dots", gradient.ints, self.x.ints)
        return dx, ExactSum(dots, gradient.exponent + self.x.exponent), ExactSum(sums, gradient.exponent)

    def _gradients(self, gradient: DFP) -> tuple[DFP, Sums]:
        """The gradient of x, and the sums of this one; a ReLU behind the scale and the next sums join the one pass."""
        output = None
        if isinstance(gradient, Masked):
            ints, output = gradient.gradient.ints, gradient.output
        else:
            ints = gradient.ints
        exponent = gradient.exponent + self.gamma.exponent
        behind = self.behind if self.gradient.emits_as_made else None
        inputs = None if behind is None else behind.x.ints
        made: list[Any] = []  # counting may ask for the results at other exponents, too; the first ones are the results

        def make(target: Target) -> tuple[NDArray[Any], Counts]:
            found = _kernels.call("scale_grad", ints, self.x.ints, self.gamma.ints, exponent, target, inputs, output)
            made.append(found)
            return found[0], found[1]

        first = partial(self._first, self.gradient, gradient, None, exponent)
        dx = self.gradient.emit(ints.shape, make, first)
        if behind is not None:
            behind.expect(dx, made[0][3])
        return dx, made[0][2]

    def _first(self, site: Quantizer, x: DFP, bias: NDArray[np.int64] | None, exponent: int) -> int | None:
        products = (x.ints[part].astype(np.int64) * self.gamma.ints for part in parts(x.shape))
        return site.first_of_range(products, exponent, bias=bias)

    def operands(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return [inputs[0], self.gamma, self.beta]
