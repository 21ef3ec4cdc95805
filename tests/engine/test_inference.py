"""Frozen networks: the bits of the evaluation mode for every layer, model, path, batch and number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import nn
from qnn.errors import FreezeError
from qnn.inference import freeze
from qnn.numerics import look_up
from qnn.recipes import parse

PATHS = qnn.available_kernels()
MODELS = {"mlp": (6, 5, 1), "lenet5": (12, 12, 1), "digits-cnn": (8, 8, 1), "resnet20": (8, 8, 3)}
RECIPES = ("dfp8", "dfp(w=6, a=5, g=8)", "dfp(w=8, a=16, g=16)", "dfp(w=16, a=8, g=8)")


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def built(name: str, recipe: str) -> Any:
    """A model after two steps, so that statistics, weights and exponents are not the first ones."""
    shape = MODELS[name]
    model = qnn.models.build(
        name, recipe=recipe, input_shape=shape, classes=4, mean=(0.4,) * shape[2], std=(0.3,) * shape[2], seed=1
    )
    loss = nn.CrossEntropyLoss(model.recipe)
    run = nn.prepare(model, loss, seed=1)
    sgd = qnn.optim.SGD(model.named_parameters(), momentum=0.9)
    for step in range(2):
        loss(model(images(8, shape, step)), np.arange(8) % 4).backward()
        sgd.step(0.05)
        sgd.zero_grad()
        run.advance()
    return model


def evaluated(model: Any, x: Any) -> np.ndarray:
    model.eval()
    with qnn.no_grad():
        return np.asarray(model(x).numpy())


def on_floats(*layers: nn.Module, shape: tuple[int, ...], recipe: qnn.recipes.Recipe) -> tuple[Any, np.ndarray]:
    """A prepared net of these layers behind nn.Quantize, and data that it has seen once."""
    model = nn.Sequential(nn.Quantize(recipe), *layers)
    nn.prepare(model, seed=1)
    x = np.random.default_rng(3).normal(0, 1, (5, *shape)).astype(np.float32)
    model(qnn.Tensor(x))
    return model, x


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_its_bits(name: str, recipe: str) -> None:
    model = built(name, recipe)
    x = images(19, MODELS[name], 9)
    want = evaluated(model, x)
    frozen = freeze(model, x[:1])
    for n in (19, 7, 1):
        np.testing.assert_array_equal(frozen(x[:n]), want[:n], strict=True)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_and_number_of_threads(path: str) -> None:
    model = built("resnet20", "dfp8")
    x = images(70, MODELS["resnet20"], 2)  # more than one part
    want = evaluated(model, x[:20])
    frozen = freeze(model, x[:1])
    for threads in (1, 3):
        with qnn.use_kernels(path):
            qnn.set_num_threads(threads)
            np.testing.assert_array_equal(frozen(x[:20]), want)
    qnn.set_num_threads(1)
    np.testing.assert_array_equal(frozen(x)[:20], want)


@pytest.mark.clause("LAY-11")
@given(data=st.data())
def test_a_table_is_what_the_layers_make_of_every_code(data: st.DataObject) -> None:
    recipe = parse(data.draw(st.sampled_from(["dfp8", "dfp(w=8, a=5, g=8)", "dfp(w=4, a=8, g=8)"])))
    channels = data.draw(st.integers(1, 5))
    norm = nn.BatchNorm(channels, recipe=recipe)
    after = data.draw(
        st.sampled_from([[], [nn.Relu(recipe)], [nn.Hardtanh(recipe)], [nn.Relu(recipe), nn.Hardtanh(recipe)]])
    )
    model, _ = on_floats(norm, *after, shape=(3, channels), recipe=recipe)
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    norm.normalize.running_mean = draw.normal(0, 2, channels).astype(np.float32)
    norm.normalize.running_var = draw.gamma(1, 2, channels).astype(np.float32)
    for name, site in model.named_sites():
        if site.role == "activation" and "scale" not in name:
            site.exponent += data.draw(st.integers(-3, 2))
    bits, exponent = model[0].input.bits, model[0].input.exponent
    codes = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    x = np.repeat(codes[:, None, None] * np.float32(2.0**exponent), channels, axis=2).astype(np.float32)
    frozen = freeze(model, x[:1])
    assert len(frozen.steps) == 2, str(frozen)
    np.testing.assert_array_equal(frozen(x), evaluated(model, qnn.Tensor(x)))


@pytest.mark.clause("LAY-11")
@given(data=st.data(), dtype=st.sampled_from([np.uint8, np.int8]), n=st.integers(0, 9), c=st.integers(1, 19))
def test_look_up_is_a_read_per_byte(data: st.DataObject, dtype: type, n: int, c: int) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    info = np.iinfo(dtype)
    codes = draw.integers(info.min, info.max + 1, (n, 2, c)).astype(dtype)
    table = draw.integers(-(2**15), 2**15, (c, 256)).astype(data.draw(st.sampled_from([np.int8, np.int16])))
    got = look_up(codes, table)
    assert got.dtype == table.dtype
    for place in np.ndindex(codes.shape):
        assert got[place] == table[place[-1]][int(codes[place]) % 256]


def test_other_layers_run_as_they_are() -> None:
    recipe = qnn.recipes.dfp8()

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__(recipe)
            self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, recipe=recipe)
            self.most, self.mean = nn.MaxPool2d(2, recipe=recipe), nn.AveragePool2d(2, recipe=recipe)
            self.join, self.tanh = nn.Concat(recipe), nn.Hardtanh(recipe)
            self.all, self.drop = nn.GlobalAveragePool(recipe), nn.Dropout(0.5, recipe)
            self.shortcut, self.add = nn.PadShortcut(1, 12, recipe), nn.Add(recipe)

        def forward(self, x: qnn.Tensor) -> Any:
            y = self.conv(x)
            joined = self.tanh(self.join(self.most(y), self.mean(y)))
            return self.drop(self.all(self.add(joined, joined, self.shortcut(self.most(x)))))

    model, x = on_floats(Branches(), nn.Linear(12, 3, recipe=recipe), shape=(6, 6, 4), recipe=recipe)
    frozen = freeze(model, x[:2])
    np.testing.assert_array_equal(frozen(x), evaluated(model, qnn.Tensor(x)))
    np.testing.assert_array_equal(frozen(qnn.Tensor(x)), frozen(x))


def test_an_operation_of_your_own_is_frozen_too() -> None:
    class DoubleInteger(qnn.Operation):
        name = "double"

        def __init__(self, output: qnn.Quantizer) -> None:
            self.output = output

        def forward(self, x: qnn.DFP) -> qnn.DFP:
            return self.output.requantize(x.ints.astype(np.int32) * 2, x.exponent)

    class Double(nn.Module):
        def __init__(self, recipe: qnn.recipes.Recipe) -> None:
            super().__init__(recipe)
            self.activation = recipe.site("activation")

        def forward(self, x: qnn.Tensor) -> qnn.Tensor:
            return self.run(DoubleInteger(self.activation), x)

    recipe = qnn.recipes.dfp8()
    model, x = on_floats(Double(recipe), shape=(3,), recipe=recipe)
    frozen = freeze(model, x)
    np.testing.assert_array_equal(frozen(x), evaluated(model, qnn.Tensor(x)))
    assert all(site.counts is None for _, site in model.named_sites())


def test_training_on_does_not_change_what_is_frozen() -> None:
    shape = MODELS["digits-cnn"]
    model = built("digits-cnn", "dfp8")
    x = images(4, shape, 5)
    frozen = freeze(model, x)
    assert model.training
    before = frozen(x)
    states = {name: site.state().tolist() for name, site in model.named_sites()}
    for parameter in model.parameters():
        parameter.data = parameter.data * np.float32(1.5)
    for _, site in model.named_sites():
        site.exponent += 1
    np.testing.assert_array_equal(frozen(x), before)
    assert not np.array_equal(evaluated(model, x), before)
    assert {name: [site.exponent - 1, int(site.initialised)] for name, site in model.named_sites()} == states


def test_what_cannot_be_frozen_says_why() -> None:
    shape = MODELS["mlp"]
    made = {"input_shape": shape, "classes": 4, "mean": (0.5,), "std": (0.2,), "seed": 1}
    x = images(2, shape)
    with pytest.raises(FreezeError, match="without integers"):
        freeze(qnn.models.build("mlp", recipe="fp32", **made), x)
    fresh = qnn.models.build("mlp", recipe="dfp8", **made)
    with pytest.raises(FreezeError, match="seen no data"):
        freeze(fresh, x)
    assert fresh.training
    noisy = qnn.models.build("mlp", recipe="dfp8", **made)
    with pytest.raises(ValueError, match="N at least 1"):
        freeze(fresh, x[:0])
    recipe = noisy.recipe
    model, floats = on_floats(nn.Dequantize(recipe), nn.Relu(), nn.Quantize(recipe), shape=(3,), recipe=recipe)
    with pytest.raises(FreezeError, match=r"relu.*float32"):
        freeze(model, floats)


def test_stochastic_rounding_forward_is_refused() -> None:
    from dataclasses import replace

    recipe = qnn.recipes.dfp8()
    recipe = replace(recipe, activation=replace(recipe.activation, rounding=qnn.STOCHASTIC))
    model, x = on_floats(nn.Linear(3, 2, recipe=recipe), shape=(3,), recipe=recipe)
    with pytest.raises(FreezeError, match="stochastic"):
        freeze(model, x)


def test_decisions_in_python_are_found_out() -> None:
    recipe = qnn.recipes.dfp8()

    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__(recipe)
            self.relu = nn.Relu(recipe)

        def forward(self, x: qnn.Tensor) -> qnn.Tensor:
            return self.relu(x) if len(x) > 3 else x

    model, x = on_floats(Moody(), shape=(3,), recipe=recipe)
    with pytest.raises(FreezeError, match="decisions"):
        freeze(model, x[:2])


def test_wrong_input_is_refused() -> None:
    model = built("mlp", "dfp8")
    shape = MODELS["mlp"]
    frozen = freeze(model, images(1, shape))
    with pytest.raises(ValueError, match="shape"):
        frozen(images(1, (*shape[:2], 2)))
    with pytest.raises(ValueError, match="shape"):
        frozen(images(1, shape)[0])
    with pytest.raises(TypeError, match=r"float32.*uint8"):
        frozen(images(1, shape).astype(np.float32))
