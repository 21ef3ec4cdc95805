"""The readers of the official layouts, in one table: layout name to function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from qnn.data import cifar, idx, svhn
from qnn.data.files import md5_bytes, read_bytes
from qnn.data.locate import Located
from qnn.data.messages import problem
from qnn.data.registry import Part
from qnn.data.source import Samples

Files = list[tuple[Part, str, bytes]]


def read_split(located: Located, split: str, name: str | None = None) -> Samples:
    """Return images and labels of one split of an official layout.

    Parameters
    ----------
    located : Located
    split : {"train", "test"}
    name : str, optional
        The data set's name: then size and checksum of every file must be the official ones (clause DAT-9).

    Raises
    ------
    DataError
        If a file is damaged, not the official one, or does not fit the others.
    """
    files = []
    for part in located.layout.parts:
        if part.split == split:
            path = located.paths[part.name]
            raw = read_bytes(path)
            if name is not None:
                _verify(part, path, raw, name)
            files.append((part, str(path), raw))
    return READERS[located.layout.reader](files)


def difference(part: Part, raw: bytes) -> str:
    """Return what distinguishes a file's content from the official one, or an empty string."""
    if part.size is not None and len(raw) != part.size:
        return f"{len(raw)} bytes, not {part.size}"
    if part.md5 is not None and md5_bytes(raw) != part.md5:
        return f"MD5 {md5_bytes(raw)}, not {part.md5}"
    return ""


def _verify(part: Part, path: Path, raw: bytes, name: str) -> None:
    wrong = difference(part, raw)
    if wrong:
        raise problem(
            f"{path} with {wrong}",
            f"the official file of {name}",
            f"delete it and run `qnn data get {name}`; to use files of your own, give their path instead of the name",
        )


def _read_idx(files: Files) -> Samples:
    content = {part.role: (where, raw) for part, where, raw in files}
    images = idx.parse_idx_images(content["images"][1], content["images"][0])
    labels = idx.parse_idx_labels(content["labels"][1], content["labels"][0])
    if len(images) != len(labels):
        raise problem(
            f"{len(images)} images in {content['images'][0]} but {len(labels)} labels in {content['labels'][0]}",
            "one label per image",
            "check that both files belong together",
        )
    return images, labels


def _read_records(files: Files, parse: Callable[[bytes, str], Samples]) -> Samples:
    batches = [parse(raw, where) for _, where, raw in files]
    for (images, labels), (_, where, _) in zip(batches, files, strict=True):
        if len(images) != len(labels):
            raise problem(
                f"{len(images)} images but {len(labels)} labels in {where}", "one label per image", "fetch it again"
            )
    if len(batches) == 1:
        return batches[0]
    return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])


READERS: dict[str, Callable[[Files], Samples]] = {
    "idx": _read_idx,
    "cifar10-binary": partial(_read_records, parse=lambda raw, where: cifar.parse_binary(raw, where, 1)),
    "cifar10-python": partial(_read_records, parse=lambda raw, where: cifar.parse_python(raw, where, "labels")),
    "cifar100-binary": partial(_read_records, parse=lambda raw, where: cifar.parse_binary(raw, where, 2)),
    "cifar100-python": partial(_read_records, parse=lambda raw, where: cifar.parse_python(raw, where, "fine_labels")),
    "svhn": partial(_read_records, parse=svhn.parse_svhn),
}
