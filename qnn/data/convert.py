"""Turns a user's own pixels and labels into uint8 images and class numbers, or says why not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem

# More classes than this without given names is taken for a wrong column, not for a data set.
MAX_UNNAMED_CLASSES = 1000
Shape = tuple[int, ...]


def pixels_to_images(pixels: NDArray[Any], where: str, shape: Shape | None = None) -> NDArray[np.uint8]:
    """Return uint8 images [N, H, W, C] from numbers of any real type and a fitting shape.

    uint8 stays as it is. Other integers must lie in 0..255. Floats must be finite, and either all in [0, 1], when
    ``floor(255 x + 1/2)`` (in float64) is taken, or all whole numbers in 0..255.

    Parameters
    ----------
    pixels : [N, H, W, C], [N, H, W] (grey) or [N, D] (square grey unless ``shape`` is given)
    where : str
        What to call the source in errors.
    shape : (H, W) or (H, W, C), optional
        The images' shape; the number of values per image must be its product.

    Raises
    ------
    DataError
        For another dtype or shape, NaN, infinity, or values out of range.

    Notes
    -----
    Bit-exactness: clause DAT-6; nothing may vary.
    """
    return _shaped(_to_uint8(pixels, where), where, shape)


def _to_uint8(pixels: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8 or pixels.size == 0:
        return pixels.astype(np.uint8)
    kind = pixels.dtype.kind
    if kind not in "iuf":
        raise problem(
            f"pixels of {pixels.dtype} in {where}", "integers or floats", "convert them, for instance to uint8"
        )
    if kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(pixels)))
        if bad:
            raise problem(f"{bad} NaN or infinite pixels in {where}", "finite numbers", "clean the data")
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        raise problem(
            f"pixels from {low} to {high} in {where}",
            "integers 0..255, or floats in [0, 1]",
            "scale the data; nothing is clipped",
        )
    if kind in "iu":
        return pixels.astype(np.uint8)
    if high <= 1:
        return np.floor(pixels.astype(np.float64) * 255 + 0.5).astype(np.uint8)
    if np.any(pixels != np.floor(pixels)):
        raise problem(
            f"fractions among pixels up to {high} in {where}",
            "floats all in [0, 1], or whole numbers 0..255",
            "scale to [0, 1] or round to whole numbers first",
        )
    return pixels.astype(np.uint8)


def _shaped(pixels: NDArray[np.uint8], where: str, shape: Shape | None) -> NDArray[np.uint8]:
    if pixels.ndim < 2:
        raise problem(f"pixels of shape {pixels.shape} in {where}", "[N, H, W, C], [N, H, W] or [N, D]", "reshape them")
    if len(pixels) == 0:
        raise problem(f"an empty data set in {where}", "at least one image", "check the source")
    per_image = math.prod(pixels.shape[1:])
    if shape is not None:
        return pixels.reshape(len(pixels), *_checked_shape(shape, per_image, where))
    if pixels.ndim == 2:
        side = math.isqrt(per_image)
        if side * side != per_image or side == 0:
            raise problem(
                f"{per_image} pixels per image in {where}",
                "a square number (grey images), or a given shape",
                "pass shape=(height, width) or shape=(height, width, channels)",
            )
        return pixels.reshape(-1, side, side, 1)
    if pixels.ndim == 3:
        return pixels[..., np.newaxis]
    if pixels.ndim != 4 or not 1 <= pixels.shape[3] <= 4:
        raise problem(
            f"images of shape {pixels.shape} in {where}",
            "[N, H, W, C] with 1 to 4 channels as the last axis",
            "move the channels to the end, for instance images.transpose(0, 2, 3, 1)",
        )
    return pixels


def _checked_shape(shape: Shape, per_image: int, where: str) -> tuple[int, int, int]:
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    if len(shape) not in (2, 3) or not whole or math.prod(shape) != per_image:
        raise problem(
            f"the shape {tuple(shape)} for {per_image} pixels per image in {where}",
            "(height, width) or (height, width, channels) with that product",
            "correct the shape",
        )
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def number_labels(
    parts: Sequence[NDArray[Any]], classes: Sequence[str] | None, where: str
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Return class numbers for each part (training, test) and the class names that they share.

    Text labels are numbered in sorted order of all names that occur. Integer labels are the numbers; without given
    names the classes are ``0 .. max``, at most 1000 of them.

    Raises
    ------
    DataError
        If labels are of another type, negative, too large, or not among the given names.
    """
    for labels in parts:
        if labels.ndim != 1 or labels.dtype.kind not in "iuU":
            raise problem(
                f"labels of {labels.dtype} {labels.shape} in {where}",
                "integers or text, one per image",
                "convert the labels",
            )
    if any(labels.dtype.kind == "U" for labels in parts):
        return _number_text(parts, classes, where)
    low, high = min(int(part.min(initial=0)) for part in parts), max(int(part.max(initial=0)) for part in parts)
    limit = len(classes) if classes is not None else MAX_UNNAMED_CLASSES
    if low < 0 or high >= limit:
        source = "as many class names as given" if classes is not None else "more needs a list of class names"
        raise problem(
            f"label {low if low < 0 else high} in {where}",
            f"0 .. {limit - 1} ({source})",
            "check which values are the labels",
        )
    names = list(classes) if classes is not None else [str(i) for i in range(high + 1)]
    return [part.astype(np.int64) for part in parts], names


def _number_text(
    parts: Sequence[NDArray[Any]], classes: Sequence[str] | None, where: str
) -> tuple[list[NDArray[np.int64]], list[str]]:
    found = sorted({str(label) for part in parts for label in np.unique(part.astype(str))})
    names = list(classes) if classes is not None else found
    number = {name: i for i, name in enumerate(names)}
    strange = [name for name in found if name not in number]
    if strange:
        raise problem(
            f"the label {strange[0]!r} in {where}", f"the classes {', '.join(names)}", "correct it or add the class"
        )
    return [np.array([number[str(label)] for label in part], np.int64) for part in parts], names
