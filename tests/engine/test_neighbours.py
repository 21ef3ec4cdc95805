"""NITI, WAGE and Banner's training in the engine: no float in a step, their sites, roundings, state and formats."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import qnn
from qnn import DFP, data, models, nn, recipes
from qnn.batch_quantizer import BatchFormat, BatchQuantizer
from qnn.errors import CheckpointError, ConfigError
from qnn.numerics import Target, pseudo_stochastic
from qnn.operation import ExactSum
from qnn.ops.range_norm import RangeInteger
from qnn.quantizer import Format
from qnn.tensor import Parameter, Tensor

CHAPTER = Path(__file__).parents[2] / "docs/spec/16-integer-training.md"
PRODUCTS = str(Path("qnn/numerics/mac.py"))
DIGITS = data.load("digits", split="train")
NAMES = [
    "niti",
    "niti(mu=4, a_rounding=nearest_up, g_rounding=stochastic, noise=lfsr16)",
    "niti(a_rounding=psr)",
    "wage",
    "wage(w=3, a=7, g=6, e=5, noise=lfsr16)",
    "banner8",
    "banner8(wide=12)",
    "banner8(norm=range_paper)",
    "banner8(wide=12, norm=range_paper)",
    "dfp(w=8, a=8, g=8, norm=range)",
    "dfp(w=8, a=8, g=8, norm=range_paper)",
    "dfp(w=8, a=8, g=8, overflow=integer)",
]


def build(recipe: str, model: str = "digits-cnn") -> tuple[nn.Module, nn.Module, nn.Run]:
    net = models.build(
        model, recipe=recipe, input_shape=(8, 8, 1), classes=10, mean=DIGITS.mean, std=DIGITS.std, seed=1
    )
    loss = nn.criterion(net.recipe)
    return net, loss, nn.prepare(net, loss, seed=1)


@contextmanager
def no_float_arrays() -> Iterator[list[str]]:
    """Looks at every local variable and result of every Python function that returns: no float array may be there.

    The reference path of exact products is passed over: it adds integers in BLAS's floats, where they are exact.
    """
    found: list[str] = []

    def watch(frame: FrameType, event: str, value: Any) -> None:
        if event != "return" or frame.f_code.co_filename.endswith(PRODUCTS):
            return
        for name, thing in [*frame.f_locals.items(), ("its result", value)]:
            for part in thing if isinstance(thing, (tuple, list)) else (thing,):
                if isinstance(part, np.ndarray) and part.dtype.kind in "fc":
                    found.append(
                        f"{name} of {frame.f_code.co_qualname if sys.version_info >= (3, 11) else ''} "
                        f"in {frame.f_code.co_filename}: {part.dtype} {part.shape}"
                    )

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield found
    finally:
        sys.setprofile(before)


@pytest.mark.clause("INT-18")
@pytest.mark.parametrize("recipe", ["niti", "niti(g_rounding=stochastic)", "niti(a_rounding=psr)"])
@pytest.mark.parametrize("path", qnn.available_kernels())
def test_a_step_of_niti_makes_no_float_array(recipe: str, path: str) -> None:
    net, loss, run = build(recipe)
    optimizer = qnn.optim.RecipeUpdate(run.named_parameters())
    images, labels = DIGITS.images[:8], DIGITS.labels[:8]
    with qnn.use_kernels(path), qnn.trace() as entries, no_float_arrays() as found:
        for _ in range(2):
            loss(net(images), labels).backward()
            optimizer.step(0.05)
            optimizer.zero_grad()
            run.advance()
    assert not found, found[:5]
    assert {entry.name for entry in entries} >= {"conv2d", "relu", "max_pool", "linear", "integer_cross_entropy"}
    for entry in entries:
        assert all(isinstance(array, DFP) for array in (*entry.inputs, entry.output)), entry


def test_the_watch_sees_a_float_array() -> None:
    net, loss, _ = build("dfp8")
    with no_float_arrays() as found:
        loss(net(DIGITS.images[:4]), DIGITS.labels[:4]).backward()
    assert found


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back(name: str) -> None:
    recipe = recipes.parse(name)
    assert recipe.name == name
    assert recipes.parse(recipe.name) == recipe
    assert recipe.source
    assert {"input", "weight", "activation", "gradient"} <= recipe.describe().keys()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("niti(mu=8)", "1 to 7"),
        ("niti(g_rounding=floor)", "psr"),
        ("niti(a_rounding=pseudo)", "'psr'"),
        ("banner8(norm=batch)", "range_paper"),
        ("dfp(overflow=half)", "'real' and 'integer'"),
        ("dfp(w=15, overflow=integer)", "2 to 14"),
        ("dfp(last_bits=16, overflow=integer)", "2 to 14"),
        ("wage(w=1)", "2 to 8"),
        ("banner8(wide=7)", "8 to 16"),
        ("dfp(norm=layer)", "range"),
    ],
)
def test_wrong_arguments(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipes.parse(name)


@pytest.mark.clause("INT-1")
@pytest.mark.clause("INT-2")
def test_a_site_takes_the_exponent_of_its_batch_and_evaluation_keeps_it() -> None:
    site = BatchFormat(8, "nearest_away").site("activation")
    assert isinstance(site, BatchQuantizer)
    for largest, exponent in ((127, -14), (128, -13), (40_000, -5), (0, -14), (300, -12)):
        acc = np.array([largest, -largest // 3], np.int32)
        got = site.requantize(acc, -14)
        assert got.exponent == exponent == site.exponent
        site.advance()
        assert site.exponent == exponent
    site.training = False
    got = site.requantize(np.array([100_000, -100_000], np.int32), -14)
    assert (got.exponent, got.ints.tolist()) == (-12, [127, -127])
    site.training = True
    assert site.requantize(np.array([], np.int32), -14).exponent == -12
    low = site.requantize(np.array([-40_000, 10], np.int32), 0, divisor=12)  # 40000 / 12: 4 goes into the exponent
    assert (low.exponent, low.ints.tolist()) == (-2 + 7, [-104, 0])
    total = site.add([DFP(np.array([-100], np.int8), -3), DFP(np.array([-100], np.int8), -4)])
    assert (total.exponent, total.ints.tolist()) == (-2, [-75])
    real = site.quantize(np.array([1.5, -0.25], np.float32))
    assert (real.exponent, real.ints.tolist()) == (-6, [96, -16])
    assert "bit length" in str(site.format)
    with pytest.raises(ValueError, match="rule"):
        BatchFormat(8, rule="largest")


@pytest.mark.clause("INT-9")
def test_an_error_keeps_its_direction_alone() -> None:
    site = recipes.wage().site("gradient")
    for largest, exponent in ((1, -17), (3, -15), (5, -15), (6, -14), (300, -9)):
        got = site.requantize(np.array([largest, -largest], np.int32), -10)
        assert got.exponent == exponent
        top = min(127, round(largest * 2.0 ** (-10 - exponent)))
        assert got.ints.tolist() == [top, -top]
    assert site.requantize(np.zeros(2, np.int32), -10).exponent == -9


@pytest.mark.clause("INT-13")
def test_wage_rounds_once_after_the_exact_product() -> None:
    recipe = recipes.wage()
    layer, clip = nn.Linear(6, 3, recipe=recipe), nn.ReluClip(recipe)
    net = nn.Sequential(layer, clip)
    nn.prepare(net, seed=3)
    x = Tensor(
        DFP(np.random.default_rng(1).integers(-127, 128, (40, 6)).astype(np.int8), -7),
        requires_grad=True,
        grad_site=recipe.site("gradient"),
    )
    weight = layer.weight_site.parameter(layer.weight, view=layer.rule.view if layer.rule else None)
    assert set(weight.ints.ravel()) <= {-1, 0, 1}
    exact = (x.data.ints.astype(np.int64) @ weight.ints.T.astype(np.int64)) * 2.0 ** (weight.exponent - 7)
    out = net(x)
    want = np.minimum(np.rint(np.maximum(exact, 0) * 128), 127)
    np.testing.assert_array_equal(out.data.ints, want)
    assert (out.data.exponent, out.data.bits) == (-7, 8)
    out.backward(DFP(np.ones(out.shape, np.int8), -3))
    passed = ((exact > 0) & (exact <= 127 / 128)).astype(np.int64)
    assert isinstance(layer.weight.exact_grad, ExactSum)
    np.testing.assert_array_equal(layer.weight.exact_grad.ints, passed.T @ x.data.ints.astype(np.int64))
    front = nn.ImageInput([0.5], [0.1], recipe)
    assert (front.integers.exponent, int(np.abs(front.integers.ints).max())) == (-7, 80)


@pytest.mark.clause("INT-17")
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_weights_see_the_wider_gradient(kind: str) -> None:
    recipe = replace(recipes.banner8(), split=Format(8, "nearest_even", exponent=-5))
    layer: Any = (
        nn.Linear(3, 2, bias=False, recipe=recipe)
        if kind == "linear"
        else nn.Conv2d(3, 2, 1, bias=False, recipe=recipe)
    )
    nn.prepare(layer, seed=1)
    shape = (1, 3) if kind == "linear" else (1, 1, 1, 3)
    x = Tensor(DFP(np.array([1, 2, 3], np.int8).reshape(shape), 0), requires_grad=True)
    y = layer(x)
    wide = np.array([300, -192], np.int16)
    y.backward(DFP(wide.reshape(y.shape), -12, 16))
    total = layer.weight.exact_grad
    np.testing.assert_array_equal(total.ints.reshape(2, 3), np.outer(wide, [1, 2, 3]))
    weight = layer.weight_site.parameter(layer.weight)
    exact = np.array([2, -2]) @ weight.ints.reshape(2, 3).astype(np.int64)
    step = x.grad.exponent - (weight.exponent - 5)
    np.testing.assert_array_equal(x.grad.ints.ravel(), np.rint(exact / 2.0**step))


@pytest.mark.clause("LAY-4")
@pytest.mark.parametrize("name", ["niti", "dfp8"])
def test_a_net_with_dropout_per_feature_trains_in_integers_and_is_frozen_without_it(name: str) -> None:
    recipe = recipes.parse(name)
    net = nn.Sequential(
        nn.ImageInput(DIGITS.mean, DIGITS.std, recipe),
        nn.Flatten(recipe),
        nn.Linear(64, 128, recipe=recipe),
        nn.Relu(recipe),
        nn.Dropout(0.5, recipe, per="feature"),
        nn.Linear(128, 10, recipe=recipe),
    )
    loss = nn.criterion(recipe)
    run = nn.prepare(net, loss, seed=2)
    moves = recipe.update is not None
    optimizer = qnn.optim.RecipeUpdate(run.named_parameters()) if moves else qnn.optim.SGD(run.named_parameters())
    for _ in range(40):
        loss(net(DIGITS.images[:128]), DIGITS.labels[:128]).backward()
        optimizer.step(0.1)
        optimizer.zero_grad()
        run.advance()
    assert loss.last is not None
    assert loss.last.correct > 60  # of 128, with half of the features at 0; by chance 13
    net.eval()
    with qnn.no_grad():
        want = net(DIGITS.images[:64]).numpy()
    np.testing.assert_array_equal(qnn.inference.freeze(net, DIGITS.images[:1])(DIGITS.images[:64]), want)


def sites_of(layer: nn.Module) -> list[str]:
    return [name for name, _ in layer.named_sites()]


@pytest.mark.clause("INT-18")
def test_table_of_sites() -> None:
    wage, niti, banner = recipes.wage(), recipes.niti(), recipes.banner8()
    layers = {
        "RangeNormalize": nn.RangeNormalize(1, recipe=banner),
        "RangeNorm": nn.RangeNorm(1, banner),
        "ReluClip": nn.ReluClip(wage),
        "SumOfSquaresLoss": nn.SumOfSquaresLoss(wage),
        "IntegerCrossEntropyLoss": nn.IntegerCrossEntropyLoss(niti),
        "NoNormalization": nn.NoNormalization(niti),
    }
    rows: dict[str, list[str]] = {}
    section = CHAPTER.read_text().split("### INT-18")[1]
    for names, sites in re.findall(r"^\| ([A-Z][^|]*?) \| ([^|]*?) \|$", section, re.M):
        for name in names.split(", "):
            rows[name] = [] if sites.startswith("none") else sites.split(", ")
    assert {name: sites_of(layer) for name, layer in layers.items()} == rows
    usual = ["gradient_sum", "weight_site", "activation", "gradient"]
    assert sites_of(nn.Linear(1, 1, recipe=niti)) == sites_of(nn.Linear(1, 1, recipe=wage)) == usual
    assert sites_of(nn.Linear(1, 1, bias=False, recipe=banner)) == [*usual, "split"]


@pytest.mark.clause("INT-6")
def test_integer_weights_are_state() -> None:
    net, _, _ = build("niti")
    state = net.state_dict()
    assert state["net.layers.1.weight"].dtype == np.int8
    assert state["net.layers.1.weight.exponent"].dtype == np.int64
    assert not any(array.dtype.kind == "f" for array in state.values())
    other = models.build(
        "digits-cnn", recipe="niti", input_shape=(8, 8, 1), classes=10, mean=DIGITS.mean, std=DIGITS.std, seed=2
    )
    assert not np.array_equal(other.state_dict()["net.layers.1.weight"], state["net.layers.1.weight"])
    other.load_state_dict(state)
    assert all(np.array_equal(array, other.state_dict()[name]) for name, array in state.items())
    with pytest.raises(CheckpointError, match="weight"):
        other.load_state_dict({**state, "net.layers.1.weight": state["net.layers.1.weight"].astype(np.float32)})
    summary = nn.summarize(net, DIGITS.images[:2])
    weights = sum(p.size for p in net.parameters())
    assert (summary.parameters, summary.parameter_bytes) == (weights, weights)


@pytest.mark.clause("INT-4")
@pytest.mark.parametrize("path", qnn.available_kernels())
def test_a_pseudo_stochastic_site_rounds_every_exact_integer_by_its_lower_bits(path: str) -> None:
    site = recipes.niti(a_rounding="psr").site("activation")
    assert "PSEUDO_STOCHASTIC" in str(site.format)
    acc = np.random.default_rng(1).integers(-40_000, 40_000, (5, 7)).astype(np.int32)
    acc[0, 0] = -40_000
    want = np.clip(pseudo_stochastic(acc, 9), -127, 127)

    def refuse(target: Target) -> Any:
        raise AssertionError("the fused kernel knows no pseudo-stochastic rounding")

    with qnn.use_kernels(path):
        assert site.requantize(acc, -14).exponent == -5
        np.testing.assert_array_equal(site.requantize(acc, -14).ints, want)
        for training in (True, False):
            site.training = training
            np.testing.assert_array_equal(site.product(acc.shape, refuse, lambda part: acc[part], -14).ints, want)
        site.training = True
        parts = [DFP(np.array([100, -100, 77, -128], np.int8), -3), DFP(np.array([90, -100, 3, -128], np.int8), -5)]
        total = 4 * parts[0].ints.astype(np.int64) + parts[1].ints
        got = site.add(parts)
        assert got.exponent == -2
        np.testing.assert_array_equal(got.ints, pseudo_stochastic(total, 3))
        mean = site.requantize(np.array([40_000, -39_999], np.int32), 0, divisor=12)
        assert (mean.exponent, mean.ints.tolist()) == (5, pseudo_stochastic(np.array([13_333, -13_333]), 7).tolist())
        real = site.quantize(np.array([1.5, -0.25, 2.5 / 64], np.float32))  # no lower bits: ties go away from zero
        assert (real.exponent, real.ints.tolist()) == (-6, [96, -16, 3])


def test_what_a_pseudo_stochastic_net_gives_when_frozen_is_what_it_gives() -> None:
    net, loss, run = build("niti(a_rounding=psr)")
    optimizer = qnn.optim.RecipeUpdate(run.named_parameters())
    for _ in range(10):
        loss(net(DIGITS.images[:64]), DIGITS.labels[:64]).backward()
        optimizer.step(0.0)
        optimizer.zero_grad()
        run.advance()
    plain, _, _ = build("niti")
    plain.load_state_dict(net.state_dict())
    net.eval(), plain.eval()
    with qnn.no_grad():
        want, other = net(DIGITS.images[64:]).numpy(), plain(DIGITS.images[64:]).numpy()
    np.testing.assert_array_equal(qnn.inference.freeze(net, DIGITS.images[:1])(DIGITS.images[64:]), want)
    assert (want != other).any(), "the rounding shows"


@pytest.mark.parametrize("name", ["niti", "wage", "banner8", "banner8(norm=range_paper)"])
def test_frozen_networks_have_the_same_bits(name: str) -> None:
    net, loss, _ = build(name)
    for _ in range(2):
        loss(net(DIGITS.images[:32]), DIGITS.labels[:32])
    net.eval()
    with qnn.no_grad():
        want = net(DIGITS.images[32:96]).numpy()
        alone = np.concatenate([net(DIGITS.images[i : i + 1]).numpy() for i in range(32, 96)])
    np.testing.assert_array_equal(alone, want)  # a picture's result does not depend on its batch
    np.testing.assert_array_equal(qnn.inference.freeze(net, DIGITS.images[:1])(DIGITS.images[32:96]), want)


def test_layers_refuse_what_they_have_no_form_for() -> None:
    with pytest.raises(ValueError, match="without an update rule"):
        qnn.optim.RecipeUpdate([("w", Parameter([1.0]))])
    with pytest.raises(TypeError, match="float form"):
        nn.RangeNormalize(2)(Tensor(np.zeros((4, 2), np.float32)))
    with pytest.raises(ValueError, match="momentum"):
        nn.RangeNormalize(2, momentum=1.0)
    with pytest.raises(ValueError, match="channels"):
        nn.RangeNormalize(3, recipe=recipes.dfp8())(Tensor(DFP(np.zeros((4, 2), np.int8), 0)))
    with pytest.raises(ValueError, match="activated"):
        nn.ReluClip(recipes.dfp8())
    with pytest.raises(ValueError, match="loss="):
        nn.criterion(replace(recipes.dfp8(), loss="none"))
    net, loss, _ = build("niti")
    with pytest.raises(ValueError, match="only 1"):
        loss(net(DIGITS.images[:4]), DIGITS.labels[:4]).backward(DFP(np.array(2, np.int8), 0))
    rule = recipes.niti().update
    assert rule is not None
    with pytest.raises(TypeError, match="exact integer"):
        rule.step(np.zeros(2, np.float32), np.zeros(2, np.float32), 0.1, recipes.niti().site("weight"))


@pytest.mark.clause("INT-14")
@pytest.mark.clause("INT-15")
@pytest.mark.clause("INT-16")
def test_range_norm_normalises_and_evaluates_with_running_values() -> None:
    recipe = recipes.dfp(norm="range")
    layer = nn.RangeNormalize(2, momentum=0.0, recipe=recipe)
    nn.prepare(layer, seed=1)
    rng = np.random.default_rng(0)
    x = Tensor(DFP((rng.normal(0, 1, (512, 2)) * [10, 30] + [5, -20]).round().astype(np.int8), -3), requires_grad=True)
    out = layer(x).numpy()
    assert np.abs(out.mean(axis=0)).max() < 0.05
    assert 0.8 < out.std(axis=0).min() <= out.std(axis=0).max() < 1.2  # the constant makes the range a deviation
    layer.eval()
    evaluated = layer(x)
    np.testing.assert_array_equal(evaluated.numpy(), out)  # running values of one batch with momentum 0: its own
    evaluated.backward(DFP(np.ones((512, 2), np.int8), -4))
    assert isinstance(x.grad, DFP)
    assert len({tuple(row) for row in x.grad.ints.tolist()}) <= 4  # a constant times 1, rounded by noise
    paper = nn.RangeNormalize(2, recipe=recipe, reading="paper")
    halved = paper(x).numpy()
    assert 0.4 < halved.std(axis=0).min() <= halved.std(axis=0).max() < 0.7  # C(n) times the range is two deviations
    with pytest.raises(ValueError, match="code, paper"):
        nn.RangeNormalize(2, recipe=recipe, reading="book")
    frozen = RangeInteger(1e-5, "code", recipe.site("activation"), recipe.site("gradient"), None)
    assert frozen.forward(x.data).shape == (512, 2)
