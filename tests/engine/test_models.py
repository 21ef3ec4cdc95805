"""The papers' networks: parameters and shapes as published, every recipe, the same bits on every path."""

from __future__ import annotations

import hashlib
import re
import resource
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import qnn
from qnn import _kernels, models, nn, optim, recipes
from qnn.errors import ConfigError
from qnn.models.inception import INCEPTION_V3
from qnn.models.layout import StagedNet, classifier

ROOT = Path(__file__).resolve().parents[2]
PATHS = [path for path in _kernels.available_kernels() if path != "reference"] or ["reference"]
WIDE = "dfp(w=8, a=8, g=8, last_bits=16)"


# --- the published numbers, by arithmetic that is not the models' ----------------------------------------------------
def conv(inputs: int, outputs: int, height: int, width: int | None = None) -> int:
    """Weights of a convolution."""
    return inputs * outputs * height * (width or height)


def norm(*channels: int) -> int:
    """Factors and shifts of normalisations."""
    return 2 * sum(channels)


def small_resnet(n: int) -> int:
    """He et al., section 4.2: 6n+2 layers, 16, 32 and 64 channels, no weights in the shortcuts."""
    stages = [(16, 16), (16, 32), (32, 64)]
    blocks = sum(conv(i, o, 3) + (2 * n - 1) * conv(o, o, 3) + 2 * n * norm(o) for i, o in stages)
    return conv(3, 16, 3) + norm(16) + blocks + 64 * 10 + 10


def resnet18() -> int:
    """He et al., Table 1, with 1x1 convolutions where a shortcut changes its shape."""
    total = conv(3, 64, 7) + norm(64) + 4 * (conv(64, 64, 3) + norm(64))
    for o in (128, 256, 512):
        total += conv(o // 2, o, 3) + 3 * conv(o, o, 3) + conv(o // 2, o, 1) + 5 * norm(o)
    return total + 512 * 1000 + 1000


def resnet50() -> int:
    """He et al., Table 1, bottlenecks; the first block of each stage has a projection."""
    total, inputs = conv(3, 64, 7) + norm(64), 64
    for c, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            total += conv(inputs, c, 1) + conv(c, c, 3) + conv(c, 4 * c, 1) + norm(c, c, 4 * c)
            total += conv(inputs, 4 * c, 1) + norm(4 * c) if block == 0 else 0
            inputs = 4 * c
    return total + 2048 * 1000 + 1000


def densenet_bc(depth: int = 100, k: int = 12) -> int:
    """Huang et al., section 3: 1x1 to 4k, 3x3 to k, compression 1/2, 2k channels at the start."""
    total, width = conv(3, 2 * k, 3), 2 * k
    for block in range(3):
        for _ in range((depth - 4) // 6):
            total += norm(width) + conv(width, 4 * k, 1) + norm(4 * k) + conv(4 * k, k, 3)
            width += k
        if block < 2:
            total += norm(width) + conv(width, width // 2, 1)
            width //= 2
    return total + norm(width) + width * 10 + 10


def tbq() -> int:
    """Table I; the digest's 3,487,104 weights, and two numbers per channel of the normalisations."""
    weights = 3_487_104
    assert weights == sum(
        (
            conv(3, 128, 3) + 2 * conv(128, 128, 3),
            conv(128, 256, 3) + 2 * conv(256, 256, 3),
            conv(256, 512, 3) + conv(512, 1024, 1) + conv(1024, 10, 1),
        )
    )
    return weights + norm(128, 128, 128, 256, 256, 256, 512, 1024, 10)


def alexnet() -> int:
    """The layers of the n-BQ-NN authors' code."""
    layers = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 384, 3), (384, 256, 3)]
    layers += [(256, 4096, 5), (4096, 4096, 1), (4096, 1000, 1)]
    return sum(conv(*layer) + norm(layer[1]) for layer in layers) + 1000


def googlenet() -> int:
    """6,998,552, what the network of Table 1 has in Caffe: weights and one bias per channel; here each channel of a
    convolution has two numbers."""
    rows = {  # inputs: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
        "3a": (192, 64, 96, 128, 16, 32, 32),
        "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64),
        "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64),
        "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128),
        "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }
    weights, channels = conv(3, 64, 7) + conv(64, 64, 1) + conv(64, 192, 3), 64 + 64 + 192
    for i, a, b, c, d, e, f in rows.values():
        weights += i * (a + b + d + f) + conv(b, c, 3) + conv(d, e, 5)
        channels += a + b + c + d + e + f
    caffe = weights + channels + 1024 * 1000 + 1000
    assert caffe == 6_998_552
    return caffe + channels


def inception_v3() -> int:
    """The release has 23,817,352 trained numbers (Keras lists it so: weights, one shift per channel, last layer) and
    17,216 channels of convolutions, whose factors it leaves out."""
    return 23_817_352 + 17_216


# name: (side, classes, parameters, published count, multiply-adds as published, stages: module to output shape)
Published = tuple[int, int, int, int, tuple[float, float], dict[str, tuple[int, ...]]]


def _residual(counts: tuple[int, ...], shapes: list[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    ends = np.cumsum(counts) - 1
    return {f"blocks.{end}": shape for end, shape in zip(ends, shapes, strict=True)}


def _small(n: int, count: int, macs: tuple[float, float]) -> Published:
    stages = {"relu": (32, 32, 16), **_residual((n, n, n), [(32, 32, 16), (16, 16, 32), (8, 8, 64)]), "pool": (64,)}
    return 32, 10, small_resnet(n), count, macs, stages


PUBLISHED: dict[str, Published] = {
    # "0.27M" to "1.7M" in Table 6 of the ResNet paper
    "resnet20": _small(3, 269_722, (40e6, 41e6)),
    "resnet32": _small(5, 464_154, (68e6, 70e6)),
    "resnet44": _small(7, 658_586, (97e6, 98e6)),
    "resnet56": _small(9, 853_018, (125e6, 126e6)),
    "resnet110": _small(18, 1_727_962, (252e6, 254e6)),
    "tbq-nn": (
        32,
        10,
        tbq(),
        3_492_500,
        (792e6, 793e6),
        {
            "conv1": (32, 32, 128),
            "pool1": (16, 16, 128),
            "conv2": (16, 16, 256),
            "pool2": (8, 8, 256),
            "conv3": (8, 8, 1024),
            "head.layers.0": (8, 8, 10),
        },
    ),
    # "0.8M" in Table 2 of the DenseNet paper, 0.15 M * 16 / 3 in Table IV of the n-BQ-NN paper
    "densenet100": (
        32,
        10,
        densenet_bc(),
        769_162,
        (287e6, 289e6),
        {
            "conv": (32, 32, 24),
            "blocks.0": (32, 32, 216),
            "transitions.0": (16, 16, 108),
            "blocks.1": (16, 16, 300),
            "transitions.1": (8, 8, 150),
            "blocks.2": (8, 8, 342),
        },
    ),
    "alexnet": (
        224,
        1000,
        alexnet(),
        50_315_384,
        (736e6, 737e6),
        {
            "conv1": (26, 26, 64),
            "conv2": (12, 12, 192),
            "conv3": (12, 12, 384),
            "conv4": (12, 12, 384),
            "conv5": (5, 5, 256),
            "fc6": (1, 1, 4096),
            "fc7": (1, 1, 4096),
        },
    ),
    # "1.5 billion multiply-adds" in the paper's introduction; the column "output size" of its Table 1
    "googlenet": (
        224,
        1000,
        googlenet(),
        7_005_832,
        (1.5e9, 1.6e9),
        {
            "conv1": (112, 112, 64),
            "pool1": (56, 56, 64),
            "conv2": (56, 56, 192),
            "pool2": (28, 28, 192),
            "3a": (28, 28, 256),
            "3b": (28, 28, 480),
            "pool3": (14, 14, 480),
            "4a": (14, 14, 512),
            "4b": (14, 14, 512),
            "4c": (14, 14, 512),
            "4d": (14, 14, 528),
            "4e": (14, 14, 832),
            "pool4": (7, 7, 832),
            "5a": (7, 7, 832),
            "5b": (7, 7, 1024),
        },
    ),
    # Table 1 of the ResNet paper: 1.8 and 3.8 times 10^9
    "resnet18": (
        224,
        1000,
        resnet18(),
        11_689_512,
        (1.8e9, 1.85e9),
        {
            "relu": (112, 112, 64),
            "first_pool": (56, 56, 64),
            **_residual((2, 2, 2, 2), [(56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)]),
            "pool": (512,),
        },
    ),
    "resnet50": (
        224,
        1000,
        resnet50(),
        25_557_032,
        (3.8e9, 3.9e9),
        {
            "relu": (112, 112, 64),
            "first_pool": (56, 56, 64),
            **_residual((3, 4, 6, 3), [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048)]),
            "pool": (2048,),
        },
    ),
    # "less than 25 million parameters" and "5 billion multiply-adds" (the release has 5.7) in the paper's section 11
    "inception-v3": (
        299,
        1000,
        inception_v3(),
        23_834_568,
        (5.6e9, 5.8e9),
        {
            "conv1": (149, 149, 32),
            "conv2": (147, 147, 32),
            "conv3": (147, 147, 64),
            "pool1": (73, 73, 64),
            "conv4": (73, 73, 80),
            "conv5": (71, 71, 192),
            "pool2": (35, 35, 192),
            "5b": (35, 35, 256),
            "5c": (35, 35, 288),
            "5d": (35, 35, 288),
            **dict.fromkeys(("6a", "6b", "6c", "6d", "6e"), (17, 17, 768)),
            "7a": (8, 8, 1280),
            "7b": (8, 8, 2048),
            "7c": (8, 8, 2048),
        },
    ),
}


def build(name: str, recipe: str, side: int, classes: int, channels: int = 3) -> nn.Module:
    return models.build(
        name,
        recipe=recipe,
        input_shape=(side, side, channels),
        classes=classes,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        seed=1,
    )


def pictures(side: int, batch: int = 1, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, side, side, channels), np.uint8)


def outputs(model: nn.Module, summary: nn.Summary) -> dict[str, tuple[int, ...]]:
    """The output's shape of every module that the published tables name, without the batch."""
    found = {}
    for row in summary.rows:
        parts = row.name.split(".")
        for end in range(1, len(parts) + 1):
            found[".".join(parts[:end])] = row.shape[1:]
    for place, name in enumerate(getattr(model, "stage_names", ())):
        found[name] = found[f"stages.{place}"]
    return found


@cache
def table(name: str) -> tuple[int, int, str]:
    """Parameters, multiply-adds for one picture, and the differences from the published shapes."""
    side, classes, *_, stages = PUBLISHED[name]
    model = build(name, "fp32", side, classes)
    summary = nn.summarize(model, pictures(side))
    found = outputs(model, summary)
    wrong = {stage: found.get(stage) for stage, shape in stages.items() if found.get(stage) != shape}
    assert summary.rows[-1].shape == (1, classes)
    return summary.parameters, summary.macs, str(wrong or "")


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_shapes_are_the_published_ones(name: str) -> None:
    *_, computed, count, macs, _ = PUBLISHED[name]
    parameters, products, wrong = table(name)
    assert parameters == computed == count
    assert macs[0] < products < macs[1]
    assert not wrong


def test_the_page_of_models_says_what_the_models_have() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+)x(\d+)x(\d+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \|", page, re.MULTILINE)
    assert [row[0] for row in rows] == models.names(), "docs/models.md needs one row per model, in order"
    for name, side, other, channels, classes, *counts in rows:
        if name in PUBLISHED:
            assert (int(side), int(classes)) == PUBLISHED[name][:2]
            found = table(name)[:2]
        else:
            model = build(name, "fp32", int(side), int(classes), int(channels))
            summary = nn.summarize(model, pictures(int(side), channels=int(channels)))
            found = summary.parameters, summary.macs
        assert side == other
        assert tuple(counts) == tuple(f"{value:,}" for value in found), name


# --- every recipe, on every path -------------------------------------------------------------------------------------
SMALLEST = {"alexnet": 67, "inception-v3": 75, "tbq-nn": 8, "densenet100": 4}


def small_bottlenecks(recipe: str) -> nn.Module:
    """Two stages of bottlenecks with the large stem: ResNet-50 with fewer of everything."""
    chosen = recipes.parse(recipe)
    plan = models.Plan(7, ((8, 2), (16, 2)), bottleneck=True, projection=True)
    return models.ResNet(plan, (16, 16, 3), 10, chosen, nn.ImageInput((0.5,) * 3, (0.25,) * 3, chosen))


def small_inception(recipe: str) -> nn.Module:
    """A module of every grid of Inception-v3, behind one convolution."""
    chosen = recipes.parse(recipe)
    front = nn.ImageInput((0.5,) * 3, (0.25,) * 3, chosen)
    stages = {name: INCEPTION_V3[name] for name in ("conv1", "5b", "6b", "7b")}
    net = StagedNet("small", stages, (9, 9, 3), chosen, front)
    net.head = nn.Sequential(nn.GlobalAveragePool(chosen), *classifier(2048, 10, chosen))
    return net


def named(name: str, side: int, classes: int = 10) -> Callable[[str], nn.Module]:
    return lambda recipe: build(name, recipe, side, classes)


def trained(make: Callable[[str], nn.Module], side: int, recipe: str, steps: int, classes: int = 10, batch: int = 2):
    """Losses of some steps on one batch, and the digest of everything the network then holds."""
    model = make(recipe)
    criterion = nn.CrossEntropyLoss(model.recipe)
    run = nn.prepare(model, criterion, seed=1)
    optimizer = optim.SGD(list(run.named_parameters()), momentum=0.9)
    losses = []
    for _ in range(steps):
        model.zero_grad()
        loss = criterion(model(pictures(side, batch)), np.arange(batch) % classes)
        losses.append(float(loss.numpy()))
        loss.backward()
        optimizer.step(0.01)
        run.advance()
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value).data)
    return losses, digest.hexdigest()


NETS: dict[str, tuple[Callable[[str], nn.Module], int]] = {
    "tbq-nn": (named("tbq-nn", 8), 8),
    "resnet32": (named("resnet32", 8), 8),
    "densenet100": (named("densenet100", 4), 4),
    "googlenet": (named("googlenet", 32), 32),
    "small bottlenecks": (small_bottlenecks, 16),
    "small inception": (small_inception, 9),
}


@pytest.mark.parametrize("name", NETS)
def test_training_has_the_same_bits_on_every_path_and_learns(name: str) -> None:
    make, side = NETS[name]
    found = []
    for path in [*PATHS, *(["reference"] if name in ("resnet32", "small bottlenecks", "small inception") else [])]:
        with qnn.use_kernels(path):
            found.append(trained(make, side, "dfp8", 3))
    losses, _ = found[0]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("name", NETS)
def test_the_frozen_network_has_the_bits_of_the_evaluation(name: str) -> None:
    make, side = NETS[name]
    model = make("dfp8")
    run = nn.prepare(model, seed=1)
    model(pictures(side, 4))
    run.advance()
    model.eval()
    frozen = qnn.inference.freeze(model, pictures(side))
    assert np.array_equal(frozen(pictures(side, 3)), model(pictures(side, 3)).numpy())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["tbq-nn", "densenet100", "resnet110", "alexnet", "googlenet", "resnet18", "resnet50", "inception-v3"]
)
def test_training_has_the_same_bits_on_the_reference(name: str) -> None:
    side = SMALLEST.get(name, 32)
    found = []
    for path in [*PATHS, "reference"]:
        with qnn.use_kernels(path):
            found.append(trained(named(name, side), side, WIDE, 2))
    losses, _ = found[0]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert all(other == found[0] for other in found)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp32", "dfp8", WIDE])
@pytest.mark.parametrize("name", [name for name in PUBLISHED if models.picture_side(name)])
def test_one_step_at_the_published_size(name: str, recipe: str) -> None:
    side, classes = PUBLISHED[name][:2]
    found = []
    for path in PATHS if recipe == WIDE else PATHS[:1]:
        with qnn.use_kernels(path):
            found.append(trained(named(name, side, classes), side, recipe, 1, classes))
    assert np.isfinite(found[0][0]).all()
    assert all(other == found[0] for other in found)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20, "more than 4 GB (in KiB)"


@pytest.mark.parametrize("name", ["tbq-nn", "resnet32", "densenet100", "alexnet", "googlenet", "inception-v3"])
def test_a_wide_last_layer(name: str) -> None:
    side = SMALLEST.get(name, 32)
    model = build(name, WIDE, side, 10)
    summary = nn.summarize(model, pictures(side, 2))
    products = [row for row in summary.rows if row.kind in ("conv2d", "linear")]
    assert products[-1].output.startswith("int16"), "the last layer with weights"
    assert all(row.output.startswith("int8") for row in products[:-1])
    assert all(row.output.startswith("int") for row in summary.rows), "no float array between layers"
    assert summary.rows[-1].output.startswith("int16"), "the logits stay as wide"


@pytest.mark.parametrize("name", PUBLISHED)
def test_pictures_that_are_too_small_are_refused(name: str) -> None:
    if name.startswith("resnet") or name == "googlenet":
        build(name, "fp32", 1, 2)  # any size works
        return
    least = SMALLEST[name] if name != "tbq-nn" else 4
    build(name, "fp32", least, 2)
    with pytest.raises(ConfigError, match=rf"got pictures of {least - 1}x{least - 1} for {name}"):
        build(name, "fp32", least - 1, 2)


def test_every_imagenet_model_has_its_side() -> None:
    assert all(PUBLISHED[name][0] == (models.picture_side(name) or 32) for name in PUBLISHED)
    assert models.picture_side("mlp") is None
