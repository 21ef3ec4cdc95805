"""SVHN's MATLAB files."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qnn.data.svhn import parse_svhn
from qnn.errors import DataError


def mat(**variables: Any) -> bytes:
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def test_round_trip_with_ten_for_zero(make: SimpleNamespace) -> None:
    images, labels = make.samples(12, (32, 32, 3))
    got = parse_svhn(make.svhn(images, labels), "x")
    assert np.array_equal(got[0], images)
    assert got[1].tolist() == labels.tolist()


def test_one_image_has_lost_its_last_axis() -> None:
    with pytest.raises(DataError, match="uint8"):
        parse_svhn(mat(X=np.zeros((32, 32, 3), np.uint8), y=np.array([[1]])), "x")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"X": np.zeros((4, 4, 3, 2), np.uint8)}, "without y"),
        ({"z": 1}, "without X and y"),
        ({"X": np.zeros((4, 4, 3, 2)), "y": np.ones((2, 1), np.uint8)}, "float64"),
        ({"X": np.zeros((4, 4, 2), np.uint8), "y": np.ones((2, 1), np.uint8)}, r"uint8 \[H, W, C, N\]"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.ones((3, 1), np.uint8)}, "for 2 images"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.ones((2, 1))}, "float64"),
        ({"X": np.zeros((4, 4, 3, 4), np.uint8), "y": np.ones((2, 2), np.uint8)}, "for 4 images"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([[0], [1]], np.uint8)}, r"1 \.\. 10"),
        ({"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([[11], [1]], np.uint8)}, r"1 \.\. 10"),
    ],
)
def test_other_forms(variables: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_svhn(mat(**variables), "x")


def test_damaged(make: SimpleNamespace) -> None:
    raw = make.svhn(*make.samples(5, (32, 32, 3)))
    for damaged in (b"", b"no matlab file" * 20, raw[:200], raw[: len(raw) // 2], raw[:-3]):
        with pytest.raises(DataError, match=r"SciPy cannot read|without"):
            parse_svhn(damaged, "x")
