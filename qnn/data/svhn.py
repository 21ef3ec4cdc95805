"""Reads SVHN's cropped-digit .mat files (needs SciPy)."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem


def parse_svhn(raw: bytes, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return uint8 images [N, H, W, C] and int64 labels [N] from ``X`` [H, W, C, N] and ``y`` [N, 1].

    The file calls the digit zero 10; here it is class 0.

    Raises
    ------
    DataError
        If SciPy cannot read the file, or ``X`` and ``y`` are missing or not of that form.
    """
    from scipy.io import loadmat  # lazily: importing qnn must stay quick

    try:
        content = loadmat(io.BytesIO(raw), variable_names=("X", "y"))
    except Exception as error:  # SciPy has no common class for what a damaged file can raise
        raise problem(
            f"{where}, which SciPy cannot read ({type(error).__name__}: {error})",
            "a MATLAB file of version 4 to 7",
            "fetch the truncated or corrupt file again",
        ) from error
    missing = [key for key in ("X", "y") if key not in content]
    if missing:
        raise problem(
            f"{where} without {' and '.join(missing)}", "the variables X and y", "give a file of SVHN's format 2"
        )
    images, labels = content["X"], content["y"]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise problem(
            f"X of {images.dtype} {images.shape} in {where}", "uint8 [H, W, C, N]", "give a file of SVHN's format 2"
        )
    if labels.dtype.kind not in "iu" or labels.size != images.shape[3] or labels.size != max(labels.shape, default=0):
        raise problem(
            f"y of {labels.dtype} {labels.shape} for {images.shape[3]} images in {where}",
            "integers [N, 1]",
            "give a file whose X and y belong together",
        )
    numbers = labels.reshape(-1).astype(np.int64)
    if numbers.size and not (numbers.min() >= 1 and numbers.max() <= 10):
        raise problem(
            f"labels {numbers.min()} .. {numbers.max()} in {where}",
            "1 .. 10, where 10 is the digit zero",
            "correct the labels",
        )
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), numbers % 10
