"""load() by name and by path, and what list and check say."""

from __future__ import annotations

import dataclasses
import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qnn.data import catalogue, check, load, names, registry
from qnn.data.locate import find
from qnn.data.moments import channel_moments
from qnn.errors import DataError

READERS = [
    ("mnist", "idx"),
    ("fashion-mnist", "idx"),
    ("cifar10", "cifar10-binary"),
    ("cifar10", "cifar10-python"),
    ("cifar100", "cifar100-binary"),
    ("cifar100", "cifar100-python"),
    ("svhn", "svhn"),
]


def place(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def layout_folder(name: str, reader: str) -> str:
    return next(la.folder for la in registry.ENTRIES[name].layouts if la.reader == reader)


@pytest.mark.parametrize(("name", "reader"), READERS)
def test_named_and_by_path(root: Path, accept: Callable[..., Any], name: str, reader: str) -> None:
    files = accept(name, reader)
    folder = place(root / layout_folder(name, reader), files)
    train, test = load(name), load(name, "test")
    first = {"idx": 20, "cifar10-binary": 50, "cifar10-python": 50, "svhn": 10}.get(reader, 100)
    assert len(train) == first
    assert (train.mean, train.std, train.name) == (registry.ENTRIES[name].mean, registry.ENTRIES[name].std, name)
    assert train.classes == list(registry.ENTRIES[name].classes)
    assert test.checksum != train.checksum
    by_path = load(folder)
    assert by_path.checksum == train.checksum
    assert (by_path.mean, by_path.std) == channel_moments(train.images)
    assert [row.state for row in check(name)] == ["ok"] * len(files)
    assert {row.name: row.state for row in catalogue()}[name] == "present"


def test_both_forms_of_cifar_hold_the_same(make: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100"):
        sums = set()
        for form in ("binary", "python"):
            folder = place(tmp_path / f"{name}-{form}", make.contents(name, f"{name}-{form}"))
            sums.add((load(folder).checksum, load(folder, "test").checksum))
        assert len(sums) == 1


def test_gzipped_and_dotted_idx_names(root: Path, accept: Callable[..., Any]) -> None:
    files = accept("mnist")
    plain = load(place(root / "mnist", files)).checksum
    packed = {f"{name.replace('-idx', '.idx')}.gz": gzip.compress(raw) for name, raw in files.items()}
    assert load(place(root / "other", packed)).checksum == plain


def test_system_folder_of_debian(root: Path, accept: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry._FASHION.system_folders == ("/usr/share/datasets/fashion-mnist",)
    files = accept("fashion-mnist")
    packed = {f"{name}.gz": gzip.compress(raw) for name, raw in files.items()}
    system = place(root.parent / "share/datasets/fashion-mnist", packed)
    entry = registry.ENTRIES["fashion-mnist"]
    layout = dataclasses.replace(entry.layouts[0], system_folders=(str(system),))
    monkeypatch.setitem(registry.ENTRIES, "fashion-mnist", dataclasses.replace(entry, layouts=(layout,)))
    assert len(load("fashion-mnist")) == 20
    assert {row.name: row.folder for row in catalogue()}["fashion-mnist"] == str(system)
    place(root / "fashion-mnist", {"train-images-idx3-ubyte": b"half a set does not hide the whole one"})
    assert len(load("fashion-mnist")) == 20


@pytest.mark.clause("DAT-9")
def test_a_name_means_the_official_content(root: Path, accept: Callable[..., Any]) -> None:
    files = accept("mnist")
    changed = bytearray(files["train-images-idx3-ubyte"])
    changed[-1] ^= 1
    folder = place(root / "mnist", {**files, "train-images-idx3-ubyte": bytes(changed)})
    with pytest.raises(DataError, match="MD5"):
        load("mnist")
    assert [row.state for row in check("mnist")] == ["wrong", "ok", "ok", "ok"]
    assert len(load("mnist", "test")) == 10
    assert len(load(folder)) == 20
    (folder / "train-images-idx3-ubyte").write_bytes(bytes(changed[:-1]))
    with pytest.raises(DataError, match="bytes, not"):
        load("mnist")


def test_missing_and_incomplete(root: Path, accept: Callable[..., Any]) -> None:
    files = accept("mnist")
    with pytest.raises(DataError, match=r"no complete copy of mnist.*qnn data get mnist") as caught:
        load("mnist")
    assert str(root / "mnist") in str(caught.value)
    assert [row.state for row in check("mnist")] == ["missing"] * 4
    place(root / "mnist", dict(list(files.items())[:3]))
    with pytest.raises(DataError, match="without t10k-labels-idx1-ubyte"):
        load("mnist")
    with pytest.raises(DataError, match="but without t10k-labels-idx1-ubyte"):
        load(root / "mnist")
    assert [row.state for row in check("mnist")] == ["ok", "ok", "ok", "missing"]
    assert {row.name: row.state for row in catalogue()}["mnist"] == "incomplete"


def test_check_of_a_corrupt_gzip_file(root: Path, accept: Callable[..., Any]) -> None:
    files = accept("mnist")
    packed = {f"{name}.gz": gzip.compress(raw)[:-12] for name, raw in files.items()}
    place(root / "mnist", packed)
    assert [row.state for row in check("mnist")] == ["wrong"] * 4
    assert "gzip" in check("mnist")[0].detail


@pytest.mark.parametrize(("wrong", "right"), [("cifra10", "cifar10"), ("MNIST", "mnist"), ("fashion", "fashion-mnist")])
def test_unknown_name_has_the_nearest_one(root: Path, wrong: str, right: str) -> None:
    for call in (load, check):
        with pytest.raises(DataError, match=f"nearest known name: '{right}'"):
            call(wrong)


def test_unknown_name_with_none_near() -> None:
    with pytest.raises(DataError, match="got the unknown data set 'zzzzzz'; allowed: digits"):
        load("zzzzzz")


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the split 'valid'"):
        load("digits", "valid")
    with pytest.raises(DataError, match="where nothing is"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="where nothing is"):
        load("./none")
    with pytest.raises(DataError, match="no option for a named"):
        load("digits", shape=(8, 8))
    with pytest.raises(TypeError, match="a name or a path"):
        load(7)  # type: ignore[arg-type]


def test_names_are_listed() -> None:
    assert names() == ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"]
    assert [row.name for row in catalogue()] == names()
    assert all(len(entry.classes) in (10, 100) for entry in registry.ENTRIES.values())


def test_idx_pair_by_path(tmp_path: Path, make: SimpleNamespace) -> None:
    images, labels = make.samples(10, (5, 4))
    packed = gzip.compress(make.idx(labels))
    place(tmp_path, {"my-images-idx3-ubyte": make.idx(images), "my-labels-idx1-ubyte.gz": packed})
    train, test = load(tmp_path / "my-images-idx3-ubyte"), load(tmp_path / "my-images-idx3-ubyte", "test")
    assert (len(train), len(test)) == (8, 2)
    assert train.images.shape[1:] == (5, 4, 1)
    (tmp_path / "my-labels-idx1-ubyte.gz").write_bytes(make.idx(labels[:9]))
    with pytest.raises(DataError, match=r"10 images in .* but 9 labels"):
        load(tmp_path / "my-images-idx3-ubyte")
    (tmp_path / "my-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="without its labels"):
        load(tmp_path / "my-images-idx3-ubyte")


def test_count_mismatch_in_a_folder(root: Path, make: SimpleNamespace) -> None:
    files = make.contents("mnist")
    files["train-labels-idx1-ubyte"] = make.idx(np.zeros(19, np.uint8))
    with pytest.raises(DataError, match=r"20 images in .* but 19 labels"):
        load(place(root / "x", files))


def test_label_out_of_range(root: Path, make: SimpleNamespace) -> None:
    files = make.contents("cifar10")
    raw = bytearray(files["data_batch_2.bin"])
    raw[0] = 10
    files["data_batch_2.bin"] = bytes(raw)
    with pytest.raises(DataError, match="label 10"):
        load(place(root / "x", files))


def test_tables_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,1\nb,2\na,3\n")
    (tmp_path / "test.csv").write_text("b,1\n")
    assert (len(load(tmp_path)), len(load(tmp_path, "test"))) == (3, 1)
    assert load(tmp_path, "test").labels.tolist() == [1]
    (tmp_path / "test.csv").write_text("b,1,2,3,4\n")
    with pytest.raises(DataError, match="one shape for both"):
        load(tmp_path)
    np.savez(tmp_path / "train.npz", images=np.zeros((4, 2, 2), np.uint8), labels=np.arange(4))
    np.savez(tmp_path / "test.npz", images=np.zeros((2, 2, 2), np.uint8), labels=np.arange(2) + 4)
    assert load(tmp_path).classes == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("wrapped", [True, False])
def test_zip_of_a_folder(tmp_path: Path, make: SimpleNamespace, wrapped: bool) -> None:
    files = make.contents("mnist")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, raw in files.items():
            archive.writestr(f"inner/{name}" if wrapped else name, raw)
    assert load(tmp_path / "set.zip").checksum == load(place(tmp_path / "plain", files)).checksum


def test_hostile_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("../../evil", b"x")
    with pytest.raises(DataError, match="leads out"):
        load(tmp_path / "set.zip")


def test_options_that_do_not_fit(tmp_path: Path, make: SimpleNamespace) -> None:
    (tmp_path / "t.csv").write_text("0,1\n1,2\n")
    with pytest.raises(DataError, match="the option resize"):
        load(tmp_path / "t.csv", resize=(4, 4))
    with pytest.raises(DataError, match="the option label_column"):
        load(place(tmp_path / "x", make.contents("mnist")), label_column=0)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="format is not known"):
        load(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="no data set is recognised"):
        load(tmp_path)


def test_check_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("0,1\n1,2\n1,3\n")
    assert [row.ok for row in check(str(tmp_path / "t.csv"))] == [True, True]
    (tmp_path / "t.csv").write_text("0,1\n1,900\n1,3\n")
    assert [row.state for row in check(str(tmp_path / "t.csv"))] == ["wrong"]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"])
@pytest.mark.clause("DAT-7", "DAT-9")
def test_real_set_if_present(name: str) -> None:
    entry = registry.ENTRIES[name]
    if find(entry) is None:
        pytest.skip(f"{name} is not on this machine (qnn data get {name})")
    train, test = load(name), load(name, "test")
    assert (len(train), len(test)) == entry.counts
    assert train.images.shape[1:] == test.images.shape[1:] == entry.shape
    mean, std = channel_moments(train.images)
    assert tuple(round(m, 4) for m in mean) == entry.mean
    assert tuple(round(s, 4) for s in std) == entry.std
