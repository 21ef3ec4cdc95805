"""Fully connected nets."""

from __future__ import annotations

from collections.abc import Sequence

from qnn import nn
from qnn.models.ends import without_normalization
from qnn.recipes import Recipe


class MLP(nn.Module):
    """Flattened input, hidden layers with relu, one output per class.

    Parameters
    ----------
    features : int
        Values of one input.
    classes : int
    hidden : sequence of int
    recipe : Recipe
    front : Module
        Turns the input into a tensor.
    """

    def __init__(
        self, features: int, classes: int, recipe: Recipe, front: nn.Module, hidden: Sequence[int] = (512, 512)
    ) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        without_normalization(recipe, "mlp", "bnn-mlp or bnn-mlp-2048")
        layers: list[nn.Module] = [front, nn.Flatten(recipe)]
        width = features
        for place, size in enumerate(hidden):
            own = recipe if place else recipe.first_layer()
            layers += [nn.Linear(width, size, recipe=own), nn.activation(recipe)]
            width = size
        layers.append(nn.Linear(width, classes, recipe=recipe.last_layer(), init="glorot"))
        self.net = nn.Sequential(*layers)

    def forward(self, x: object) -> object:
        return self.net(x)
