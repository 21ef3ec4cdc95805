"""The networks of the BNN and QNN papers: the MLP of MNIST and the ConvNet of CIFAR-10 and SVHN."""

from __future__ import annotations

from collections.abc import Sequence

from qnn import nn
from qnn.models.ends import closing
from qnn.recipes import Recipe


class BinaryMLP(nn.Module):
    """Fully connected layers without bias, each normalised before its activation, the outputs as the recipe says.

    Parameters
    ----------
    features : int
        Values of one input.
    classes : int
    recipe : Recipe
        Of any kind; the papers take ``bnn``.
    front : Module
        Turns the input into a tensor.
    hidden : sequence of int
        Widths; three times 4096 in the BNN paper, 2048 in its Torch code.

    Notes
    -----
    Source: BNN paper, section 2.1; its dropout is left out, as in the Torch code.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        recipe: Recipe,
        front: nn.Module,
        hidden: Sequence[int] = (4096, 4096, 4096),
    ) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        layers: list[nn.Module] = [front, nn.Flatten(recipe)]
        width = features
        for place, size in enumerate(hidden):
            own = recipe if place else recipe.first_layer()
            layers += [
                nn.Linear(width, size, bias=False, recipe=own),
                nn.normalization(size, recipe),
                nn.activation(recipe),
            ]
            width = size
        layers.append(nn.Linear(width, classes, bias=not recipe.normalize_last, recipe=recipe.last_layer()))
        self.net = nn.Sequential(*layers, *closing(classes, recipe))

    def forward(self, x: object) -> object:
        return self.net(x)


class BinaryConvNet(nn.Module):
    """(2x128C3)-P2-(2x256C3)-P2-(2x512C3)-P2-1024-1024-classes, pooled before normalised.

    Parameters
    ----------
    shape : (height, width, channels)
        Of the input; at least 8x8. 32x32x3 in the paper.
    classes : int
    recipe, front
        As in :class:`BinaryMLP`.
    channels : sequence of int
        Filters of the three stages; the paper has half of them for SVHN, (64, 128, 256).
    features : int
        Width of the two fully connected layers.

    Notes
    -----
    Source: BNN paper, section 2.2 and its code.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        recipe: Recipe,
        front: nn.Module,
        channels: Sequence[int] = (128, 256, 512),
        features: int = 1024,
    ) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        height, width, inputs = shape
        if min(height, width) < 8:
            raise ValueError(f"got pictures of {height}x{width} for bnn-convnet; it needs at least 8x8: use bnn-mlp")
        layers: list[nn.Module] = [front]
        for outputs in channels:
            for last in (False, True):
                own = recipe.first_layer() if len(layers) == 1 else recipe
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, recipe=own))
                layers += [nn.MaxPool2d(2, recipe=recipe)] if last else []
                layers += [nn.normalization(outputs, recipe), nn.activation(recipe)]
                inputs = outputs
        layers.append(nn.Flatten(recipe))
        size = inputs * (height // 8) * (width // 8)
        for _ in range(2):
            layers += [nn.Linear(size, features, bias=False, recipe=recipe)]
            layers += [nn.normalization(features, recipe), nn.activation(recipe)]
            size = features
        layers.append(nn.Linear(size, classes, bias=not recipe.normalize_last, recipe=recipe.last_layer()))
        self.net = nn.Sequential(*layers, *closing(classes, recipe))

    def forward(self, x: object) -> object:
        return self.net(x)


__all__ = ["BinaryConvNet", "BinaryMLP"]
