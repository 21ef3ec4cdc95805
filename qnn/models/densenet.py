"""DenseNet-BC for small pictures (Huang et al. 2017): every layer sees all layers of its block."""

from __future__ import annotations

from qnn import nn
from qnn.models.layout import Shape, classifier
from qnn.recipes import Recipe
from qnn.tensor import Tensor


class _Before(nn.Module):
    """Normalisation and activation, then a convolution without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.norm = nn.normalization(inputs, recipe)
        self.relu = nn.activation(recipe)
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False, recipe=recipe)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.relu(self.norm(x)))
        return out


class DenseBlock(nn.Module):
    """Layers that each take all channels before them and add ``growth``; on integers each use of a channel is rounded
    once, from the result that its layer gave.

    Parameters
    ----------
    inputs, layers, growth : int
    recipe : Recipe
    """

    def __init__(self, inputs: int, layers: int, growth: int, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.layers: list[nn.Module] = []
        self.joins: list[nn.Module] = []
        for index in range(layers):
            width = inputs + index * growth
            self.layers.append(
                nn.Sequential(_Before(width, 4 * growth, 1, recipe), _Before(4 * growth, growth, 3, recipe))
            )
            self.joins.append(nn.Concat(recipe, rounded=True))  # of sums: each layer makes its own signs of them

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer, join in zip(self.layers, self.joins, strict=True):
            parts.append(layer(x))
            x = join(*parts)
        return x


class DenseNet(nn.Module):
    """DenseNet-BC: three dense blocks of 1x1 and 3x3 convolutions, half of the channels kept between them.

    Parameters
    ----------
    shape, classes, recipe, front
        As in the other models; 32x32x3 in the papers.
    depth : int
        Layers with weights, 6n + 4.
    growth : int
        Channels that each layer adds.

    Notes
    -----
    Source: Huang, Liu, van der Maaten, Weinberger, CVPR 2017, sections 3 and 4. With depth 100, growth 12 and 10
    classes on 32x32x3: 769,162 parameters, 0.29 G multiply-adds.

    Reading: the n-BQ-NN paper (Table IV) says DenseNet-100 only. Its budget, 0.15 M in 16-bit equivalents of 3 bits, is
    0.8 M weights, and its float errors, 4.51, 22.27 and 1.76 %, are those of DenseNet-BC with depth 100 and growth 12;
    the basic net of that depth and growth has 7 M. Dropout is left out, as with augmentation. With signs for
    activations, every convolution but the first takes signs; what is joined are the sums before them, with 8 bits. The
    last layer takes the means over all pixels with 8 bits, its products rounded like those of the first layer.
    """

    def __init__(
        self, shape: Shape, classes: int, recipe: Recipe, front: nn.Module, depth: int = 100, growth: int = 12
    ) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"got depth={depth} for a DenseNet-BC; allowed are 6n + 4 from 10 on, such as 100")
        if min(shape[:2]) < 4:
            raise ValueError(f"got pictures of {shape[0]}x{shape[1]} for densenet{depth}; it needs at least 4x4")
        layers = (depth - 4) // 6
        self.front = front
        width = 2 * growth
        self.conv = nn.Conv2d(shape[2], width, 3, 1, 1, bias=False, recipe=recipe.first_layer())
        self.blocks: list[nn.Module] = []
        self.transitions: list[nn.Module] = []
        for index in range(3):
            self.blocks.append(DenseBlock(width, layers, growth, recipe))
            width += layers * growth
            if index < 2:
                self.transitions.append(
                    nn.Sequential(_Before(width, width // 2, 1, recipe), nn.AveragePool2d(2, recipe=recipe))
                )
                width //= 2
        self.head = nn.Sequential(
            nn.normalization(width, recipe),
            nn.activation(recipe),
            nn.GlobalAveragePool(recipe),
            *classifier(width, classes, recipe),
        )

    def forward(self, images: object) -> Tensor:
        x = self.conv(self.front(images))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index < len(self.transitions):
                x = self.transitions[index](x)
        out: Tensor = self.head(x)
        return out


__all__ = ["DenseBlock", "DenseNet"]
