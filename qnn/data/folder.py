"""Reads image folders: one folder per class, one picture per sample (needs Pillow)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem
from qnn.data.source import Samples, Source

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
_TEST_FOLDERS = ("test", "val", "valid", "validation")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
Size = tuple[int, int]


def is_image_folder(path: Path) -> bool:
    """Whether a folder holds class folders with pictures, or a folder ``train`` with such."""
    root = path / "train" if (path / "train").is_dir() else path
    return any(_pictures(folder) for folder in _class_folders(root))


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
    pillow = _pillow()
    train_root = path / "train" if (path / "train").is_dir() else path
    classes = tuple(folder.name for folder in _class_folders(train_root) if _checked_class(folder))
    if not classes:
        raise problem(
            f"{train_root} without class folders", "one folder of pictures per class", "sort the pictures into folders"
        )
    train = _read_pictures(pillow, train_root, classes, resize)
    test = None
    if train_root != path:
        test_root = next((path / name for name in _TEST_FOLDERS if (path / name).is_dir()), None)
        if test_root is not None:
            strange = [f.name for f in _class_folders(test_root) if f.name not in classes]
            if strange:
                raise problem(
                    f"the class {strange[0]!r} in {test_root} only",
                    f"the training classes {', '.join(classes)}",
                    "correct the name",
                )
            test = _read_pictures(pillow, test_root, classes, resize, train[0].shape[1:])
    train_images, test_images = train[0], test[0] if test else None
    if test_images is not None and test_images.shape[3] != train_images.shape[3]:
        channels = max(train_images.shape[3], test_images.shape[3])
        train, test = (_with_channels(part, channels) for part in (train, test))  # type: ignore[arg-type]
    return Source(train, test, classes)


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise problem(
            "a folder of pictures, but no Pillow to read them", "Pillow installed", "pip install pillow"
        ) from error
    return Image


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
    pillow: ModuleType, root: Path, classes: tuple[str, ...], resize: Size | None, like: tuple[int, ...] | None = None
) -> Samples:
    pictures: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    size = like[:2] if like else None
    for label, name in enumerate(classes):
        for file in _pictures(root / name) if (root / name).is_dir() else []:
            picture = _read_picture(pillow, file, resize)
            size = size or picture.shape[:2]
            if picture.shape[:2] != size:
                raise problem(
                    f"{file} of {picture.shape[0]}x{picture.shape[1]}",
                    f"{size[0]}x{size[1]}, the size of the first picture",
                    "resize the pictures, or pass resize=(height, width)",
                )
            pictures.append(picture)
            labels.append(label)
    if not pictures:
        raise problem(f"an empty data set in {root}", "at least one picture", "check the folder")
    channels = max(picture.shape[2] for picture in pictures)
    return np.stack([_spread(picture, channels) for picture in pictures]), np.array(labels, np.int64)


def _read_picture(pillow: ModuleType, file: Path, resize: Size | None) -> NDArray[np.uint8]:
    try:
        with pillow.open(file) as image:
            if image.mode not in _GREY_MODES + _COLOUR_MODES:
                raise ValueError(f"pixel mode {image.mode}")
            picture: Any = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise problem(
            f"{file}, which Pillow cannot read ({type(error).__name__}: {error})",
            "a complete 8-bit picture",
            "replace or remove it",
        ) from error
    if resize is not None:
        picture = picture.resize((resize[1], resize[0]), pillow.Resampling.BILINEAR)
    pixels = np.array(picture, np.uint8)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _spread(picture: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Repeat a grey picture's channel when the data set is in colour."""
    return picture if picture.shape[-1] == channels else np.repeat(picture, channels, axis=-1)


def _with_channels(part: Samples, channels: int) -> Samples:
    return _spread(part[0], channels), part[1]
