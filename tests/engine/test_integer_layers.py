"""Every integer layer is its float twin with one rounding at each site: within half a unit forward, one unit
backward (SR)."""

from __future__ import annotations

import numpy as np
import pytest

from qnn import nn, recipes
from qnn.errors import CheckpointError
from qnn.extend import Format
from qnn.numerics import DFP
from qnn.quantizer import Quantizer
from qnn.tensor import Tensor

RECIPE = recipes.dfp8()
FLOAT = recipes.fp32()
SLACK = 2e-3  # units; the float32 twin's own rounding error, far below half a unit


def integers(*shape: int, seed: int = 0, exponent: int = -5) -> DFP:
    return DFP(np.random.default_rng(seed).integers(-128, 128, shape, np.int8), exponent, 8)


def within(result: DFP, expected: np.ndarray, units: float) -> None:
    """The integers are the expected real values, rounded by at most ``units`` and saturated."""
    scaled = expected.astype(np.float64) / 2.0**result.exponent
    clipped = np.clip(scaled, -(2 ** (result.bits - 1)), 2 ** (result.bits - 1) - 1)
    worst = np.abs(result.ints - clipped).max(initial=0.0)
    assert worst <= units + SLACK, f"off by {worst} units of 2^{result.exponent}"


def adopt(layer: nn.Module, twin: nn.Module) -> None:
    """Give the float twin the values that the integer layer's copies stand for."""
    copies = {}
    for name, site in layer.named_sites():
        if site._copies:
            copies[name.replace("weight_site", "weight").replace("bias_site", "bias")] = next(
                iter(site._copies.values())
            ).to_float()
    for name, parameter in twin.named_parameters():
        prefix, _, key = name.rpartition(".")
        wanted = f"{prefix}.{ {'gamma': 'weight', 'beta': 'bias'}.get(key, key) }".replace(" ", "").lstrip(".")
        parameter.data = copies[wanted]


LAYERS = {
    "linear": (lambda r: nn.Linear(7, 5, recipe=r), (6, 7)),
    "conv": (lambda r: nn.Conv2d(3, 5, 3, padding=1, recipe=r), (2, 6, 5, 3)),
    "conv stride": (lambda r: nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False, recipe=r), (2, 6, 5, 3)),
    "conv dilation": (lambda r: nn.Conv2d(2, 4, 3, dilation=2, padding=2, recipe=r), (1, 7, 7, 2)),
    "conv groups": (lambda r: nn.Conv2d(4, 6, 3, groups=2, recipe=r), (2, 5, 5, 4)),
    "conv depthwise": (lambda r: nn.Conv2d(4, 4, 3, padding=1, groups=4, recipe=r), (2, 5, 5, 4)),
    "normalize": (lambda r: nn.Normalize(3, recipe=r), (4, 3, 3, 3)),
    "scale": (lambda r: nn.Scale(3, recipe=r), (4, 3, 3, 3)),
    "relu": (lambda r: nn.Relu(r), (4, 9)),
    "hardtanh": (lambda r: nn.Hardtanh(r), (4, 9)),
    "max pool": (lambda r: nn.MaxPool2d(2, recipe=r), (2, 6, 6, 3)),
    "max pool overlapping": (lambda r: nn.MaxPool2d(3, 2, 1, recipe=r), (2, 6, 6, 3)),
    "average pool": (lambda r: nn.AveragePool2d(3, 2, 1, recipe=r), (2, 6, 6, 3)),
    "average pool of real pixels": (lambda r: nn.AveragePool2d(3, 1, 1, r, count_padding=False), (2, 3, 5, 3)),
    "global average pool": (lambda r: nn.GlobalAveragePool(r), (2, 7, 7, 3)),
    "flatten": (lambda r: nn.Flatten(r), (2, 3, 3, 2)),
    "shortcut": (lambda r: nn.PadShortcut(2, 8, r), (2, 5, 5, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_layer_is_its_float_twin_rounded_once(name: str, training: bool) -> None:
    make, shape = LAYERS[name]
    layer, twin = make(RECIPE), make(FLOAT)
    nn.prepare(layer, seed=3)
    for parameter in layer.parameters():
        if parameter.ndim == 1:  # biases and factors start flat; give them values
            parameter.data = np.random.default_rng(8).standard_normal(parameter.shape).astype(np.float32)
    layer.train(training)
    twin.train(training)
    data = integers(*shape)
    x = Tensor(data, requires_grad=True)
    y = layer(x)
    adopt(layer, twin)
    floating = Tensor(data.to_float(), requires_grad=True)
    expected = twin(floating)
    assert y.is_integer
    within(y.data, expected.numpy(), 0.5)
    gradient = integers(*y.shape, seed=1, exponent=-9)
    y.backward(gradient)
    expected.backward(gradient.to_float())
    assert isinstance(x.grad, DFP)
    within(x.grad, floating.grad, 1.0)
    for (_, mine), (_, theirs) in zip(layer.named_parameters(), twin.named_parameters(), strict=True):
        scale = np.abs(theirs.grad).max() + 1e-9
        assert np.abs(mine.grad - theirs.grad).max() <= 1e-5 * scale, "weight gradients are exact sums"


def test_first_layer_sends_no_gradient_to_images() -> None:
    net = nn.Sequential(nn.ImageInput((0.5,), (0.25,), RECIPE), nn.Conv2d(1, 2, 3, recipe=RECIPE))
    nn.prepare(net, seed=1)
    y = net(np.zeros((1, 4, 4, 1), np.uint8))
    y.backward(integers(*y.shape))
    assert net[1].gradient.counts is None
    assert not net[1].gradient.initialised


def test_add_and_concat_round_once() -> None:
    a, b = integers(2, 3, exponent=-5), integers(2, 3, seed=1, exponent=-9)
    for module, expected in (
        (nn.Add(RECIPE), a.to_float() + b.to_float()),
        (nn.Concat(RECIPE), np.concatenate([a.to_float(), b.to_float()], axis=-1)),
    ):
        x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        out = module(x, y)
        within(out.data, expected, 0.5)
        g = integers(*out.shape, seed=2)
        out.backward(g)
        assert np.array_equal(x.grad.ints, g.ints[:, :3])
        assert np.array_equal(y.grad.ints, g.ints[:, -3:])


def test_residual_gradients_are_summed_exactly_and_rounded_once() -> None:
    relu = nn.Relu(RECIPE)
    add = nn.Add(RECIPE)
    nn.prepare(nn.Sequential(relu, add), seed=2)
    x = Tensor(integers(4, 4), requires_grad=True)
    y = relu(x)
    out = add(y, y)
    g = integers(4, 4, seed=3)
    out.backward(g)
    within(x.grad, 2 * g.to_float() * (x.numpy() > 0), 1.0)


def test_dropout_in_integers() -> None:
    layer = nn.Dropout(0.25, RECIPE)
    nn.prepare(layer, seed=5)
    data = integers(64, 64)
    y = layer(Tensor(data))
    kept = y.data.ints != 0
    assert 0.7 < kept.mean() < 0.8
    expected = data.to_float() * kept * np.float32(65536 / 49152)
    within(y.data, expected, 0.5)


@pytest.mark.parametrize("bits", [2, 5, 8, 12, 16])
def test_image_table_is_the_same_for_any_batch(bits: int) -> None:
    layer = nn.ImageInput((0.2, 0.5), (0.3, 0.1), recipes.dfp(a=bits))
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 8, 2)
    out = layer(images).data
    assert out.bits == bits
    real = (images / np.float32(255) - np.float32([0.2, 0.5])) / np.float32([0.3, 0.1])
    within(out, real, 0.5)
    for dark in (images[:, :1, :1], images[:, -1:, -1:]):
        assert layer(dark).data.exponent == out.exponent


@pytest.mark.parametrize(
    "images", [np.zeros((1, 4, 4, 1), np.float32), np.zeros((1, 4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)]
)
def test_images_of_the_wrong_kind_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        nn.ImageInput((0.5,), (0.25,), RECIPE)(images)


@pytest.mark.parametrize("bits", [1, 0, 17, -8, 8.0])
def test_widths_outside_2_to_16_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="allowed are 2 to 16"):
        Format(bits)


def test_nan_names_the_site_and_writes_nothing() -> None:
    site = Quantizer("weight", Format(8), name="conv1.weight")
    with pytest.raises(ValueError, match=r"conv1\.weight.*1 "):
        site.quantize(np.float32([0, np.nan, 1]))
    assert not site.initialised


def test_state_of_another_model_changes_nothing() -> None:
    layer, other = nn.Linear(3, 2, recipe=RECIPE), nn.Linear(3, 4, recipe=RECIPE)
    before = layer.state_dict()
    with pytest.raises(CheckpointError, match="weight"):
        layer.load_state_dict(other.state_dict())
    with pytest.raises(CheckpointError, match="lacks"):
        layer.load_state_dict(nn.Linear(3, 2).state_dict())
    damaged = layer.state_dict()
    damaged["weight"][0, 0] = np.inf
    with pytest.raises(CheckpointError, match="not finite"):
        layer.load_state_dict(damaged)
    other_weights = {**before, "weight": before["weight"] + 1}
    site = next(key for key in before if key.endswith("weight_site.exponent"))
    for wrong in ([64, 1], [-65, 0], [0, 2]):
        with pytest.raises(CheckpointError, match="damaged or of another recipe"):
            layer.load_state_dict({**other_weights, site: np.array(wrong, np.int64)})
    with pytest.raises(CheckpointError, match="pruned values that are not 0"):
        layer.load_state_dict({**other_weights, "weight.kept": np.zeros(before["weight"].shape, bool)})
    assert all(np.array_equal(before[k], layer.state_dict()[k]) for k in before)


def test_frozen_exponents_are_part_of_the_state() -> None:
    layer = nn.Linear(3, 2, recipe=RECIPE)
    nn.prepare(layer, seed=1)
    layer(Tensor(integers(4, 3)))
    copy = nn.Linear(3, 2, recipe=RECIPE)
    copy.load_state_dict(layer.state_dict())
    copy.eval()
    layer.eval()
    x = Tensor(integers(5, 3, seed=9))
    assert np.array_equal(copy(x).data.ints, layer(x).data.ints)
