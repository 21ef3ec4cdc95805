"""Into integers and out of them: images, float tensors, and back to float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qnn.nn.module import Module, refuse_empty
from qnn.numerics import DFP, Rounding
from qnn.ops.convert import Dequantize as DequantizeOperation
from qnn.ops.convert import ImageTable
from qnn.ops.convert import Quantize as QuantizeOperation
from qnn.recipes import Recipe
from qnn.tensor import Tensor


class ImageInput(Module):
    """First layer: uint8 images [N, H, W, C] become network input through a 256-entry table per channel.

    Parameters
    ----------
    mean, std : sequence of float
        Per channel, for pixel/255.
    recipe : Recipe

    Notes
    -----
    The table's exponent is the smallest one without overflow over all 256 pixel values, so it depends on no batch.
    It is made once for all steps: where the input format is STOCHASTIC, the table is rounded by NEAREST_DOWN.
    Bit-exactness: clause LAY-1; float32 operations in stated order, then one rounding.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.table = ImageTable(tuple(mean), tuple(std))
        self.gradient_sum = None
        if self.recipe.is_integer:
            self.input = self.recipe.site("input")
            if self.input.rounding == Rounding.STOCHASTIC:
                self.input.format = replace(self.input.format, rounding=Rounding.NEAREST_DOWN)
            self.integers: DFP = self.input.quantize(self.table.values)
            if self.recipe.unit_input:
                self.integers = DFP(self.integers.ints, 1 - self.integers.bits, self.integers.bits)
            self.input.forget_step()

    def forward(self, images: Any) -> Tensor:
        if isinstance(images, Tensor):
            raise TypeError(
                "got a Tensor as images; ImageInput takes a uint8 array [N, H, W, C]: leave it out when the input "
                "is a Tensor"
            )
        refuse_empty(self.label, images)
        if self.recipe.is_integer:
            codes = self.table.look_up(np.asarray(images), self.integers.ints)
            return Tensor(DFP(codes, self.integers.exponent, self.integers.bits), strict=self.recipe.strict)
        return Tensor(self.table.look_up(np.asarray(images), self.table.values))


class Quantize(Module):
    """float32 tensor to integers at an input site: the way into an integer net for data that is not images."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.input = recipe.site("input")

    def forward(self, x: Tensor) -> Tensor:
        refuse_empty(self.label, x)
        return x if x.is_integer else self.run(QuantizeOperation(self.input), x)


class Dequantize(Module):
    """Integers to float32, on purpose; the gradient is quantised on the way back."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.gradient = recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        return self.run(DequantizeOperation(self.gradient), x) if x.is_integer else x


__all__ = ["Dequantize", "ImageInput", "Quantize"]
