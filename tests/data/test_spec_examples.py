"""Every row ``| `call` | `value` |`` of the data chapter is evaluated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn.data import Dataset, batches, load
from qnn.data.augment import augment_words, crop_flip, pad_value
from qnn.data.batching import epoch_order
from qnn.data.convert import pixels_to_images
from qnn.data.moments import channel_moments
from qnn.data.pictures import place, whole_size
from qnn.data.registry import ENTRIES
from qnn.data.split import split_positions, subset_positions

CHAPTER = Path(__file__).resolve().parents[2] / "docs" / "spec" / "11-data.md"
ROW = re.compile(r"^\| `(.+)` \| `(.+)` \|$")


def _positions(n: int, size: int, **settings: Any) -> list[list[int]]:
    made = Dataset(np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, int), ["a"], "made")
    return [positions.tolist() for _, _, positions in batches(made, size, **settings)]


def _cut(image: list[list[int]], down: int, right: int, mirror: int) -> list[list[int]]:
    pixels = np.array(image, np.uint8)[None, ..., None]
    word = np.array([down | right << 15 | mirror << 31], np.uint32)
    return crop_flip(pixels, word, np.array([9], np.uint8))[0, ..., 0].tolist()


def _error(action: Callable[[], object]) -> str | None:
    try:
        action()
    except Exception as problem:
        return type(problem).__name__
    return None


NAMES: dict[str, Any] = {
    "math": math,
    "epoch_order": epoch_order,
    "augment_words": augment_words,
    "pad_value": pad_value,
    "split_positions": split_positions,
    "subset_positions": subset_positions,
    "load": load,
    "place": place,
    "whole_size": whole_size,
    "ENTRIES": ENTRIES,
    "positions": _positions,
    "cut": _cut,
    "error": _error,
    "pixels": lambda values: pixels_to_images(np.array([values]), "made", (1, len(values))).reshape(-1),
    "moments": lambda values: channel_moments(np.array(values, np.uint8).reshape(-1, 1, 1, 1)),
    "checksum": lambda images, labels: Dataset(np.array(images, np.uint8), np.array(labels), ["a"], "made").checksum,
}


def _rows() -> list[Any]:
    rows, clause = [], ""
    for number, line in enumerate(CHAPTER.read_text(encoding="utf-8").splitlines(), 1):
        clause = line.split()[1] if line.startswith("### ") else clause
        if match := ROW.match(line):
            rows.append(pytest.param(match[1], match[2], id=f"{clause}:{number}"))
    return rows


@pytest.mark.parametrize(("call", "value"), _rows())
def test_example_of_the_spec(call: str, value: str) -> None:
    got = eval(call, dict(NAMES))
    assert (got.tolist() if isinstance(got, np.ndarray) else got) == eval(value, dict(NAMES))


def test_there_are_examples() -> None:
    assert len(_rows()) >= 3 * 9
