"""The papers' experiments as configurations: run them, go on with them, and print paper against ours."""

from __future__ import annotations

from qnn.reproduce.check import Products, check
from qnn.reproduce.experiment import Experiment, Row, load, names
from qnn.reproduce.records import Record, collect, measured
from qnn.reproduce.run import run
from qnn.reproduce.table import markdown, table

__all__ = [
    "Experiment",
    "Products",
    "Record",
    "Row",
    "check",
    "collect",
    "load",
    "markdown",
    "measured",
    "names",
    "run",
    "table",
]
