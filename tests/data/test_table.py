"""A user's own tables: NPZ and CSV."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn.data import load
from qnn.data.convert import number_labels, pixels_to_images
from qnn.data.table import read_csv, read_npz
from qnn.errors import DataError


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def csv(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


IMAGES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2])


KEYS = [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("train_images", "train_labels")]


@pytest.mark.parametrize("keys", KEYS)
def test_npz_spellings(tmp_path: Path, keys: tuple[str, str]) -> None:
    source = read_npz(npz(tmp_path / "a.npz", **{keys[0]: IMAGES, keys[1]: LABELS[:, None]}))
    assert np.array_equal(source.train[0][..., 0], IMAGES)
    assert source.train[1].tolist() == LABELS.tolist()
    assert source.test is None


def test_npz_with_test_set_and_names(tmp_path: Path) -> None:
    test = {"x_test": IMAGES[:2], "y_test": LABELS[:2]}
    path = npz(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, **test, classes=["p", "q", "r"])
    train, held_out = load(path), load(path, "test")
    assert (len(train), len(held_out)) == (6, 2)
    assert held_out.classes == ["p", "q", "r"]
    assert (held_out.mean, held_out.std) == (train.mean, train.std)


def test_npz_text_labels_are_sorted(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", images=IMAGES, labels=np.array(["dog", "cat", "ant", "dog", "cat", "ant"]))
    assert load(path).classes == ["ant", "cat", "dog"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES}, "with the arrays images"),
        ({}, r"\(none\)"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "6 images but 5 labels"),
        ({"images": IMAGES, "labels": np.array(3)}, "6 images but 1 labels"),
        ({"images": IMAGES.astype(object), "labels": LABELS}, "objects"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "labels of float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "label -1"),
        ({"images": IMAGES, "labels": LABELS + 5000}, "list of class names"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a", "b"]}, "label 2"),
        ({"images": IMAGES.astype(np.float32) / 7.3, "labels": LABELS}, "fractions"),
        ({"images": IMAGES - 1.0, "labels": LABELS}, "from -1.0"),
        ({"images": IMAGES.astype(np.int16) * 20, "labels": LABELS}, "to 460"),
        ({"images": np.where(IMAGES > 22, np.nan, 0), "labels": LABELS}, "1 NaN or infinite"),
        ({"images": np.where(IMAGES > 21, -np.inf, 0), "labels": LABELS}, "2 NaN or infinite"),
        ({"images": IMAGES > 2, "labels": LABELS}, "pixels of bool"),
        ({"images": IMAGES.astype(complex), "labels": LABELS}, "complex"),
        ({"images": IMAGES.reshape(6, 4, 1, 1, 1), "labels": LABELS}, "last axis"),
        ({"images": np.zeros((6, 3, 8, 8), np.uint8), "labels": LABELS}, "channels as the last axis"),
        ({"images": IMAGES.reshape(-1), "labels": LABELS}, r"shape \(24,\)"),
        ({"images": IMAGES.reshape(8, 3), "labels": np.zeros(8, int)}, "a square number"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "empty"),
    ],
)
def test_npz_of_another_form(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load(npz(tmp_path / "a.npz", **arrays))
    assert "; allowed: " in str(caught.value)


def test_damaged_npz(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    raw = path.read_bytes()
    for damaged in (raw[:-30], raw[: len(raw) // 2], b"", b"PK\x03\x04", raw[:100] + b"\xff" * 40 + raw[140:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged NPZ"):
            read_npz(path)
    np.save(tmp_path / "b.npy", IMAGES)
    (tmp_path / "b.npy").rename(path)
    with pytest.raises(DataError, match="not an archive"):
        read_npz(path)


def test_npz_member_names_lead_nowhere(tmp_path: Path) -> None:
    """Members are read into memory, so a name such as ../x writes nothing."""
    np.savez(tmp_path / "a.npz", **{"../outside": IMAGES, "images": IMAGES, "labels": LABELS})
    assert len(load(tmp_path / "a.npz")) + len(load(tmp_path / "a.npz", "test")) == 6
    assert sorted(p.name for p in tmp_path.parent.rglob("outside*")) == []


@pytest.mark.clause("DAT-6")
@given(hnp.arrays(np.float64, (1, 9), elements=st.floats(0, 1)))
def test_unit_floats_round_to_the_nearest_step(x: np.ndarray) -> None:
    got = pixels_to_images(x, "x").reshape(-1)
    assert np.array_equal(got, np.floor(x[0] * 255 + 0.5))


@pytest.mark.clause("DAT-6")
@given(hnp.arrays(np.uint8, (2, 4)), st.sampled_from(["i2", "i8", "u1", "u2", "f4", "f8"]))
def test_whole_numbers_stay(x: np.ndarray, kind: str) -> None:
    x = x.astype(kind)
    if x.dtype.kind == "f" and x.max() <= 1:
        x = x * 0 + 2
    assert np.array_equal(pixels_to_images(x, "x").reshape(2, 4), x)


@pytest.mark.clause("DAT-6")
def test_every_byte_over_255_comes_back() -> None:
    every = np.arange(256)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(pixels_to_images((every / 255).astype(dtype)[None], "x").reshape(-1), every)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (1, 2, 3), (6, 1)])
def test_given_shape(shape: tuple[int, ...]) -> None:
    flat = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert pixels_to_images(flat, "x", shape).shape == (2, *shape, 1)[:4]


@pytest.mark.parametrize("shape", [(2, 2), (6,), (1, 1, 2, 3), (-2, -3), (2.0, 3), (True, 6)])
def test_shape_that_does_not_fit(shape: Any) -> None:
    with pytest.raises(DataError, match="with that product"):
        pixels_to_images(np.zeros((2, 6), np.uint8), "x", shape)


def test_text_label_not_among_the_names() -> None:
    with pytest.raises(DataError, match="the label 'c'"):
        number_labels([np.array(["a", "c"])], ["a", "b"], "x")


def test_csv_label_first_without_header(tmp_path: Path) -> None:
    images, labels = read_csv(csv(tmp_path, "3,0,1,2,255\n7,9,8,7,6\n"))
    assert images.reshape(2, 4).tolist() == [[0, 1, 2, 255], [9, 8, 7, 6]]
    assert labels.tolist() == [3, 7]


def test_csv_with_header_crlf_bom_quotes_and_blank_lines(tmp_path: Path) -> None:
    text = '\ufeffp0,p1,"Label",p2,p3\r\n0,1,"5",2,3\r\n\r\n4,5,6,6,7\r\n'
    images, labels = read_csv(csv(tmp_path, text))
    assert images.reshape(2, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert labels.tolist() == [5, 6]


def test_csv_label_column_by_name_place_and_from_the_end(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b,kind\n1,2,0\n3,4,1\n")
    for column in ("kind", 2, -1):
        images, labels = read_csv(path, column, (1, 2))
        assert images.shape == (2, 1, 2, 1)
        assert labels.tolist() == [0, 1]


def test_csv_text_labels(tmp_path: Path) -> None:
    path = csv(tmp_path, "label,p\ncat,1\ndog,2\ncat,3\nant,4\n cat ,5\n")
    assert read_csv(path)[1].tolist() == ["cat", "dog", "cat", "ant", "cat"]
    assert load(path).classes == ["ant", "cat", "dog"]
    assert read_csv(csv(tmp_path, "cat,1\ndog,2\n"))[1].tolist() == ["cat", "dog"]


def test_csv_gz_and_floats(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"0,0.0,0.5\n1,1.0,0.25\n"))
    assert read_csv(path, None, (1, 2))[0].reshape(-1).tolist() == [0, 128, 255, 64]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("label,a,b\n", "empty"),
        ("1\n2\n", "1 column"),
        ("1;2;3\n", "1 column"),
        ("1,2,3,4,5\n1,2,3,4\n", "bad row"),
        ("1,2,3,4,5\n1,2,3,4,5,6\n", "bad row"),
        ("1,2,3,4,5\n1,2,x,4,5\n", "bad row"),
        ("1,2,3,4,5\n1,2,,4,5\n", "bad row"),
        ("1,2,3,4,nan\n", "NaN or infinite"),
        ("1,2,3,4,inf\n", "NaN or infinite"),
        ("1,2,3,4,256\n", "to 256"),
        ("1,2,3,4,-1\n", "from -1"),
        ("1,2,3,4,1.5\n", "fractions"),
        ("label,a\n,1\n0,2\n", "an empty label"),
        ("1.5,1\n", "the label 1.5"),
        ("nan,1\n", "the label nan"),
        ("-1,1\n0,1\n1,1\n", "label -1"),
        ("1,2,3\n", "square number"),
    ],
)
def test_csv_of_another_form(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load(csv(tmp_path, text))
    assert "; allowed: " in str(caught.value)


def test_csv_label_column_that_is_not_there(tmp_path: Path) -> None:
    path = csv(tmp_path, "kind,a,b\n1,2,3\n")
    with pytest.raises(DataError, match="nearest known name: 'kind'"):
        read_csv(path, "knid")
    with pytest.raises(DataError, match=r"-3 \.\. 2"):
        read_csv(path, 3)


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"1,2\n" * 50 + b"\xff\xfe\x80")
    with pytest.raises(DataError, match="bad row"):
        read_csv(path)
