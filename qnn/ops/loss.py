"""Losses: softmax cross-entropy and square hinge, computed in specified float32 from float or integer outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import DFP, LOSS_FRACTION_BITS, SOFTMAX_BITS, integer_cross_entropy, predict
from qnn.operation import Array, Operation
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]
LossFunction = Callable[..., tuple[NDArray[np.int64], Float]]

# Losses are summed as integers of this unit (clause LOSS-3), so that no split of a batch changes the sum.
LOSS_UNIT = 2.0**-LOSS_FRACTION_BITS


@dataclass(frozen=True)
class LossResult:
    """Exact figures of one evaluated batch.

    Attributes
    ----------
    loss_sum : int
        Sum of the samples' losses in units of 2^-20.
    correct : int
        Samples whose largest output (the first of equal ones) is the label.
    count : int
        Samples.
    """

    loss_sum: int
    correct: int
    count: int


class Loss(Operation):
    """Mean loss of a batch; the gradient leaves as integers where the outputs came as integers.

    Parameters
    ----------
    name : str
    function : callable
        ``function(outputs float32 [N, C], labels, total) -> (losses int64 [N], gradient float32 [N, C])`` of
        qnn.numerics.
    labels : int64 [N]
    total : int
        Samples of the whole batch when this is a part of it.
    gradient : Quantizer or None
        Site of the gradient for integer outputs.
    """

    def __init__(
        self, name: str, function: LossFunction, labels: NDArray[np.int64], total: int, gradient: Quantizer | None
    ) -> None:
        self.name = name
        self.function, self.labels, self.total, self.gradient = function, labels, total, gradient

    def forward(self, outputs: Array) -> Float:
        values = outputs.to_float() if isinstance(outputs, DFP) else outputs
        self.losses, self.slope = self.function(values, self.labels, self.total)
        correct = int((predict(values) == self.labels).sum())
        loss_sum = int(self.losses.sum())
        self.result = LossResult(loss_sum, correct, len(values))
        return np.asarray(loss_sum * LOSS_UNIT / max(1, self.total), np.float32)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        slope = self.slope if gradient == 1 else self.slope * np.float32(gradient)
        return (slope if self.gradient is None else self.gradient.quantize(slope),)


class IntegerLoss(Operation):
    """Cross-entropy of integer outputs: losses, mean and gradient are integers (clauses INT-7 and INT-8).

    Parameters
    ----------
    labels : int64 [N]
    total : int
        Samples of the whole batch when this is a part of it.
    gradient : Quantizer
        Site of the gradient, which is that of the sum over the batch.
    """

    name = "integer_cross_entropy"

    def __init__(self, labels: NDArray[np.int64], total: int, gradient: Quantizer) -> None:
        self.labels, self.total, self.gradient = labels, total, gradient

    def forward(self, outputs: DFP) -> DFP:
        self.losses, self.slope = integer_cross_entropy(outputs.ints, outputs.exponent, self.labels)
        loss_sum = int(self.losses.sum())
        self.result = LossResult(loss_sum, int((predict(outputs.ints) == self.labels).sum()), len(outputs.ints))
        mean = loss_sum // (max(1, self.total) << (LOSS_FRACTION_BITS - 10))
        return DFP(np.array(min(mean, 32767), np.int16), -10, 16)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        if (int(gradient.ints), gradient.exponent) != (1, 0):
            raise ValueError(
                f"got a gradient of {gradient.ints} * 2^{gradient.exponent} for an integer loss; only 1 is allowed: "
                "call backward() on the loss itself"
            )
        return (self.gradient.requantize(self.slope, -SOFTMAX_BITS),)
