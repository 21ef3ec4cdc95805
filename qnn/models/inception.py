"""GoogLeNet and Inception-v3: networks of modules with parallel branches."""

from __future__ import annotations

from qnn import nn
from qnn.models.ends import without_signs
from qnn.models.layout import Conv, Pool, Shape, Split, StagedNet, Stages, classifier
from qnn.recipes import Recipe

Steps = tuple[Conv | Pool | Split, ...]


class _Inception(StagedNet):
    """The head of both: mean over all pixels, dropout, one fully connected layer."""

    def __init__(
        self,
        name: str,
        stages: Stages,
        dropout: float,
        shape: Shape,
        classes: int,
        recipe: Recipe,
        front: nn.Module,
    ) -> None:
        super().__init__(name, stages, shape, recipe, front)
        self.head = nn.Sequential(
            nn.GlobalAveragePool(recipe),
            nn.Dropout(dropout, recipe),
            *classifier(self.output_shape[2], classes, recipe),
        )


# --- GoogLeNet -------------------------------------------------------------------------------------------------------
def _module(one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> Steps:
    """One row of the paper's Table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj."""
    return (
        Split(
            (
                (Conv(one, 1),),
                (Conv(reduce3, 1), Conv(three, 3)),
                (Conv(reduce5, 1), Conv(five, 5)),
                (Pool("max", 3, 1, 1), Conv(pooled, 1)),
            )
        ),
    )


GOOGLENET: Stages = {
    "conv1": (Conv(64, 7, 2),),
    "pool1": (Pool("max", 3, 2, 1),),
    "conv2": (Conv(64, 1), Conv(192, 3)),
    "pool2": (Pool("max", 3, 2, 1),),
    "3a": _module(64, 96, 128, 16, 32, 32),
    "3b": _module(128, 128, 192, 32, 96, 64),
    "pool3": (Pool("max", 3, 2, 1),),
    "4a": _module(192, 96, 208, 16, 48, 64),
    "4b": _module(160, 112, 224, 24, 64, 64),
    "4c": _module(128, 128, 256, 24, 64, 64),
    "4d": _module(112, 144, 288, 32, 64, 64),
    "4e": _module(256, 160, 320, 32, 128, 128),
    "pool4": (Pool("max", 3, 2, 1),),
    "5a": _module(256, 160, 320, 32, 128, 128),
    "5b": _module(384, 192, 384, 48, 128, 128),
}
"""Table 1 of the paper."""


class GoogLeNet(_Inception):
    """Nine modules of 1x1, 3x3, 5x5 convolutions and pooling side by side, 22 layers with weights.

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; 224x224x3 in the paper, any size that leaves a pixel works.
    classes : int
    recipe, front
        As in the other models.

    Notes
    -----
    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, Table 1; used by the QNN paper (section on
    ImageNet). With 1000 classes on 224x224x3: 5,966,272 weights of convolutions and 1,024,000 of the last layer, as
    in the table; 7,005,832 parameters with its bias and the normalisations; 1.58 G multiply-adds.

    Readings: normalisation follows every convolution and takes the place of the biases and of the two local response
    normalisations, since weights and activations of few bits need it. The auxiliary classifiers are left out.
    Poolings at stride 2 have a padding of 1, which gives the table's sizes. With signs for activations, maxima are
    taken of signs, branches are joined as they are, and the last layer takes the means over all pixels with 8 bits,
    its weights still signs, its products rounded like those of the first layer.
    """

    def __init__(self, shape: Shape, classes: int, recipe: Recipe, front: nn.Module) -> None:
        super().__init__("googlenet", GOOGLENET, 0.4, shape, classes, recipe, front)


# --- Inception-v3 ----------------------------------------------------------------------------------------------------
def _grid35(pooled: int) -> Steps:
    """At 35x35: 5x5 as two 3x3 (figure 5)."""
    return (
        Split(
            (
                (Conv(64, 1),),
                (Conv(48, 1), Conv(64, 5)),
                (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
                (Pool("mean", 3, 1, 1), Conv(pooled, 1)),
            )
        ),
    )


def _grid17(width: int) -> Steps:
    """At 17x17: 7x7 as 1x7 and 7x1 (figure 6)."""
    flat, tall = (1, 7), (7, 1)
    return (
        Split(
            (
                (Conv(192, 1),),
                (Conv(width, 1), Conv(width, flat), Conv(192, tall)),
                (Conv(width, 1), Conv(width, tall), Conv(width, flat), Conv(width, tall), Conv(192, flat)),
                (Pool("mean", 3, 1, 1), Conv(192, 1)),
            )
        ),
    )


def _grid8() -> Steps:
    """At 8x8: 3x3 as 1x3 beside 3x1 (figure 7)."""
    both = Split(((Conv(384, (1, 3)),), (Conv(384, (3, 1)),)))
    return (
        Split(
            (
                (Conv(320, 1),),
                (Conv(384, 1), both),
                (Conv(448, 1), Conv(384, 3), both),
                (Pool("mean", 3, 1, 1), Conv(192, 1)),
            )
        ),
    )


INCEPTION_V3: Stages = {
    "conv1": (Conv(32, 3, 2, 0),),
    "conv2": (Conv(32, 3, 1, 0),),
    "conv3": (Conv(64, 3),),
    "pool1": (Pool("max", 3, 2),),
    "conv4": (Conv(80, 1),),
    "conv5": (Conv(192, 3, 1, 0),),
    "pool2": (Pool("max", 3, 2),),
    "5b": _grid35(32),
    "5c": _grid35(64),
    "5d": _grid35(64),
    "6a": (
        Split(
            ((Conv(384, 3, 2, 0),), (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2, 0)), (Pool("max", 3, 2),)),
        ),
    ),
    "6b": _grid17(128),
    "6c": _grid17(160),
    "6d": _grid17(160),
    "6e": _grid17(192),
    "7a": (
        Split(
            (
                (Conv(192, 1), Conv(320, 3, 2, 0)),
                (Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2, 0)),
                (Pool("max", 3, 2),),
            )
        ),
    ),
    "7b": _grid8(),
    "7c": _grid8(),
}
"""The network as its authors released it, by their names of the modules."""


class InceptionV3(_Inception):
    """Factorised convolutions: 5x5 as two 3x3, 7x7 as 1x7 and 7x1, 3x3 as 1x3 beside 3x1.

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; 299x299x3 in the paper, 75x75 at least.
    classes : int
    recipe, front
        As in the other models.

    Notes
    -----
    Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016; used by Su et al.
    2020. With 1000 classes: 23,834,568 parameters, 5.71 G multiply-adds.

    Readings: Table 1 of the paper and the network that its authors released differ in the stem and in the number of
    modules (3, 5 and 2 there include the reductions); the released one is taken, for its number of parameters is the
    one in use. The auxiliary head is left out. Means of 3x3 count real pixels only, as in the authors' framework.

    Raises
    ------
    ValueError
        For recipes of exact products of signs: convolutions take the means of 3x3, which are no signs.
    """

    def __init__(self, shape: Shape, classes: int, recipe: Recipe, front: nn.Module) -> None:
        without_signs(recipe, "inception-v3, whose convolutions take averages, and they are no signs", "googlenet")
        super().__init__("inception-v3", INCEPTION_V3, 0.2, shape, classes, recipe, front)


__all__ = ["GoogLeNet", "InceptionV3"]
