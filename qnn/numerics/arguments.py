"""Numbers as arguments: Python's and NumPy's are taken, a bool or text is none."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


def index(what: str, value: Any) -> int:
    """The Python int of whatever counts as one; a TypeError that says what it was to be for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"got {what} {value!r} of type {type(value).__name__}; allowed are whole numbers; pass an int"
        ) from None


def whole(value: Any) -> int | None:
    """The Python int of an integer, NumPy's too; None for anything else, such as a bool."""
    return int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None


def number(value: Any) -> int | float | None:
    """The Python int or float of a number, NumPy's too; None for anything else, such as a bool or text."""
    return float(value) if isinstance(value, (float, np.floating)) else whole(value)


__all__ = ["index", "number", "whole"]
