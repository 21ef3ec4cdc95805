"""A network refuses an empty batch before anything changes, in training, in evaluation and frozen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import qnn
from qnn import nn, recipes

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
LABELS = np.arange(6)
NAMES = ["fp32", "dfp8", "nbq", "bnn", "bnn(stochastic=True)", "dorefa", "banner8", "niti", "wage"]


def build(name: str) -> tuple[nn.Module, nn.Module, Any]:
    net = qnn.models.build(
        "digits-cnn", recipe=name, input_shape=(8, 8, 1), classes=10, mean=(0.3,), std=(0.4,), seed=1
    )
    loss = nn.criterion(net.recipe)
    return net, loss, nn.prepare(net, loss, seed=1)


def step(net: nn.Module, loss: nn.Module, run: Any, images: Any, labels: Any) -> float:
    value = loss(net(images), labels)
    value.backward()
    kind = qnn.optim.RecipeUpdate if net.recipe.update is not None else qnn.optim.SGD
    kind(net.named_parameters()).step(0.01)
    run.advance()
    net.zero_grad()
    return float(value.item())


def everything(net: nn.Module, loss: nn.Module, run: Any) -> list[Any]:
    """All that a step changes, counts and noise of its sites too."""
    state = [(key, array.copy()) for module in (net, loss) for key, array in module.state_dict().items()]
    sites = [repr((s.exponent, s.initialised, s.counts, s._pending, s._used)) for _, s in run.sites]
    return [run.step, [(key, array.tobytes()) for key, array in state], sites]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trained", [False, True])
def test_an_empty_batch_changes_nothing(name: str, trained: bool) -> None:
    net, loss, run = build(name)
    if trained:
        step(net, loss, run, IMAGES, LABELS)
    before = everything(net, loss, run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"got an empty batch, shape \(0, 8, 8, 1\).*at least 1 sample"):
            step(net, loss, run, IMAGES[:0], LABELS[:0])
        with qnn.no_grad(), pytest.raises(ValueError, match="got an empty batch"):
            net.eval()(IMAGES[:0])
        net.train()
    assert everything(net, loss, run) == before
    twin, twin_loss, twin_run = build(name)
    if trained:
        step(twin, twin_loss, twin_run, IMAGES, LABELS)
    assert step(net, loss, run, IMAGES, LABELS) == step(twin, twin_loss, twin_run, IMAGES, LABELS)
    if name != "fp32":
        assert everything(net, loss, run) == everything(twin, twin_loss, twin_run)


@pytest.mark.parametrize("products", ["multiply", "auto"])
@pytest.mark.parametrize("name", ["dfp8", "bnn", "niti"])
def test_a_frozen_network_refuses_it_too(name: str, products: str) -> None:
    net, loss, run = build(name)
    step(net, loss, run, IMAGES, LABELS)
    frozen = qnn.inference.freeze(net, IMAGES[:1], products=products)
    with pytest.raises(ValueError, match=r"got an empty batch.*the frozen network"):
        frozen(IMAGES[:0])
    assert frozen(IMAGES).shape == (6, 10)


@pytest.mark.parametrize(
    "call",
    [
        lambda r: nn.Quantize(r)(qnn.Tensor(np.zeros((0, 3), np.float32))),
        lambda r: nn.ImageInput((0.5,), (0.5,), r)(IMAGES[:0]),
        lambda r: nn.ImageInput((0.5,), (0.5,), r)([]),
        lambda r: nn.ImageInput((0.5,), (0.5,), r)(images=IMAGES[:0]),
        lambda r: nn.criterion(recipes.fp32())(qnn.Tensor(np.zeros((0, 3), np.float32)), LABELS[:0]),
        lambda r: nn.BatchNorm(3)(qnn.Tensor(np.zeros((0, 3), np.float32))),
        lambda r: nn.Linear(3, 2)(qnn.Tensor(np.zeros((0, 3), np.float32))),
    ],
)
def test_every_way_in(call: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="got an empty batch"):
        call(recipes.dfp8())


class Pair(nn.Module):
    """Two pictures a sample; the images enter below the outermost module."""

    def __init__(self, recipe: recipes.Recipe) -> None:
        super().__init__(recipe)
        self.input = nn.ImageInput((0.5,), (0.5,), recipe)

    def forward(self, pair: Any) -> Any:
        return self.input(pair[0]), self.input(pair[1])


def test_images_that_enter_further_below() -> None:
    with pytest.raises(ValueError, match=r"got an empty batch.*ImageInput"):
        Pair(recipes.dfp8())((IMAGES[:0], IMAGES[:0]))
