"""Residual nets (He et al. 2016): for small pictures (section 4.2) and for ImageNet (section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from qnn import nn
from qnn.models.ends import has_exact_products
from qnn.models.layout import classifier
from qnn.recipes import Recipe
from qnn.tensor import Tensor


@dataclass(frozen=True)
class Plan:
    """What tells residual nets apart.

    Parameters
    ----------
    stem : int
        Side of the first kernel: 7 goes with stride 2 and a 3x3 maximum at stride 2.
    stages : tuple of (channels, blocks)
        The channels of a stage's 3x3 convolutions; from the second stage on the first block has stride 2.
    bottleneck : bool
        1x1, 3x3, 1x1 with four times the channels, in the place of two 3x3.
    projection : bool
        Where shapes differ the shortcut is a 1x1 convolution (option B), not zeros (option A).
    """

    stem: int
    stages: tuple[tuple[int, int], ...]
    bottleneck: bool
    projection: bool


def _small(blocks: int) -> Plan:
    return Plan(3, ((16, blocks), (32, blocks), (64, blocks)), bottleneck=False, projection=False)


IMAGENET = {
    18: Plan(7, ((64, 2), (128, 2), (256, 2), (512, 2)), bottleneck=False, projection=True),
    50: Plan(7, ((64, 3), (128, 4), (256, 6), (512, 3)), bottleneck=True, projection=True),
}
"""Columns of the paper's Table 1."""


def _shortcut(inputs: int, outputs: int, stride: int, projection: bool, recipe: Recipe) -> nn.Module | None:
    """What brings a block's input to the shape of its output; None where it has that already."""
    if stride == 1 and inputs == outputs:
        return None
    if not projection:
        return nn.PadShortcut(stride, outputs, recipe)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False, recipe=recipe), nn.normalization(outputs, recipe)
    )


class _Residual(nn.Module):
    """What blocks share: their branch, and the input or its shortcut, added.

    Between exact products of signs a shortcut behind the last activation would carry one bit. There that activation
    comes first, for the branch alone (and for a projection, whose product takes signs too), and sums of 8 bits go from
    block to block, as in Liu et al., Bi-Real Net, 2018.
    """

    shortcut: nn.Module | None
    add: nn.Add

    def branch(self, x: Tensor) -> Tensor:
        """The convolutions, up to the last normalisation."""
        raise NotImplementedError

    def joined(self, x: Tensor, activation: nn.Module) -> Tensor:
        """The block's result; ``activation`` is its last one."""
        signs = has_exact_products(self.recipe)
        y = activation(x) if signs else x
        if self.shortcut is not None:
            x = self.shortcut(x if isinstance(self.shortcut, nn.PadShortcut) else y)
        out: Tensor = self.add(self.branch(y), x)
        return out if signs else activation(out)


class BasicBlock(_Residual):
    """Two 3x3 convolutions with batch normalisation, the input added before the last relu.

    Parameters
    ----------
    inputs, outputs, stride : int
    recipe : Recipe
    projection : bool
        How the shortcut brings its input to another shape, as in :class:`Plan`.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, recipe: Recipe, projection: bool = False) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False, recipe=recipe)
        self.norm1 = nn.normalization(outputs, recipe)
        self.relu1 = nn.activation(recipe)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False, recipe=recipe)
        self.norm2 = nn.normalization(outputs, recipe)
        self.shortcut = _shortcut(inputs, outputs, stride, projection, recipe)
        self.add = nn.Add(recipe)
        self.relu2 = nn.activation(recipe)

    def branch(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x, self.relu2)


class Bottleneck(_Residual):
    """1x1, 3x3 and 1x1 convolutions with batch normalisation, the input added before the last relu.

    Parameters
    ----------
    inputs : int
    channels : int
        Of the first two convolutions; the last one has four times as many.
    stride : int
        Of the first convolution, as in the paper (later implementations moved it to the second).
    recipe, projection
        As in :class:`BasicBlock`.
    """

    def __init__(self, inputs: int, channels: int, stride: int, recipe: Recipe, projection: bool = True) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        outputs = 4 * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, stride, bias=False, recipe=recipe)
        self.norm1 = nn.normalization(channels, recipe)
        self.relu1 = nn.activation(recipe)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False, recipe=recipe)
        self.norm2 = nn.normalization(channels, recipe)
        self.relu2 = nn.activation(recipe)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False, recipe=recipe)
        self.norm3 = nn.normalization(outputs, recipe)
        self.shortcut = _shortcut(inputs, outputs, stride, projection, recipe)
        self.add = nn.Add(recipe)
        self.relu3 = nn.activation(recipe)

    def branch(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x)))
        out: Tensor = self.norm3(self.conv3(self.relu2(self.norm2(self.conv2(y)))))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x, self.relu3)


class ResNet(nn.Module):
    """Residual net: 6n+2 layers with 16, 32 and 64 channels for small pictures, or one of :data:`IMAGENET`.

    Parameters
    ----------
    plan : int or Plan
        n, blocks per stage: 3 for ResNet-20, 9 for ResNet-56; or what to build.
    shape, classes, recipe, front
        As in the other models; 32x32x3 or 224x224x3 in the paper, any size works.

    Notes
    -----
    Source: He, Zhang, Ren, Sun, CVPR 2016, Table 1 and section 4.2. Parameters: ResNet-20 269,722, -32 464,154,
    -44 658,586, -56 853,018, -110 1,727,962 (10 classes); ResNet-18 11,689,512, -50 25,557,032 (1000 classes).
    """

    def __init__(
        self, plan: int | Plan, shape: tuple[int, int, int], classes: int, recipe: Recipe, front: nn.Module
    ) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        plan = _small(plan) if isinstance(plan, int) else plan
        large = plan.stem == 7
        inputs = plan.stages[0][0]
        self.front = front
        self.conv = nn.Conv2d(
            shape[2], inputs, plan.stem, 2 if large else 1, plan.stem // 2, bias=False, recipe=recipe.first_layer()
        )
        self.norm = nn.normalization(inputs, recipe)
        self.relu = nn.activation(recipe)
        self.first_pool = nn.MaxPool2d(3, 2, 1, recipe) if large else None
        self.blocks: list[nn.Module] = []
        block, widening = (Bottleneck, 4) if plan.bottleneck else (BasicBlock, 1)
        for stage, (channels, blocks) in enumerate(plan.stages):
            for index in range(blocks):
                stride = 2 if index == 0 and stage > 0 else 1
                self.blocks.append(block(inputs, channels, stride, recipe, plan.projection))
                inputs = widening * channels
        self.pool = nn.GlobalAveragePool(recipe)
        self.linear, *self.closing = classifier(inputs, classes, recipe)

    def forward(self, images: object) -> Tensor:
        signs = has_exact_products(self.recipe)  # then activations stand before products, not behind sums
        x = self.norm(self.conv(self.front(images)))
        x = x if signs else self.relu(x)
        if self.first_pool is not None:
            x = self.first_pool(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.linear(self.pool(self.relu(x) if signs else x))
        for layer in self.closing:
            out = layer(out)
        return out


__all__ = ["IMAGENET", "BasicBlock", "Bottleneck", "Plan", "ResNet"]
