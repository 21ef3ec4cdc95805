"""LeNet-5 and a smaller sibling for 8x8 pictures."""

from __future__ import annotations

from qnn import nn
from qnn.models.ends import closing, without_normalization
from qnn.recipes import Recipe


class LeNet5(nn.Module):
    """Two 5x5 convolutions, three fully connected layers (LeCun et al. 1998, with relu and max pooling).

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; 28x28x1 and 32x32x3 fit.
    classes : int
    recipe : Recipe
    front : Module
        Turns images into a tensor.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, recipe: Recipe, front: nn.Module) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        height, width, channels = shape
        without_normalization(recipe, "lenet5", "digits-cnn or bnn-convnet")
        rows, columns = ((height // 2) - 4) // 2, ((width // 2) - 4) // 2
        if min(rows, columns) < 1:
            raise ValueError(
                f"got pictures of {height}x{width} for lenet5; it needs at least 12x12: use digits-cnn or mlp"
            )
        self.net = nn.Sequential(
            front,
            nn.Conv2d(channels, 6, 5, padding=2, recipe=recipe.first_layer()),
            nn.activation(recipe),
            nn.MaxPool2d(2, recipe=recipe),
            nn.Conv2d(6, 16, 5, recipe=recipe),
            nn.activation(recipe),
            nn.MaxPool2d(2, recipe=recipe),
            nn.Flatten(recipe),
            nn.Linear(16 * rows * columns, 120, recipe=recipe),
            nn.activation(recipe),
            nn.Linear(120, 84, recipe=recipe),
            nn.activation(recipe),
            nn.Linear(84, classes, recipe=recipe.last_layer(), init="glorot"),
        )

    def forward(self, x: object) -> object:
        return self.net(x)


class DigitsCNN(nn.Module):
    """Two 3x3 convolutions with batch normalisation, one pooling, one fully connected layer: for 8x8 pictures.

    Parameters
    ----------
    shape, classes, recipe, front
        As in :class:`LeNet5`; pictures of at least 4x4.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, recipe: Recipe, front: nn.Module) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        height, width, channels = shape
        if min(height, width) < 4:
            raise ValueError(f"got pictures of {height}x{width} for digits-cnn; it needs at least 4x4")
        self.net = nn.Sequential(
            front,
            nn.Conv2d(channels, 16, 3, padding=1, bias=False, recipe=recipe.first_layer()),
            nn.normalization(16, recipe),
            nn.activation(recipe),
            nn.Conv2d(16, 32, 3, padding=1, bias=False, recipe=recipe),
            nn.normalization(32, recipe),
            nn.activation(recipe),
            nn.MaxPool2d(2, recipe=recipe),
            nn.Flatten(recipe),
            nn.Linear(32 * (height // 2) * (width // 2), classes, recipe=recipe.last_layer(), init="glorot"),
            *closing(classes, recipe),
        )

    def forward(self, x: object) -> object:
        return self.net(x)
