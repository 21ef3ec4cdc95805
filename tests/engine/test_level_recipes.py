"""Recipes with weights of a few levels: names, errors, what multiplies, gradients, training, inference by shifts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import DFP, nn, recipes
from qnn.errors import ConfigError, FreezeError
from qnn.inference import freeze
from qnn.inference.shift import codes_of
from qnn.numerics import (
    Target,
    alpha_schedule,
    aqe_grad,
    decode_pow2,
    deepshift_ps,
    deepshift_ps_grad,
    pow2_levels,
    quantize,
    quantize_levels,
    reconstruct,
    requantize,
    staircase,
)
from qnn.numerics.mac import patches
from qnn.ops.conv import Conv2dInteger
from qnn.ops.linear import LinearInteger
from qnn.quantizer import Quantizer
from qnn.report import compression
from qnn.training.config import TrainConfig
from qnn.training.trainer import Trainer

ALL = [
    *(f"nbq(n={n})" for n in range(1, 6)),
    "nbq(form=aqe)",
    "nbq(form=ste)",
    "nbq(n=1, form=ste)",
    "nbq(a=16, g=12)",
    "nbq(n=2, staircase=3, slope=derived)",
    "nbq(n=4, thresholds=log, relative=False, exempt=both)",
    "nbq(inclusive=False)",
    "nbq(n=1, inclusive=False, staircase=2)",
    "ternary",
    "ternary(scaled=False)",
    "deepshift",
    "deepshift(b=3)",
    "deepshift(form=ps)",
    "deepshift(b=2, form=ps, exempt=last)",
    "logquant",
    "logquant(b=3, staircase=4)",
]


# --- names and errors ---
@pytest.mark.parametrize("text", ALL)
def test_names_read_back(text: str) -> None:
    recipe = recipes.parse(text)
    assert recipes.parse(recipe.name) == recipe
    assert recipe.source
    told = recipe.describe()
    assert told["rule"]
    assert told["factor"] == "int8 NEAREST_DOWN"


@given(
    st.integers(2, 5),
    st.integers(2, 16),
    st.sampled_from(["reconstruct", "aqe"]),
    st.one_of(st.just("schedule"), st.floats(0, 1)),
    st.sampled_from([None, "truncate", "nearest", "log", "numbers"]),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 5)),
    st.sampled_from(["none", "first", "last", "both"]),
)
def test_every_choice_reads_back(n, a, form, alpha, thresholds, relative, inclusive, staircase, exempt) -> None:
    chosen: Any = [2.0**-i for i in range(2 ** (n - 1) - 1)] if thresholds == "numbers" else thresholds
    ends: dict[str, Any] = {"inclusive": inclusive, "staircase": staircase, "exempt": exempt}
    recipe = recipes.nbq(n, a, form=form, alpha=alpha, thresholds=chosen, relative=relative, **ends)
    assert recipes.parse(recipe.name) == recipe
    assert ("inclusive" in recipe.name) == (not inclusive)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("nbq(n=0)", "allowed are 1, 2, 3, 4 and 5"),
        ("nbq(n=6)", "allowed are 1, 2, 3, 4 and 5"),
        ("nbq(n=2.5)", "a whole number"),
        ("nbq(a=1)", "2 to 16"),
        ("nbq(g=17)", "2 to 16"),
        ("nbq(alpha=1.5)", "0 to 1"),
        ("nbq(alpha=-0.5)", "a number"),
        ("nbq(alpha=constant)", "'schedule'"),
        ("nbq(alpha=True)", "'schedule'"),
        ("nbq(form=ste, alpha=0.5)", "leave it out"),
        ("nbq(form=real)", "reconstruct, aqe, ste"),
        ("nbq(thresholds=(0.1, 0.2, 0.3))", "strictly decreasing"),
        ("nbq(thresholds=(0.2, 0.1))", "give 3"),
        ("nbq(thresholds=0.2)", "give 3"),
        ("nbq(n=1, thresholds=0.2)", "a sign has none"),
        ("nbq(n=4, thresholds=paper)", "3 bits alone"),
        ("nbq(thresholds=mean)", "known are"),
        ("nbq(inclusive=0)", "True or False"),
        ("nbq(inclusive=upper)", "True or False"),
        ("nbq(n=1, inclusive=False)", "a sign has no threshold"),
        ("nbq(n=1, staircase=1, inclusive=False)", "a sign has no threshold"),
        ("nbq(staircase=0)", "1, 2, 3, 4 and 5"),
        ("nbq(slope=squared)", "printed"),
        ("nbq(exempt=middle)", "none, first, last and both"),
        ("ternary(exempt=all)", "none, first, last and both"),
        ("deepshift(form=pq)", "trained shifts and signs"),
        ("deepshift(b=1)", "2, 3, 4 and 5"),
        ("logquant(b=6)", "2, 3, 4 and 5"),
        ("logquant(staircase=1)", "2, 3, 4 and 5"),
        ("nbq(thresholds=(0.1, 'x', 0.3))", "numbers in brackets"),
    ],
)
def test_wrong_choices_are_explained(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipes.parse(text)
    assert part in str(error.value)


def test_formats_are_those_of_the_chapter() -> None:
    found = {n: recipes.nbq(n).weight for n in range(1, 6)}
    assert {n: (w.bits, w.exponent) for n, w in found.items() if w} == {
        1: (8, -6),
        2: (8, -6),
        3: (8, -6),
        4: (8, -6),
        5: (16, -14),
    }
    sign = recipes.nbq(1, form="ste").weight
    assert sign is not None
    assert (sign.bits, sign.exponent) == (2, 0)
    recipe = recipes.nbq(3, exempt="both")
    assert recipe.first_layer().rule is recipe.last_layer().rule is None
    assert recipes.nbq(3).first_layer().rule == recipes.nbq(3).rule, "the paper quantises all layers"
    scale = nn.Scale(3, recipe=recipes.nbq(1, form="ste"))
    assert (scale.weight_site.bits, scale.weight_site.format.exponent) == (8, None)


# --- what multiplies, and how the gradient comes back ---
@pytest.mark.clause("WGT-4", "WGT-5", "WGT-6", "WGT-7")
@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("form", ["reconstruct", "aqe", "ste"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_a_layer_multiplies_and_learns_as_the_clauses_say(n: int, form: str, kind: str) -> None:
    recipe = recipes.nbq(n, form=form)
    layer: Any = (
        nn.Linear(6, 4, bias=False, recipe=recipe)
        if kind == "linear"
        else nn.Conv2d(2, 4, 3, bias=False, recipe=recipe)
    )
    model = nn.Sequential(nn.Quantize(recipe), layer)
    run = nn.prepare(model, seed=n)
    run.progress = 0.25
    master = layer.weight.numpy()
    levels = quantize_levels(master, n, {2: (0.14,), 3: "paper"}.get(n, "nearest"), relative=n > 1)
    alpha = alpha_schedule(0.25)
    shown = levels if form == "ste" else reconstruct(master, levels, alpha)
    assert recipe.weight is not None
    assert recipe.weight.exponent is not None
    target = Target(recipe.weight.exponent, recipe.weight.bits, recipe.weight.rounding)
    shape = (5, 6) if kind == "linear" else (5, 4, 4, 2)
    x = qnn.Tensor(np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))
    with qnn.trace() as entries:
        out = model(x)
    np.testing.assert_array_equal(entries[1].operation.weight.ints, quantize(shown, target)[0])
    out.backward(DFP(np.ones(out.shape, np.int8), -4, 8))
    exact = layer.weight._total.to_float32()
    want = {
        "reconstruct": np.float32(alpha) * exact,
        "aqe": aqe_grad(exact, master, alpha),
        "ste": exact,
    }
    np.testing.assert_array_equal(np.asarray(layer.weight.grad), want[form])
    with qnn.no_grad(), qnn.trace() as entries:
        model.eval()(x)
    weight = entries[1].operation.weight
    np.testing.assert_array_equal(weight.to_float(), levels, "evaluation multiplies with levels, exactly")
    model.train()
    layer.weight.grad = np.full(master.shape, -100, np.float32)
    qnn.optim.SGD(model.named_parameters()).step(1.0)
    assert layer.weight.numpy().max() == 1, "masters are clipped"


@pytest.mark.clause("WGT-14")
@pytest.mark.parametrize("bits", [2, 3, 5])
def test_shift_and_sign_learn_each_for_itself(bits: int) -> None:
    recipe = recipes.deepshift(bits, form="ps")
    layer = nn.Linear(6, 4, bias=False, recipe=recipe)
    model = nn.Sequential(nn.Quantize(recipe), layer)
    nn.prepare(model, seed=bits)
    shift, sign = layer.weight, layer.second
    assert [name for name, _ in model.named_parameters()] == ["layers.1.weight", "layers.1.second"]
    bound = max(2 ** (bits - 2) - 1, 0.5)
    assert np.abs(shift.numpy()).max() <= bound == shift.limit
    assert np.abs(sign.numpy()).max() <= 1 == sign.limit
    weights = deepshift_ps(shift.numpy(), sign.numpy(), bits)
    x = qnn.Tensor(np.random.default_rng(0).normal(0, 1, (5, 6)).astype(np.float32))
    with qnn.trace() as entries:
        out = model(x)
    np.testing.assert_array_equal(entries[1].operation.weight.to_float(), weights, "exactly, in training too")
    assert sign.grad is None
    out.backward(DFP(np.ones(out.shape, np.int8), -4, 8))
    exact = layer.weight._total.to_float32()
    np.testing.assert_array_equal(np.asarray(sign.grad), exact)
    np.testing.assert_array_equal(np.asarray(shift.grad), deepshift_ps_grad(exact, weights))
    optimizer = qnn.optim.SGD(model.named_parameters())
    optimizer.step(1000.0)
    assert np.abs(sign.numpy()).max() <= 1
    assert np.abs(shift.numpy()).max() <= bound
    optimizer.zero_grad()
    assert sign.grad is None
    model.eval()
    for value in (1, -1):  # a new sign alone makes the integers of evaluation stale
        sign.data = np.full(sign.shape, value, np.float32)
        with qnn.no_grad(), qnn.trace() as entries:
            model(x)
        np.testing.assert_array_equal(np.sign(entries[1].operation.weight.ints), np.full(sign.shape, value))


@pytest.mark.clause("WGT-5")
def test_in_the_last_epoch_weights_are_levels_and_stay() -> None:
    layer = nn.Linear(4, 3, bias=False, recipe=recipes.nbq())
    run = nn.prepare(layer, seed=1)
    run.progress = 1.0
    assert layer.rule is not None
    master = layer.weight.numpy()
    np.testing.assert_array_equal(layer.rule.view(master), quantize_levels(master, 3, "paper", True))
    assert not layer.rule.gradient(np.ones_like(master), master).any()


@pytest.mark.clause("WGT-1", "WGT-10")
@pytest.mark.parametrize(("inclusive", "want"), [(True, [1, 0.5, 0.25, -1]), (False, [0.5, 0.25, 0, -0.5])])
def test_a_threshold_has_one_side_everywhere(inclusive: bool, want: list[float]) -> None:
    recipe = recipes.nbq(3, form="ste", thresholds="truncate", relative=False, inclusive=inclusive, staircase=3)
    layer = nn.Linear(4, 1, bias=False, recipe=recipe)
    stairs = nn.activation(recipe)
    model = nn.Sequential(nn.Quantize(recipe), layer, stairs)
    nn.prepare(model, seed=1)
    layer.weight.data = master = np.array([[1, 0.5, 0.25, -1]], np.float32)
    x = qnn.Tensor(np.eye(4, dtype=np.float32))
    for _ in range(2):  # in training, then in evaluation
        with qnn.no_grad(), qnn.trace() as entries:
            model(x)
        assert entries[1].operation.weight.to_float().tolist() == [want]
        model.eval()
    frozen = freeze(model, x, products="shift")
    np.testing.assert_array_equal(frozen(x), outputs(model, x))
    assert layer.rule is not None
    assert layer.rule.inference(master).tolist() == [want]
    assert compression.layer_sizes(model)[0].zeros == want.count(0)
    codes = np.array([4, 12, 24], np.int8)  # thresholds 1/8, 3/8 and 3/4 of "nearest"
    y = stairs(qnn.Tensor(DFP(codes, -5, 8)))
    assert isinstance(y.data, DFP)
    assert y.data.ints.tolist() == ([1, 2, 4] if inclusive else [0, 1, 2])


@pytest.mark.clause("WGT-10")
@pytest.mark.parametrize("slope", ["printed", "derived", "straight"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_the_staircase_layer(bits: int, slope: str) -> None:
    recipe = recipes.nbq(3, staircase=bits, slope=slope)
    gradient = replace(recipe.gradient, rounding=qnn.NEAREST_EVEN)  # type: ignore[type-var]
    recipe = replace(recipe, gradient=gradient)
    layer = nn.activation(recipe)
    codes = np.arange(-128, 128, dtype=np.int8)
    x = qnn.Tensor(DFP(codes, -5, 8), requires_grad=True, grad_site=Quantizer("gradient", gradient))
    y = layer(x)
    assert isinstance(y.data, DFP)
    np.testing.assert_array_equal(y.data.ints, staircase(codes, -5, bits, "nearest"))
    g = np.arange(-128, 128, dtype=np.int8)[::-1].copy()
    y.backward(DFP(g, -4, 8))
    assert isinstance(x.grad, DFP)
    factor = 2 * sum((4 if slope == "printed" else 2) ** -i for i in range(1 if bits == 1 else pow2_levels(bits)))
    factor = 1 if slope == "straight" else factor
    exact = np.where(np.abs(codes.astype(int)) <= 32, g.astype(int), 0)
    scale = 2**30  # lambda is a multiple of 2**-27
    want, _ = requantize(exact * int(factor * scale), -34, Target(x.grad.exponent, 8, qnn.NEAREST_EVEN))
    np.testing.assert_array_equal(x.grad.ints, want)
    with pytest.raises(ValueError, match="staircase"):
        nn.StaircaseActivation(recipes.dfp8())
    with pytest.raises(TypeError, match="float32"):
        layer(qnn.Tensor([1.0]))


# --- levels without a scale ---
NO_SCALE = [
    "nbq(n=1)",
    "nbq(n=3)",
    "nbq(n=1, relative=False)",
    "nbq(form=ste)",
    "ternary(scaled=False)",
    "deepshift(form=ps)",
]
SCALE = ["nbq(n=3, relative=False)", "logquant", "deepshift", "ternary", "dfp8"]


@pytest.mark.clause("WGT-12")
@pytest.mark.parametrize("text", NO_SCALE + SCALE)
def test_levels_without_a_scale_are_normalised_in_every_layer(text: str) -> None:
    made: dict[str, Any] = {"classes": 10, "mean": (0.3,), "std": (0.4,), "seed": 1}
    model = qnn.models.build("digits-cnn", recipe=text, input_shape=(8, 8, 1), **made)
    assert isinstance(model.net[len(model.net) - 1], nn.BatchNorm if text in NO_SCALE else nn.Linear)
    for name in ("mlp", "lenet5"):
        if text in SCALE:
            qnn.models.build(name, recipe=text, input_shape=(28, 28, 1), **made)
            continue
        with pytest.raises(ValueError, match=r"without a scale.*take "):
            qnn.models.build(name, recipe=text, input_shape=(28, 28, 1), **made)


@pytest.mark.clause("WGT-12")
@pytest.mark.parametrize("exempt", ["last", "both"])
def test_an_exempt_last_layer_needs_none(exempt: str) -> None:
    assert recipes.nbq(exempt="first").normalize_last
    assert not recipes.nbq(exempt=exempt).normalize_last


# --- training and inference ---
@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    return qnn.data.load("digits", split="train"), qnn.data.load("digits", split="test")


def trained(recipe: str, digits: tuple[Any, Any], **settings: Any) -> Any:
    trainer = Trainer(TrainConfig(recipe=recipe, **settings), digits[0])
    for _ in trainer.steps():
        pass
    return trainer.model


def outputs(model: Any, images: np.ndarray) -> np.ndarray:
    model.eval()
    with qnn.no_grad():
        return np.asarray(model(images).numpy())


def accuracy(out: np.ndarray, test: Any) -> float:
    return float((out.argmax(1) == test.labels).mean())


@pytest.mark.clause("WGT-11")
@pytest.mark.parametrize(
    ("recipe", "least"),
    [
        ("nbq(n=1)", 0.88),
        ("nbq(n=2)", 0.90),
        ("nbq(n=3)", 0.92),
        ("nbq(n=4)", 0.94),
        ("nbq(n=5)", 0.94),
        ("deepshift", 0.95),
        ("deepshift(form=ps)", 0.93),
        ("logquant", 0.95),
    ],
)
def test_five_epochs_learn_and_shifts_repeat_the_multiply_on_all_test_images(
    recipe: str, least: float, digits: tuple[Any, Any]
) -> None:
    """The bounds are some percent below what was measured; the bits are those of the golden digests' kind."""
    model, test = trained(recipe, digits, epochs=5), digits[1]
    want = outputs(model, test.images)
    assert accuracy(want, test) >= least
    multiplied, shifted = (freeze(model, test.images[:2], products=products) for products in ("multiply", "shift"))
    assert [step.names[0] for step in shifted.steps if step.names[0].startswith("shift ")] == [
        "shift conv2d",
        "shift conv2d",
        "shift linear",
    ]
    np.testing.assert_array_equal(multiplied(test.images), want)
    np.testing.assert_array_equal(shifted(test.images), want)


@pytest.mark.clause("WGT-11")
@pytest.mark.parametrize(
    "recipe",
    [
        "nbq(n=3, a=16)",
        "nbq(n=5, a=16)",
        "nbq(n=2, a=6)",
        "nbq(n=3, thresholds=truncate, inclusive=False, staircase=3)",
        "nbq(exempt=last)",
        "logquant(b=3, staircase=4)",
        "deepshift(b=4, form=ps)",
        "ternary",
    ],
)
def test_shifts_on_every_path(recipe: str, digits: tuple[Any, Any]) -> None:
    model = trained(recipe, digits, epochs=1, train_limit=64, batch_size=16)
    images = digits[1].images[:24]
    want = outputs(model, images)
    before = qnn.get_num_threads()
    if recipe == "ternary":  # +-s is rounded to 8 bits: no power of two in general
        kinds = {step.names[0] for step in freeze(model, images[:1]).steps}
        assert not any(kind.startswith("shift") for kind in kinds)
        return
    shifted = freeze(model, images[:1], products="shift")
    for path in qnn.available_kernels():
        with qnn.use_kernels(path):
            for threads in (1, 3):
                qnn.set_num_threads(threads)
                np.testing.assert_array_equal(shifted(images), want)
    qnn.set_num_threads(before)


def truncated(self: Any, x: DFP, *masters: Any) -> DFP:
    """A layer's forward pass with floor(x * 2**-i) for each term where all weights are 0 or +-2**-i, by plain NumPy."""
    weights = np.ldexp(self.weight.ints.astype(np.float64), self.weight.exponent)
    small = np.isin(np.abs(weights), [0, *(2.0**-i for i in range(15))]).all()
    terms = x.ints.astype(np.int64)
    if isinstance(self, Conv2dInteger):
        terms = patches(terms, weights.shape[1:3], *self.window.args()[:3])
        terms = terms.reshape(*terms.shape[:3], -1)
    flat = weights.reshape(len(weights), -1)
    products = terms[..., None, :] * np.abs(flat)
    grid = x.exponent if small else x.exponent + self.weight.exponent
    sums = (np.sign(flat) * (np.floor(products) if small else np.ldexp(products, -self.weight.exponent))).sum(-1)
    total, exponent = sums.astype(np.int64), grid
    if self.bias is not None:
        exponent = min(grid, self.bias.exponent)
        total = (total << (grid - exponent)) + (self.bias.ints.astype(np.int64) << (self.bias.exponent - exponent))
    return self.output.requantize(total, exponent)


@pytest.mark.clause("POW-4", "WGT-11")
@pytest.mark.parametrize(
    ("recipe", "layers"),
    [
        ("nbq(n=3)", 3),
        ("nbq(n=3, a=16, form=ste)", 3),
        ("nbq(n=5)", 3),
        ("nbq(n=5, a=16)", 3),
        ("nbq(n=4, a=6, exempt=last)", 2),
        ("nbq(n=3, inclusive=False, staircase=4)", 3),
        ("deepshift", 3),
        ("logquant(b=3)", 3),
    ],
)
def test_truncating_shifts_are_the_layers_with_truncated_terms(
    recipe: str, layers: int, digits: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(recipe, digits, epochs=1, train_limit=256, batch_size=16)
    images = digits[1].images[:16]
    exact = outputs(model, images)
    frozen = freeze(model, images[:1], products="shift-truncating")
    assert sum(step.names[0].startswith("truncating shift ") for step in frozen.steps) == layers
    assert not any(step.names[0].startswith("shift ") for step in frozen.steps)
    with monkeypatch.context() as patch:
        patch.setattr(Conv2dInteger, "forward", truncated)
        patch.setattr(LinearInteger, "forward", truncated)
        want = outputs(model, images)
    assert not np.array_equal(want, exact), "the terms that are cut are seen in the outputs"
    before = qnn.get_num_threads()
    for path in qnn.available_kernels():
        with qnn.use_kernels(path):
            for threads in (1, 3):
                qnn.set_num_threads(threads)
                np.testing.assert_array_equal(frozen(images), want)
    qnn.set_num_threads(before)
    np.testing.assert_array_equal(freeze(model, images[:1], products="shift")(images), exact)


@pytest.mark.clause("POW-4", "WGT-11")
@pytest.mark.parametrize("step", [2.0**-4, 2.0**-7, 2.0**-9])
@pytest.mark.parametrize("levels", [[1, -0.5, 0.25, 0], [0.5, -0.25, 0.25, 0.5], [0.25, -0.25, 0, 0.25], [1, -1, 1, 0]])
def test_sums_of_truncated_terms_lie_on_the_input_s_grid(
    levels: list[float], step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever levels a layer has: 2**-i shifts by i. Biases are coarser than that grid, and finer."""
    recipe = recipes.nbq(3, form="ste", relative=False, thresholds="truncate")
    recipe = replace(recipe, weight=replace(recipe.weight, exponent=-6, bits=8))  # type: ignore[type-var]
    layer = nn.Linear(4, 3, recipe=recipe)
    model = nn.Sequential(nn.Quantize(recipe), layer)
    nn.prepare(model, seed=1)
    layer.weight.data = np.array([levels] * 3, np.float32)
    layer.bias.data = np.array([step, -3 * step, 5 * step], np.float32)  # type: ignore[union-attr]
    x = np.random.default_rng(0).normal(0, 1, (40, 4)).astype(np.float32)
    model(qnn.Tensor(x))
    frozen, exact = freeze(model, x, products="shift-truncating"), outputs(model, qnn.Tensor(x))
    monkeypatch.setattr(LinearInteger, "forward", truncated)
    np.testing.assert_array_equal(frozen(x), outputs(model, qnn.Tensor(x)))
    if set(levels) == {1, -1, 0}:
        np.testing.assert_array_equal(frozen(x), exact, "nothing is shifted")


@pytest.mark.clause("WGT-11")
@given(st.data())
def test_codes_say_the_weights(data: st.DataObject) -> None:
    low = data.draw(st.integers(0, 14))
    span = data.draw(st.integers(0, 14 - low))
    entries = [0, *(s * 2**t for t in range(low, low + span + 1) for s in (1, -1))]
    weights = np.array(data.draw(st.lists(st.sampled_from(entries), min_size=1, max_size=30)), np.int16)
    found = codes_of(weights)
    if not weights.any():
        assert found is None
        return
    assert found is not None
    codes, bits, shift = found
    np.testing.assert_array_equal(decode_pow2(codes, bits) << shift, weights)
    powers = {abs(int(w)).bit_length() for w in weights if w}
    width = max(powers) - min(powers) + 1
    assert bits == min(b for b in (2, 3, 4, 5) if width <= pow2_levels(b))
    one = data.draw(st.integers(max(powers) - 3, max(powers) + 3)) - 1  # of bit lengths, one above the power
    found, depth = codes_of(weights, one), one + 1 - min(powers)
    assert (found is None) == (one + 1 < max(powers) or depth >= pow2_levels(5))
    if found is not None:
        codes, bits, shift = found
        np.testing.assert_array_equal(np.ldexp(decode_pow2(codes, bits).astype(float), shift), weights)
        assert shift + pow2_levels(bits) - 1 == one, "the largest code"
        assert bits == min(b for b in (2, 3, 4, 5) if depth < pow2_levels(b))
    assert codes_of(np.array([*weights, 3], np.int16)) is None


def test_the_widest_weights_and_a_fine_bias() -> None:
    assert codes_of(np.array([1, -(2**15)], np.int16)) is None, "16 powers apart: no code has so many"
    recipe = recipes.nbq(3, form="ste", relative=False, thresholds="truncate")
    recipe = replace(recipe, weight=replace(recipe.weight, exponent=-6, bits=8))  # type: ignore[type-var]
    layer = nn.Linear(4, 3, recipe=recipe)
    model = nn.Sequential(nn.Quantize(recipe), layer)
    nn.prepare(model, seed=1)
    layer.weight.data = np.array([[1, -0.5, 0.25, 0]] * 3, np.float32)
    x = np.random.default_rng(0).normal(0, 1, (40, 4)).astype(np.float32)
    layer.bias.data = np.array([2.0**-9, -3 * 2.0**-10, 5 * 2.0**-10], np.float32)  # type: ignore[union-attr]
    model(qnn.Tensor(x))
    shifted = freeze(model, x, products="shift")
    np.testing.assert_array_equal(shifted(x), outputs(model, qnn.Tensor(x)))


def test_products_that_cannot_be_had_are_refused(digits: tuple[Any, Any]) -> None:
    images = digits[1].images[:2]
    model = trained("dfp8", digits, epochs=1, train_limit=32, batch_size=16)
    with pytest.raises(FreezeError, match="power-of-two weights"):
        freeze(model, images, products="shift")
    with pytest.raises(FreezeError, match=r"products='shift-truncating'.*power-of-two weights of at most 1"):
        freeze(model, images, products="shift-truncating")
    with pytest.raises(ValueError, match="allowed are auto, multiply, xnor, shift, shift-truncating"):
        freeze(model, images, products="add")
    assert model.training, "the mode is as it was"
    recipe = recipes.dfp8()
    layer = nn.Linear(2, 1, bias=False, recipe=recipe)
    small = nn.Sequential(nn.Quantize(recipe), layer)
    nn.prepare(small, seed=1)
    layer.weight.data = np.array([[2, 0.5]], np.float32)
    x = np.array([[1, -0.75]], np.float32)
    small(qnn.Tensor(x))
    np.testing.assert_array_equal(freeze(small, x, products="shift")(x), outputs(small, qnn.Tensor(x)))
    with pytest.raises(FreezeError, match="of at most 1"):
        freeze(small, x, products="shift-truncating")
