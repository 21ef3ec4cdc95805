"""Networks as data: steps say what a net is made of, and this file makes their modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qnn import nn
from qnn.models.ends import behind_averages, closing
from qnn.numerics import conv_output_hw
from qnn.recipes import Recipe
from qnn.tensor import Tensor

Pair = tuple[int, int]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Conv:
    """Convolution without bias, normalisation, activation.

    Parameters
    ----------
    channels : int
        Of the output.
    kernel : int, (height, width) or None
        None is as large as the picture that is left: a fully connected layer in the form of a convolution.
    stride : int
    padding : int, (vertical, horizontal) or None
        None keeps the size at stride 1; with a kernel of None there is no padding.
    """

    channels: int
    kernel: int | Pair | None
    stride: int = 1
    padding: int | Pair | None = None


@dataclass(frozen=True)
class Pool:
    """Pooling; ``kind`` is ``max``, or ``mean`` over the real pixels of a window."""

    kind: str
    kernel: int
    stride: int
    padding: int = 0


@dataclass(frozen=True)
class Split:
    """Branches that begin with the same input and whose channels are joined."""

    branches: tuple[tuple[Step, ...], ...]


Step = Conv | Pool | Split
Stages = dict[str, tuple[Step, ...]]


def unit(
    inputs: int,
    outputs: int,
    kernel: int | Pair,
    stride: int = 1,
    padding: int | Pair | None = None,
    *,
    recipe: Recipe,
    weights: Recipe | None = None,
) -> list[nn.Module]:
    """Convolution without bias, normalisation and activation, as the recipe has them.

    Parameters
    ----------
    inputs, outputs, kernel, stride, padding
        As in :class:`Conv`.
    recipe : Recipe
        Of normalisation and activation, and of the convolution unless ``weights`` is given.
    weights : Recipe, optional
        Of the convolution, where it is a first layer.
    """
    around = _same(kernel) if padding is None else padding
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, around, bias=False, recipe=weights or recipe),
        nn.normalization(outputs, recipe),
        nn.activation(recipe),
    ]


def classifier(inputs: int, classes: int, recipe: Recipe) -> list[nn.Module]:
    """The last fully connected layer, behind the mean over all pixels; normalised where the recipe says so."""
    last = behind_averages(recipe.last_layer())
    return [nn.Linear(inputs, classes, recipe=last, init="glorot"), *closing(classes, recipe)]


class Branches(nn.Module):
    """What a :class:`Split` becomes: every branch runs on the input, and the results are joined along the channels."""

    def __init__(self, branches: Sequence[nn.Module], recipe: Recipe) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.branches = list(branches)
        self.concat = nn.Concat(recipe)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.concat(*(branch(x) for branch in self.branches))
        return out


class StagedNet(nn.Module):
    """Stages of steps one after the other, then a head.

    Parameters
    ----------
    name : str
        For messages.
    stages : dict of str to steps
        The first step of the first stage is a convolution: the first layer of the recipe.
    shape : (height, width, channels)
        Of the pictures.
    recipe : Recipe
    front : Module
        Turns images into a tensor.

    Attributes
    ----------
    stage_names : tuple of str
        Names of the modules in ``stages``.
    output_shape : (height, width, channels)
        Of the last stage.

    Raises
    ------
    ValueError
        If a window is larger than the picture that is left for it.
    """

    def __init__(self, name: str, stages: Stages, shape: Shape, recipe: Recipe, front: nn.Module) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.front = front
        self.stage_names = tuple(stages)
        self.stages = []
        weights = recipe.first_layer()
        size = shape
        for stage, steps in stages.items():
            try:
                module, size = _chain(steps, size, recipe, weights)
            except _TooSmallError as error:
                raise ValueError(
                    f"got pictures of {shape[0]}x{shape[1]} for {name}, of which {error} are left before {stage}; take "
                    "larger pictures, or a network for small ones such as resnet20"
                ) from error
            self.stages.append(module)
            weights = recipe
        self.output_shape = size
        self.head: nn.Module = nn.Sequential(recipe=recipe)

    def forward(self, images: object) -> Tensor:
        x = self.front(images)
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.head(x)
        return out


class _TooSmallError(ValueError):
    """A picture is smaller than a window; the message is its size."""


def _chain(steps: Sequence[Step], size: Shape, recipe: Recipe, weights: Recipe) -> tuple[nn.Module, Shape]:
    """Modules of steps one after the other, and the shape they give; ``weights`` is the recipe of the first."""
    layers: list[nn.Module] = []
    for step in steps:
        added, size = _step(step, size, recipe, weights)
        layers += added
        weights = recipe
    return nn.Sequential(*layers, recipe=recipe), size


def _step(step: Step, size: Shape, recipe: Recipe, weights: Recipe) -> tuple[list[nn.Module], Shape]:
    if isinstance(step, Split):
        made = [_chain(branch, size, recipe, recipe) for branch in step.branches]
        shapes = [shape for _, shape in made]
        joined = (*shapes[0][:2], sum(shape[2] for shape in shapes))
        return [Branches([module for module, _ in made], recipe)], joined
    if isinstance(step, Pool):
        left = _left(size, (step.kernel, step.kernel), step.stride, (step.padding, step.padding))
        if step.kind == "max":
            return [nn.MaxPool2d(step.kernel, step.stride, step.padding, recipe)], (*left, size[2])
        mean = nn.AveragePool2d(step.kernel, step.stride, step.padding, recipe, count_padding=False)
        return [mean], (*left, size[2])
    kernel = _pair(step.kernel or size[:2])
    padding = (0, 0) if step.kernel is None else _same(kernel) if step.padding is None else _pair(step.padding)
    left = _left(size, kernel, step.stride, padding)
    layers = unit(size[2], step.channels, kernel, step.stride, padding, recipe=recipe, weights=weights)
    return layers, (*left, step.channels)


def _left(size: Shape, kernel: Pair, stride: int, padding: Pair) -> Pair:
    """Height and width after a window has gone over the picture."""
    if any(side + 2 * around < window for side, window, around in zip(size, kernel, padding, strict=False)):
        raise _TooSmallError(f"{size[0]}x{size[1]}")
    height, width = conv_output_hw(size[:2], kernel, (stride, stride), padding)
    return height, width


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def _same(kernel: int | Pair) -> Pair:
    """The padding that keeps the size at stride 1, of an odd kernel."""
    height, width = _pair(kernel)
    return height // 2, width // 2


__all__ = ["Branches", "Conv", "Pool", "Split", "StagedNet", "Stages", "Step", "classifier", "unit"]
