"""The data set that ships with the package: UCI handwritten digits, 8x8, CC BY 4.0 (see DIGITS_LICENSE.txt)."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from qnn.data.dataset import Dataset
from qnn.data.files import read_bytes
from qnn.data.messages import problem
from qnn.data.moments import channel_moments
from qnn.data.split import split_positions

DIGITS_FILE = Path(__file__).with_name("digits.npz")
DIGITS_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"


def load_digits(split: str) -> Dataset:
    """Return the training (1437) or test (360) images.

    A stored pixel v in 0..16 becomes ``v * 255 // 16`` (clause DAT-6). The division is that of clause DAT-5, hence
    both sets hold images by the same 13 writers. Mean and std are those of the training images.

    Raises
    ------
    DataError
        If the packaged file is missing or was changed.

    Notes
    -----
    Bit-exactness: clauses DAT-5, DAT-6, DAT-7; nothing may vary.
    """
    raw = read_bytes(DIGITS_FILE)
    checksum = hashlib.sha256(raw).hexdigest()
    if checksum != DIGITS_SHA256:
        raise problem(
            f"{DIGITS_FILE} with SHA-256 {checksum}",
            f"the file as released, {DIGITS_SHA256}",
            "install the package again",
        )
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        stored, labels = archive["images"], archive["labels"]
    images = (stored.astype(np.int64) * 255 // 16).astype(np.uint8)[..., np.newaxis]
    train, test = split_positions(len(images))
    mean, std = channel_moments(images[train])
    chosen = train if split == "train" else test
    return Dataset(images[chosen], labels[chosen], [str(d) for d in range(10)], "digits", mean, std)
