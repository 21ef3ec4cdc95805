"""AlexNet in the form of the n-BQ-NN authors' code: normalised, and convolutions throughout."""

from __future__ import annotations

from qnn import nn
from qnn.models.layout import Conv, Pool, Shape, StagedNet, Stages
from qnn.recipes import Recipe

STAGES: Stages = {
    "conv1": (Conv(64, 11, 4, 0), Pool("max", 3, 2)),
    "conv2": (Conv(192, 5), Pool("max", 3, 2)),
    "conv3": (Conv(384, 3),),
    "conv4": (Conv(384, 3),),
    "conv5": (Conv(256, 3), Pool("max", 3, 2)),
    "fc6": (Conv(4096, None),),
    "fc7": (Conv(4096, 1),),
}
"""``models/alexnet_QNN.py`` of the authors' repository, up to its last layer."""


class AlexNet(StagedNet):
    """Five convolutions, then the fully connected layers as convolutions.

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; 224x224x3 in the paper, 67x67 at least. fc6 is as large as what is left of the picture.
    classes : int
    recipe, front
        As in the other models.

    Notes
    -----
    Source: Chen, Liu, Liu, Zeng, IEEE TNNLS 2020 (Table VI), structure from the authors' code ``papcjy/n-BQ-NN``. The
    order is convolution, normalisation, activation, pooling; pooling takes the maximum of 3x3 at stride 2. Only the
    last layer has a bias; normalisation without activation follows it. There is no dropout. With 1000 classes on
    224x224x3: 50,315,384 parameters, 0.74 G multiply-adds.

    The authors leave the last layer in full precision; here it has the recipe's last-layer formats (16 bits with
    ``last_bits=16``), and so has its normalisation.
    """

    def __init__(self, shape: Shape, classes: int, recipe: Recipe, front: nn.Module) -> None:
        super().__init__("alexnet", STAGES, shape, recipe, front)
        last = recipe.last_layer()
        self.head = nn.Sequential(
            nn.Conv2d(self.output_shape[2], classes, 1, recipe=last, init="glorot"),
            nn.normalization(classes, last),
            nn.Flatten(last),
        )


__all__ = ["AlexNet"]
