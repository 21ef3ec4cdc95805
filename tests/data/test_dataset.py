"""The Dataset checks what it is given; its statistics and checksum are exact."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn.data import Dataset, load
from qnn.data.moments import channel_moments
from qnn.data.split import split_positions
from qnn.errors import DataError

IMAGES = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=5))


def dataset(n: int = 4, **changes: Any) -> Dataset:
    fields: dict[str, Any] = {
        "images": np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3),
        "labels": np.arange(n) % 3,
        "classes": ["a", "b", "c"],
        "name": "made",
    }
    return Dataset(**{**fields, **changes})


def test_keeps_what_it_was_given() -> None:
    made = dataset()
    assert len(made) == 4
    assert made.labels.dtype == np.int64
    assert made.labels.tolist() == [0, 1, 2, 0]
    assert made.classes == ["a", "b", "c"]
    assert repr(made) == "Dataset('made': 4 images 2x2x3, 3 classes)"


def test_arrays_cannot_be_changed_through_it_and_the_callers_stay_writable() -> None:
    images, labels = np.zeros((2, 2, 2, 1), np.uint8), np.zeros(2, np.int64)
    made = dataset(images=images, labels=labels)
    with pytest.raises(ValueError, match="read-only"):
        made.images[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        made.labels[0] = 1
    images[0], labels[0] = 1, 1
    assert made.labels[0] == 0


def test_non_contiguous_images_are_taken() -> None:
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)[:, ::2, ::-1]
    made = dataset(images=images, labels=np.zeros(2, int))
    assert made.images.flags.c_contiguous
    assert np.array_equal(made.images, images)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": np.zeros((4, 2, 2, 3), np.float32)}, "float32"),
        ({"images": [[1]]}, "list"),
        ({"images": np.zeros((4, 2, 2), np.uint8)}, r"\[N, H, W, C\]"),
        ({"images": np.zeros((0, 2, 2, 3), np.uint8), "labels": np.zeros(0, int)}, "empty"),
        ({"images": np.zeros((4, 0, 2, 3), np.uint8)}, "empty"),
        ({"labels": np.zeros(3, int)}, "4 images but 3 labels"),
        ({"labels": np.zeros((4, 1), int)}, "one axis"),
        ({"labels": np.zeros(4)}, "float64"),
        ({"labels": [0, 1, 2, 0]}, "list"),
        ({"labels": np.array([0, 1, 3, 0])}, "label 3 at sample 2"),
        ({"labels": np.array([0, 1, 2, -1])}, "label -1 at sample 3"),
        ({"labels": np.array([0, 1, 2, 2**64 - 1], np.uint64)}, "label 18446744073709551615 at sample 3"),
        ({"classes": []}, "no class names"),
        ({"classes": ["a", "b", "a"]}, "'a' twice"),
        ({"mean": (0.5,), "std": (0.5,)}, "one per channel"),
        ({"mean": (0.5, math.nan, 0.5), "std": (1.0, 1.0, 1.0)}, "finite"),
        ({"mean": (0.5, 0.5, 0.5), "std": (1.0, 0.0, 1.0)}, "positive"),
    ],
)
def test_bad_content_is_an_error_in_three_parts(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        dataset(**changes)
    assert str(caught.value).startswith("got ")
    assert "; allowed: " in str(caught.value)


@pytest.mark.clause("DAT-7")
@given(IMAGES)
def test_moments_are_the_exact_ones(images: np.ndarray) -> None:
    mean, std = channel_moments(images)
    for c in range(images.shape[3]):
        values = [Fraction(int(v), 255) for v in images[..., c].reshape(-1)]
        exact = sum(values) / len(values)
        variance = sum((v - exact) ** 2 for v in values) / len(values)
        assert mean[c] == float(exact)
        assert std[c] == (math.sqrt(float(variance)) if variance else 1.0)


@pytest.mark.clause("DAT-7")
def test_moments_do_not_depend_on_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 2, 3, 2), dtype=np.uint8)
    wide = images.astype(object).reshape(-1, 2)
    n, s1, s2 = len(wide), wide.sum(axis=0), (wide * wide).sum(axis=0)
    mean, std = channel_moments(images)
    assert mean == tuple(int(a) / (255 * n) for a in s1)
    assert std == tuple(math.sqrt((n * int(b) - int(a) ** 2) / (255 * n) ** 2) for a, b in zip(s1, s2, strict=True))


@pytest.mark.clause("DAT-8")
@given(IMAGES)
def test_checksum_is_that_of_the_stated_bytes(images: np.ndarray) -> None:
    labels = np.arange(len(images)) % 2
    made = Dataset(images, labels, ["a", "b"], "any")
    stated = b"qnn-data-1" + np.array(images.shape, "<i8").tobytes() + images.tobytes() + labels.astype("<i8").tobytes()
    assert made.checksum == hashlib.sha256(stated).hexdigest()
    assert Dataset(images, labels, ["x", "y"], "other", made.mean, made.std).checksum == made.checksum


@pytest.mark.clause("DAT-8")
def test_checksum_sees_shape_pixels_and_labels() -> None:
    base = dataset()
    changed = base.images.copy()
    changed[3, 1, 1, 2] ^= 1
    reshaped = dataset(images=base.images.reshape(4, 1, 4, 3))
    others = [dataset(images=changed), dataset(labels=np.array([0, 1, 2, 1])), reshaped]
    assert len({base.checksum, *(other.checksum for other in others)}) == 4


@pytest.mark.clause("DAT-5")
@given(st.integers(2, 400))
def test_split_covers_each_sample_once(n: int) -> None:
    train, test = split_positions(n)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(n))
    assert len(test) == math.ceil(n / 5)
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_to_split(n: int) -> None:
    with pytest.raises(DataError, match="at least 2"):
        split_positions(n)


@pytest.mark.clause("DAT-5")
def test_subset_keeps_statistics_and_spreads() -> None:
    whole = load("digits")
    part = whole.subset(100)
    assert len(part) == 100
    assert (part.mean, part.std, part.classes, part.name) == (whole.mean, whole.std, whole.classes, whole.name)
    assert set(part.labels.tolist()) == set(range(10))
    assert whole.subset(len(whole)).checksum == whole.checksum


@pytest.mark.parametrize("n", [0, -1, 1438, True, 2.0, "3"])
def test_bad_subset(n: Any) -> None:
    with pytest.raises(DataError, match=r"1 to 1437"):
        load("digits").subset(n)
