"""The scale layer's way back takes the ReLU behind it and the sums of the normalisation before it into one pass: the
bits are those of the steps one by one, whoever else looks at what is between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from same_arrays import same_arrays

from qnn import _kernels, nn, recipes
from qnn.numerics import DFP
from qnn.ops.scale import ScaleInteger
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor

SHAPE = (6, 5, 5, 3)


class Net(nn.Module):
    """Batch norm and ReLU, with a way to meddle with what lies between."""

    def __init__(self, recipe: Recipe, between: str) -> None:
        super().__init__(recipe)
        self.norm, self.relu, self.add = nn.BatchNorm(3, recipe=recipe), nn.Relu(recipe), nn.Add(recipe)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        normalized = self.norm.normalize(x)
        if self.between == "a hook on the normalised values":
            normalized.register_hook(lambda g: DFP(-g.ints // 2, g.exponent, g.bits))
        if self.between == "a hook on the scaled values":
            scaled = self.norm.scale(normalized)
            scaled.register_hook(lambda g: DFP(g.ints // 2, g.exponent, g.bits))
        else:
            scaled = self.norm.scale(normalized)
        out = self.relu(scaled)
        if self.between == "normalised values used twice":
            out = self.add(out, normalized)
        if self.between == "scaled values used twice":
            out = self.add(out, scaled)
        if self.between == "activations used twice":
            out = self.add(out, out)
        if self.between == "gradients kept":
            for tensor in (normalized, scaled, out):
                tensor.retain_grad()
            self.kept = normalized, scaled, out
        return out


def one_by_one(self: ScaleInteger, gradient: DFP) -> Any:
    exponent = gradient.exponent + self.gamma.exponent
    dx = self.gradient.emit(
        gradient.shape,
        lambda target: _kernels.call("scale", gradient.ints, self.gamma.ints, None, exponent, target),
        partial(self._first, self.gradient, gradient, None, exponent),
    )
    return dx, _kernels.call("channel_dots", gradient.ints, self.x.ints)


class Halved(Quantizer):
    """A site that does more than its kernel."""

    def emit(self, *args: Any) -> DFP:
        found = super().emit(*args)
        np.floor_divide(found.ints, 2, out=found.ints)
        return found


def trained(recipe: Recipe, between: str) -> dict[str, np.ndarray]:
    """Everything that three steps leave, and the gradients on the way."""
    net = Net(recipe, between)
    if between == "a site of another kind":
        net.norm.scale.gradient = Halved("gradient", net.norm.scale.gradient.format)
    run = nn.prepare(net, seed=3)
    found = {}
    for step in range(3):
        rng = np.random.default_rng(step)
        x = Tensor(DFP(rng.integers(-128, 128, SHAPE).astype(np.int8), -6), requires_grad=True)
        net(x).backward(DFP(rng.integers(-128, 128, SHAPE).astype(np.int8), -9))
        found[f"{step} x"] = x.grad.ints
        found[f"{step} x exponent"] = np.array(x.grad.exponent)
        for name, parameter in net.named_parameters():
            found[f"{step} {name}"] = parameter.grad
            parameter.data = (parameter.data - 0.01 * parameter.grad).astype(np.float32)
            parameter.zero_grad()
        if between == "gradients kept":
            found |= {f"{step} kept {i}": tensor.grad.ints for i, tensor in enumerate(net.kept)}
        run.advance()
    return found | net.state_dict()


BETWEEN = [
    "nothing",
    "normalised values used twice",
    "scaled values used twice",
    "activations used twice",
    "a hook on the normalised values",
    "a hook on the scaled values",
    "gradients kept",
    "a site of another kind",
]


@pytest.mark.clause("LAY-2", "BN-1", "BN-8")
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize(
    "recipe",
    [recipes.dfp8, partial(recipes.dfp, 8, 8, 12), partial(recipes.dfp, 8, 8, 8, overflow="integer")],
    ids=["dfp8", "gradients of 12 bits", "overflow of integers"],
)
def test_one_pass_is_the_steps_one_by_one(
    between: str, recipe: Callable[[], Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = trained(recipe(), between)
    monkeypatch.setattr(ScaleInteger, "_gradients", one_by_one)
    separate = trained(recipe(), between)
    same_arrays(joined, separate)
