"""Batch normalisation as in Caffe: normalise, then scale."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from qnn.nn.module import Module
from qnn.nn.range_norm import NoNormalization, RangeNormalize
from qnn.nn.running import Running, Scaled, refuse_recipe
from qnn.numerics import (
    DFP,
    ap2,
)
from qnn.ops.batchnorm import NormalizeFloat, NormalizeInteger
from qnn.ops.scale import ScaleFloat, ScaleInteger
from qnn.ops.shift_norm import ShiftNormalizeInteger, ShiftScaleInteger
from qnn.quantizer import Format, Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Parameter, Tensor


class Normalize(Running):
    """Batch normalisation without scale: (x - mean) / sqrt(var + eps) per channel (Caffe's BatchNorm layer).

    Parameters
    ----------
    channels : int
    momentum : float
        Share of the old running statistics kept at each step.
    eps : float
    recipe : Recipe, optional

    Notes
    -----
    Training uses the batch's biased variance, evaluation the running statistics. Bit-exactness: clauses BN-1
    to BN-7; exact integer sums.
    """

    second = "var"

    def __init__(self, channels: int, momentum: float = 0.9, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(channels, momentum, eps, recipe)

    def forward(self, x: Tensor) -> Tensor:
        frozen = self.frozen(x)
        if self.wants_integers(x):
            return self.follow(NormalizeInteger(self.eps, self.activation, self.gradient, frozen), x)
        return self.follow(NormalizeFloat(self.eps, frozen), x)


class Scale(Module):
    """One factor and one shift per channel (Caffe's Scale layer), trained."""

    def __init__(self, channels: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        refuse_recipe(self)
        self.gamma = Parameter(np.ones(channels, np.float32), decay=False)
        self.beta = Parameter(np.zeros(channels, np.float32), decay=False)
        if self.recipe.is_integer:
            self.weight_site = self.recipe.factor_site()
            self.bias_site = self.recipe.site("bias")
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        if self.wants_integers(x):
            assert isinstance(x.data, DFP)
            gamma = self.weight_site.parameter(self.gamma)
            beta = self.bias_site.parameter(self.beta, at_least=x.data.exponent + gamma.exponent)
            made_by = x.maker
            behind = made_by if isinstance(made_by, NormalizeInteger) and made_by.frozen is None else None
            operation = ScaleInteger(gamma, beta, self.activation, self.gradient, behind)
            return self.run(operation, x, self.gamma, self.beta)
        return self.run(ScaleFloat(), x, self.gamma, self.beta)


class RangeNorm(Scaled):
    """Range batch norm with scale and shift: :class:`RangeNormalize`, then :class:`Scale` (Banner et al.)."""

    def __init__(self, channels: int, recipe: Recipe | None = None, reading: str = "code") -> None:
        super().__init__(recipe)
        self.normalize = RangeNormalize(channels, recipe=recipe, reading=reading)
        self.scale = Scale(channels, recipe)


class BatchNorm(Scaled):
    """Batch normalisation with scale and shift: :class:`Normalize`, then :class:`Scale`, each with 8-bit input and
    output."""

    def __init__(self, channels: int, momentum: float = 0.9, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.normalize = Normalize(channels, momentum, eps, recipe)
        self.scale = Scale(channels, recipe)


class ShiftNormalize(Running):
    """Batch normalisation without scale whose only multiplications are by powers of two.

    Parameters
    ----------
    channels : int
    momentum : float
        Share of the old running statistics kept at each step.
    eps : float
    recipe : Recipe
        An integer one.

    Notes
    -----
    The running statistics are the mean and the inverse deviation before its rounding to a power of two. Source: BNN
    paper, Algorithm 2, and its Torch code. Bit-exactness: clauses BIT-9 and BIT-10.
    """

    second = "inv_std"

    def __init__(self, channels: int, momentum: float = 0.875, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(channels, momentum, eps, recipe)
        if not self.recipe.is_integer:
            raise ValueError(
                f"got the float recipe {self.recipe.name!r} for a shift normalisation; take an integer "
                "recipe, or BatchNorm"
            )

    def forward(self, x: Tensor) -> Tensor:
        frozen = self.frozen(x)
        self.wants_integers(x)  # refuses float32
        return self.follow(ShiftNormalizeInteger(self.eps, self.activation, self.gradient, frozen, self.recipe.ap2), x)


class ShiftScale(Scale):
    """A power of two, AP2 of gamma, and a shift per channel; gamma and beta are trained (clause BIT-11)."""

    def __init__(self, channels: int, recipe: Recipe | None = None) -> None:
        super().__init__(channels, recipe)
        self.weight_site = Quantizer("weight", Format(16))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(x.data, DFP)
        gamma = self.weight_site.parameter(self.gamma, view=partial(ap2, reading=self.recipe.ap2))
        beta = self.bias_site.parameter(self.beta, at_least=x.data.exponent + gamma.exponent)
        operation = ShiftScaleInteger(gamma, beta, self.activation, self.gradient, self.recipe.ap2)
        return self.run(operation, x, self.gamma, self.beta)


class ShiftBatchNorm(Scaled):
    """Shift-based batch normalisation with scale and shift: :class:`ShiftNormalize`, then :class:`ShiftScale`."""

    def __init__(self, channels: int, momentum: float = 0.875, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.normalize = ShiftNormalize(channels, momentum, eps, recipe)
        self.scale = ShiftScale(channels, recipe)


NORMALIZATIONS: dict[str, Callable[[int, Recipe], Module]] = {
    "batch": lambda channels, recipe: BatchNorm(channels, recipe=recipe),
    "shift": lambda channels, recipe: ShiftBatchNorm(channels, recipe=recipe),
    "range": lambda channels, recipe: RangeNorm(channels, recipe),
    "range_paper": lambda channels, recipe: RangeNorm(channels, recipe, "paper"),
    "none": lambda channels, recipe: NoNormalization(recipe),
}
"""What a recipe's ``normalization`` may name."""


def normalization(channels: int, recipe: Recipe) -> Module:
    """The normalisation layer that the recipe's networks have.

    Raises
    ------
    ValueError
        If the recipe names one that is not in :data:`NORMALIZATIONS`.
    """
    return recipe.chosen("normalization", NORMALIZATIONS)(channels, recipe)


__all__ = [
    "NORMALIZATIONS",
    "BatchNorm",
    "Normalize",
    "RangeNorm",
    "Scale",
    "ShiftBatchNorm",
    "ShiftNormalize",
    "ShiftScale",
    "normalization",
]
