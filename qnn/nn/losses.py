"""Losses as modules: softmax cross-entropy and square hinge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.nn.module import Module
from qnn.numerics import square_hinge, sum_of_squares
from qnn.ops.loss import IntegerLoss, Loss, LossFunction, LossResult
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor


def softmax_cross_entropy(*batch: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """:func:`qnn.numerics.softmax_cross_entropy` on the chosen kernel path."""
    losses, gradient = _kernels.call("softmax_cross_entropy", *batch)
    return losses, gradient


class _Criterion(Module):
    """A loss over outputs [N, classes] and integer labels [N]; ``last`` holds the exact figures of the last batch."""

    kind: str
    function: LossFunction

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(self.given(recipe).last_layer())
        self.gradient_sum = None
        self.last: LossResult | None = None
        if self.recipe.is_integer:
            self.gradient = self.recipe.loss_site()

    def forward(self, outputs: Tensor, labels: NDArray[Any], total: int | None = None) -> Tensor:
        """Mean loss as a tensor of one element.

        Parameters
        ----------
        outputs : Tensor [N, classes]
        labels : integers [N]
        total : int, optional
            Samples of the whole batch when this is a part of it; the gradient is divided by it.
        """
        site = self.gradient if outputs.is_integer and self.recipe.is_integer else None
        if outputs.is_integer and site is None:
            raise TypeError(
                f"got integer outputs for {self.label} of the float recipe {self.recipe.name!r}; give the loss the "
                f"model's recipe"
            )
        labels = np.asarray(labels)
        operation = self._operation(labels, len(labels) if total is None else total, site)
        loss = self.run(operation, outputs)
        loss.strict = False
        self.last = operation.result
        return loss

    def _operation(self, labels: NDArray[Any], total: int, site: Quantizer | None) -> Loss | IntegerLoss:
        return Loss(self.kind, type(self).function, labels, total, site)


class CrossEntropyLoss(_Criterion):
    """Softmax and cross-entropy in specified float32 (clauses LOSS-1 to LOSS-3), quantised gradient.

    Parameters
    ----------
    recipe : Recipe, optional
        The model's; its last layer's gradient format rounds the gradient of the outputs.
    """

    kind = "softmax_cross_entropy"
    function = staticmethod(softmax_cross_entropy)


class SquareHingeLoss(_Criterion):
    """Sum over classes of max(0, 1 - t y)^2 with t = +1 for the label and -1 otherwise, mean over the batch
    (clauses LOSS-3 and LOSS-4)."""

    kind = "square_hinge"
    function = staticmethod(square_hinge)


class SumOfSquaresLoss(_Criterion):
    """Half the sum over classes of the squared errors, 1 the target of the label and 0 of the others; the gradient is
    that of the sum over the batch (clauses LOSS-3 and INT-12)."""

    kind = "sum_of_squares"
    function = staticmethod(sum_of_squares)


class IntegerCrossEntropyLoss(_Criterion):
    """Cross-entropy of integer outputs in integers, its gradient that of the sum over the batch (clauses INT-7 and
    INT-8); evaluation states the softmax cross-entropy in float32."""

    kind = "integer_cross_entropy"
    function = staticmethod(softmax_cross_entropy)

    def _operation(self, labels: NDArray[Any], total: int, site: Quantizer | None) -> Loss | IntegerLoss:
        if site is None:
            return super()._operation(labels, total, site)
        return IntegerLoss(labels, total, site)


LOSSES: dict[str, type[_Criterion]] = {
    "cross_entropy": CrossEntropyLoss,
    "square_hinge": SquareHingeLoss,
    "sum_of_squares": SumOfSquaresLoss,
    "integer_cross_entropy": IntegerCrossEntropyLoss,
}
"""What a recipe's ``loss`` may name."""


def criterion(recipe: Recipe) -> _Criterion:
    """The loss that the recipe trains with.

    Raises
    ------
    ValueError
        If the recipe names one that is not in :data:`LOSSES`.
    """
    return recipe.chosen("loss", LOSSES)(recipe)


__all__ = [
    "LOSSES",
    "CrossEntropyLoss",
    "IntegerCrossEntropyLoss",
    "SquareHingeLoss",
    "SumOfSquaresLoss",
    "criterion",
]
