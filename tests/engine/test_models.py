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
from published import PUBLISHED

import qnn
from qnn import _kernels, models, nn, optim, recipes
from qnn.errors import ConfigError
from qnn.models.inception import INCEPTION_V3
from qnn.models.layout import StagedNet, classifier

ROOT = Path(__file__).resolve().parents[2]
PATHS = [path for path in _kernels.available_kernels() if path != "reference"] or ["reference"]
WIDE = "dfp(w=8, a=8, g=8, last_bits=16)"


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


def trained(
    make: Callable[[str], nn.Module],
    side: int,
    recipe: str,
    steps: int,
    classes: int = 10,
    batch: int = 2,
    rate: float = 0.01,
):
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
        optimizer.step(rate)
        run.advance()
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value).data)
    return losses, digest.hexdigest()


NETS: dict[str, tuple[Callable[[str], nn.Module], int]] = {
    "tbq-nn": (named("tbq-nn", 8), 8),
    "alexnet-cifar": (named("alexnet-cifar", 15), 15),
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
def test_training_in_float_learns(name: str) -> None:
    make, side = NETS[name]
    losses, _ = trained(make, side, "fp32", 10, batch=8, rate=0.003)  # BLAS rounds otherwise with other threads
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


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
def test_steps_at_the_published_size(name: str, recipe: str) -> None:
    side, classes = PUBLISHED[name][:2]
    found = []
    for path in [*PATHS, "reference"] if recipe == WIDE else PATHS[:1]:
        with qnn.use_kernels(path):
            found.append(trained(named(name, side, classes), side, recipe, 2, classes))
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
