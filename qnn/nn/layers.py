"""Layers: each picks the float or the integer form of its operation by its recipe, and owns its quantisation sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.nn.module import Module
from qnn.numerics import (
    DFP,
    INIT_STREAM,
    dropout_kept,
    dropout_mask,
    glorot_bound,
    kaiming_bound,
    running_update,
    uniform,
)
from qnn.ops.activation import HardtanhFloat, HardtanhInteger, ReluFloat, ReluInteger
from qnn.ops.batchnorm import NormalizeFloat, NormalizeInteger
from qnn.ops.combine import AddInteger, ConcatFloat, ConcatInteger
from qnn.ops.conv import Conv2dFloat, Conv2dInteger, Pair, Window, as_pair
from qnn.ops.convert import Dequantize as DequantizeOperation
from qnn.ops.convert import ImageTable
from qnn.ops.convert import Quantize as QuantizeOperation
from qnn.ops.dropout import DropoutFloat, DropoutInteger
from qnn.ops.linear import LinearFloat, LinearInteger
from qnn.ops.pooling import AveragePoolFloat, AveragePoolInteger, MaxPoolFloat, MaxPoolInteger
from qnn.ops.scale import ScaleFloat, ScaleInteger
from qnn.ops.shape import ReshapeInteger, Shortcut
from qnn.quantizer import Clock
from qnn.recipes import Recipe
from qnn.tensor import Parameter, Tensor

PairLike = int | Sequence[int]


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
    Bit-exactness: clause LAY-1; float32 operations in stated order, then one rounding.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.table = ImageTable(tuple(mean), tuple(std))
        self.gradient_sum = None
        if self.recipe.is_integer:
            self.input = self.recipe.site("input")
            self.integers: DFP = self.input.quantize(self.table.values)
            self.input.forget_step()

    def forward(self, images: Any) -> Tensor:
        if isinstance(images, Tensor):
            raise TypeError(
                "got a Tensor as images; ImageInput takes a uint8 array [N, H, W, C]: leave it out when the input "
                "is a Tensor"
            )
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
        return x if x.is_integer else self.run(QuantizeOperation(self.input), x)


class Dequantize(Module):
    """Integers to float32, on purpose; the gradient is quantised on the way back."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.gradient = recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        return self.run(DequantizeOperation(self.gradient), x) if x.is_integer else x


class _Weighted(Module):
    """What conv and linear share: master weights, their integer copies, and the sites of both directions."""

    weight: Parameter
    bias: Parameter | None

    def _make(self, shape: tuple[int, ...], bias: bool, init: str) -> None:
        if init not in ("kaiming", "glorot"):
            raise ValueError(f"got init={init!r}; allowed are 'kaiming' (before relu) and 'glorot' (a last layer)")
        fan_in, fan_out = int(np.prod(shape[1:])), shape[0] * int(np.prod(shape[1:-1]))
        bound = kaiming_bound(fan_in) if init == "kaiming" else glorot_bound(fan_in, fan_out)
        self.weight = Parameter(uniform(0, INIT_STREAM, shape, bound), initial=bound)
        self.bias = Parameter(np.zeros(shape[0], np.float32), decay=False) if bias else None
        if self.recipe.is_integer:
            self.weight_site = self.recipe.site("weight")
            if bias:
                self.bias_site = self.recipe.site("bias")
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def _integers(self, x: Tensor) -> tuple[DFP, DFP | None]:
        """Integer copies of weight and bias; the bias is not finer than the accumulator."""
        assert isinstance(x.data, DFP)
        weight = self.weight_site.parameter(self.weight)
        if self.bias is None:
            return weight, None
        return weight, self.bias_site.parameter(self.bias, at_least=x.data.exponent + weight.exponent)

    def _masters(self) -> list[Tensor]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]


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
    Bit-exactness: clauses MAC, REQ.
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
            operation = LinearInteger(*self._integers(x), self.activation, self.gradient)
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
    Padding is with the value 0. Bit-exactness: clauses MAC, REQ.
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
            operation = Conv2dInteger(self.window, *self._integers(x), self.activation, self.gradient)
            return self.run(operation, x, *self._masters())
        return self.run(Conv2dFloat(self.window), x, *self._masters())


class Normalize(Module):
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
    Training uses the batch's biased variance, evaluation the running statistics. Bit-exactness: clauses BN; exact
    integer sums.
    """

    def __init__(self, channels: int, momentum: float = 0.9, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        if not 0.0 <= momentum < 1.0 or not eps > 0:
            raise ValueError(f"got momentum={momentum} and eps={eps}; allowed are 0 <= momentum < 1 and eps > 0")
        self.momentum, self.eps = float(momentum), float(eps)
        self.running_mean: NDArray[np.float32]
        self.running_var: NDArray[np.float32]
        self.register_buffer("running_mean", np.zeros(channels, np.float32))
        self.register_buffer("running_var", np.ones(channels, np.float32))
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != self.running_mean.shape:
            raise ValueError(
                f"got shape {x.shape} for {self.label} of {len(self.running_mean)} channels; channels are the last "
                f"axis (NHWC)"
            )
        frozen = None if self.training else (self.running_mean, self.running_var)
        operation: NormalizeFloat | NormalizeInteger
        if self.wants_integers(x):
            operation = NormalizeInteger(self.eps, self.activation, self.gradient, frozen)
        else:
            operation = NormalizeFloat(self.eps, frozen)
        out = self.run(operation, x)
        if self.training:
            self.running_mean = running_update(self.running_mean, operation.mean, self.momentum)
            self.running_var = running_update(self.running_var, operation.var, self.momentum)
        return out


class Scale(Module):
    """One factor and one shift per channel (Caffe's Scale layer), trained."""

    def __init__(self, channels: int, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.gamma = Parameter(np.ones(channels, np.float32), decay=False)
        self.beta = Parameter(np.zeros(channels, np.float32), decay=False)
        if self.recipe.is_integer:
            self.weight_site = self.recipe.site("weight")
            self.bias_site = self.recipe.site("bias")
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        if self.wants_integers(x):
            assert isinstance(x.data, DFP)
            gamma = self.weight_site.parameter(self.gamma)
            beta = self.bias_site.parameter(self.beta, at_least=x.data.exponent + gamma.exponent)
            return self.run(ScaleInteger(gamma, beta, self.activation, self.gradient), x, self.gamma, self.beta)
        return self.run(ScaleFloat(), x, self.gamma, self.beta)


class BatchNorm(Module):
    """Batch normalisation with scale and shift: :class:`Normalize`, then :class:`Scale`, each with 8-bit input and "
    "output."""

    def __init__(self, channels: int, momentum: float = 0.9, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.normalize = Normalize(channels, momentum, eps, recipe)
        self.scale = Scale(channels, recipe)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scale(self.normalize(x))
        return out


class Relu(Module):
    """max(x, 0); exact on integers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(ReluInteger() if self.wants_integers(x) else ReluFloat(), x)


class Hardtanh(Module):
    """min(max(x, -1), 1); exact on integers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(HardtanhInteger() if self.wants_integers(x) else HardtanhFloat(), x)


class Dropout(Module):
    """Zero elements at rate p and scale the rest by 1/(1-p), in training; the mask is addressed noise (clause LAY-4).

    Parameters
    ----------
    p : float
        0 <= p < 1; taken to a multiple of 1/65536.
    recipe : Recipe, optional
    """

    def __init__(self, p: float = 0.5, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.kept = dropout_kept(p)
        self.used = (-1, 0)
        self.clock: Clock | None = None
        self.stream: int | None = None
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        integer = self.wants_integers(x)
        if not self.training or self.kept == 65536:
            return x
        if self.clock is None or self.stream is None:
            raise RuntimeError(
                f"{self.label} has no noise stream yet: call run = qnn.nn.prepare(model, criterion, seed=...) before "
                f"the first step"
            )
        step = self.clock.step
        start = self.used[1] if self.used[0] == step else 0
        keep = dropout_mask(self.clock.seed, self.stream, step, start, x.shape, self.kept)
        self.used = (step, start + x.size)
        if integer:
            return self.run(DropoutInteger(keep, self.kept, self.activation, self.gradient), x)
        return self.run(DropoutFloat(keep, self.kept), x)


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
    """Mean of each window, padding counted as zeros; one rounding on integers."""

    def __init__(
        self, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0, recipe: Recipe | None = None
    ) -> None:
        super().__init__(kernel, stride, padding, recipe)
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")

    def forward(self, x: Tensor) -> Tensor:
        return self._average(x, self.kernel, self.stride, self.padding)

    def _average(self, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        if self.wants_integers(x):
            return self.run(AveragePoolInteger(kernel, stride, padding, self.activation, self.gradient), x)
        return self.run(AveragePoolFloat(kernel, stride, padding), x)


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
    """Concatenation along the channels; on integers all parts come to one exponent, each entry rounded once."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        if self.recipe.is_integer:
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


__all__ = [
    "Add",
    "AveragePool2d",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "Dequantize",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "Hardtanh",
    "ImageInput",
    "Linear",
    "MaxPool2d",
    "Normalize",
    "PadShortcut",
    "Quantize",
    "Relu",
    "Scale",
]
