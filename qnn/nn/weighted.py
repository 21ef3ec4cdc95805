"""Layers with weights, fully connected and convolution: master weights, integer copies, sites of both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qnn.nn.initialize import draw
from qnn.nn.module import Module
from qnn.numerics import (
    DFP,
    INIT_STREAM,
    glorot_bound,
    kaiming_bound,
)
from qnn.numerics.arguments import whole
from qnn.ops.conv import Conv2dFloat, Conv2dInteger, Window, as_pair
from qnn.ops.linear import LinearFloat, LinearInteger
from qnn.ops.shape import PadInteger
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Parameter, Tensor
from qnn.updates import BoundUpdate
from qnn.weights import BoundRule

PairLike = int | Sequence[int]


class _Weighted(Module):
    """What conv and linear share: master weights, their integer copies, and the sites of both directions."""

    weight: Parameter
    bias: Parameter | None
    rule: BoundRule | None = None
    split: Quantizer | None = None
    samples: Quantizer | None = None

    def _make(self, shape: tuple[int, ...], bias: bool, init: str) -> None:
        if init not in ("kaiming", "glorot"):
            raise ValueError(f"got init={init!r}; allowed are 'kaiming' (before relu) and 'glorot' (a last layer)")
        if any((whole(size) or 0) < 1 for size in shape):
            raise ValueError(
                f"got weights of shape {shape} for {type(self).__name__}; each size is a whole number of at least 1: "
                "correct the numbers of inputs and outputs"
            )
        fan_in, fan_out = int(np.prod(shape[1:])), shape[0] * int(np.prod(shape[1:-1]))
        bound = kaiming_bound(fan_in) if init == "kaiming" else glorot_bound(fan_in, fan_out)
        update = self.recipe.update
        if update is not None:
            self.recipe, bound = update.layer(self.recipe, fan_in, fan_out)
        rule = self.recipe.rule
        if rule is not None:
            rule.check(fan_in, self.recipe.product)
            bound = rule.bound(bound)
        first = draw(0, INIT_STREAM, shape, bound)
        self.weight = Parameter(first if update is None else update.first(first), initial=bound)
        bias = bias and self.recipe.biases
        self.bias = Parameter(np.zeros(shape[0], np.float32), decay=False) if bias else None
        if self.recipe.is_integer:
            self.weight_site = self.recipe.site("weight")
            if rule is not None:
                self.weight.rule = self.rule = rule.bind(self.weight, self.weight_site)
                self.weight.limit, self.weight.rate = rule.limit, rule.rate(fan_in, fan_out)
                if self.rule.second is not None:
                    self.second = self.rule.second
            if update is not None:
                self.weight.update = BoundUpdate(update, self.weight_site)
            if bias:
                self.bias_site = self.recipe.site("bias")
            self.activation = self.recipe.product_site()
            self.gradient = self.recipe.returned_site()
            if self.recipe.split is not None:
                self.split = self.recipe.split.site("gradient")
            if self.recipe.samples is not None:
                self.samples = self.recipe.samples.site("gradient")
            assert self.recipe.gradient is not None
            self.incoming_bits = self.recipe.gradient.bits

    def _integers(self, x: Tensor) -> tuple[DFP, DFP | None]:
        """Integer copies of weight and bias; the bias is not finer than the accumulator."""
        assert isinstance(x.data, DFP)
        if isinstance(self.weight.data, DFP):
            return self.weight.data, None
        weight = self.weight_site.parameter(self.weight, view=None if self.rule is None else self.rule.view)
        product = self.recipe.product
        signs = self.recipe.activation_layer == "sign"  # other recipes round their products to the grid
        if signs and self.rule is not None and product is not None and product.exponent is not None:
            _check_exact(x.data, weight, product.exponent, self.label, self.recipe.name)
        if self.bias is None:
            return weight, None
        return weight, self.bias_site.parameter(self.bias, at_least=x.data.exponent + weight.exponent)

    def _masters(self) -> list[Tensor]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]


def _check_exact(x: DFP, weight: DFP, exponent: int, label: str, recipe: str) -> None:
    """Refuse an input whose products with the weights are not on the grid of the recipe's products (clause BIT-6)."""
    if x.exponent + weight.exponent != exponent or x.bits != 2:
        raise ValueError(
            f"got int{x.bits} at exponent {x.exponent} as input of {label}; the exact products of recipe {recipe!r} "
            "take signs (int2 at exponent 0): put the recipe's activation before it, or give the layer "
            "recipe.first_layer()"
        )


class Linear(_Weighted):
    """Fully connected layer, y = x W^T + b.

    Parameters
    ----------
    inputs, outputs : int
    bias : bool
    recipe : Recipe, optional
    init : {"kaiming", "glorot"}
        Bound of the initial weights: for a layer before relu, or a last layer (clause INI-2).

    Notes
    -----
    Shapes: [N, inputs] to [N, outputs]; weight [outputs, inputs] float32 master.
    Bit-exactness: clauses MAC-3, REQ-1, REQ-6 and LAY-9.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        recipe: Recipe | None = None,
        *,
        init: str = "kaiming",
    ) -> None:
        super().__init__(recipe)
        self._make((outputs, inputs), bias, init)

    def forward(self, x: Tensor) -> Tensor:
        if self.wants_integers(x):
            operation = LinearInteger(*self._integers(x), self.activation, self.gradient, self.incoming_bits)
            operation.split, operation.samples = self.split, self.samples
            return self.run(operation, x, *self._masters())
        return self.run(LinearFloat(), x, *self._masters())


class Conv2d(_Weighted):
    """Two-dimensional convolution on NHWC with weights [O, KH, KW, C/groups].

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel, stride, padding, dilation : int or (height, width)
    groups : int
        ``groups == inputs`` is a depthwise convolution.
    bias : bool
    recipe, init
        As in :class:`Linear`.

    Notes
    -----
    Padding is with the value 0, or with the recipe's. Bit-exactness: clauses MAC-4 to MAC-6, REQ-1, REQ-6 and LAY-9.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: PairLike,
        stride: PairLike = 1,
        padding: PairLike = 0,
        dilation: PairLike = 1,
        groups: int = 1,
        bias: bool = True,
        recipe: Recipe | None = None,
        *,
        init: str = "kaiming",
    ) -> None:
        super().__init__(recipe)
        if groups < 1 or inputs % groups or outputs % groups:
            raise ValueError(f"got groups={groups} for {inputs} and {outputs} channels; groups must divide both")
        size = as_pair(kernel, "kernel", 1)
        self.window = Window(
            as_pair(stride, "stride", 1), as_pair(padding, "padding", 0), as_pair(dilation, "dilation", 1), groups
        )
        self._make((outputs, *size, inputs // groups), bias, init)

    def forward(self, x: Tensor) -> Tensor:
        if self.wants_integers(x):
            window = self.window
            if self.recipe.padding and window.padding != (0, 0):
                x = self.run(PadInteger(window.padding, self.recipe.padding), x)
                window = replace(window, padding=(0, 0))
            operation = Conv2dInteger(window, *self._integers(x), self.activation, self.gradient, self.incoming_bits)
            operation.split, operation.samples = self.split, self.samples
            return self.run(operation, x, *self._masters())
        return self.run(Conv2dFloat(self.window), x, *self._masters())


__all__ = ["Conv2d", "Linear"]
