"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence

from qnn.nn.module import Module
from qnn.nn.structure import reshape
from qnn.ops.conv import Pair, as_pair
from qnn.ops.pooling import (
    AveragePoolFloat,
    AveragePoolInteger,
    MaxPoolFloat,
    MaxPoolInteger,
    RealAverageFloat,
    RealAverageInteger,
)
from qnn.recipes import Recipe
from qnn.tensor import Tensor

PairLike = int | Sequence[int]


class _Pool(Module):
    """Window of a pooling layer."""

    def __init__(
        self, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0, recipe: Recipe | None = None
    ) -> None:
        super().__init__(recipe)
        self.kernel = as_pair(kernel, "kernel", 1)
        self.stride = self.kernel if stride is None else as_pair(stride, "stride", 1)
        self.padding = as_pair(padding, "padding", 0)
        if self.recipe.is_integer:
            self.gradient = self.recipe.site("gradient")


class MaxPool2d(_Pool):
    """Largest value of each window; exact on integers, and padding never wins."""

    def forward(self, x: Tensor) -> Tensor:
        window = (self.kernel, self.stride, self.padding)
        return self.run(MaxPoolInteger(*window, self.gradient) if self.wants_integers(x) else MaxPoolFloat(*window), x)


class AveragePool2d(_Pool):
    """Mean of each window; one rounding on integers.

    Parameters
    ----------
    kernel, stride, padding, recipe
        As in :class:`MaxPool2d`.
    count_padding : bool
        Padding counts as zeros; False divides by the number of real entries of each window (clause POOL-6).
    """

    def __init__(
        self,
        kernel: PairLike,
        stride: PairLike | None = None,
        padding: PairLike = 0,
        recipe: Recipe | None = None,
        *,
        count_padding: bool = True,
    ) -> None:
        super().__init__(kernel, stride, padding, recipe)
        self.count_padding = count_padding
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")

    def forward(self, x: Tensor) -> Tensor:
        return self._average(x, self.kernel, self.stride, self.padding)

    def _average(self, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        real = not self.count_padding and padding != (0, 0)
        if self.wants_integers(x):
            integer = RealAverageInteger if real else AveragePoolInteger
            return self.run(integer(kernel, stride, padding, self.activation, self.gradient), x)
        return self.run((RealAverageFloat if real else AveragePoolFloat)(kernel, stride, padding), x)


class GlobalAveragePool(AveragePool2d):
    """Mean over all pixels: [N, H, W, C] to [N, C]."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(1, recipe=recipe)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"got shape {x.shape} for {self.label}; allowed is [N, H, W, C]")
        whole = (x.shape[1], x.shape[2])
        out = self._average(x, whole, whole, (0, 0))
        return reshape(self, out, (x.shape[0], x.shape[3]))


__all__ = ["AveragePool2d", "GlobalAveragePool", "MaxPool2d"]
