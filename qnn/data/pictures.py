"""Pictures that stay in their files until they are asked for, and are then scaled, cut and mirrored as for ImageNet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qnn.data.decode import open_picture, pillow
from qnn.data.files import read_bytes
from qnn.data.messages import problem
from qnn.data.moments import channel_moments

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LONGEST = 64  # times the shorter side


class Pictures:
    """Files that look like a uint8 array [N, side, side, 3]; each index decodes the files it names.

    An index (integer, slice, or array of integers) gives the middle of each picture, :meth:`cut` any part of it.

    Parameters
    ----------
    root : Path
        The folder that the names start from.
    names : sequence of str
        One file per sample.
    side : int
        Of the square that is cut out.

    Notes
    -----
    Bit-exactness: clause DAT-10; what Pillow makes of a JPEG file and of a change of size may vary with its version.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, root: Path, names: Sequence[str], side: int) -> None:
        self.root, self.names, self.side = root, names, side

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, side, side, 3)."""
        return len(self.names), self.side, self.side, 3

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return the middle of one picture [side, side, 3], or of several [B, side, side, 3]."""
        chosen = np.arange(len(self.names))[index]
        if chosen.ndim == 0:
            return self.cut(chosen[np.newaxis], None)[0]
        return self.cut(chosen, None)

    def take(self, positions: NDArray[np.int64]) -> Pictures:
        """Return some of the pictures, decoding none."""
        return Pictures(self.root, [self.names[i] for i in positions.tolist()], self.side)

    def cut(self, positions: NDArray[np.int64], words: NDArray[np.uint32] | None) -> NDArray[np.uint8]:
        """Decode pictures and cut a square out of each.

        Parameters
        ----------
        positions : int64 [B]
        words : uint32 [B] or None
            Each decides place and mirror of its picture; None takes the middle.

        Returns
        -------
        uint8 [B, side, side, 3]

        Raises
        ------
        DataError
            If a file is missing, damaged, not 8-bit, or longer than 64 times its width.

        Notes
        -----
        Bit-exactness: clause DAT-10.
        """
        out = np.empty((len(positions), self.side, self.side, 3), np.uint8)
        for row, position in enumerate(positions.tolist()):
            pixels = self._decoded(self.root / self.names[position])
            top, left, mirror = place(pixels.shape[:2], self.side, None if words is None else int(words[row]))
            part = pixels[top : top + self.side, left : left + self.side]
            out[row] = part[:, ::-1] if mirror else part
        return out

    def fingerprint(self) -> bytes:
        """What the pictures are, for a checksum: the SHA-256 of every file, and the middle of the first picture, which
        tells decoders apart (clause DAT-11)."""
        sums = [hashlib.sha256(read_bytes(self.root / name)).digest() for name in self.names]
        return b"".join(sums) + self[:1].tobytes()

    def _decoded(self, file: Path) -> NDArray[np.uint8]:
        """The whole picture in RGB, its shorter side at ``8 side / 7``."""
        picture = open_picture(file, colour=True)
        height, width = whole_size((picture.height, picture.width), self.side, str(file))
        return np.asarray(picture.resize((width, height), pillow().Resampling.BILINEAR), np.uint8)


Images: TypeAlias = NDArray[np.uint8] | Pictures


def whole_size(size: tuple[int, int], side: int, where: str = "a picture") -> tuple[int, int]:
    """Return height and width that a picture is brought to before a square of ``side`` is cut out of it.

    The shorter side becomes ``floor(8 side / 7)``, 256 for 224; the other one keeps the proportion, rounded to the
    nearest, ties up.

    Notes
    -----
    Bit-exactness: clause DAT-10; nothing may vary.
    """
    shorter, longer = min(size), max(size)
    if longer > _LONGEST * shorter:
        raise problem(
            f"{where} of {size[0]}x{size[1]}", f"sides of at most 1 to {_LONGEST}", "remove it, or cut it into pieces"
        )
    least = side * 8 // 7
    height, width = ((2 * edge * least + shorter) // (2 * shorter) for edge in size)
    return height, width


def place(size: tuple[int, ...], side: int, word: int | None) -> tuple[int, int, bool]:
    """Return row and column at which a square begins in a picture of ``size``, and whether it is mirrored.

    From word w: row ``(w mod 2^15) (height - side + 1) >> 15``, column likewise from ``w >> 15`` and the width,
    mirrored where bit 31 is set. Without a word: the middle, ``(height - side) >> 1`` and ``(width - side) >> 1``.

    Notes
    -----
    Bit-exactness: clause DAT-10; nothing may vary.
    """
    down, right = size[0] - side, size[1] - side
    if word is None:
        return down >> 1, right >> 1, False
    return (word & 0x7FFF) * (down + 1) >> 15, (word >> 15 & 0x7FFF) * (right + 1) >> 15, word >> 31 != 0


def take(images: Images, positions: NDArray[np.int64]) -> Images:
    """Return some of the images; those in files stay there."""
    return images.take(positions) if isinstance(images, Pictures) else images[positions]


def moments_of(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel: exact ones of an array, ImageNet's usual ones for files.

    Notes
    -----
    Bit-exactness: clauses DAT-7 and DAT-10; nothing may vary.
    """
    return (IMAGENET_MEAN, IMAGENET_STD) if isinstance(images, Pictures) else channel_moments(images)


__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Images", "Pictures", "moments_of", "place", "take", "whole_size"]
