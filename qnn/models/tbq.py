"""T-BQ-NN, the network of the n-BQ-NN paper for small pictures."""

from __future__ import annotations

from qnn import nn
from qnn.models.layout import Conv, Pool, Shape, StagedNet, Stages
from qnn.recipes import Recipe

STAGES: Stages = {
    "conv1": (Conv(128, 3), Conv(128, 3), Conv(128, 3)),
    "pool1": (Pool("max", 2, 2),),
    "conv2": (Conv(256, 3), Conv(256, 3), Conv(256, 3)),
    "pool2": (Pool("max", 2, 2),),
    "conv3": (Conv(512, 3), Conv(1024, 1)),
}
"""Table I of the paper, without its last convolution."""


class TBQNN(StagedNet):
    """Convolutions only: three of 128 and three of 256 channels, 512, 1024, one per class, mean over all pixels.

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; 32x32x3 in the paper, 4x4 at least.
    classes : int
    recipe : Recipe
    front : Module
        Turns images into a tensor.

    Notes
    -----
    Source: Chen, Liu, Liu, Zeng, IEEE TNNLS 2020, Table I. Every convolution has no bias and is followed by
    normalisation; all keep the size. With 10 classes on 32x32x3: 3,487,104 weights, 3,492,500 parameters with factor
    and shift of the normalisations, 0.79 G multiply-adds.

    The table names neither the pooling nor the nonlinearity. Read here: both 2x2 poolings take the maximum (as in the
    BNN network whose shape it follows, and the authors' AlexNet), the last one over 8x8 is the mean, the nonlinearity
    is the recipe's (relu in the authors' AlexNet), and none follows the last convolution, whose means are the logits.
    """

    def __init__(self, shape: Shape, classes: int, recipe: Recipe, front: nn.Module) -> None:
        super().__init__("tbq-nn", STAGES, shape, recipe, front)
        last = recipe.last_layer()
        self.head = nn.Sequential(
            nn.Conv2d(self.output_shape[2], classes, 1, bias=False, recipe=last, init="glorot"),
            nn.normalization(classes, last),
            nn.GlobalAveragePool(last),
        )


__all__ = ["TBQNN"]
