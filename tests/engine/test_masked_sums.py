"""A ReLU's mask is in the kernel that sums the gradients of its result, whoever else looks at that sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from inside import at_once
from same_arrays import same_arrays

from qnn import _kernels, nn, recipes
from qnn.numerics import DFP
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor


def halve(gradient: DFP) -> None:
    np.floor_divide(gradient.ints, 2, out=gradient.ints)


class Net(nn.Module):
    """A ReLU behind a sum, whose result goes two ways: the inside of two residual blocks."""

    def __init__(self, recipe: Recipe, case: str) -> None:
        super().__init__(recipe)
        self.input = nn.Hardtanh(recipe)
        self.left, self.right = (nn.Conv2d(4, 4, 3, padding=1, recipe=recipe) for _ in range(2))
        self.add, self.relu, self.second = nn.Add(recipe), nn.Relu(recipe), nn.Add(recipe)
        self.norm, self.case = nn.BatchNorm(4, recipe=recipe), case
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        x = self.input(images)
        summed = self.norm(self.left(x)) if self.case == "a scale layer before it" else self.add(x, self.left(x))
        out = self.relu(summed)
        if self.case == "a kept gradient":
            self.seen = [out.retain_grad(), summed.retain_grad()]
        for tensor in (out, summed):
            if self.case == "a hook that writes":
                tensor.register_hook(halve)
            if self.case == "a hook that replaces":
                tensor.register_hook(lambda g: DFP(g.ints // 2, g.exponent, g.bits))
        if self.case == "a relu of it, too":
            return self.second(self.relu(out), self.right(out))
        return self.second(out, self.right(out))


def trained(recipe: Recipe, case: str) -> dict[str, np.ndarray]:
    """Everything that three steps leave."""
    net = Net(recipe, case)
    run = nn.prepare(net, seed=3)
    found: dict[str, np.ndarray] = {}
    for step in range(3):
        rng = np.random.default_rng(step)
        x = Tensor(DFP(rng.integers(-128, 128, (3, 6, 5, 4)).astype(np.int8), -6), requires_grad=True)
        net(x).backward(DFP(rng.integers(-128, 128, x.shape).astype(np.int8), -9 - step))
        found[f"{step} x"] = x.grad.ints
        for i, tensor in enumerate(net.seen):
            found[f"{step} kept {i}"] = tensor.grad.ints
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                found[f"{step} {name}"] = parameter.grad
                parameter.zero_grad()
        run.advance()
        found |= {f"{step} {name}": np.array(str((site.exponent, site.counts))) for name, site in run.sites}
    return found


CASES = ["nothing", "a scale layer before it", "a kept gradient", "a hook that writes", "a hook that replaces"]
RECIPES = {
    "dfp8": recipes.dfp8,
    "gradients of 12 bits": partial(recipes.dfp, 8, 8, 12),
    "overflow of integers": partial(recipes.dfp, 8, 8, 8, overflow="integer"),
}


@pytest.mark.clause("REQ-7", "LAY-2", "LAY-6", "EXP-2", "NOI-1")
@pytest.mark.parametrize("case", [*CASES, "a relu of it, too"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_fused_is_one_by_one(recipe: Callable[[], Recipe], case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = trained(recipe(), case)
    monkeypatch.setattr(Quantizer, "emit_lazily", at_once)
    same_arrays(fused, trained(recipe(), case))


@pytest.mark.clause("LAY-2")
@pytest.mark.parametrize("case", CASES)
def test_the_mask_is_in_the_sum(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody has seen the sum without it, or the scale layer masks."""
    called: list[tuple[str, bool]] = []
    call = _kernels.call

    def spy(name: str, *args: Any) -> Any:
        called.append((name, len(args) > 3 and args[3] is not None))
        return call(name, *args)

    monkeypatch.setattr(_kernels, "call", spy)
    trained(recipes.dfp8(), case)
    masked = called.count(("add_requantize", True))
    separate = [name for name, _ in called].count("relu_grad")
    # The scale layer's first exponent takes one of its own.
    assert (masked, separate) == {"nothing": (3, 0), "a scale layer before it": (0, 1)}.get(case, (0, 3))
