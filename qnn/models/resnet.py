"""Residual nets for small pictures (He et al. 2016, section 4.2: 6n+2 layers, parameter-free shortcuts)."""

from __future__ import annotations

from qnn import nn
from qnn.models.ends import closing, without_averages
from qnn.recipes import Recipe
from qnn.tensor import Tensor


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, the input added before the last relu."""

    def __init__(self, inputs: int, outputs: int, stride: int, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False, recipe=recipe)
        self.norm1 = nn.normalization(outputs, recipe)
        self.relu1 = nn.activation(recipe)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False, recipe=recipe)
        self.norm2 = nn.normalization(outputs, recipe)
        self.shortcut = nn.PadShortcut(stride, outputs, recipe) if stride != 1 or inputs != outputs else None
        self.add = nn.Add(recipe)
        self.relu2 = nn.activation(recipe)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        out: Tensor = self.relu2(self.add(y, x if self.shortcut is None else self.shortcut(x)))
        return out


class ResNet(nn.Module):
    """ResNet of 6n+2 layers with 16, 32 and 64 channels.

    Parameters
    ----------
    blocks : int
        n, blocks per stage: 3 for ResNet-20, 9 for ResNet-56.
    shape, classes, recipe, front
        As in the other models.
    """

    def __init__(
        self, blocks: int, shape: tuple[int, int, int], classes: int, recipe: Recipe, front: nn.Module
    ) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        without_averages(recipe, f"resnet{6 * blocks + 2}", "bnn-convnet")
        self.front = front
        self.conv = nn.Conv2d(shape[2], 16, 3, 1, 1, bias=False, recipe=recipe.first_layer())
        self.norm = nn.normalization(16, recipe)
        self.relu = nn.activation(recipe)
        self.blocks = []
        inputs = 16
        for outputs in (16, 32, 64):
            for index in range(blocks):
                self.blocks.append(BasicBlock(inputs, outputs, 2 if index == 0 and outputs > 16 else 1, recipe))
                inputs = outputs
        self.pool = nn.GlobalAveragePool(recipe)
        self.linear = nn.Linear(64, classes, recipe=recipe.last_layer(), init="glorot")
        self.closing = closing(classes, recipe)

    def forward(self, images: object) -> Tensor:
        x = self.relu(self.norm(self.conv(self.front(images))))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.linear(self.pool(x))
        for layer in self.closing:
            out = layer(out)
        return out
