"""The tables of docs/results.md are those of the record of runs that comes with the package."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from qnn import reproduce


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> Any:
    """tools/results.py as a module."""
    return load_tool("results")


def test_the_tables_are_those_of_the_record(tool: Any) -> None:
    text = tool.PAGE.read_text(encoding="utf-8")
    assert tool.fill(text) == text, "run `python tools/results.py`"


def test_a_table_that_says_something_else_is_written_anew(tool: Any) -> None:
    name = reproduce.names()[0]
    filled = tool.fill(f"before\n<!-- experiment: {name} -->\n| 99.99 |\n<!-- end -->\nafter")
    assert filled.startswith("before\n")
    assert filled.endswith("\nafter")
    assert "99.99" not in filled
    assert len(re.findall(r"^\| ", filled, re.MULTILINE)) == 2 + len(reproduce.load(name).rows)
