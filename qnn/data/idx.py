"""Reads IDX, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_AXES = 8


def parse_idx(raw: bytes, where: str) -> NDArray[np.generic]:
    """Return the array that IDX bytes hold.

    The format: two zero bytes, a type byte, the number of axes, each length as a big-endian uint32, the values
    big-endian.

    Parameters
    ----------
    raw : bytes
        The file's content, already decompressed.
    where : str
        The file's name, for errors.

    Raises
    ------
    DataError
        If the magic number is wrong, or bytes are missing or left over.
    """
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _TYPES or not 1 <= raw[3] <= _MAX_AXES:
        raise problem(
            f"{where} starting with {raw[:4].hex(' ') or 'nothing'}",
            "the IDX magic: 00 00, a type (08, 09, 0b, 0c, 0d or 0e), 01 to 08 axes",
            "fetch the file again or give another one",
        )
    dtype, axes = np.dtype(_TYPES[raw[2]]), raw[3]
    header = 4 + 4 * axes
    if len(raw) < header:
        raise problem(f"{where} of {len(raw)} bytes", f"a header of {header} bytes", "fetch the truncated file again")
    shape = struct.unpack(f">{axes}I", raw[4:header])
    expected = header + dtype.itemsize
    for length in shape:  # Python integers: a forged header cannot overflow the product
        expected = header + (expected - header) * length
    if len(raw) != expected:
        kind = "truncated" if len(raw) < expected else "overlong"
        raise problem(
            f"{where} of {len(raw)} bytes", f"{expected} bytes for shape {shape}", f"fetch the {kind} file again"
        )
    return np.frombuffer(raw, dtype, offset=header).reshape(shape)


def parse_idx_images(raw: bytes, where: str) -> NDArray[np.uint8]:
    """Return uint8 images [N, H, W, C] from IDX bytes with three axes (grey) or four (channels last)."""
    images = parse_idx(raw, where)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise problem(
            f"{where} of {images.dtype} and shape {images.shape}",
            "unsigned bytes with three axes (grey) or four (channels last)",
            "give the images file, not the labels",
        )
    pixels = images.view(np.uint8)
    return pixels[..., np.newaxis] if pixels.ndim == 3 else pixels


def parse_idx_labels(raw: bytes, where: str) -> NDArray[np.int64]:
    """Return int64 labels [N] from IDX bytes with one axis of integers."""
    labels = parse_idx(raw, where)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise problem(
            f"{where} of {labels.dtype} and shape {labels.shape}",
            "integers with one axis",
            "give the labels file, not the images",
        )
    return labels.astype(np.int64)
