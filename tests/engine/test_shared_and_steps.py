"""Shared weights, steps that are started anew, hooks that only look, and strictness across layers without a recipe."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from qnn import nn, optim, recipes
from qnn.errors import StrictError
from qnn.numerics import DFP, Rounding, first_exponent_int, to_float32_once
from qnn.operation import ExactSum
from qnn.quantizer import Format, Quantizer
from qnn.tensor import Parameter, Tensor

RECIPE = recipes.dfp8()


def integers(values: object, exponent: int = -3, **options: object) -> Tensor:
    return Tensor(DFP(np.asarray(values, np.int8), exponent, 8), **options)


class Twice(nn.Module):
    """One linear layer, used twice in a forward pass."""

    def __init__(self, recipe: recipes.Recipe) -> None:
        super().__init__(recipe)
        self.gradient_sum = None
        self.layer, self.relu = nn.Linear(3, 3, recipe=recipe), nn.Relu(recipe)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.relu(self.layer(x)))


@pytest.mark.clause("LAY-5")
@pytest.mark.parametrize("recipe", ["dfp8", "dfp(w=5, a=4, g=6, w_rounding=stochastic)"])
def test_a_layer_used_twice_adds_its_weight_gradients_exactly(recipe: str) -> None:
    net = Twice(recipes.parse(recipe))
    nn.prepare(net, seed=5)
    x = integers([[5, -7, 1], [2, 3, -9]], exponent=2, requires_grad=True)
    uses: list[tuple[DFP, Tensor]] = []
    gradients: list[DFP] = []
    net.layer.register_forward_hook(lambda module, inputs, out: uses.append((inputs[0].data, out)))
    forward = net.layer.forward

    def watched(value: Tensor) -> Tensor:
        out = forward(value)
        out.register_hook(gradients.append)
        return out

    net.layer.forward = watched  # type: ignore[method-assign]
    net(x).backward(DFP(np.array([[1, 2, 3], [-4, 5, 6]], np.int8), -11, 8))
    inputs = [use[0] for use in uses]
    assert inputs[0].exponent != inputs[1].exponent, "the case of interest: parts at different exponents"
    exact = [[Fraction(0)] * 3 for _ in range(3)]
    for q, g in zip(inputs, reversed(gradients), strict=True):
        unit = Fraction(2) ** (q.exponent + g.exponent)
        product = g.ints.astype(object).T @ q.ints.astype(object)
        exact = [[exact[i][j] + product[i, j] * unit for j in range(3)] for i in range(3)]
    assert [[Fraction(float(v)) for v in row] for row in net.layer.weight.grad] == exact  # small enough to be exact


@pytest.mark.clause("LAY-5")
@pytest.mark.parametrize("shift", [0, 1, 30, 54, 55, 60, 90])
def test_exact_sums_at_any_exponents_round_once(shift: int) -> None:
    a, b = np.array([2**24 + 1, -128, 0], np.int64), np.array([1, -(2**31), 0], np.int64)
    exact = [(int(p) << shift) + int(q) for p, q in zip(a, b, strict=True)]
    expected = to_float32_once(np.array(exact, object)) * np.float32(2.0**-60)
    assert np.array_equal((ExactSum(a, shift - 60) + ExactSum(b, -60)).to_float32(), expected)
    assert np.array_equal((ExactSum(b, -60) + ExactSum(a, shift - 60)).to_float32(), expected)


@pytest.mark.clause("LAY-6")
def test_a_module_in_two_places_is_there_once() -> None:
    shared = nn.Linear(3, 3, recipe=RECIPE)
    net = nn.Sequential(nn.Quantize(RECIPE), shared, nn.Relu(RECIPE), shared)
    run = nn.prepare(net, seed=1)
    assert [name for name, _ in net.named_parameters()] == ["layers.1.weight", "layers.1.bias"]
    assert len({id(site) for _, site in run.sites}) == len(run.sites)
    assert [site.stream for _, site in run.sites] == list(range(len(run.sites)))
    net.load_state_dict(net.state_dict())
    tied = nn.Linear(3, 3, recipe=RECIPE)
    tied.weight = shared.weight
    names = [name for name, _ in nn.Sequential(shared, tied).named_parameters()]
    assert names == ["layers.0.weight", "layers.0.bias", "layers.1.bias"]


@pytest.mark.clause("LAY-4")
@pytest.mark.clause("LAY-6")
def test_a_step_started_anew_has_the_same_noise() -> None:
    layers = nn.Sequential(nn.Dropout(0.5, RECIPE), nn.Linear(8, 4, recipe=RECIPE))
    run = nn.prepare(layers, seed=1)
    x = integers(np.arange(32).reshape(4, 8))
    first = layers(x).data.ints
    run.step = run.step  # an error broke the step off, say
    assert np.array_equal(layers(x).data.ints, first)
    run = nn.prepare(layers, seed=1)  # so does a second run over the same modules
    assert all(site._pending is None for _, site in run.sites)
    assert np.array_equal(layers(x).data.ints, first)


@pytest.mark.clause("LAY-7")
def test_evaluation_inside_a_step_takes_and_leaves_its_weights() -> None:
    layer = nn.Linear(4, 4, recipe=recipes.dfp(w_rounding="stochastic"))
    nn.prepare(layer, seed=1)
    x = integers(np.eye(4))
    before = layer(x).data.ints
    counts = layer.weight_site._pending
    layer.eval()
    assert np.array_equal(layer(x).data.ints, before)
    layer.train()
    assert np.array_equal(layer(x).data.ints, before)
    assert layer.weight_site._pending == counts
    layer.weight.data = layer.weight.data * np.float32(2)
    layer.eval()
    layer(x)
    layer.train()
    with pytest.raises(RuntimeError, match="the step did not"):
        layer(x)


def test_a_hook_that_only_looks_changes_nothing() -> None:
    sums = []
    for looks in (False, True):
        net = nn.Sequential(nn.Quantize(RECIPE), nn.Linear(4, 2, recipe=RECIPE))
        criterion = nn.CrossEntropyLoss(RECIPE)
        nn.prepare(net, criterion, seed=3)
        if looks:
            net[1].weight.register_hook(lambda gradient: None)
        x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
        for part in (slice(0, 3), slice(3, 8)):
            criterion(net(Tensor(x[part])), np.arange(8)[part] % 2, total=8).backward()
        sums.append(net[1].weight._total)
    assert all(isinstance(total, ExactSum) for total in sums)
    assert np.array_equal(sums[0].ints, sums[1].ints)


def test_what_a_hook_of_integers_returns_is_quantised_or_refused() -> None:
    layer = nn.Relu(RECIPE)
    nn.prepare(layer, seed=1)
    gradient = DFP(np.array([4, 8], np.int8), -4, 8)
    for answer in (lambda g: g.to_float() / 2, lambda g: DFP(g.ints // 2, g.exponent, 8)):
        x = integers([1, 2], requires_grad=True)
        y = layer(x)
        y.register_hook(answer)
        y.backward(gradient)
        assert x.grad.to_float().tolist() == [0.125, 0.25]
    y = layer(integers([1, 2], requires_grad=True))
    y.register_hook(lambda g: np.zeros(3))
    with pytest.raises(ValueError, match="from a hook"):
        y.backward(gradient)


def test_layers_without_a_recipe_pass_strictness_on() -> None:
    y = nn.Flatten()(integers(np.ones((2, 2, 2)), strict=True))
    with pytest.raises(StrictError):
        y.sum()
    assert not nn.Flatten()(integers(np.ones((2, 2, 2)))).strict


@pytest.mark.clause("EXP-5")
@pytest.mark.parametrize("spread", [1, 40, 46, 60, 120])
def test_first_exponent_of_a_sum_is_exact(spread: int) -> None:
    high, low = DFP(np.array([-128], np.int8), 63, 8), DFP(np.array([-1], np.int8), 63 - spread, 8)
    site = Quantizer("activation", Format())
    site.add([high, low])
    exact = -(128 << spread) - 1
    assert site.exponent == first_exponent_int(exact, exact, 63 - spread, 8)


@pytest.mark.clause("LAY-1")
def test_the_image_table_has_no_noise() -> None:
    tables = [nn.ImageInput([0.5], [0.3], recipes.dfp(a_rounding=rule)) for rule in ("stochastic", "nearest_down")]
    assert tables[0].input.rounding == Rounding.NEAREST_DOWN
    assert np.array_equal(tables[0].integers.ints, tables[1].integers.ints)


def test_a_shortcut_drops_no_channels() -> None:
    with pytest.raises(ValueError, match="can be added, not dropped"):
        nn.PadShortcut(1, 1, RECIPE)(integers(np.ones((1, 2, 2, 3))))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.ShiftAdaMax])
@pytest.mark.parametrize("limit", [None, 1.0])
def test_parameters_without_axes_or_elements_are_moved(kind: Any, limit: float | None) -> None:
    scalar, empty = Parameter(np.float32(3)), Parameter(np.zeros((0, 3), np.float32))
    scalar.grad, empty.grad = np.asarray(0.5, np.float32), np.zeros((0, 3), np.float32)
    scalar.limit = limit
    kind([("scalar", scalar), ("empty", empty)]).step(0.1)
    assert isinstance(scalar.data, np.ndarray)
    assert 2.8 < float(scalar.data) < 3 if limit is None else scalar.data == 1
    assert empty.data.shape == (0, 3)
