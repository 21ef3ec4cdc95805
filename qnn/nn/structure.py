"""Layers that move or join tensors: flatten, add, concat, shortcut."""

from __future__ import annotations

import numpy as np

from qnn.nn.module import Module
from qnn.ops.combine import AddInteger, ConcatFloat, ConcatInteger
from qnn.ops.shape import ReshapeInteger, Shortcut
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor


class Flatten(Module):
    """[N, ...] to [N, features]."""

    def forward(self, x: Tensor) -> Tensor:
        return reshape(self, x, (x.shape[0], int(np.prod(x.shape[1:]))))


class Add(Module):
    """Sum of tensors of one shape (residual addition); one rounding on integers."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")

    def forward(self, *parts: Tensor) -> Tensor:
        if self.wants_integers(*parts):
            return self.run(AddInteger(self.activation), *parts)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


class Concat(Module):
    """Concatenation along the channels.

    Parameters
    ----------
    recipe : Recipe, optional
    rounded : bool, optional
        On integers: True brings all parts to one exponent, each entry rounded once; False joins parts of one format as
        they are. By default False where the recipe's activations are signs, which rounding to another format would
        make useless to an exact product, and True elsewhere.

    Raises
    ------
    ValueError
        In ``forward``, if parts that are not to be rounded differ in format.

    Notes
    -----
    Bit-exactness: clause LAY-10.
    """

    activation: Quantizer | None = None

    def __init__(self, recipe: Recipe | None = None, *, rounded: bool | None = None) -> None:
        super().__init__(recipe)
        if rounded is None:
            rounded = self.recipe.activation_layer != "sign"
        if self.recipe.is_integer and rounded:
            self.activation = self.recipe.site("activation")

    def forward(self, *parts: Tensor) -> Tensor:
        return self.run(ConcatInteger(self.activation) if self.wants_integers(*parts) else ConcatFloat(), *parts)


class PadShortcut(Module):
    """Identity shortcut that halves the picture and adds zero channels (option A of the ResNet paper)."""

    def __init__(self, stride: int, channels: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.stride, self.channels = stride, channels

    def forward(self, x: Tensor) -> Tensor:
        return self.run(Shortcut(self.stride, self.channels), x)


def reshape(module: Module, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshape as part of a module, in float32 or integers."""
    return module.run(ReshapeInteger(shape), x) if x.is_integer else x.reshape(shape)


__all__ = ["Add", "Concat", "Flatten", "PadShortcut", "reshape"]
