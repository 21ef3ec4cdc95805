"""Small pictures as PNG data addresses: written with zlib alone, so that a report needs no imaging library."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def png(image: NDArray[np.uint8]) -> bytes:
    """The PNG file of a uint8 picture [H, W], [H, W, 1] (grey) or [H, W, 3] (RGB).

    Raises
    ------
    ValueError
        For another dtype or shape.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise ValueError(
            f"got a picture of {image.dtype} {list(image.shape)}; "
            "allowed is uint8 [H, W], [H, W, 1] or [H, W, 3]; convert it first"
        )
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # filter type 0 in front of each row
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def data_address(image: NDArray[np.uint8]) -> str:
    """The picture as a ``data:`` address for an ``<img>``; of channels other than 1 and 3 the first is shown."""
    if image.ndim == 3 and image.shape[2] not in (1, 3):
        image = image[:, :, :1]
    return "data:image/png;base64," + base64.b64encode(png(np.ascontiguousarray(image))).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
