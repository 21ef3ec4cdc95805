"""Image folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn.data import load
from qnn.data.folder import read_folder
from qnn.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def save(path: Path, pixels: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(path)
    return path


def grey(value: int, side: int = 4) -> np.ndarray:
    return np.arange(side * side, dtype=np.uint8).reshape(side, side) + np.uint8(value)


def test_classes_and_order(tmp_path: Path) -> None:
    for i, name in enumerate(("b/2.png", "b/1.png", "a/9.bmp", "a/10.png")):
        save(tmp_path / name, grey(i))
    (tmp_path / "a/.hidden.png").write_bytes(b"x")
    (tmp_path / "a/notes.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    source = read_folder(tmp_path)
    assert source.classes == ("a", "b")
    assert source.train[1].tolist() == [0, 0, 1, 1]
    assert source.train[0].shape == (4, 4, 4, 1)
    assert [int(x[0, 0, 0]) for x in source.train[0]] == [3, 2, 1, 0]


def test_train_and_test_folders(tmp_path: Path) -> None:
    for part, n in (("train", 3), ("test", 2)):
        for kind in ("cat", "dog"):
            for i in range(n):
                save(tmp_path / part / kind / f"{i}.png", grey(i))
    train, test = load(tmp_path), load(tmp_path, "test")
    assert (len(train), len(test)) == (6, 4)
    assert test.classes == ["cat", "dog"]
    assert test.mean == train.mean


def test_automatic_split(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for i in range(10):
            save(tmp_path / kind / f"{i}.png", grey(i))
    assert (len(load(tmp_path)), len(load(tmp_path, "test"))) == (16, 4)


def test_grey_and_colour_become_colour(tmp_path: Path) -> None:
    save(tmp_path / "a/1.png", grey(5))
    colour = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    save(tmp_path / "b/1.png", colour)
    images = read_folder(tmp_path).train[0]
    assert np.array_equal(images[0], np.repeat(grey(5)[..., None], 3, axis=2))
    assert np.array_equal(images[1], colour)


def test_grey_training_and_colour_test(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", grey(5))
    save(tmp_path / "test/a/1.png", np.zeros((4, 4, 3)))
    source = read_folder(tmp_path)
    assert source.train[0].shape == (1, 4, 4, 3)
    assert source.test is not None
    assert source.test[0].shape == (1, 4, 4, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_modes(tmp_path: Path, mode: str) -> None:
    save(tmp_path / "a/1.png", np.zeros((4, 4, 3)), mode)
    assert read_folder(tmp_path).train[0].shape == (1, 4, 4, 1 if mode in ("1", "L", "LA") else 3)


def test_another_size_unless_resized(tmp_path: Path) -> None:
    save(tmp_path / "a/1.png", grey(0))
    save(tmp_path / "a/2.png", grey(0, 6))
    with pytest.raises(DataError, match=r"2\.png of 6x6; allowed: 4x4"):
        read_folder(tmp_path)
    assert load(tmp_path, resize=(3, 5)).images.shape == (1, 3, 5, 1)


def test_test_pictures_of_another_size(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", grey(0))
    save(tmp_path / "test/a/1.png", grey(0, 6))
    with pytest.raises(DataError, match="6x6"):
        read_folder(tmp_path)


@pytest.mark.parametrize("resize", [(0, 4), (4,), (4, 5, 6), (4.0, 4), (5000, 4)])
def test_bad_resize(tmp_path: Path, resize: Any) -> None:
    save(tmp_path / "a/1.png", grey(0))
    with pytest.raises(DataError, match="height, width"):
        load(tmp_path, resize=resize)


def test_damaged_pictures(tmp_path: Path) -> None:
    raw = save(tmp_path / "a/1.png", np.random.default_rng(0).integers(0, 256, (40, 40))).read_bytes()
    for damaged in (raw[:300], b"", b"no picture"):
        (tmp_path / "a/1.png").write_bytes(damaged)
        with pytest.raises(DataError, match="cannot read"):
            read_folder(tmp_path)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a/1.png")
    with pytest.raises(DataError, match="pixel mode"):
        read_folder(tmp_path)


def test_empty_class_strange_class_and_no_class(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", grey(0))
    save(tmp_path / "test/b/1.png", grey(0))
    with pytest.raises(DataError, match="the class 'b'"):
        read_folder(tmp_path)
    (tmp_path / "train/c").mkdir()
    with pytest.raises(DataError, match="without a picture"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="without class folders"):
        read_folder(tmp_path / "train/c")


def test_test_folder_without_pictures(tmp_path: Path) -> None:
    save(tmp_path / "train/a/1.png", grey(0))
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="empty data set"):
        read_folder(tmp_path)


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a/1.png", grey(0))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        read_folder(tmp_path)
