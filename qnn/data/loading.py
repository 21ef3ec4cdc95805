"""load(): a data set by name or by path."""

from __future__ import annotations

import os
from pathlib import Path

from qnn.data import registry
from qnn.data.convert import number_labels
from qnn.data.dataset import Dataset
from qnn.data.digits import load_digits
from qnn.data.locate import require
from qnn.data.messages import nearest, problem
from qnn.data.pictures import Images, moments_of, take
from qnn.data.readers import read_split
from qnn.data.sniff import read_path
from qnn.data.source import ReadOptions, Source
from qnn.data.split import split_positions

SPLITS = ("train", "test")


def load(
    name_or_path: str | os.PathLike[str],
    split: str = "train",
    *,
    root: str | os.PathLike[str] | None = None,
    label_column: int | str | None = None,
    shape: tuple[int, ...] | None = None,
    resize: tuple[int, int] | None = None,
    crop: int | None = None,
) -> Dataset:
    """Return the training or test part of a data set.

    Parameters
    ----------
    name_or_path : str or path
        A name (digits, mnist, fashion-mnist, cifar10, cifar100, svhn) or the path of a file or folder of your own. A
        name wins over a file of the same name; write ``./mnist`` for the file.
    split : {"train", "test"}
    root : path, optional
        Where the public data sets lie; ``$QNN_DATA`` or ``~/.cache/qnn`` if left out.
    label_column : int or str, optional
        For CSV files: the column with the labels.
    shape : tuple of int, optional
        For CSV and NPZ files with flat rows: (height, width) or (height, width, channels).
    resize : (height, width), optional
        For image folders: bring all pictures to this size.
    crop : int, optional
        For image folders: cut squares of this side, as for ImageNet. Every file is decoded when it is asked for, so
        the set need not fit into memory; ``mean`` and ``std`` are ImageNet's.

    Returns
    -------
    Dataset
        ``mean`` and ``std`` are always those of the training part. A source without a test part is divided by clause
        DAT-5.

    Raises
    ------
    DataError
        If the name is unknown, files are missing, damaged or inconsistent, or an option does not fit.

    Notes
    -----
    Bit-exactness: clauses DAT-5 to DAT-11; nothing may vary, except the decoding of JPEG pictures and resizing (see
    `folder`).
    """
    if split not in SPLITS:
        raise problem(f"the split {split!r}", "train or test", "choose one of them")
    options = ReadOptions(label_column, _as_tuple(shape), _checked_resize(resize), _checked_crop(crop))
    if isinstance(name_or_path, str) and name_or_path in registry.ENTRIES:
        if options.given():
            raise problem(
                f"the option {sorted(options.given())[0]} for {name_or_path}",
                "no option for a named data set",
                "leave it out",
            )
        return _load_named(name_or_path, split, root)
    path = _as_path(name_or_path)
    return _as_dataset(read_path(path, options), path, split)


def _load_named(name: str, split: str, root: str | os.PathLike[str] | None) -> Dataset:
    if name == "digits":
        return load_digits(split)
    entry = registry.entry(name)
    located = require(entry, Path(root) if root is not None else None)
    images, labels = read_split(located, split, name)
    return Dataset(images, labels, list(entry.classes), name, entry.mean, entry.std)


def _as_path(name_or_path: object) -> Path:
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"got a data set as {type(name_or_path).__name__}; allowed: a name or a path; pass a string")
    text = os.fspath(name_or_path)
    path = Path(os.fsdecode(text)).expanduser()
    if not path.exists() and isinstance(name_or_path, str) and not text.startswith(("~", ".")) and os.sep not in text:
        known = ", ".join(registry.names())
        raise problem(
            f"the unknown data set {text!r}{nearest(text, registry.names())}",
            f"{known}, or the path of an existing file or folder",
            "correct the name or the path",
        )
    return path


def _as_tuple(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None else tuple(shape)


def _checked_resize(resize: tuple[int, int] | None) -> tuple[int, int] | None:
    if resize is None:
        return None
    if len(tuple(resize)) != 2 or not all(type(n) is int and 1 <= n <= 4096 for n in resize):
        raise problem(f"resize={resize!r}", "(height, width), each 1 .. 4096", "correct the option")
    return resize[0], resize[1]


def _checked_crop(crop: int | None) -> int | None:
    if crop is not None and (type(crop) is not int or not 1 <= crop <= 4096):
        raise problem(f"crop={crop!r}", "the side of a square, 1 .. 4096", "correct the option")
    return crop


def _as_dataset(source: Source, path: Path, split: str) -> Dataset:
    train_images: Images
    test_images: Images
    train_images, train_labels = source.train
    if source.test is None:
        train, test = split_positions(len(train_images))
        test_images, test_labels = take(train_images, test), train_labels[test]
        train_images, train_labels = take(train_images, train), train_labels[train]
    else:
        test_images, test_labels = source.test
    if train_images.shape[1:] != test_images.shape[1:]:
        raise problem(
            f"training images {train_images.shape[1:]} and test images {test_images.shape[1:]} in {path}",
            "one shape for both",
            "bring them to one size",
        )
    if len(train_images) == 0:
        raise problem(f"an empty data set in {path}", "at least one image", "check the source")
    labels, classes = number_labels([train_labels, test_labels], source.classes, str(path))
    images, numbers = (train_images, labels[0]) if split == "train" else (test_images, labels[1])
    mean, std = moments_of(train_images)
    return Dataset(images, numbers, classes, path.resolve().name.split(".")[0] or str(path), mean, std)
