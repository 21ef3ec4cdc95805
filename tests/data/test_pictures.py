"""Pictures that stay in their files: scaled, cut and mirrored by addressed noise, decoded when asked for."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.data import Dataset, batches, check, load
from qnn.data.augment import augment_words
from qnn.data.folder import needs_crop
from qnn.data.pictures import IMAGENET_MEAN, IMAGENET_STD, Pictures, place, whole_size
from qnn.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
SIDE = 14  # the shorter edge becomes 16
SIZES = [(16, 20), (20, 16), (33, 40), (7, 9), (16, 16), (48, 17)]


def save(path: Path, size: tuple[int, int], seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """train and val with two classes, PNG and JPEG of several sizes and modes."""
    for part, count in (("train", 6), ("val", 3)):
        for kind in ("n01440764", "n01443537"):
            for i in range(count):
                mode = ("RGB", "L", "CMYK")[i % 3]
                suffix = "png" if mode == "RGB" else "JPEG"
                save(tmp_path / part / kind / f"{kind}_{i}.{suffix}", SIZES[i], i + count, mode)
    return tmp_path


# --- the numbers -----------------------------------------------------------------------------------------------------
@pytest.mark.clause("DAT-10")
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_the_shorter_edge_is_exact_and_the_other_the_nearest(height: int, width: int, side: int) -> None:
    if max(height, width) > 64 * min(height, width):
        with pytest.raises(DataError, match="1 to 64"):
            whole_size((height, width), side)
        return
    found = whole_size((height, width), side)
    least = side * 8 // 7
    assert min(found) == least >= side
    for edge, scaled in zip((height, width), found, strict=True):
        exact = Fraction(edge * least, min(height, width))
        assert -Fraction(1, 2) <= exact - scaled < Fraction(1, 2)


@pytest.mark.clause("DAT-10")
@given(st.integers(1, 400), st.integers(0, 300), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_every_place_lies_inside(side: int, below: int, beside: int, word: int) -> None:
    size = (side + below, side + beside)
    row, column, mirror = place(size, side, word)
    assert 0 <= row <= below
    assert 0 <= column <= beside
    assert mirror == (word >= 2**31)
    assert place(size, side, None) == (below // 2, beside // 2, False)


@pytest.mark.clause("DAT-10")
def test_all_places_occur_equally_often() -> None:
    rows = np.bincount([place((18, 14), 14, word)[0] for word in range(2**15)])
    assert rows.min() >= 2**15 // 5
    assert rows.max() <= 2**15 // 5 + 1


# --- decoding --------------------------------------------------------------------------------------------------------
@pytest.mark.clause("DAT-10")
def test_a_picture_of_the_right_size_is_cut_without_change(tmp_path: Path) -> None:
    file = save(tmp_path / "a/1.png", (16, 20))
    whole = np.asarray(Image.open(file))
    pictures = Pictures(tmp_path, ["a/1.png"], SIDE)
    assert np.array_equal(pictures[0], whole[1:15, 3:17])
    last = np.array([0xFFFFFFFF], np.uint32)
    assert np.array_equal(pictures.cut(np.array([0]), last)[0], whole[2:16, 6:20][:, ::-1])
    first = np.array([0], np.uint32)
    assert np.array_equal(pictures.cut(np.array([0]), first)[0], whole[:14, :14])


def test_indices_are_those_of_an_array(imagenet: Path) -> None:
    images = load(imagenet, crop=SIDE).images
    assert isinstance(images, Pictures)
    assert images.shape == (12, SIDE, SIDE, 3)
    every = np.stack([images[i] for i in range(len(images))])
    assert every.dtype == np.uint8
    for index in (slice(None), slice(2, 5), slice(-1, None), np.array([3, 0, 3]), slice(0, 0)):
        assert np.array_equal(images[index], every[index])
    assert np.array_equal(images.take(np.array([5, 1]))[:], every[[5, 1]])
    with pytest.raises(IndexError):
        images[12]


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        for i in range(10):
            file = save(tmp_path / kind / f"{i}.png", SIZES[i % 6])
            if i:
                file.write_bytes(b"no picture")
    train, test = load(tmp_path, crop=SIDE), load(tmp_path, "test", crop=SIDE)
    assert (len(train), len(test)) == (16, 4)
    assert len(train.subset(3)) == 3
    with pytest.raises(DataError, match=r"\.png, which Pillow cannot read"):
        train.images[:]


def test_splits_classes_and_constants(imagenet: Path) -> None:
    train, test = load(imagenet, crop=SIDE), load(imagenet, "test", crop=SIDE)
    assert (len(train), len(test)) == (12, 6)
    assert train.classes == test.classes == ["n01440764", "n01443537"]
    assert test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (train.mean, train.std) == (IMAGENET_MEAN, IMAGENET_STD)
    (imagenet / "test").mkdir()
    (imagenet / "test" / "unlabelled.JPEG").write_bytes(b"x")
    assert len(load(imagenet, "test", crop=SIDE)) == 6, "a test folder without classes is not the test set"


# --- batches ---------------------------------------------------------------------------------------------------------
@pytest.mark.clause("DAT-3", "DAT-10")
@pytest.mark.parametrize("background", [False, True])
def test_batches_are_cut_by_the_words_of_their_positions(imagenet: Path, background: bool) -> None:
    train = load(imagenet, crop=SIDE)
    words = augment_words(7, 2, len(train))
    options = {"augment": "crop-flip", "drop_last": False, "background": background}
    for size in (1, 5, 12):
        for images, labels, positions in batches(train, size, 7, 2, **options):
            assert np.array_equal(images, train.images.cut(positions, words[positions]))
            assert np.array_equal(labels, train.labels[positions])
    for images, _, positions in batches(train, 5, 7, 2, background=background):
        assert np.array_equal(images, train.images[positions])


def test_a_broken_file_ends_the_batches_and_is_named(imagenet: Path) -> None:
    train = load(imagenet, crop=SIDE)
    broken = imagenet / "train" / "n01440764" / "n01440764_2.JPEG"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match=r"n01440764_2\.JPEG, which Pillow cannot read"):
        list(batches(train, 4, 1, 0))


# --- the checksum ----------------------------------------------------------------------------------------------------
@pytest.mark.clause("DAT-11")
def test_the_checksum_is_of_the_files_the_side_and_one_picture(imagenet: Path) -> None:
    train = load(imagenet, crop=SIDE)
    files = [imagenet / "train" / name for name in train.images.names]
    expected = hashlib.sha256(b"qnn-data-2" + np.array([12, SIDE, SIDE, 3], "<i8").tobytes())
    for file in files:
        expected.update(hashlib.sha256(file.read_bytes()).digest())
    expected.update(train.images[0].tobytes() + train.labels.astype("<i8").tobytes())
    assert train.checksum == expected.hexdigest()
    assert load(imagenet, crop=SIDE + 1).checksum != train.checksum
    changed = Dataset(train.images, 1 - train.labels, train.classes, "changed")
    assert changed.checksum != train.checksum
    files[5].rename(files[5].with_name("n01440764_5_renamed.png"))
    assert load(imagenet, crop=SIDE).checksum == train.checksum
    files[0].write_bytes(files[0].read_bytes() + b"\0")
    assert load(imagenet, crop=SIDE).checksum != train.checksum


# --- which folders, and what is refused ------------------------------------------------------------------------------
def test_which_folders_need_a_cut(tmp_path: Path) -> None:
    assert not needs_crop(tmp_path, SIDE)
    save(tmp_path / "a/1.png", (16, 20))
    save(tmp_path / "b/1.png", (16, 20))
    assert not needs_crop(tmp_path, 16)
    assert not needs_crop(tmp_path, None)
    assert needs_crop(tmp_path, 15)
    save(tmp_path / "b/2.png", (16, 16))
    assert needs_crop(tmp_path, 16)
    assert needs_crop(tmp_path, None)
    assert not needs_crop(tmp_path / "a" / "1.png", SIDE)
    with pytest.raises(DataError, match=r"pass crop=side"):
        load(tmp_path)


@pytest.mark.parametrize("crop", [0, 4097, 2.0, "224", True])
def test_sides_that_are_refused(imagenet: Path, crop: object) -> None:
    with pytest.raises(DataError, match=r"1 \.\. 4096"):
        load(imagenet, crop=crop)


def test_what_cannot_be_cut(imagenet: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="option crop for digits"):
        load("digits", crop=8)
    with pytest.raises(DataError, match="resize and crop together"):
        load(imagenet, crop=8, resize=(8, 8))
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4, 1), np.uint8), labels=np.zeros(2, np.int64))
    with pytest.raises(DataError, match="option crop for"):
        load(tmp_path / "x.npz", crop=8)


def test_a_validation_folder_without_classes_is_explained(imagenet: Path) -> None:
    for kind in (imagenet / "val").iterdir():
        for file in kind.iterdir():
            file.rename(imagenet / "val" / file.name)
        kind.rmdir()
    with pytest.raises(DataError, match="val without class folders"):
        load(imagenet, "test", crop=SIDE)


def test_strange_and_empty_classes(imagenet: Path) -> None:
    save(imagenet / "val/unknown/1.png", (16, 16))
    with pytest.raises(DataError, match="the class 'unknown'"):
        load(imagenet, crop=SIDE)
    (imagenet / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="without a picture"):
        load(imagenet, crop=SIDE)


def test_a_picture_that_is_nearly_a_line(tmp_path: Path) -> None:
    save(tmp_path / "a/1.png", (1, 65))
    save(tmp_path / "a/2.png", (9, 9))
    with pytest.raises(DataError, match=r"1\.png of 1x65"):
        Pictures(tmp_path, ["a/1.png"], SIDE)[0]


def test_checking_a_folder_decodes_every_picture(imagenet: Path) -> None:
    assert [row.state for row in check(str(imagenet))] == ["ok", "ok"]
    (imagenet / "val" / "n01443537" / "n01443537_1.JPEG").write_bytes(b"\xff\xd8")
    rows = check(str(imagenet))
    assert [row.state for row in rows] == ["wrong"]
    assert "n01443537_1.JPEG" in rows[0].detail
