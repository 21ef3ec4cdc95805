"""Numbers as arguments: Python's and NumPy's are taken, a bool or text is none."""

from __future__ import annotations

from typing import Any

import numpy as np


def whole(value: Any) -> int | None:
    """The Python int of an integer, NumPy's too; None for anything else, such as a bool."""
    return int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None


def number(value: Any) -> int | float | None:
    """The Python int or float of a number, NumPy's too; None for anything else, such as a bool or text."""
    return float(value) if isinstance(value, (float, np.floating)) else whole(value)


__all__ = ["number", "whole"]
