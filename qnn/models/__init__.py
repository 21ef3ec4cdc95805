"""Models by name, for the data sets of the papers; the same code for every recipe."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from qnn import nn
from qnn.errors import ConfigError
from qnn.models.alexnet import AlexNet, PlainAlexNet
from qnn.models.bnn import BinaryConvNet, BinaryMLP
from qnn.models.densenet import DenseNet
from qnn.models.inception import GoogLeNet, InceptionV3
from qnn.models.lenet import DigitsCNN, LeNet5
from qnn.models.mlp import MLP
from qnn.models.resnet import IMAGENET, BasicBlock, Bottleneck, Plan, ResNet
from qnn.models.tbq import TBQNN
from qnn.recipes import Recipe, parse

Shape = tuple[int, int, int]
_Builder = Callable[[Shape, int, Recipe, nn.Module], nn.Module]


def _resnet(plan: int | Plan) -> _Builder:
    return lambda shape, classes, recipe, front: ResNet(plan, shape, classes, recipe, front)


_BUILDERS: dict[str, _Builder] = {
    "mlp": lambda shape, classes, recipe, front: MLP(shape[0] * shape[1] * shape[2], classes, recipe, front),
    "bnn-mlp": lambda shape, classes, recipe, front: BinaryMLP(shape[0] * shape[1] * shape[2], classes, recipe, front),
    "bnn-mlp-2048": lambda shape, classes, recipe, front: BinaryMLP(
        shape[0] * shape[1] * shape[2], classes, recipe, front, (2048, 2048, 2048)
    ),
    "bnn-convnet": BinaryConvNet,
    "bnn-convnet-svhn": lambda shape, classes, recipe, front: BinaryConvNet(
        shape, classes, recipe, front, (64, 128, 256)
    ),
    "lenet5": LeNet5,
    "alexnet-cifar": PlainAlexNet,
    "digits-cnn": DigitsCNN,
    **{f"resnet{6 * n + 2}": _resnet(n) for n in (3, 5, 7, 9, 18)},
    "tbq-nn": TBQNN,
    "densenet100": DenseNet,
    "alexnet": AlexNet,
    "googlenet": GoogLeNet,
    **{f"resnet{depth}": _resnet(plan) for depth, plan in IMAGENET.items()},
    "inception-v3": InceptionV3,
}

_SIDES = {"alexnet": 224, "googlenet": 224, "resnet18": 224, "resnet50": 224, "inception-v3": 299}


def names() -> list[str]:
    """Models that :func:`build` knows."""
    return list(_BUILDERS)


def picture_side(name: str) -> int | None:
    """Side of the pictures that an ImageNet model was published for; None for a model of small pictures."""
    return _SIDES.get(name)


def build(
    name: str,
    *,
    recipe: Recipe | str,
    input_shape: Sequence[int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
) -> nn.Module:
    """Build a model that takes uint8 images [N, H, W, C] and gives outputs [N, classes].

    Parameters
    ----------
    name : str
        One of :func:`names`.
    recipe : Recipe or str
        Formats and rounding rules.
    input_shape : (height, width, channels)
    classes : int
        At least 2.
    mean, std : sequence of float
        Per channel, for pixel/255: the input table's constants, part of the model.
    seed : int
        Of the initial weights.

    Raises
    ------
    qnn.errors.ConfigError
        Unknown name (the nearest is suggested) or a shape the model cannot take.
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, _BUILDERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"got model {name!r}; known are {', '.join(_BUILDERS)}{hint}")
    shape = tuple(int(v) for v in input_shape)
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(
            f"got input_shape={tuple(input_shape)}; allowed is (height, width, channels), each at least 1"
        )
    if classes < 2:
        raise ConfigError(f"got classes={classes}; allowed are 2 and more: check the labels of the data")
    if len(mean) != shape[2] or len(std) != shape[2]:
        raise ConfigError(
            f"got {len(mean)} means and {len(std)} stds for {shape[2]} channels; give one of each per channel"
        )
    chosen = parse(recipe)
    try:
        model = _BUILDERS[name](shape, classes, chosen, nn.ImageInput(mean, std, chosen))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    nn.initialize(model, seed=seed)
    model.assign_names()
    return model


__all__ = [
    "MLP",
    "TBQNN",
    "AlexNet",
    "BasicBlock",
    "BinaryConvNet",
    "BinaryMLP",
    "Bottleneck",
    "DenseNet",
    "DigitsCNN",
    "GoogLeNet",
    "InceptionV3",
    "LeNet5",
    "PlainAlexNet",
    "Plan",
    "ResNet",
    "build",
    "names",
    "picture_side",
]
