"""Decodes picture files with Pillow, and says what is wrong with one that cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from qnn.data.messages import problem

_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")


def pillow() -> ModuleType:
    """Return the module that decodes pictures."""
    try:
        from PIL import Image
    except ImportError as error:
        raise problem(
            "a folder of pictures, but no Pillow to read them", "Pillow installed", "pip install pillow"
        ) from error
    return Image


def open_picture(file: Path, *, colour: bool = False) -> Any:
    """Decode a picture, grey where it is grey (unless ``colour`` is set) and RGB otherwise.

    Raises
    ------
    DataError
        If it is missing, damaged, or not 8-bit.
    """
    with _explained(file), pillow().open(file) as image:
        if image.mode not in _GREY_MODES + _COLOUR_MODES:
            raise ValueError(f"pixel mode {image.mode}")
        return image.convert("L" if image.mode in _GREY_MODES and not colour else "RGB")


def picture_size(file: Path) -> tuple[int, int]:
    """Return height and width by the head of a file; errors as in :func:`open_picture`."""
    with _explained(file), pillow().open(file) as image:
        return image.height, image.width


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise problem(
            f"{file}, which Pillow cannot read ({type(error).__name__}: {error})",
            "a complete 8-bit picture",
            "replace or remove it",
        ) from error


__all__ = ["open_picture", "picture_size", "pillow"]
