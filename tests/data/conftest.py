"""Tiny data sets in the official formats, and registry entries that accept them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qnn.data import registry

SIDES = {"mnist": 6, "fashion-mnist": 6}


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    """IDX as the format's description says it: magic, big-endian lengths, big-endian values."""
    head = bytes([0, 0, code, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def samples(n: int, shape: tuple[int, ...], classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels, and labels in which every class occurs."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), (np.arange(n) % classes).astype(np.uint8)


def cifar_binary(images: np.ndarray, *labels: np.ndarray) -> bytes:
    """Label bytes, then the planes red, green, blue."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(column[:, None].astype(np.uint8) for column in labels), planes], axis=1).tobytes()


def cifar_python(images: np.ndarray, labels: np.ndarray, key: str = "labels", protocol: int = 2) -> bytes:
    """A batch as the official ones, apart from the Python version that wrote it."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    batch = {"data": np.ascontiguousarray(planes), key: labels.tolist(), "batch_label": "x", "filenames": ["a.png"]}
    return pickle.dumps({k.encode(): v for k, v in batch.items()}, protocol=protocol)


def svhn_mat(images: np.ndarray, labels: np.ndarray) -> bytes:
    """X [H, W, C, N] and y [N, 1] with 10 for the digit zero."""
    from scipy.io import savemat

    stream = io.BytesIO()
    numbers = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(stream, {"X": images.transpose(1, 2, 3, 0), "y": numbers}, do_compression=True)
    return stream.getvalue()


def tar_gz(files: dict[str, bytes]) -> bytes:
    """A .tar.gz of regular files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def contents(name: str, layout: str | None = None) -> dict[str, bytes]:
    """The unpacked files of a tiny version of a public set: file name to content."""
    reader = layout or registry.ENTRIES[name].layouts[0].reader
    if reader == "idx":
        train, test = samples(20, (6, 6)), samples(10, (6, 6), seed=1)
        return {
            "train-images-idx3-ubyte": idx_bytes(train[0]),
            "train-labels-idx1-ubyte": idx_bytes(train[1]),
            "t10k-images-idx3-ubyte": idx_bytes(test[0]),
            "t10k-labels-idx1-ubyte": idx_bytes(test[1]),
        }
    parts = [samples(10, (32, 32, 3), seed=i) for i in range(6)]
    fine = {split: samples(100, (32, 32, 3), 100, seed=i) for i, split in enumerate(("train", "test"))}
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return {
        "cifar10-binary": lambda: {f"{n}.bin": cifar_binary(*p) for n, p in zip(names, parts, strict=True)},
        "cifar10-python": lambda: {n: cifar_python(*p) for n, p in zip(names, parts, strict=True)},
        "cifar100-binary": lambda: {f"{n}.bin": cifar_binary(x, y // 5, y) for n, (x, y) in fine.items()},
        "cifar100-python": lambda: {n: cifar_python(x, y, "fine_labels") for n, (x, y) in fine.items()},
        "svhn": lambda: {"train_32x32.mat": svhn_mat(*parts[0]), "test_32x32.mat": svhn_mat(*parts[1])},
    }[reader]()


def md5(raw: bytes) -> str:
    """Hexadecimal MD5."""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


@pytest.fixture
def make() -> SimpleNamespace:
    """The writers of this file, for tests in other files."""
    return SimpleNamespace(
        idx=idx_bytes,
        samples=samples,
        cifar_binary=cifar_binary,
        cifar_python=cifar_python,
        svhn=svhn_mat,
        tar_gz=tar_gz,
        contents=contents,
        md5=md5,
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder that is the user's, and no system folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("QNN_DATA", str(folder))
    monkeypatch.delenv("QNN_DATA_MIRROR", raising=False)
    for name, entry in registry.ENTRIES.items():
        layouts = tuple(dataclasses.replace(layout, system_folders=()) for layout in entry.layouts)
        monkeypatch.setitem(registry.ENTRIES, name, dataclasses.replace(entry, layouts=layouts))
    return folder


@pytest.fixture
def accept(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, bytes]]:
    """accept(name, reader) makes the registry take the tiny files of ``contents`` for the official ones."""

    def change(name: str, reader: str | None = None, packed: dict[str, bytes] | None = None) -> dict[str, bytes]:
        entry = registry.ENTRIES[name]
        files = contents(name, reader)
        layouts = []
        for layout in entry.layouts:
            if layout.reader == (reader or entry.layouts[0].reader):
                parts = [dataclasses.replace(p, size=len(files[p.name]), md5=md5(files[p.name])) for p in layout.parts]
                downloads: list[Any] = [
                    dataclasses.replace(d, md5=md5(packed[d.file]), size=len(packed[d.file])) if packed else d
                    for d in layout.downloads
                ]
                layout = dataclasses.replace(layout, parts=tuple(parts), downloads=tuple(downloads))
            layouts.append(layout)
        monkeypatch.setitem(registry.ENTRIES, name, dataclasses.replace(entry, layouts=tuple(layouts)))
        return files

    return change
