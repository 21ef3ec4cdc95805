"""What a reader of user files hands to the loader: samples that are not yet a Dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.pictures import Pictures

# uint8 images [N, H, W, C] and labels [N], which are integers or text.
Samples = tuple[NDArray[np.uint8], NDArray[Any]]
# The same, or images that are still in their files.
AnySamples = Samples | tuple[Pictures, NDArray[Any]]


@dataclass(frozen=True)
class Source:
    """Training samples, test samples where the source has its own, and class names where it states them."""

    train: AnySamples
    test: AnySamples | None = None
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ReadOptions:
    """What a user may say about a file of their own; each reader refuses what it has no use for."""

    label_column: int | str | None = None
    shape: tuple[int, ...] | None = None
    resize: tuple[int, int] | None = None
    crop: int | None = None

    def given(self) -> set[str]:
        """Return the names of the options that are set."""
        return {name for name, value in vars(self).items() if value is not None}
