"""The Dataset: images, labels and class names that have been checked once and can be trusted afterwards."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem
from qnn.data.pictures import Images, Pictures, moments_of, take
from qnn.data.split import subset_positions


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels.

    Parameters
    ----------
    images : uint8 [N, H, W, C], or Pictures
        N, H, W and C at least 1. A read-only view is kept, no copy is made when the array is C-contiguous. Pictures
        stay in their files until an index asks for them.
    labels : integers [N]
        Class numbers in ``0 .. len(classes) - 1``; kept as int64.
    classes : sequence of str
        The classes' names; the position is the label.
    name : str
        What to call the data set in reports.
    mean, std : tuples of float, optional
        Per channel, for pixel / 255. Left out, they are computed from ``images`` (clause DAT-7), or ImageNet's for
        pictures in files (clause DAT-10).

    Raises
    ------
    DataError
        If shapes, dtypes, counts or labels do not fit together.

    Notes
    -----
    Bit-exactness: clauses DAT-7 (mean, std), DAT-8 and DAT-11 (checksum); nothing may vary.
    """

    images: Images
    labels: NDArray[np.int64]
    classes: list[str]
    name: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check everything and freeze the arrays."""
        images = _checked_images(self.images, self.name)
        classes = _checked_classes(self.classes, self.name)
        labels = _checked_labels(self.labels, len(images), len(classes), self.name)
        mean, std = self.mean, self.std
        if not mean or not std:
            mean, std = moments_of(images)
        _check_moments(mean, std, images.shape[-1], self.name)
        for field, value in (("images", images), ("labels", labels), ("classes", classes)):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "mean", tuple(float(m) for m in mean))
        object.__setattr__(self, "std", tuple(float(s) for s in std))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.images)

    def __repr__(self) -> str:
        """Return name, number, shape and classes; never the pixels."""
        n, h, w, c = self.images.shape
        return f"Dataset({self.name!r}: {n} images {h}x{w}x{c}, {len(self.classes)} classes)"

    @cached_property
    def checksum(self) -> str:
        """SHA-256, in hexadecimal, of what the numbers are (clause DAT-8).

        It covers the bytes ``qnn-data-1``, then N, H, W, C as little-endian int64, the images in C order and the
        labels as little-endian int64. Names, mean and std do not enter. For pictures in files it begins with
        ``qnn-data-2``, and their fingerprint stands for the images (clause DAT-11): all files are read once.
        """
        digest = hashlib.sha256(b"qnn-data-2" if isinstance(self.images, Pictures) else b"qnn-data-1")
        digest.update(np.asarray(self.images.shape, "<i8").tobytes())
        digest.update(self.images.fingerprint() if isinstance(self.images, Pictures) else self.images.data)
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def subset(self, n: int) -> Dataset:
        """Return ``n`` samples, spread over the data set by a fixed permutation and kept in their order.

        A permutation, because many data sets are stored class after class. Class names, mean and std stay those of
        the whole.

        Raises
        ------
        DataError
            If ``n`` is not in ``1 .. len(self)``.

        Notes
        -----
        Bit-exactness: clause DAT-5; nothing may vary.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= len(self):
            raise problem(
                f"a subset of {n!r} samples", f"an integer from 1 to {len(self)}", "choose a number in that range"
            )
        chosen = subset_positions(len(self), int(n))
        return Dataset(take(self.images, chosen), self.labels[chosen], self.classes, self.name, self.mean, self.std)


def _checked_images(images: object, name: str) -> Images:
    if isinstance(images, Pictures) and len(images) > 0:
        return images
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise problem(f"images of {name} as {kind}", "a NumPy array of uint8", "convert to 0..255 and uint8 first")
    if images.ndim != 4:
        raise problem(
            f"images of {name} of shape {images.shape}", "four axes [N, H, W, C]", "reshape; grey images have C = 1"
        )
    if 0 in images.shape:
        raise problem(f"an empty data set {name} of shape {images.shape}", "at least one image", "check the source")
    view = np.ascontiguousarray(images).view()
    view.flags.writeable = False
    return view


def _checked_classes(classes: Sequence[str], name: str) -> list[str]:
    names = [str(c) for c in classes]
    if not names:
        raise problem(f"no class names for {name}", "one name per class", "pass the names in label order")
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise problem(f"the class name {twice!r} twice in {name}", "different names", "rename one of them")
    return names


def _checked_labels(labels: object, count: int, classes: int, name: str) -> NDArray[np.int64]:
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise problem(f"labels of {name} as {kind}", "a NumPy array of integers", "convert the labels to class numbers")
    if labels.ndim != 1:
        raise problem(
            f"labels of {name} of shape {labels.shape}", "one axis [N]", "flatten them to one label per image"
        )
    if len(labels) != count:
        raise problem(
            f"{count} images but {len(labels)} labels in {name}",
            "one label per image",
            "check that both files belong together",
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        bad = low if low < 0 else high
        at = int(np.flatnonzero(labels == bad)[0])
        raise problem(
            f"label {bad} at sample {at} of {name}",
            f"0 .. {classes - 1} ({classes} classes)",
            "correct it or add a class name",
        )
    checked = np.array(labels, dtype=np.int64)
    checked.flags.writeable = False
    return checked


def _check_moments(mean: Sequence[float], std: Sequence[float], channels: int, name: str) -> None:
    if len(mean) != channels or len(std) != channels:
        raise problem(
            f"{len(mean)} means and {len(std)} deviations for {name}",
            f"{channels} each, one per channel",
            "leave both out",
        )
    if not all(math.isfinite(m) for m in mean) or not all(math.isfinite(s) and s > 0 for s in std):
        raise problem(
            f"mean {tuple(mean)} and std {tuple(std)} for {name}", "finite means, positive deviations", "leave both out"
        )
