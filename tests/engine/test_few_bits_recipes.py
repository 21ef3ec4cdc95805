"""Recipes of one to a few bits: names, layers, exact products, learning, and one digest on every kernel path."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import DFP, data, nn, recipes
from qnn.errors import ConfigError
from qnn.models import BinaryConvNet, BinaryMLP
from qnn.models.resnet import Plan, ResNet
from qnn.numerics import (
    Noise,
    ap2,
    ap2_dots,
    binarize,
    binarize_stochastic,
    by_largest,
    by_largest_grad,
    glorot_rate,
    level_format,
    linear_quant,
    log_quant,
    round_samples,
    sign,
    sign_stochastic,
)
from qnn.quantizer import Format, Quantizer
from qnn.training.config import TrainConfig
from qnn.training.trainer import Trainer

PATHS = qnn.available_kernels()
KINDS = (
    "bnn",
    "bnn(stochastic=True, norm=shift)",
    "qnn(w=1, a=2, g=8)",
    "qnn(w=4, a=4, g=6)",
    "dorefa(w=1, a=2, g=6)",
    "dorefa(w=1, a=2, g=6, scale=sample)",
)
READINGS = (
    "bnn(norm=shift, ap2=top, rates=ap2)",
    "qnn(w=4, a=4, g=6, quant=log, norm=shift, ap2=top)",
    "qnn(w=2, a=2, g=8, scale=max, rates=ap2)",
    "qnn(w=4, a=4, g=6, quant=log, quant_a=log, ap2=top)",
)


NORMS = st.sampled_from(["batch", "shift"])
AP2 = st.sampled_from(["nearest", "top"])
RATES = st.sampled_from(["exact", "ap2"])


@given(st.booleans(), NORMS, st.integers(2, 16), st.booleans(), AP2, RATES)
def test_the_name_of_bnn_reads_back(
    stochastic: bool, norm: str, g: int, activations: bool, reading: str, rates: str
) -> None:
    recipe = recipes.bnn(stochastic, norm, g, activations, ap2=reading, rates=rates)
    assert recipes.parse(recipe.name) == recipe


@given(
    st.integers(1, 5),
    st.integers(1, 8),
    st.integers(2, 16),
    st.sampled_from(["linear", "log"]),
    NORMS,
    st.sampled_from(["linear", "log"]),
    st.sampled_from(["unit", "max"]),
    AP2,
    RATES,
)
def test_the_names_of_qnn_and_dorefa_read_back(
    w: int, a: int, g: int, quant: str, norm: str, quant_a: str, scale: str, reading: str, rates: str
) -> None:
    scale = "unit" if w == 1 or quant == "log" else scale
    quant_a = quant_a if 2 <= a <= 5 else "linear"
    own = recipes.qnn(w, a, g, quant, norm, quant_a=quant_a, scale=scale, ap2=reading, rates=rates)
    assert ("quant_a" in own.name) == (quant_a == "log")
    for recipe in (own, recipes.dorefa(w, a, g), recipes.dorefa(w, a, g, "sample")):
        assert recipes.parse(recipe.name) == recipe
        assert recipe.is_integer
        assert recipe.strict


def test_what_the_recipes_say() -> None:
    found = recipes.bnn().describe()
    assert found["weight"] == "int2·2^0 NEAREST_DOWN"
    assert (found["product"], found["rule"]) == ("int16·2^0 NEAREST_DOWN", "sign")
    assert (found["activation_layer"], found["loss"], found["first"]) == ("sign", "square_hinge", "bnn's first")
    assert recipes.bnn().first_layer().product is None
    assert recipes.bnn(norm="shift").last_layer().normalization == "batch"
    assert recipes.qnn(4, 4, 6).describe()["gradient"] == "int6 STOCHASTIC/philox16"
    assert recipes.qnn(4, 4, quant="log").weight == Format(8, exponent=-6)
    assert recipes.qnn(2, 1).padding == 1
    assert recipes.qnn(1, 2).padding == 0
    assert recipes.dorefa(2, 3).activated.bits == 4  # type: ignore[union-attr]
    assert recipes.dorefa().first_layer().rule is None
    assert "ap2" not in found
    assert recipes.bnn(ap2="top").last_layer().describe()["ap2"] == "top"
    assert recipes.qnn(2, 2, scale="max").describe()["rule"] == "linear grid of max"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bnn(norm=layer)", "'batch' and 'shift'"),
        ("bnn(w=2)", "bnn takes stochastic, norm"),
        ("qnn(w=0)", "1 to 8"),
        ("qnn(w=6, quant=log)", "1 to 5"),
        ("qnn(quant=cubic)", "'linear' and 'log'"),
        ("qnn(a=2, quant_a=cubic)", "quant_a='cubic'; allowed are 'linear' and 'log'"),
        ("qnn(quant_a=log)", "a=1; allowed are 2 to 5"),
        ("qnn(w=4, a=6, quant_a=log)", "a=6; allowed are 2 to 5"),
        ("qnn(w=4, a=4, quant_a=log, ap2=floor)", "and 'top'"),
        ("dorefa(a=9)", "1 to 8"),
        ("dorefa(scale=image)", "'tensor' and 'sample'"),
        ("bnn(g=1)", "2 to 16"),
        ("bnn(ap2=floor)", "'nearest', the nearest power of two in the logarithm, and 'top'"),
        ("qnn(w=2, ap2=floor)", "and 'top'"),
        ("bnn(rates=round)", "'exact' and 'ap2'"),
        ("qnn(rates=round)", "'exact' and 'ap2'"),
        ("qnn(w=2, scale=mean)", "'unit' and 'max'"),
        ("qnn(scale=max)", "only linear weights of 2 bits or more"),
        ("qnn(w=2, quant=log, scale=max)", "only linear weights of 2 bits or more"),
    ],
)
def test_wrong_arguments_are_explained(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipes.parse(text)
    assert part in str(error.value)


@pytest.mark.clause("BIT-5", "BIT-1")
def test_masters_begin_in_one_and_have_their_rate_and_limit() -> None:
    layer = nn.Conv2d(3, 5, 3, bias=False, recipe=recipes.bnn())
    nn.prepare(layer, seed=1)
    assert layer.weight.limit == 1.0
    assert layer.weight.rate == glorot_rate(27, 45)  # 6.93
    for reading, want in (("nearest", 8.0), ("top", 4.0)):
        assert nn.Conv2d(3, 5, 3, recipe=recipes.bnn(ap2=reading, rates="ap2")).weight.rate == want
    assert 0.9 < np.abs(layer.weight.numpy()).max() <= 1
    assert set(layer.weight_site.parameter(layer.weight, view=layer.rule.view).ints.ravel()) == {-1, 1}


@pytest.mark.clause("BIT-2")
def test_drawn_weights_follow_the_address_and_evaluation_takes_signs() -> None:
    recipe = recipes.bnn(stochastic=True)
    layer = nn.Linear(40, 30, bias=False, recipe=recipe)
    run = nn.prepare(nn.Sequential(nn.Sign(recipe), layer), seed=7)
    seen = []
    for step in range(3):
        words = Noise("philox", 7, layer.weight_site.stream, step).u16(1200)  # type: ignore[arg-type]
        got = layer.weight_site.parameter(layer.weight, view=layer.rule.view).ints
        np.testing.assert_array_equal(got, binarize_stochastic(layer.weight.numpy(), words))
        layer.eval()
        own = layer.weight_site.parameter(layer.weight, view=layer.rule.view).ints
        np.testing.assert_array_equal(own, binarize(layer.weight.numpy()))
        layer.train()
        seen.append(got)
        run.advance()
    assert (seen[0] != seen[1]).any()
    loose = nn.Linear(4, 3, bias=False, recipe=recipe)
    with pytest.raises(RuntimeError, match="no noise stream"):
        loose(qnn.Tensor(DFP(np.ones((1, 4), np.int8), 0, 2)))


@pytest.mark.clause("LAY-15")
@pytest.mark.parametrize("exponent", [-300, -40, -16, -15, -7, -5, 0, 1, 2, 40])
def test_a_sign_is_drawn_by_comparing_exact_numbers(exponent: int) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    x = [Fraction(int(q)) * Fraction(2) ** exponent for q in codes]
    edges = [
        min(max(math.ceil(32768 * (v + 1)), 0), 65535) for v in x
    ]  # the first word that gives -1, where there is one
    for move in (-1, 0, 1):
        words = np.array([min(max(edge + move, 0), 65535) for edge in edges], np.uint16)
        want = [1 if int(word) < 32768 * (v + 1) else -1 for word, v in zip(words, x, strict=True)]
        assert sign_stochastic(codes, exponent, words).tolist() == want
        assert sign_stochastic(codes.astype(np.int16), exponent, words).tolist() == want
    assert sign_stochastic(codes.reshape(4, 64), exponent, words).shape == (4, 64)


@pytest.mark.clause("LAY-15")
def test_drawn_signs_follow_the_address_and_evaluation_takes_signs() -> None:
    recipe = recipes.bnn(stochastic_activations=True)
    assert recipe.describe()["activation_layer"] == "sign, drawn in training"
    layer, other = nn.Sign(recipe), nn.Sign(recipe)
    model = nn.Sequential(layer, nn.Linear(8, 8, bias=False, recipe=recipe), other)
    codes = np.arange(-32, 32, dtype=np.int8).reshape(8, 8)
    x = qnn.Tensor(DFP(codes, -5, 8), requires_grad=True, grad_site=Quantizer("gradient", Format()))
    with pytest.raises(RuntimeError, match="no noise stream"):
        layer(x)
    run = nn.prepare(model, seed=7)
    assert layer.stream == len(run.sites)
    assert other.stream == len(run.sites) + 1
    words = Noise("philox", 7, layer.stream, 0).u16(64)
    want = sign_stochastic(codes, -5, words.reshape(8, 8))
    y = layer(x)
    assert isinstance(y.data, DFP)
    np.testing.assert_array_equal(y.data.ints, want)
    assert (y.data.bits, y.data.exponent) == (2, 0)
    y.backward(DFP(np.full((8, 8), 3, np.int8), -4, 8))
    assert isinstance(x.grad, DFP)
    assert (x.grad.ints == 3).all()
    run.step = 0  # a step begun anew draws the same, also in two parts
    parts = [layer(qnn.Tensor(DFP(part, -5, 8))).data.ints for part in (codes[:3], codes[3:])]  # type: ignore[union-attr]
    np.testing.assert_array_equal(np.concatenate(parts), want)
    run.advance()
    assert (layer(x).data.ints != want).any()  # type: ignore[union-attr]
    np.testing.assert_array_equal(layer.eval()(x).data.ints, sign(codes))  # type: ignore[union-attr]


@pytest.mark.clause("LAY-15")
def test_a_net_with_drawn_signs_trains_and_freezes_to_signs() -> None:
    images = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 1), np.uint8)
    labels = np.arange(8) % 10
    found = []
    for path in qnn.available_kernels():
        with qnn.use_kernels(path):
            model = small((8, 8, 1), recipes.bnn(stochastic_activations=True))
            trained(model, images, labels, steps=2, size=8)
            model.eval()
            with qnn.no_grad():
                layered = model(images).numpy()
            np.testing.assert_array_equal(qnn.inference.freeze(model, images[:1])(images), layered)
            found.append(layered)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.clause("BIT-4")
def test_log_weights_are_whole_multiples_of_their_grid() -> None:
    for reading in ("nearest", "top"):
        layer = nn.Linear(9, 50, bias=False, recipe=recipes.qnn(4, 4, quant="log", ap2=reading))
        nn.prepare(layer, seed=1)
        got = layer.weight_site.parameter(layer.weight, view=layer.rule.view)
        np.testing.assert_array_equal(got.to_float(), log_quant(layer.weight.numpy(), 4, reading))


@pytest.mark.clause("BIT-14")
@pytest.mark.parametrize("reading", ["nearest", "top"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_log_activation_of_every_code_and_its_gradient(bits: int, reading: str) -> None:
    layer = nn.activation(recipes.qnn(4, bits, quant_a="log", ap2=reading))
    codes = np.arange(-128, 128, dtype=np.int8)
    for exponent, one in ((-9, 128), (-5, 32), (0, 1)):  # the largest magnitude that the gradient passes
        x = qnn.Tensor(DFP(codes, exponent, 8), requires_grad=True, grad_site=Quantizer("gradient", Format()))
        y = layer(x)
        assert isinstance(y.data, DFP)
        assert (y.data.exponent, y.data.bits) == level_format(bits)
        values = np.ldexp(codes.astype(np.float32), exponent)
        np.testing.assert_array_equal(y.data.to_float(), log_quant(values, bits, reading))
        y.backward(DFP(np.full(256, 3, np.int8), -4, 8))
        assert isinstance(x.grad, DFP)
        assert [int(v) for v in x.grad.ints] == [3 if abs(q) <= one else 0 for q in range(-128, 128)]
    with pytest.raises(TypeError, match="float32"):
        layer(qnn.Tensor([1.0]))
    for wrong in (None, Format(4, exponent=-3), Format(5, exponent=-2)):
        with pytest.raises(ValueError, match="powers of two of 2 to 5 bits"):
            nn.LogActivation(replace(layer.recipe, activated=wrong))


@pytest.mark.clause("BIT-14", "LAY-11", "WGT-11")
@pytest.mark.parametrize(
    "recipe",
    [
        "qnn(w=1, a=2, quant_a=log)",
        "qnn(w=4, a=4, g=6, quant_a=log)",
        "qnn(w=4, a=4, quant=log, norm=shift, quant_a=log, ap2=top)",
        "qnn(w=3, a=5, quant=log, quant_a=log)",
    ],
)
def test_log_activations_learn_the_digits_and_freeze(recipe: str) -> None:
    train, test = (data.load("digits", split=split) for split in ("train", "test"))
    config = TrainConfig(
        recipe=recipe, epochs=3, optimizer="adam", lr=0.003, schedule="exponential", weight_decay=0.0, train_limit=720
    )
    trainer = Trainer(config, train)
    for _ in trainer.steps():
        pass
    model = trainer.model
    model.eval()
    with qnn.no_grad():
        want = model(test.images).numpy()
    assert (want.argmax(axis=1) == test.labels).mean() > (0.7 if "a=2" in recipe else 0.85)  # of 2 bits: nearly signs
    tables = [step for step in qnn.inference.freeze(model, test.images[:1]).steps if "log_activation" in step.names]
    assert len(tables) == 2
    assert all(len(step.names) > 2 for step in tables) == ("a=5" not in recipe)  # int16 levels fit no table of bytes
    for products in ("multiply", "shift") if "quant=log" in recipe else ("multiply",):
        frozen = qnn.inference.freeze(model, test.images[:1], products=products)
        shifts = [step for step in frozen.steps if step.names[0].startswith("shift ")]
        assert len(shifts) == (3 if products == "shift" else 0)
        for path in PATHS:
            with qnn.use_kernels(path):
                np.testing.assert_array_equal(frozen(test.images[:40]), want[:40])


@pytest.mark.clause("BIT-3")
def test_linear_weights_in_shares_of_the_largest_and_their_gradient() -> None:
    layer = nn.Linear(9, 50, bias=False, recipe=recipes.qnn(3, 3, scale="max"))
    nn.prepare(layer, seed=1)
    master = layer.weight.numpy() * np.float32(0.3)
    layer.weight.data = master
    for training in (True, False):
        layer.train(training)
        got = layer.weight_site.parameter(layer.weight, view=layer.rule.view)
        np.testing.assert_array_equal(got.to_float(), linear_quant(by_largest(master), 3))
    gradient = np.ones_like(master)
    np.testing.assert_array_equal(layer.rule.gradient(gradient, master), by_largest_grad(gradient, master))


@pytest.mark.clause("BIT-6")
def test_products_of_signs_are_exact_or_refused() -> None:
    recipe = recipes.bnn()
    layer = nn.Linear(4001, 3, bias=False, recipe=recipe)
    nn.prepare(layer, seed=1)
    ones = DFP(np.ones((1, 4001), np.int8), 0, 2)
    layer.weight.data = np.stack([np.full(4001, s, np.float32) for s in (1, -1, 0)])
    out = layer(qnn.Tensor(ones)).data
    assert isinstance(out, DFP)
    assert (out.ints.tolist(), out.exponent, out.bits) == ([[4001, -4001, 4001]], 0, 16)
    with pytest.raises(OverflowError, match="32768 terms"):
        nn.Linear(32768, 1, bias=False, recipe=recipe)
    nn.Linear(40000, 1, bias=False, recipe=recipe.first_layer())
    for wrong in (DFP(ones.ints, -1, 2), DFP(ones.ints, 0, 8)):
        with pytest.raises(ValueError, match="first_layer"):
            layer(qnn.Tensor(wrong))


@pytest.mark.clause("BIT-8")
def test_unit_activation_of_every_code_and_its_gradient() -> None:
    recipe = recipes.dorefa(1, 2)
    x = qnn.Tensor(
        DFP(np.arange(-128, 128, dtype=np.int8), -5, 8), requires_grad=True, grad_site=Quantizer("gradient", Format())
    )
    y = nn.activation(recipe)(x)
    assert isinstance(y.data, DFP)
    assert (y.data.bits, y.data.exponent) == (3, -2)
    assert [int(v) for v in y.data.ints] == [round(3 * min(max(q, 0), 32) / 32) for q in range(-128, 128)]
    y.backward(DFP(np.full(256, 3, np.int8), -4, 8))
    assert isinstance(x.grad, DFP)
    assert [int(v) for v in x.grad.ints] == [3 if 0 <= q <= 32 else 0 for q in range(-128, 128)]
    with pytest.raises(ValueError, match="k \\+ 1"):
        nn.UnitActivation(replace(recipe, activated=Format(3, exponent=-1)))
    with pytest.raises(TypeError, match="float32"):
        nn.UnitActivation(recipe)(qnn.Tensor([1.0]))


@pytest.mark.clause("BIT-13")
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_gradients_are_rounded_sample_by_sample_before_both_products(kind: str) -> None:
    recipe = recipes.dorefa(1, 2, 4, "sample")
    assert recipe.first_layer().samples is None
    assert recipe.last_layer().samples is None
    layer: nn.Module = (
        nn.Linear(6, 5, recipe=recipe) if kind == "linear" else nn.Conv2d(2, 5, 3, padding=1, recipe=recipe)
    )
    run = nn.prepare(layer, seed=3)
    shape = (6,) if kind == "linear" else (4, 4, 2)
    random = np.random.default_rng(2)
    ints = random.integers(0, 4, (7, *shape)).astype(np.int8)
    for path in PATHS:
        with qnn.use_kernels(path):
            made = []
            for rounded in (False, True):
                layer.samples = None if rounded else recipe.samples.site("gradient")  # type: ignore[union-attr]
                if layer.samples is not None:
                    layer.samples.clock, layer.samples.stream = layer.gradient.clock, 99
                x = qnn.Tensor(DFP(ints, -2, 3), requires_grad=True, grad_site=Quantizer("gradient", Format(16)))
                out = layer(x)
                arrived = random.integers(-(2**15), 2**15, out.shape) >> np.arange(7).reshape(-1, *[1] * (out.ndim - 1))
                if not rounded:
                    raw = arrived.astype(np.int16)
                g = round_samples(raw, 4, Noise("philox", 3, 99, 0))[0] if rounded else raw
                layer.weight.grad = layer.bias.grad = None
                layer.gradient.forget_step()
                out.backward(DFP(g, -20, 16))
                made.append((x.grad.ints, layer.weight.grad, layer.bias.grad))  # type: ignore[union-attr]
            for mine, theirs in zip(*made, strict=True):
                np.testing.assert_array_equal(mine, theirs, strict=True)
    run.advance()


@pytest.mark.clause("BIT-10", "BIT-11")
@pytest.mark.parametrize(("reading", "gamma"), [("nearest", [1, -1, 0]), ("top", [1, -0.5, 0])])
def test_shift_normalisation_multiplies_by_powers_of_two_alone(reading: str, gamma: list[float]) -> None:
    recipe = recipes.bnn(norm="shift", ap2=reading)
    layer = nn.normalization(3, recipe)
    nn.prepare(layer, seed=1)
    random = np.random.default_rng(1)
    layer.scale.gamma.data = np.array([1.4, -0.8, 0.0], np.float32)
    x = qnn.Tensor(
        DFP(random.integers(-900, 900, (20, 3)).astype(np.int16), 0, 16),
        requires_grad=True,
        grad_site=Quantizer("gradient", Format()),
    )
    with qnn.trace() as entries:
        out = layer(x)
    normalize, scale = (entry.operation for entry in entries)
    for factor in (normalize.batch.k, scale.gamma.to_float()):
        np.testing.assert_array_equal(ap2(np.asarray(factor, np.float32)), factor)
    np.testing.assert_array_equal(scale.gamma.to_float(), np.float32(gamma))
    np.testing.assert_array_equal(normalize.batch.shift, ap2(normalize.batch.inv_std, reading))
    assert layer.normalize.running_mean.any()
    assert (layer.normalize.running_inv_std < 1).all()
    upper = DFP(random.integers(-100, 100, out.shape).astype(np.int8), -6, 8)
    out.backward(upper)
    assert isinstance(x.grad, DFP)
    dots = ap2_dots(upper.ints, scale.x.ints, reading) * 2.0 ** (upper.exponent + scale.x.exponent)
    np.testing.assert_array_equal(layer.scale.gamma.grad, dots.astype(np.float32))
    layer.eval()
    again = layer(x).data
    assert isinstance(again, DFP)
    with pytest.raises(ValueError, match="channels are the last"):
        layer(qnn.Tensor(DFP(np.ones((2, 4), np.int8), 0, 8)))
    with pytest.raises(ValueError, match="integer recipe"):
        nn.ShiftNormalize(3)


def test_models_refuse_what_would_not_learn() -> None:
    common: dict[str, Any] = {"classes": 10, "mean": (0.5,), "std": (0.25,), "seed": 1, "recipe": "bnn"}
    with pytest.raises(ConfigError, match="bnn-mlp"):
        qnn.models.build("mlp", input_shape=(8, 8, 1), **common)
    with pytest.raises(ConfigError, match="digits-cnn or bnn-convnet"):
        qnn.models.build("lenet5", input_shape=(28, 28, 1), **common)
    with pytest.raises(ConfigError, match="averages, and they are no signs; take googlenet"):
        qnn.models.build("inception-v3", input_shape=(75, 75, 1), **common)
    with pytest.raises(ConfigError, match="at least 8x8"):
        qnn.models.build("bnn-convnet", input_shape=(4, 8, 1), **common)
    with pytest.raises(ValueError, match="square_hinge"):
        nn.criterion(replace(recipes.bnn(), loss="hinge"))


def small(shape: tuple[int, int, int], recipe: qnn.recipes.Recipe, kind: str = "mlp", classes: int = 10) -> nn.Module:
    front = nn.ImageInput((0.3,) * shape[2], (0.4,) * shape[2], recipe)
    if kind == "mlp":
        return BinaryMLP(int(np.prod(shape)), classes, recipe, front, (96, 70))
    return BinaryConvNet(shape, classes, recipe, front, (16, 64, 20), 30)


def trained(model: nn.Module, images: np.ndarray, labels: np.ndarray, steps: int, size: int = 48) -> list[int]:
    """Losses of the steps in exact units."""
    loss = nn.criterion(model.recipe)
    run = nn.prepare(model, loss, seed=3)
    adam = qnn.optim.Adam(model.named_parameters())
    figures = []
    for step in range(steps):
        part = np.arange(step * size, (step + 1) * size) % len(images)
        loss(model(images[part]), labels[part]).backward()
        adam.step(0.003)
        adam.zero_grad()
        run.advance()
        assert loss.last is not None
        figures.append(loss.last.loss_sum)
    return figures


@pytest.mark.parametrize("recipe", KINDS + READINGS)
def test_small_nets_learn_the_digits(recipe: str) -> None:
    train, test = (data.load("digits", split=split) for split in ("train", "test"))
    model = small((8, 8, 1), recipes.parse(recipe))
    trained(model, train.images, train.labels, 90)
    model.eval()
    with qnn.no_grad():
        layered = model(test.images).numpy()
    assert (layered.argmax(axis=1) == test.labels).mean() > (0.7 if "stochastic" in recipe else 0.85)
    np.testing.assert_array_equal(qnn.inference.freeze(model, test.images[:1])(test.images), layered)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("recipe", KINDS + READINGS)
def test_every_path_and_thread_number_trains_the_same(kind: str, recipe: str) -> None:
    random = np.random.default_rng(0)
    shape = (8, 8, 1) if kind == "mlp" else (8, 9, 3)
    images, labels = random.integers(0, 256, (24, *shape), np.uint8), random.integers(0, 5, 24)
    results = []
    for path in PATHS:
        for threads in (1, 3) if path != "reference" else (1,):
            with qnn.use_kernels(path):
                qnn.set_num_threads(threads)
                model = small(shape, recipes.parse(recipe), kind, 5)
                figures = trained(model, images, labels, 3, 8)
            state = model.state_dict()
            results.append((figures, {key: value.tobytes() for key, value in state.items()}))
    assert all(result == results[0] for result in results[1:])


@pytest.mark.clause("BIT-6", "BIT-12")
@pytest.mark.parametrize("net", ["zeros", "projections", "bottlenecks"])
def test_shortcuts_between_signs_carry_sums(net: str) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (24, 8, 8, 1), np.uint8), random.integers(0, 5, 24)
    plan: int | Plan = 1 if net == "zeros" else Plan(7, ((8, 2), (12, 1)), net == "bottlenecks", projection=True)
    recipe, found = recipes.bnn(), []
    for path in PATHS:
        with qnn.use_kernels(path):
            model = ResNet(plan, (8, 8, 1), 5, recipe, nn.ImageInput((0.3,), (0.4,), recipe))
            figures = trained(model, images, labels, 3, 8)
            model.eval()
            with qnn.no_grad(), qnn.trace() as entries:
                layered = model(images).numpy()
            for products in ("auto", "xnor", "multiply"):
                np.testing.assert_array_equal(
                    qnn.inference.freeze(model, images[:1], products=products)(images), layered
                )
            found.append((figures, layered.tobytes()))
    assert all(other == found[0] for other in found)
    sums = [entry.operation.output.bits for entry in entries if entry.operation.name == "add"]
    assert sums == [8] * len(model.blocks)


def test_a_residual_net_of_signs_learns_the_digits() -> None:
    train, test = (data.load("digits", split=split) for split in ("train", "test"))
    recipe = recipes.bnn()
    model = ResNet(1, (8, 8, 1), 10, recipe, nn.ImageInput((0.3,), (0.4,), recipe))
    trained(model, train.images, train.labels, 90)
    model.eval()
    with qnn.no_grad():
        assert (model(test.images).numpy().argmax(axis=1) == test.labels).mean() > 0.85


@pytest.mark.clause("UPD-4")
@pytest.mark.parametrize(
    ("name", "reading", "readings"),
    [
        ("adamax", "nearest", ("exact", "nearest")),
        ("adamax", "top", ("exact", "top")),
        ("adamax-ap2", "nearest", ("ap2", "nearest")),
        ("adamax-ap2", "top", ("ap2", "top")),
    ],
)
def test_training_takes_the_recipes_loss_and_shift_adamax(name: str, reading: str, readings: tuple[str, str]) -> None:
    recipe = f"bnn(norm=shift, ap2={reading})"
    config = TrainConfig(model="digits-cnn", recipe=recipe, optimizer=name, lr=2.0**-6, train_limit=32)
    trainer = Trainer(config, data.load("digits", split="train"))
    assert isinstance(trainer.criterion, nn.SquareHingeLoss)
    assert isinstance(trainer.optimizer, qnn.optim.ShiftAdaMax)
    assert trainer.optimizer.readings == readings
    batch = next(iter(trainer.batches(background=False)))
    trainer.train_step(*batch)
    saved = trainer.checkpoint()
    other = Trainer(config, data.load("digits", split="train"))
    other.restore(saved)
    assert other.optimizer.steps == 1  # type: ignore[attr-defined]
    assert other.train_step(*batch).digest == trainer.train_step(*batch).digest
    if readings[0] == "ap2":  # what is kept has been rounded
        state = trainer.optimizer.state_dict()["largest.net.layers.1.weight"]
        np.testing.assert_array_equal(ap2(state) + np.float32(config.epsilon), state)
    with pytest.raises(ValueError, match="'exact'"):
        qnn.optim.ShiftAdaMax(trainer.parameters, store="nearest")
    with pytest.raises(ValueError, match="'top'"):
        qnn.optim.ShiftAdaMax(trainer.parameters, ap2="floor")
