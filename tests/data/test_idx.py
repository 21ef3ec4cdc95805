"""IDX files: what is written comes back; damage is an error."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qnn.data.files import read_bytes
from qnn.data.idx import parse_idx, parse_idx_images, parse_idx_labels
from qnn.errors import DataError

# the magic's type byte of each NumPy type
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


@given(st.sampled_from(sorted(CODES)), st.data())
def test_round_trip_of_every_type(kind: str, data: st.DataObject) -> None:
    from struct import pack

    array = data.draw(hnp.arrays(np.dtype(">" + kind), hnp.array_shapes(max_dims=5, max_side=4, min_side=0)))
    raw = bytes([0, 0, CODES[kind], array.ndim]) + b"".join(pack(">I", n) for n in array.shape) + array.tobytes()
    assert parse_idx(raw, "made").tobytes() == array.tobytes()
    assert parse_idx(raw, "made").shape == array.shape


def test_known_bytes() -> None:
    raw = bytes.fromhex("00000803 00000001 00000001 00000002 07ff")
    assert parse_idx_images(raw, "x").tolist() == [[[[7], [255]]]]
    assert parse_idx_labels(bytes.fromhex("00000801 00000002 0309"), "x").tolist() == [3, 9]
    assert parse_idx_labels(bytes.fromhex("00000c01 00000001 00000005"), "x").tolist() == [5]


def test_channels_as_a_fourth_axis(make: SimpleNamespace) -> None:
    images = make.samples(3, (2, 4, 3))[0]
    assert np.array_equal(parse_idx_images(make.idx(images), "x"), images)


@pytest.mark.parametrize("cut", [1, 10, 16, 17])
def test_truncated_anywhere(make: SimpleNamespace, cut: int) -> None:
    raw = make.idx(make.samples(3, (4, 4))[0])
    for damaged in (raw[:cut], raw[:-cut]):
        with pytest.raises(DataError, match=r"bytes|magic"):
            parse_idx(damaged, "pictures")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "starting with nothing"),
        (b"\x89PNG\r\n", "IDX magic"),
        (b"\0\0\x0a\x01" + bytes(8), "IDX magic"),
        (b"\0\0\x08\0", "IDX magic"),
        (b"\0\0\x08\x01\0\0\0\x01\x05\x05", "overlong"),
        (b"\0\0\x08\x08" + b"\xff" * 32, "truncated"),
    ],
)
def test_bad_headers(raw: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_idx(raw, "file")


def test_images_and_labels_taken_for_each_other(make: SimpleNamespace) -> None:
    images, labels = (make.idx(part) for part in make.samples(3, (4, 4)))
    with pytest.raises(DataError, match="not the labels"):
        parse_idx_images(labels, "x")
    with pytest.raises(DataError, match="not the images"):
        parse_idx_labels(images, "x")


def test_gzip_by_content_and_its_damages(tmp_path: Path, make: SimpleNamespace) -> None:
    raw = make.idx(make.samples(50, (6, 6))[0])
    packed = gzip.compress(raw)
    file = tmp_path / "no-suffix"
    file.write_bytes(packed)
    assert read_bytes(file) == raw
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0x55
    for damaged in (packed[:-9], packed[:3], packed[:-4] + b"\0\0\0\0", bytes(flipped)):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="gzip"):
            read_bytes(file)
    with pytest.raises(DataError, match="unreadable"):
        read_bytes(tmp_path / "missing")
