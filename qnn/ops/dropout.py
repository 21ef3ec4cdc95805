"""Dropout from addressed noise: the mask is a function of (seed, step, stream) and the element or the feature, so any
split of the work gives the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import DFP
from qnn.operation import Operation
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


class DropoutFloat(Operation):
    """x * mask * 65536/kept in float32."""

    name = "dropout"

    def __init__(self, keep: NDArray[np.bool_], kept: int) -> None:
        self.factor = keep.astype(np.float32) * (np.float32(65536) / np.float32(kept))

    def forward(self, x: Float) -> Float:
        return x * self.factor

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * self.factor,)


class DropoutInteger(Operation):
    """q * mask * 65536/kept, the exact ratio rounded once at the output site (clause LAY-4); backward likewise."""

    name = "dropout"

    def __init__(self, keep: NDArray[np.bool_], kept: int, output: Quantizer, gradient: Quantizer) -> None:
        self.keep, self.kept, self.output, self.gradient = keep, kept, output, gradient

    def forward(self, x: DFP) -> DFP:
        return self._scaled(x, self.output)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (self._scaled(gradient, self.gradient),)

    def _scaled(self, x: DFP, site: Quantizer) -> DFP:
        kept = x.ints.astype(np.int32) * self.keep
        return site.requantize(kept, x.exponent + 16, divisor=self.kept)


class DropoutShift(Operation):
    """q * mask at an exponent that holds the factor, a power of two: nothing is rounded (clause LAY-4)."""

    name = "dropout"

    def __init__(self, keep: NDArray[np.bool_], shift: int) -> None:
        self.keep, self.shift = keep, shift

    def forward(self, x: DFP) -> DFP:
        return DFP(x.ints * self.keep, x.exponent + self.shift, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (self.forward(gradient),)
