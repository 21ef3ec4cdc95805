"""Reads image folders: one folder per class, one picture per sample (needs Pillow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.decode import open_picture, picture_size, pillow
from qnn.data.messages import problem
from qnn.data.pictures import Pictures
from qnn.data.source import Samples, Source

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
_TEST_FOLDERS = ("test", "val", "valid", "validation")
Size = tuple[int, int]


def is_image_folder(path: Path) -> bool:
    """Whether a folder holds class folders with pictures, or a folder ``train`` with such."""
    root = path / "train" if (path / "train").is_dir() else path
    return any(_pictures(folder) for folder in _class_folders(root))


def needs_crop(path: Path, side: int | None) -> bool:
    """Whether the pictures of a folder must be cut to be of one size, or of no more than ``side`` on the shorter edge.

    Reads the heads of files until one settles it; what is no picture folder needs none.
    """
    if not (path.is_dir() and is_image_folder(path)):
        return False
    pillow()
    root = path / "train" if (path / "train").is_dir() else path
    first: Size | None = None
    for folder in _class_folders(root):
        for file in _pictures(folder):
            size = picture_size(file)
            first = first or size
            if size != first or (side is not None and min(size) > side):
                return True
    return False


def list_folder(path: Path, side: int) -> Source:
    """List ``train/class/picture`` and ``val/class/picture`` folders, or ``class/picture``, for pictures that are
    decoded and cut when they are asked for.

    Order, classes and names are those of :func:`read_folder`. Of the folders test, val, valid and validation the first
    one that holds class folders is the test set.

    Parameters
    ----------
    path : Path
    side : int
        Of the square that is cut out of each picture.

    Raises
    ------
    DataError
        If Pillow is missing, a class is empty, the test classes are not among the training classes, or the test
        folder holds pictures without class folders. A damaged picture is found when it is decoded.
    """
    pillow()
    train_root, classes = _classes_of(path)
    train = _list_pictures(train_root, classes, side)
    if train_root == path:
        return Source(train, None, classes)
    roots = [path / name for name in _TEST_FOLDERS if (path / name).is_dir()]
    if not roots:
        return Source(train, None, classes)
    test_root = next((root for root in roots if _class_folders(root)), None)
    if test_root is None:
        raise problem(
            f"{roots[0]} without class folders",
            "one folder of pictures per class, as in train",
            "sort the pictures into folders",
        )
    _refuse_strange(test_root, classes)
    return Source(train, _list_pictures(test_root, classes, side), classes)


def read_folder(path: Path, resize: Size | None = None) -> Source:
    """Read ``class/picture`` folders, or ``train/class/picture`` with ``test/class/picture``.

    Classes are the folders' names in sorted order, samples come in sorted order of class and file name. Hidden files
    and files that are no pictures by their extension are passed over. If every picture is grey, so is the data set;
    otherwise all become RGB, and transparency is dropped.

    Parameters
    ----------
    path : Path
    resize : (height, width), optional
        Bring every picture to this size with Pillow's bilinear filter; without it all must have one size.

    Raises
    ------
    DataError
        If Pillow is missing, a picture is damaged or of another size or not 8-bit, a class is empty, or the test
        classes are not among the training classes.

    Notes
    -----
    Lossless formats without ``resize`` give the same pixels everywhere; the results of JPEG decoding and of resizing
    may change with the version of Pillow (the data set's checksum shows it).
    """
    pillow()
    train_root, classes = _classes_of(path)
    train = _read_pictures(train_root, classes, resize)
    test = None
    if train_root != path:
        test_root = next((path / name for name in _TEST_FOLDERS if (path / name).is_dir()), None)
        if test_root is not None:
            _refuse_strange(test_root, classes)
            test = _read_pictures(test_root, classes, resize, train[0].shape[1:])
    train_images, test_images = train[0], test[0] if test else None
    if test_images is not None and test_images.shape[3] != train_images.shape[3]:
        channels = max(train_images.shape[3], test_images.shape[3])
        train, test = (_with_channels(part, channels) for part in (train, test))  # type: ignore[arg-type]
    return Source(train, test, classes)


def _classes_of(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder of the training set and the names of its classes."""
    root = path / "train" if (path / "train").is_dir() else path
    classes = tuple(folder.name for folder in _class_folders(root) if _checked_class(folder))
    if not classes:
        raise problem(
            f"{root} without class folders", "one folder of pictures per class", "sort the pictures into folders"
        )
    return root, classes


def _refuse_strange(test_root: Path, classes: tuple[str, ...]) -> None:
    strange = [f.name for f in _class_folders(test_root) if f.name not in classes]
    if strange:
        raise problem(
            f"the class {strange[0]!r} in {test_root} only",
            f"the training classes {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}",
            "correct the name",
        )


def _list_pictures(root: Path, classes: tuple[str, ...], side: int) -> tuple[Pictures, NDArray[Any]]:
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _pictures(root / name) if (root / name).is_dir() else []
        names += [f"{name}/{file.name}" for file in found]
        labels += [label] * len(found)
    if not names:
        raise problem(f"an empty data set in {root}", "at least one picture", "check the folder")
    return Pictures(root, names, side), np.array(labels, np.int64)


def _class_folders(root: Path) -> list[Path]:
    return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith(".")) if root.is_dir() else []


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        f for f in folder.iterdir() if f.suffix.lower() in EXTENSIONS and not f.name.startswith(".") and f.is_file()
    )


def _checked_class(folder: Path) -> bool:
    if not _pictures(folder):
        raise problem(
            f"the class folder {folder} without a picture",
            f"files with {', '.join(EXTENSIONS)}",
            "fill it or remove it",
        )
    return True


def _read_pictures(
    root: Path, classes: tuple[str, ...], resize: Size | None, like: tuple[int, ...] | None = None
) -> Samples:
    pictures: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    size = like[:2] if like else None
    for label, name in enumerate(classes):
        for file in _pictures(root / name) if (root / name).is_dir() else []:
            picture = _read_picture(file, resize)
            size = size or picture.shape[:2]
            if picture.shape[:2] != size:
                raise problem(
                    f"{file} of {picture.shape[0]}x{picture.shape[1]}",
                    f"{size[0]}x{size[1]}, the size of the first picture",
                    "resize the pictures, pass resize=(height, width), or pass crop=side (qnn train --crop) to cut "
                    "them as for ImageNet",
                )
            pictures.append(picture)
            labels.append(label)
    if not pictures:
        raise problem(f"an empty data set in {root}", "at least one picture", "check the folder")
    channels = max(picture.shape[2] for picture in pictures)
    return np.stack([_spread(picture, channels) for picture in pictures]), np.array(labels, np.int64)


def _read_picture(file: Path, resize: Size | None) -> NDArray[np.uint8]:
    picture = open_picture(file)
    if resize is not None:
        picture = picture.resize((resize[1], resize[0]), pillow().Resampling.BILINEAR)
    pixels = np.array(picture, np.uint8)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _spread(picture: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Repeat a grey picture's channel when the data set is in colour."""
    return picture if picture.shape[-1] == channels else np.repeat(picture, channels, axis=-1)


def _with_channels(part: Samples, channels: int) -> Samples:
    return _spread(part[0], channels), part[1]
