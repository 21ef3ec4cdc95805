"""Recipes are read from text and back, refuse nonsense; models build for every recipe and show their table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn import models, nn, recipes
from qnn.errors import ConfigError
from qnn.numerics import Rounding

BITS = st.integers(2, 16)
RULES = st.sampled_from(list(Rounding))


@given(
    BITS,
    BITS,
    BITS,
    RULES,
    RULES,
    RULES,
    st.sampled_from(["philox", "lfsr16"]),
    st.integers(1, 16),
    st.one_of(st.none(), BITS),
)
def test_the_name_of_a_recipe_reads_back_as_the_recipe(w, a, g, wr, ar, gr, noise, noise_bits, last) -> None:
    recipe = recipes.dfp(
        w,
        a,
        g,
        w_rounding=wr,
        a_rounding=ar,
        g_rounding=gr,
        noise=noise,
        noise_bits=noise_bits,
        last_bits=last,
        strict=False,
    )
    assert recipes.parse(recipe.name) == recipe


def test_dfp8_is_the_papers() -> None:
    recipe = recipes.parse("dfp8")
    assert recipe == recipes.dfp8()
    assert recipe.weight.bits == recipe.activation.bits == recipe.gradient.bits == 8
    assert recipe.weight.rounding == recipe.activation.rounding == Rounding.NEAREST_DOWN
    assert recipe.gradient.rounding == Rounding.STOCHASTIC
    assert recipe.strict
    wide = recipes.dfp8(last_bits=16).last_layer()
    assert wide.weight.bits == wide.activation.bits == wide.gradient.bits == 16


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("dfp9", "did you mean"),
        ("dfp(w=1)", "2 to 16"),
        ("dfp(w=17)", "2 to 16"),
        ("dfp(w=8", "bracket"),
        ("dfp(8, 8)", "need names"),
        ("dfp(x=8)", "argument 'x'; dfp takes w, a, g, w_rounding"),
        ("dfp(w=open('x'))", "must be a number"),
        ("dfp(g_rounding=nearest)", "nearest"),
        ("dfp(noise=xorshift)", "philox"),
        ("dfp(noise_bits=0)", "1 to 16"),
        ("dfp(r_max=1.5)", "r_max"),
        ("fp32(w=8)", "fp32 takes none"),
    ],
)
def test_wrong_recipes_are_explained(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=r".*") as error:
        recipes.parse(text)
    assert part in str(error.value)


def test_half_a_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match=r"all .integer training. or none"):
        recipes.Recipe("odd", weight=recipes.Format(8))


SHAPES = {
    "mlp": (8, 8, 1),
    "lenet5": (28, 28, 1),
    "digits-cnn": (8, 8, 1),
    "bnn-mlp": (8, 8, 1),
    "bnn-mlp-2048": (8, 8, 1),
    "bnn-convnet": (8, 8, 3),
    "bnn-convnet-svhn": (8, 8, 3),
    "alexnet": (67, 67, 3),
    "inception-v3": (75, 75, 3),
}  # the others are built for 32x32x3; tests/engine/test_models.py has the published sizes
PARAMETERS = {"lenet5": 61_706, "resnet20": 269_722, "alexnet-cifar": 2_148_778}


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("recipe", ["fp32", "dfp8"])
def test_models_run_and_show_their_table(name: str, recipe: str) -> None:
    shape = SHAPES.get(name, (32, 32, 3))
    channels = shape[2]
    model = models.build(
        name, recipe=recipe, input_shape=shape, classes=10, mean=(0.5,) * channels, std=(0.25,) * channels, seed=1
    )
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    summary = nn.summarize(model, images)
    text = str(summary)
    assert "multiply-adds" in text
    assert summary.rows[-1].shape == (2, 10)
    if name == "resnet20":
        assert summary.parameters == PARAMETERS[name]
        assert 40e6 < summary.macs / 2 < 41e6
    if name == "lenet5":
        assert summary.parameters == PARAMETERS[name]
        assert summary.macs / 2 == 416_520
    if name == "alexnet-cifar":
        assert summary.parameters == PARAMETERS[name]
        assert summary.macs / 2 == 12_126_208
    if recipe == "dfp8":
        assert all(row.output.startswith("int8") for row in summary.rows), "no float array between layers"
        assert all(row.accumulator > 8 for row in summary.rows if row.macs)
    assert model.training, "the table leaves the mode as it was"


def test_unknown_model_and_wrong_shape() -> None:
    arguments = {"recipe": "fp32", "classes": 10, "mean": (0.5,), "std": (0.2,), "seed": 1}
    with pytest.raises(ConfigError, match="did you mean 'lenet5'"):
        models.build("lenet", input_shape=(28, 28, 1), **arguments)
    with pytest.raises(ConfigError, match="at least 12x12"):
        models.build("lenet5", input_shape=(8, 8, 1), **arguments)
    with pytest.raises(ConfigError, match="at least 15x15"):
        models.build("alexnet-cifar", input_shape=(14, 15, 1), **arguments)
    with pytest.raises(ConfigError, match="does not normalise"):
        models.build("alexnet-cifar", input_shape=(15, 15, 1), **{**arguments, "recipe": "bnn"})
    with pytest.raises(ConfigError, match="per channel"):
        models.build("mlp", input_shape=(8, 8, 3), **arguments)
    with pytest.raises(ConfigError, match="classes"):
        models.build("mlp", input_shape=(8, 8, 1), **(arguments | {"classes": 1}))


def test_streams_are_numbered_in_order_and_unique() -> None:
    model = models.build(
        "resnet20", recipe="dfp8", input_shape=(32, 32, 3), classes=10, mean=(0.5,) * 3, std=(0.2,) * 3, seed=1
    )
    criterion = nn.CrossEntropyLoss(recipes.dfp8())
    run = nn.prepare(model, criterion, seed=1)
    assert [site.stream for _, site in run.sites] == list(range(len(run.sites)))
    assert len({name for name, _ in run.sites}) == len(run.sites)
    assert run.sites[-1][0] == "crossentropyloss.gradient"


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1"])
def test_seeds_outside_64_bits_are_refused(seed: object) -> None:
    with pytest.raises(ValueError, match=r"2\^64"):
        nn.prepare(nn.Linear(2, 2), seed=seed)


def test_a_wide_last_layer_sends_back_the_common_width() -> None:
    recipe = recipes.dfp8(last_bits=16)
    net = nn.Sequential(
        nn.ImageInput((0.5,), (0.25,), recipe),
        nn.Flatten(recipe),
        nn.Linear(4, 3, recipe=recipe),
        nn.Linear(3, 2, recipe=recipe.last_layer()),
    )
    criterion = nn.CrossEntropyLoss(recipe)
    nn.prepare(net, criterion, seed=1)
    assert (net[3].weight_site.bits, net[3].activation.bits, criterion.gradient.bits) == (16, 16, 16)
    assert (net[3].gradient.bits, net[2].gradient.bits, net[2].weight_site.bits) == (8, 8, 8)
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    criterion(net(images), np.array([0, 1])).backward()
    rows = {row.name: row for row in nn.summarize(net, images).rows}
    assert rows["layers.2"].accumulator_weight_gradient == 8 + 8 + 1, "int8 times int8, two positions"
    assert rows["layers.3"].accumulator_weight_gradient == 16 + 8 + 1


def test_a_recipe_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="recipe of type int; allowed is text"):
        recipes.parse(8)  # type: ignore[arg-type]
