"""Nets that join, pool and average signs: what is joined stays signs, and training and frozen forms have equal bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import conv, norm

import qnn
from qnn import DFP, models, nn, recipes
from qnn.inference import freeze
from qnn.models.inception import _module
from qnn.models.layout import Conv, Pool, StagedNet, classifier
from qnn.operation import trace

PATHS = qnn.available_kernels()
COMPILED = [path for path in PATHS if path != "reference"] or ["reference"]
SIGNS = ("bnn", "bnn(norm=shift)", "qnn(w=1, a=1)")


def build(name: str, recipe: str, side: int) -> nn.Module:
    return models.build(
        name, recipe=recipe, input_shape=(side, side, 3), classes=5, mean=(0.5,) * 3, std=(0.25,) * 3, seed=1
    )


def small_googlenet(recipe: str) -> nn.Module:
    """Two modules of GoogLeNet with few filters, a pooling at stride 2 between them, behind one convolution."""
    chosen = recipes.parse(recipe)
    stages = {
        "conv": (Conv(16, 3),),
        "a": _module(16, 8, 24, 4, 16, 8),
        "pool": (Pool("max", 3, 2, 1),),
        "b": _module(12, 8, 16, 4, 8, 5),
    }
    front = nn.ImageInput((0.5,) * 3, (0.25,) * 3, chosen)
    net = StagedNet("small", stages, (9, 9, 3), chosen, front)
    net.head = nn.Sequential(nn.GlobalAveragePool(chosen), nn.Dropout(0.4, chosen), *classifier(41, 5, chosen))
    nn.initialize(net, seed=1)
    return net


NETS: dict[str, tuple[Callable[[str], nn.Module], int, int]] = {
    "small googlenet": (small_googlenet, 9, 6),
    "googlenet": (lambda recipe: build("googlenet", recipe, 40), 40, 8),
    "densenet100": (lambda recipe: build("densenet100", recipe, 8), 8, 4),
}
"""Maker, side of the pictures, batch."""


def pictures(side: int, batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)


def trained(name: str, recipe: str, steps: int) -> tuple[nn.Module, list[int], dict[str, bytes]]:
    """The net after some steps on one batch, their losses in exact units, and everything that it then holds."""
    make, side, batch = NETS[name]
    model = make(recipe)
    loss = nn.criterion(model.recipe)
    run = nn.prepare(model, loss, seed=2)
    adam = qnn.optim.Adam(model.named_parameters())
    losses = []
    for _ in range(steps):
        loss(model(pictures(side, batch)), np.arange(batch) % 5).backward()
        adam.step(0.003)
        adam.zero_grad()
        run.advance()
        losses.append(loss.last.loss_sum)  # type: ignore[union-attr]
    return model, losses, {key: value.tobytes() for key, value in model.state_dict().items()}


@pytest.mark.clause("LAY-10")
@pytest.mark.parametrize("recipe", [*SIGNS, "qnn(w=2, a=1)", "qnn(w=2, a=2)"])
def test_small_nets_train_the_same_on_every_path_and_thread_number(recipe: str) -> None:
    found = []
    for path in PATHS:
        for threads in (1, 3) if path != "reference" else (1,):
            with qnn.use_kernels(path):
                qnn.set_num_threads(threads)
                found.append(trained("small googlenet", recipe, 3)[1:])
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("name", ["googlenet", "densenet100"])
def test_nets_of_the_papers_train_the_same_on_compiled_paths(name: str) -> None:
    found = []
    for path in COMPILED:
        with qnn.use_kernels(path):
            found.append(trained(name, "bnn", 1)[1:])
    assert all(other == found[0] for other in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "densenet100"])
def test_nets_of_the_papers_train_the_same_on_the_reference(name: str) -> None:
    found = []
    for path in (COMPILED[0], "reference"):
        with qnn.use_kernels(path):
            found.append(trained(name, "bnn", 1)[1:])
    assert found[1] == found[0]


def test_a_net_of_joined_signs_learns() -> None:
    _, losses, _ = trained("small googlenet", "bnn", 40)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.clause("LAY-10", "LAY-11")
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *(("small googlenet", recipe) for recipe in (*SIGNS, "qnn(w=1, a=2)", "qnn(w=2, a=1)", "qnn(w=2, a=2)")),
        ("googlenet", "bnn"),
        ("googlenet", "qnn(w=1, a=1)"),
        ("densenet100", "bnn"),
    ],
)
def test_the_frozen_net_has_the_bits_of_the_evaluation_on_every_path(name: str, recipe: str) -> None:
    _, side, batch = NETS[name]
    model, *_ = trained(name, recipe, 2)
    images = pictures(side, batch)
    model.eval()
    with qnn.no_grad():
        want = model(images).numpy()
    binary = "w=2" not in recipe
    for products in ("auto", "multiply", *(["xnor"] if binary else [])):
        frozen = freeze(model, images[:2], products=products)
        for path in PATHS if name == "small googlenet" else COMPILED:
            with qnn.use_kernels(path):
                np.testing.assert_array_equal(frozen(images), want, strict=True)
    if recipe in SIGNS:
        # Behind the first layer all convolutions count bits, those that take joined signs too.
        shown = str(freeze(model, images[:2]))
        assert (
            sum("xnor conv2d" in line for line in shown.splitlines())
            == sum(isinstance(module, nn.Conv2d) for module in model.modules()) - 1
        )


@pytest.mark.parametrize("recipe", SIGNS)
def test_everything_between_the_layers_of_googlenet_is_signs(recipe: str) -> None:
    model, *_ = trained("small googlenet", recipe, 1)
    with trace() as entries:
        model(pictures(9, 6))
    seen = [entry for entry in entries if entry.name in ("concat", "max_pool")]
    assert len(seen) == 5
    for entry in seen:
        for data in (*entry.inputs, entry.output):
            assert (data.bits, data.exponent) == (2, 0)
            assert set(np.unique(data.ints)) <= {-1, 1}


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 66), min_size=1, max_size=4), st.integers(1, 3))
def test_signs_pooled_and_joined_feed_an_exact_product(seed: int, widths: list[int], stride: int) -> None:
    random = np.random.default_rng(seed)
    recipe = recipes.bnn()
    parts = [DFP(random.choice([-1, 1], (2, 4, 5, width)).astype(np.int8), 0, 2) for width in widths]
    pool, join = nn.MaxPool2d(3, stride, 1, recipe), nn.Concat(recipe)
    layer = nn.Conv2d(sum(widths), 3, 1, bias=False, recipe=recipe)
    nn.prepare(nn.Sequential(pool, join, layer), seed=1)
    pooled = [pool(qnn.Tensor(part)) for part in parts]
    joined = join(*pooled).data
    assert isinstance(joined, DFP)
    assert (joined.bits, joined.exponent) == (2, 0)
    np.testing.assert_array_equal(joined.ints, np.concatenate([p.data.ints for p in pooled], axis=-1))  # type: ignore[union-attr]
    sums = layer(qnn.Tensor(joined)).data
    weights = layer.weight_site.parameter(layer.weight, view=layer.rule.view).ints  # type: ignore[union-attr]
    np.testing.assert_array_equal(sums.ints, joined.ints.astype(np.int64) @ weights[:, 0, 0].T.astype(np.int64))


def test_other_recipes_round_what_they_join() -> None:
    for recipe in ("dfp8", "qnn(w=2, a=2)", "dorefa(w=1, a=2, g=6)", "nbq(n=3)"):
        assert nn.Concat(recipes.parse(recipe)).activation is not None
    assert nn.Concat().activation is None, "float32"
    assert nn.Concat(recipes.bnn()).activation is None


def test_the_net_for_svhn_has_half_of_the_filters() -> None:
    model = build("bnn-convnet-svhn", "bnn", 32)
    shapes = [module.weight.shape for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert shapes == [
        *((64, 3, 3, 3), (64, 3, 3, 64), (128, 3, 3, 64), (128, 3, 3, 128), (256, 3, 3, 128), (256, 3, 3, 256)),
        *((1024, 4 * 4 * 256), (1024, 1024), (5, 1024)),
    ]
    chain = ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256))
    weights = sum(conv(i, o, 3) for i, o in chain) + 4096 * 1024 + 1024 * 1024 + 1024 * 5
    factors = norm(64, 64, 128, 128, 256, 256, 1024, 1024, 5)
    assert sum(parameter.size for _, parameter in model.named_parameters()) == weights + factors
