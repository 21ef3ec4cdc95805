"""Batch normalisation as in Caffe: normalise here, scale and shift in a layer of their own (``scale.py``)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.lazy import Scaling, Summing
from qnn.numerics import (
    DFP,
    Statistics,
    Target,
    bn_eval_grad_coefficients,
    bn_eval_statistics,
    first_exponent_float,
)
from qnn.numerics.batchnorm import Sums
from qnn.operation import Operation
from qnn.ops.channels import channel_sum, wide
from qnn.quantizer import Part, Quantizer, parts

Float = NDArray[np.float32]

Running = tuple[Float, Float]
"""Running mean and variance per channel in real units, the frozen statistics of evaluation."""


class NormalizeFloat(Operation):
    """(x - mean) / sqrt(var + eps) in float32, per channel over all other axes."""

    name = "batch_norm"

    def __init__(self, eps: float, frozen: Running | None = None) -> None:
        self.eps, self.frozen = np.float32(eps), frozen

    def forward(self, x: Float) -> Float:
        count = np.float32(x.size // x.shape[-1])
        self.mean: Float = channel_sum(x) / count if self.frozen is None else self.frozen[0]
        pixels, mean = wide(x, self.mean)
        xhat = pixels - mean
        self.var: Float = (
            channel_sum(np.square(xhat).reshape(x.shape)) / count if self.frozen is None else self.frozen[1]
        )
        self.inv = np.float32(1) / np.sqrt(self.var + self.eps)
        xhat *= wide(x, self.inv)[1]
        self.xhat = xhat.reshape(x.shape)
        return self.xhat

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        if self.frozen is not None:
            g, inv = wide(gradient, self.inv)
            return ((g * inv).reshape(gradient.shape),)
        count = np.float32(gradient.size // gradient.shape[-1])
        mean_gx = channel_sum(gradient * self.xhat) / count
        xhat, slope, mean_g, inv = wide(self.xhat, -mean_gx, channel_sum(gradient) / count, self.inv)
        out = xhat * slope
        out += gradient.reshape(out.shape)
        out -= mean_g
        out *= inv
        return (out.reshape(gradient.shape),)


class NormalizeInteger(Operation):
    """Batch normalisation of integers: exact integer sums, float32 per-channel constants, quantised result.

    Parameters
    ----------
    eps : float
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.
    frozen : Statistics or None
        Running statistics in evaluation; None takes those of the batch.

    Notes
    -----
    Source: DFP paper, section 5.3 (float32 inside, 8-bit input and output). Bit-exactness: clauses BN-1 to BN-7.
    """

    name = "batch_norm"
    takes_lazy = True
    expected: tuple[DFP | None, Sums | None] = None, None

    def __init__(self, eps: float, output: Quantizer, gradient: Quantizer, frozen: Running | None = None) -> None:
        self.eps, self.output, self.gradient, self.frozen = eps, output, gradient, frozen

    def forward(self, x: DFP) -> DFP:
        self.x = x
        self.batch = self._statistics(x)
        self.mean, self.var = self.batch.mean, self.batch.var
        # Where numbers could leave float32, as frozen ones may, that shows at once, before running statistics move.
        safe = self.frozen is None and x.exponent <= 40 and self.eps >= 2.0**-40
        return normalized(x, self.batch.mean_q, self.batch.k, self.output, lazily=safe)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        g = gradient.ints
        if self.frozen is not None:
            a, b, c = bn_eval_grad_coefficients(self.batch, gradient.exponent)
        else:
            sums = self._known(gradient) or _kernels.call("channel_dots", g, self.x.ints)
            a, b, c = _kernels.call(
                "bn_grad_coefficients", self.batch, self.s1, sums[0], sums[1], self.count, gradient.exponent
            )
        x = self.x.ints

        def reals(part: Part) -> Float:
            values: Float = (a * g[part].astype(np.float32) + b * x[part].astype(np.float32)) + c
            return values

        return (
            self.gradient.emit(
                x.shape,
                lambda target: _kernels.call("normalize_grad", g, x, a, b, c, target),
                lambda: first_of_reals(map(reals, parts(x.shape)), self.gradient.bits),
            ),
        )

    def expect(self, gradient: DFP, sums: Sums) -> None:
        """Take the sums of a gradient, as ``channel_dots`` of it and x gives them, from who had it in hand before."""
        self.expected = gradient, sums

    def _known(self, gradient: DFP) -> Sums | None:
        """The sums that came with this very gradient; another one may come, when the result had several consumers."""
        (known, sums), self.expected = self.expected, (None, None)
        return sums if known is gradient else None

    def _statistics(self, x: DFP) -> Statistics:
        if self.frozen is not None:
            return bn_eval_statistics(*self.frozen, x.exponent, self.eps)
        self.count = math.prod(x.shape[:-1])
        sums: Sums = x.summed() if isinstance(x, Summing) else _kernels.call("channel_sums", x.ints)
        self.s1 = sums[0]
        statistics: Statistics = _kernels.call("bn_statistics", *sums, self.count, x.exponent, self.eps)
        return statistics


def normalized(x: DFP, mean_q: Float, k: Float, output: Quantizer, lazily: bool = False) -> DFP:
    """``(q - mean_q) * k`` per channel, rounded at a site (clause BN-5); a scale layer may join what is made lazily."""

    def make(target: Target, *scale: Any) -> Any:
        return _kernels.call("normalize_scale" if scale else "normalize", x.ints, mean_q, k, target, *scale)

    def first() -> int | None:
        return first_of_reals(((x.ints[part].astype(np.float32) - mean_q) * k for part in parts(x.shape)), output.bits)

    return output.emit_lazily(Scaling, x.shape, make, first) if lazily else output.emit(x.shape, make, first)


def first_of_reals(values: Iterable[Float], bits: int) -> int | None:
    """First exponent of real values that come in parts; only the very first step of a site computes them as arrays."""
    ends = np.array([(part.min(), part.max()) for part in values if part.size], np.float32)
    if ends.size == 0:
        return None
    return first_exponent_float(float(ends[:, 0].min()), float(ends[:, 1].max()), bits)
