"""AlexNet in the form of the n-BQ-NN authors' code, and a small plain one for pictures of the size of CIFAR's."""

from __future__ import annotations

from qnn import nn
from qnn.models.ends import without_normalization
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


class PlainAlexNet(nn.Module):
    """Five convolutions, three poolings and three fully connected layers without normalisation, for small pictures.

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; 32x32x3 for CIFAR, 15x15 at least.
    classes, recipe, front
        As in :class:`AlexNet`.

    Notes
    -----
    Source: Krizhevsky, Sutskever, Hinton, NIPS 2012, as commonly adapted to CIFAR: kernels of 3x3, stride 2 in the
    first layer (the paper: 11x11 at stride 4, 5x5, then 3x3), 64, 192, 384, 256 and 256 channels without groups, the
    maximum of 2x2 (the paper: 3x3) at stride 2. Here every convolution has half of these channels and the two hidden
    layers have 1024 units (4096). Local response normalisation and dropout are left out. With 10 classes on 32x32x3:
    2,148,778 parameters, 12 M multiply-adds.
    """

    def __init__(self, shape: Shape, classes: int, recipe: Recipe, front: nn.Module) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        height, width, channels = shape
        without_normalization(recipe, "alexnet-cifar", "tbq-nn or bnn-convnet")
        rows, columns = ((side + 1) // 2 // 8 for side in (height, width))
        if min(rows, columns) < 1:
            raise ValueError(
                f"got pictures of {height}x{width} for alexnet-cifar; it needs at least 15x15: use digits-cnn or lenet5"
            )
        self.net = nn.Sequential(
            front,
            nn.Conv2d(channels, 32, 3, 2, 1, recipe=recipe.first_layer()),
            nn.activation(recipe),
            nn.MaxPool2d(2, recipe=recipe),
            nn.Conv2d(32, 96, 3, padding=1, recipe=recipe),
            nn.activation(recipe),
            nn.MaxPool2d(2, recipe=recipe),
            nn.Conv2d(96, 192, 3, padding=1, recipe=recipe),
            nn.activation(recipe),
            nn.Conv2d(192, 128, 3, padding=1, recipe=recipe),
            nn.activation(recipe),
            nn.Conv2d(128, 128, 3, padding=1, recipe=recipe),
            nn.activation(recipe),
            nn.MaxPool2d(2, recipe=recipe),
            nn.Flatten(recipe),
            nn.Linear(128 * rows * columns, 1024, recipe=recipe),
            nn.activation(recipe),
            nn.Linear(1024, 1024, recipe=recipe),
            nn.activation(recipe),
            nn.Linear(1024, classes, recipe=recipe.last_layer(), init="glorot"),
        )

    def forward(self, x: object) -> object:
        return self.net(x)


__all__ = ["AlexNet", "PlainAlexNet"]
