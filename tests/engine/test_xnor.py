"""Frozen networks on packed bits: the bits of the multiplying form and of evaluation, over all accumulators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import DFP, data, nn, recipes
from qnn.errors import FreezeError
from qnn.inference import freeze
from qnn.inference.xnor import threshold_of
from qnn.models import BinaryConvNet, BinaryMLP

PATHS = qnn.available_kernels()
RECIPE = recipes.bnn()


def shaken(model: nn.Module, images: np.ndarray, seed: int = 0) -> nn.Module:
    """The model after two steps, with factors of both signs, zeros among them, and shifts."""
    loss = nn.criterion(model.recipe)
    run = nn.prepare(model, loss, seed=seed)
    adam = qnn.optim.Adam(model.named_parameters())
    for _ in range(2):
        loss(model(images), np.arange(len(images)) % 5).backward()
        adam.step(0.01)
        adam.zero_grad()
        run.advance()
    random = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.data = random.choice([-1.5, -0.25, 0, 0.5, 1, 2], parameter.shape).astype(np.float32)
        if name.endswith("beta"):
            parameter.data = random.normal(0, 0.7, parameter.shape).astype(np.float32)
    return model


def net(kind: str, recipe: qnn.recipes.Recipe) -> tuple[nn.Module, np.ndarray]:
    shape = (8, 9, 2)
    front = nn.ImageInput((0.3,) * 2, (0.4,) * 2, recipe)
    images = np.random.default_rng(1).integers(0, 256, (11, *shape), np.uint8)
    if kind == "mlp":
        return shaken(BinaryMLP(144, 5, recipe, front, (65, 64, 30)), images), images
    if kind == "conv":
        return shaken(BinaryConvNet(shape, 5, recipe, front, (64, 20, 128), 33), images), images
    model = qnn.models.build(
        "digits-cnn", recipe=recipe, input_shape=shape, classes=5, mean=(0.3,) * 2, std=(0.4,) * 2, seed=1
    )
    return shaken(model, images), images


def evaluated(model: nn.Module, images: np.ndarray) -> np.ndarray:
    model.eval()
    with qnn.no_grad():
        return np.asarray(model(images).numpy())


@pytest.mark.clause("BIT-12")
@pytest.mark.parametrize("recipe", ["bnn", "bnn(stochastic=True)", "bnn(norm=shift)", "qnn(w=1, a=1, g=6)"])
@pytest.mark.parametrize("kind", ["mlp", "conv", "digits-cnn"])
def test_packed_bits_give_the_bits_of_evaluation_on_every_path(kind: str, recipe: str) -> None:
    model, images = net(kind, recipes.parse(recipe))
    want = evaluated(model, images)
    forms = {products: freeze(model, images[:2], products=products) for products in ("xnor", "auto", "multiply")}
    assert "xnor" in str(forms["auto"])
    assert "xnor" not in str(forms["multiply"])
    for path in PATHS:
        for threads in (1, 3):
            with qnn.use_kernels(path):
                qnn.set_num_threads(threads)
                for form in forms.values():
                    np.testing.assert_array_equal(form(images), want, strict=True)


@pytest.mark.clause("BIN-6")
@pytest.mark.parametrize("recipe", ["bnn", "qnn(w=1, a=2)", "dorefa(w=1, a=1)"])
@pytest.mark.parametrize("kind", ["mlp", "digits-cnn"])
def test_bit_planes_take_layers_whose_weights_alone_are_signs(kind: str, recipe: str) -> None:
    model, images = net(kind, recipes.parse(recipe))
    want = evaluated(model, images)
    form = freeze(model, images[:2], products="xnor")
    assert "bit-plane" in str(form)
    assert "bit-plane" not in str(freeze(model, images[:2]))
    for path in PATHS:
        with qnn.use_kernels(path):
            np.testing.assert_array_equal(form(images), want, strict=True)


@pytest.mark.clause("BIN-6")
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 2]), st.integers(0, 2), st.sampled_from([1, 2]), st.integers(1, 70)
)
def test_bit_planes_of_any_bytes_give_the_product(
    seed: int, stride: int, padding: int, dilation: int, channels: int
) -> None:
    random = np.random.default_rng(seed)
    recipe = recipes.qnn(w=1, a=2)
    nets: list[tuple[Any, tuple[int, ...]]] = [
        (nn.Conv2d(channels, 3, 2, stride, padding, dilation, bias=False, recipe=recipe), (4, 5, channels)),
        (nn.Linear(channels, 3, bias=False, recipe=recipe), (channels,)),
    ]
    for layer, shape in nets:
        model: Any = nn.Sequential(nn.Quantize(recipe), layer)
        nn.prepare(model, seed=1)
        x = random.integers(-128, 128, (3, *shape)).astype(np.float32)
        x.flat[0], x.flat[-1] = -128, 127
        layer.weight.data = random.choice([-0.5, 0.5], layer.weight.shape).astype(np.float32)
        model(qnn.Tensor(x))
        model.eval()
        form = freeze(model, x[:1], products="xnor")
        assert "bit-plane" in str(form)
        np.testing.assert_array_equal(form(x), model(qnn.Tensor(x)).numpy(), strict=True)


@pytest.mark.parametrize("recipe", ["qnn(w=4, a=4)", "qnn(w=3, a=3, quant=log)", "dorefa(w=2, a=1)"])
def test_other_recipes_freeze_and_have_no_signs_to_count(recipe: str) -> None:
    model, images = net("digits-cnn", recipes.parse(recipe))
    np.testing.assert_array_equal(freeze(model, images[:1])(images), evaluated(model, images))
    with pytest.raises(FreezeError, match="products='xnor'"):
        freeze(model, images[:1], products="xnor")


@pytest.mark.clause("BIT-12")
@pytest.mark.parametrize("norm", ["batch", "shift"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_threshold_over_all_accumulators(kind: str, bias: bool, norm: str) -> None:
    recipe = recipes.bnn(norm=norm)
    terms, channels = 63, 40
    if kind == "linear":
        product: nn.Module = nn.Linear(terms, channels, bias=bias, recipe=recipe)
    else:
        product = nn.Conv2d(7, channels, 3, bias=bias, recipe=recipe)
    model: Any = nn.Sequential(
        nn.Quantize(recipe), nn.Sign(recipe), product, nn.normalization(channels, recipe), nn.Sign(recipe)
    )
    nn.prepare(model, seed=1)
    random = np.random.default_rng(5)
    shape = (terms,) if kind == "linear" else (3, 3, 7)
    model(qnn.Tensor(random.normal(0, 1, (30, *shape)).astype(np.float32)))
    scale = model[3].scale
    scale.gamma.data = random.choice([-2, -0.1, 0, 0.1, 1, 3], channels).astype(np.float32)
    scale.beta.data = random.normal(0, 1, channels).astype(np.float32)
    product.weight.data = np.ones(product.weight.shape, np.float32)  # type: ignore[attr-defined]
    if bias:
        product.bias.data = random.integers(-9, 9, channels).astype(np.float32)  # type: ignore[attr-defined]
    # With weights of one, row i sums up to 2i - K: every accumulator there is.
    every = np.where(np.arange(terms)[None, :] < np.arange(terms + 1)[:, None], 1, -1).astype(np.float32)
    every = every.reshape(-1, *shape)
    model.eval()
    want = model(qnn.Tensor(every)).numpy()
    forms = [freeze(model, every[:1], products=products) for products in ("xnor", "multiply")]
    assert str(forms[0]).count("\n") == 2
    for form in forms:
        np.testing.assert_array_equal(form(every), want)
    assert {tuple(np.unique(column)) for column in want.reshape(terms + 1, channels).T} >= {(-1.0, 1.0)}


@pytest.mark.clause("BIT-12")
@given(st.data())
def test_a_threshold_is_found_if_and_only_if_there_is_one(draw: st.DataObject) -> None:
    values = np.cumsum(draw.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))).astype(np.int32)[:, None]
    signs = np.array(draw.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))[:, None]
    found = threshold_of(values, signs)
    bounds = range(-int(values.max()) - 2, int(values.max()) + 3)
    exists = [(d, t) for d in (1, -1) for t in bounds if np.array_equal(d * values >= t, signs)]
    if found is None:
        assert not exists
    else:
        assert (int(found.direction[0]), int(found.bound[0])) in exists


@pytest.mark.clause("BIT-12")
def test_the_table_of_the_clause() -> None:
    values = np.broadcast_to(np.array([-3, -1, 1, 3])[:, None], (4, 4)).astype(np.int32)
    signs = np.array([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool).T
    found = threshold_of(values, signs)
    assert found is not None
    assert found.direction.tolist() == [1, -1, 1, 1]
    assert found.bound.tolist() == [1, -1, -3, 4]


def test_signs_that_others_need_stay_integers() -> None:
    """A sign with two takers, one of which is no product of signs."""

    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__(RECIPE)
            self.front, self.sign = nn.Quantize(RECIPE), nn.Sign(RECIPE)
            self.first = nn.Linear(20, 20, bias=False, recipe=RECIPE)
            self.norm, self.second_sign = nn.normalization(20, RECIPE), nn.Sign(RECIPE)
            self.second = nn.Linear(20, 20, bias=False, recipe=RECIPE)
            self.add = nn.Add(RECIPE)

        def forward(self, x: qnn.Tensor) -> Any:
            y = self.second_sign(self.norm(self.first(self.sign(self.front(x)))))
            return self.add(self.second(y), y)

    model = Fork()
    nn.prepare(model, seed=1)
    x = np.random.default_rng(0).normal(0, 1, (9, 20)).astype(np.float32)
    model(qnn.Tensor(x))
    want = evaluated(model, qnn.Tensor(x))  # type: ignore[arg-type]
    np.testing.assert_array_equal(freeze(model, x, products="xnor")(x), want)


def test_unknown_products_are_refused() -> None:
    digits = data.load("digits", split="test")
    model = qnn.models.build(
        "digits-cnn", recipe="dfp8", input_shape=(8, 8, 1), classes=10, mean=digits.mean, std=digits.std, seed=1
    )
    with pytest.raises(ValueError, match="auto, multiply, xnor, shift"):
        freeze(model, digits.images[:1], products="popcount")
    nn.prepare(model, seed=1)
    model(digits.images[:4])
    with pytest.raises(FreezeError, match="bnn"):
        freeze(model, digits.images[:1], products="xnor")
    assert isinstance(model(digits.images[:1]).data, DFP)
