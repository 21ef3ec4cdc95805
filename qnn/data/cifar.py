"""Reads CIFAR-10 and CIFAR-100: binary records and Python batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem
from qnn.data.unpickle import load_plain_pickle

_SIDE, _CHANNELS = 32, 3
_PIXELS = _SIDE * _SIDE * _CHANNELS

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]


def parse_binary(raw: bytes, where: str, label_bytes: int) -> Samples:
    """Return images [N, 32, 32, 3] and labels [N] from binary records.

    A record is ``label_bytes`` labels (CIFAR-10: one; CIFAR-100: coarse, then fine, and the fine one is returned),
    then 1024 red, 1024 green and 1024 blue values, row by row.

    Raises
    ------
    DataError
        If the size is not a positive multiple of a record.
    """
    record = label_bytes + _PIXELS
    if not raw or len(raw) % record:
        raise problem(
            f"{where} of {len(raw)} bytes",
            f"a positive multiple of {record} bytes",
            "fetch the truncated or corrupt file again",
        )
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    return _to_nhwc(rows[:, label_bytes:]), rows[:, label_bytes - 1].astype(np.int64)


def parse_python(raw: bytes, where: str, label_key: str) -> Samples:
    """Return images [N, 32, 32, 3] and labels [N] from a Python batch; ``label_key`` is ``labels`` or ``fine_labels``.

    No object but plain values and arrays is ever made from the file (see ``unpickle.py``).

    Raises
    ------
    DataError
        If the batch is damaged or hostile, or its entries do not have the official form.
    """
    batch = load_plain_pickle(raw, where)
    missing = [key for key in ("data", label_key) if key not in batch]
    if missing:
        raise problem(
            f"{where} without {' and '.join(missing)}",
            f"the keys data and {label_key}",
            "give an official batch of that data set",
        )
    data = batch["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        kind = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise problem(f"data as {kind} in {where}", f"uint8 [N, {_PIXELS}]", "give an official batch file")
    return _to_nhwc(data), _labels(batch[label_key], where)


def _to_nhwc(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    images = planes.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


def _labels(values: Any, where: str) -> NDArray[np.int64]:
    if isinstance(values, list) and all(type(v) is int and -(2**63) <= v < 2**63 for v in values):
        return np.array(values, np.int64)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.ndim == 1:
        return values.astype(np.int64)
    raise problem(f"labels as {type(values).__name__} in {where}", "a list of integers", "give an official batch file")
