"""Reads a user's own tables: NPZ archives and CSV files."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.convert import Shape, pixels_to_images
from qnn.data.files import read_bytes
from qnn.data.messages import nearest, problem
from qnn.data.source import Samples, Source

LABEL_NAMES = ("label", "labels", "class", "target", "y")
# Enough for the header of the widest table anybody trains on.
_HEADER_BYTES = 1 << 24
# Spellings for images, labels, test images and test labels that are in use.
_KEYS = (
    ("images", "labels", "test_images", "test_labels"),
    ("x", "y", "x_test", "y_test"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)


def read_npz(path: Path, shape: Shape | None = None) -> Source:
    """Read an NPZ archive with ``images`` and ``labels`` (or ``x``, ``y``, ``x_train`` ...), maybe ``classes``.

    Nothing is unpickled: arrays of objects are refused.

    Raises
    ------
    DataError
        If the archive is damaged, holds objects, lacks an array, or its arrays do not fit together.
    """
    arrays = _npz_arrays(path)
    for x, y, x_test, y_test in _KEYS:
        if x in arrays and y in arrays:
            train = _samples(arrays[x], arrays[y], str(path), shape)
            test = (
                _samples(arrays[x_test], arrays[y_test], str(path), shape)
                if {x_test, y_test} <= arrays.keys()
                else None
            )
            names = arrays.get("classes")
            return Source(train, test, tuple(map(str, names.reshape(-1))) if names is not None else None)
    raise problem(
        f"{path} with the arrays {', '.join(sorted(arrays)) or '(none)'}",
        "images and labels, or x and y, or x_train and y_train",
        "save it with numpy.savez(path, images=..., labels=...)",
    )


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    raw = read_bytes(path)
    try:
        archive = np.load(io.BytesIO(raw), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array, not an archive")
        with archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # the errors of zip, zlib and NumPy have no common class
        raise problem(
            f"{path}, a damaged NPZ archive or one with objects ({error})",
            "arrays of numbers, saved with numpy.savez",
            "save it again without dtype=object; nothing in it was run",
        ) from error


def _samples(pixels: NDArray[Any], labels: NDArray[Any], where: str, shape: Shape | None) -> Samples:
    images = pixels_to_images(pixels, where, shape)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if len(images) != len(np.atleast_1d(labels)):
        raise problem(
            f"{len(images)} images but {len(np.atleast_1d(labels))} labels in {where}",
            "one label per image",
            "check that the arrays belong together",
        )
    return images, labels


def read_csv(path: Path, label_column: int | str | None = None, shape: Shape | None = None) -> Samples:
    """Read a CSV file: one image a row, one column with the label, all others pixels.

    A first row with something else than numbers among its pixels is the header. The label column is ``label_column``
    (a name or a position), else the column called label, labels, class, target or y, else the first. Labels are
    integers or text.

    Raises
    ------
    DataError
        If a row has another number of columns, a pixel is not a number, or the label column is not there.
    """
    raw = read_bytes(path)
    where = str(path)
    first = _first_row(raw, where)
    header = None if _looks_like_data(first, label_column) else first
    column = _label_position(header, len(first), label_column, where)
    if len(first) < 2:
        raise problem(f"{where} with {len(first)} column", "a label and at least one pixel a row", "separate by commas")
    table, label_texts = _read_numbers(raw, column, 0 if header is None else 1, len(first), where)
    if not len(table):
        raise problem(f"an empty data set in {where}", "one row per image", "check the source")
    codes = table[:, column].astype(np.int64)
    pixels = np.delete(table, column, axis=1)
    return _samples(pixels, _label_values(label_texts, where)[codes], where, shape)


def _first_row(raw: bytes, where: str) -> list[str]:
    text = raw[:_HEADER_BYTES].decode("utf-8-sig", "ignore")
    row = next((row for row in csv.reader(io.StringIO(text)) if row), None)
    if row is None:
        raise problem(f"an empty data set in {where}", "one row per image", "check the source")
    return row


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _looks_like_data(row: list[str], label_column: int | str | None) -> bool:
    if isinstance(label_column, str):
        return False  # a name can only come from a header
    place = (label_column or 0) % len(row)
    return all(_is_number(field) for i, field in enumerate(row) if i != place)


def _label_position(header: list[str] | None, width: int, wanted: int | str | None, where: str) -> int:
    names = [name.strip() for name in header or []]
    if isinstance(wanted, str):
        if wanted not in names:
            raise problem(
                f"the label column {wanted!r}{nearest(wanted, names)} for {where}",
                f"a column of its header: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}",
                "correct the name or give a position",
            )
        return names.index(wanted)
    if wanted is not None:
        if not -width <= wanted < width:
            raise problem(f"label column {wanted} for {where}", f"{-width} .. {width - 1}", "correct the position")
        return wanted % width
    return next((i for i, name in enumerate(names) if name.lower() in LABEL_NAMES), 0)


def _read_numbers(raw: bytes, column: int, skip: int, width: int, where: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return the table as float64, with each label replaced by its place in the returned list of label texts."""
    codes: dict[str, int] = {}

    def code(text: str) -> float:
        return float(codes.setdefault(text.strip(), len(codes)))

    lines = io.TextIOWrapper(io.BytesIO(raw), "utf-8-sig")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about an empty file: the caller raises for it
            table = np.loadtxt(
                lines,
                np.float64,
                comments=None,
                delimiter=",",
                converters={column: code},
                skiprows=skip,
                ndmin=2,
                encoding="utf-8",
                quotechar='"',
            )
    except ValueError as error:
        raise problem(
            f"{where} with a bad row ({error})", f"{width} fields a row, pixels as numbers, UTF-8", "correct the file"
        ) from error
    if len(table) and table.shape[1] != width:
        raise problem(f"{table.shape[1]} fields a row in {where}", f"{width}, as in its first row", "correct the file")
    return table, list(codes)


def _label_values(texts: list[str], where: str) -> NDArray[Any]:
    if "" in texts:
        raise problem(f"an empty label in {where}", "an integer or a name in every row", "fill it in")
    values = np.array(texts, np.str_)
    if not all(_is_number(text) for text in texts):
        return values
    numbers = values.astype(np.float64)
    strange = ~np.isfinite(numbers) | (numbers != np.floor(numbers)) | (np.abs(numbers) > 2**53)
    if np.any(strange):
        bad = texts[int(np.argmax(strange))]
        raise problem(f"the label {bad} in {where}", "whole numbers or names", "check which column is the label")
    return numbers.astype(np.int64)
