"""The data set in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qnn.data import check, digits, get, load
from qnn.errors import DataError


@pytest.mark.clause("DAT-5", "DAT-6", "DAT-8")
def test_what_is_in_it() -> None:
    train, test = load("digits"), load("digits", "test")
    assert (train.images.shape, test.images.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert set(np.unique(train.images)) == {v * 255 // 16 for v in range(17)}
    assert min(np.bincount(test.labels)) >= 20
    assert (train.mean, train.std) == (test.mean, test.std)
    assert (train.checksum[:16], test.checksum[:16]) == ("b917bdb04e3b3dbd", "2ece19d4087abff0")


def test_file_is_small_and_carries_its_licence() -> None:
    assert digits.DIGITS_FILE.stat().st_size < 100_000
    text = digits.DIGITS_FILE.with_name("DIGITS_LICENSE.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "https://doi.org/10.24432/C50P49" in text


def test_nothing_to_get_and_check_is_ok() -> None:
    assert get("digits") == digits.DIGITS_FILE.parent
    assert [row.state for row in check("digits")] == ["ok"]


def test_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "digits.npz"
    raw = bytearray(digits.DIGITS_FILE.read_bytes())
    raw[1000] ^= 1
    changed.write_bytes(raw)
    monkeypatch.setattr(digits, "DIGITS_FILE", changed)
    with pytest.raises(DataError, match="SHA-256"):
        load("digits")
    assert [row.state for row in check("digits")] == ["wrong"]
    changed.unlink()
    with pytest.raises(DataError, match="unreadable"):
        load("digits")
