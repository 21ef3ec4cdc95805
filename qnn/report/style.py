"""The style sheet of every page, read from ``report.css`` beside this file."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def css() -> str:
    """The text of the style sheet."""
    return resources.files("qnn.report").joinpath("report.css").read_text(encoding="utf-8")
