"""``qnn train`` on a folder like ImageNet: the network says how large its pictures are, and no set is in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn.training.config import TrainConfig
from qnn.training.inputs import load_split
from qnn.training.runs import RunFolder

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures of several sizes, dark ones and light ones."""
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 1)):
        for kind, base in (("n01440764", 0), ("n01443537", 128)):
            for i in range(count):
                path = root / part / kind / f"{i}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(base, base + 128, (20 + 3 * i, 30, 3), np.uint8)
                Image.fromarray(pixels).save(path)
    return root


def last(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


FLAGS = (
    "--model",
    "resnet20",
    "--crop",
    "16",
    "--epochs",
    "1",
    "--batch-size",
    "2",
    "--augment",
    "crop-flip",
    "--json",
)


@pytest.mark.slow
def test_train_and_eval_at_the_published_size(invoke: Any, imagenet: Path, tmp_path: Path) -> None:
    found = last(
        invoke("train", "--data", imagenet, *FLAGS, "--model", "resnet18", "--crop", "0", "--out", tmp_path / "r")
    )
    start = RunFolder(tmp_path / "r").events()[0]
    assert (start["n_train"], start["n_test"], start["classes"]) == (4, 2, ["n01440764", "n01443537"])
    assert found["steps"] == 2
    assert (tmp_path / "r" / "report.html").exists()
    tested = last(invoke("eval", tmp_path / "r", "--json"))
    assert tested["images"] == 2
    assert tested["test_accuracy"] == found["test_accuracy"]
    shape = RunFolder(tmp_path / "r").evaluation()["worst"][0]["image"]["shape"]
    assert shape == [224, 224, 3]


def test_a_side_of_ones_own_and_a_replay(invoke: Any, imagenet: Path, tmp_path: Path) -> None:
    flags = (*FLAGS, "--no-report")
    one = last(invoke("train", "--data", imagenet, *flags, "--out", tmp_path / "one"))
    two = last(invoke("train", "--data", imagenet, *flags, "--out", tmp_path / "two", "--kernels", "c"))
    assert one["digest"] == two["digest"]
    result = invoke("digest", "replay", tmp_path / "one")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(("model", "side"), [("resnet18", 224), ("alexnet", 224), ("inception-v3", 299)])
def test_the_network_says_the_side(imagenet: Path, model: str, side: int) -> None:
    config = TrainConfig(data=str(imagenet), model=model)
    assert load_split(config, "train").images.shape == (4, side, side, 3)
    assert load_split(config, "test").images.shape == (2, side, side, 3)
    assert load_split(config.replace(crop=9), "test").images.shape == (2, 9, 9, 3)


def test_pictures_of_one_size_that_fit_stay_as_they_are(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        for i in range(3):
            path = tmp_path / kind / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    assert load_split(TrainConfig(data=str(tmp_path), model="resnet18"), "train").images.shape == (4, 8, 8, 3)
    assert load_split(TrainConfig(model="resnet18"), "train").images.shape[1:] == (8, 8, 1)


def test_a_network_for_small_pictures_asks_for_a_side(invoke: Any, imagenet: Path, tmp_path: Path) -> None:
    result = invoke("train", "--data", imagenet, "--model", "resnet20", "--out", tmp_path / "r")
    assert result.exit_code != 0
    assert "--crop" in result.stderr


def test_a_broken_file_is_named(invoke: Any, imagenet: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(imagenet, folder)
    broken = folder / "train" / "n01443537" / "1.JPEG"
    broken.write_bytes(broken.read_bytes()[:400])
    result = invoke("train", "--data", folder, *FLAGS, "--out", tmp_path / "r")
    assert result.exit_code != 0
    assert "n01443537/1.JPEG, which Pillow cannot read" in result.stderr
