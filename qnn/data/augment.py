"""Random crop and mirror, where chance is addressed: a sample's picture depends on seed, epoch and position alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qnn.numerics.initial import AUGMENT_STREAM
from qnn.numerics.noise import philox32

PAD = 4
_PLACES = 2 * PAD + 1


def augment_words(seed: int, epoch: int, count: int) -> NDArray[np.uint32]:
    """Return one 32-bit word for each of ``count`` sample positions.

    Word p is Philox word p of (seed, AUGMENT_STREAM, step = epoch).

    Notes
    -----
    Bit-exactness: clause DAT-3; nothing may vary.
    """
    return np.asarray(philox32(seed, AUGMENT_STREAM, 0, count, step=epoch), dtype=np.uint32)


def pad_value(mean: Sequence[float]) -> NDArray[np.uint8]:
    """Return per channel the pixel value nearest to the mean: ``floor(255 mean + 1/2)`` within 0..255, in float64.

    After normalisation it is as near to zero as a pixel can be, so the border carries no signal.

    Notes
    -----
    Bit-exactness: clause DAT-4; nothing may vary.
    """
    return np.clip(np.floor(np.asarray(mean, np.float64) * 255 + 0.5), 0, 255).astype(np.uint8)


def crop_flip(images: NDArray[np.uint8], words: NDArray[np.uint32], pad: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut each image out of its version padded by 4 on all sides, and mirror half of them.

    From word w: the cut starts at row ``9 (w mod 2^15) >> 15`` and column ``9 ((w >> 15) mod 2^15) >> 15`` of the
    padded image (4, 4 is the original), and bit 31 mirrors the cut from left to right.

    Parameters
    ----------
    images : uint8 [B, H, W, C]
    words : uint32 [B]
    pad : uint8 [C]
        What the border is made of.

    Returns
    -------
    uint8 [B, H, W, C]
        A new array.

    Notes
    -----
    Bit-exactness: clause DAT-3; nothing may vary.
    """
    _, height, width, _ = images.shape
    out = np.empty_like(images)
    out[...] = pad
    down = ((words & 0x7FFF) * np.uint32(_PLACES) >> 15).astype(np.int64) - PAD
    right = ((words >> 15 & 0x7FFF) * np.uint32(_PLACES) >> 15).astype(np.int64) - PAD
    mirrored = words >> 31 != 0
    for i, (dy, dx, mirror) in enumerate(zip(down.tolist(), right.tolist(), mirrored.tolist(), strict=True)):
        target = out[i, :, ::-1] if mirror else out[i]
        rows, source_rows = _overlap(dy, height)
        columns, source_columns = _overlap(dx, width)
        target[rows, columns] = images[i, source_rows, source_columns]
    return out


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Return where output and source meet when output position j shows source position j + shift."""
    low, high = max(0, -shift), min(length, length - shift)
    high = max(low, high)
    return slice(low, high), slice(low + shift, high + shift)
