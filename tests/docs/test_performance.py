"""The tables of docs/performance*.md are those of the JSON beside them, and the asv suites load."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qnn.bench import GROUPS
from qnn.bench.document import SCHEMA

SUITES = ("products", "elements", "steps")


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> Any:
    """tools/performance.py as a module."""
    return load_tool("performance")


@pytest.mark.parametrize("machine", ["", "amx", "avx2"])
def test_the_page_has_the_tables_of_the_measurement(tool: Any, machine: str) -> None:
    place = tool.Place(machine)
    kept = place.kept()
    assert kept
    assert set(kept) <= set(GROUPS)
    assert {found["schema"] for found in kept.values()} == {SCHEMA}
    assert all(found["same"] for found in kept.values())
    text = place.page.read_text(encoding="utf-8")
    assert tool.fill(place, text, kept) == text, f"run `python tools/performance.py render --machine '{machine}'`"


def test_a_table_without_a_place_is_refused(tool: Any) -> None:
    place = tool.Place()
    with pytest.raises(SystemExit, match="add the marks"):
        tool.fill(place, "no marks here", place.kept())


def test_answers_of_one_group_from_elsewhere_become_one(tool: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(tool, "DOCS", tmp_path)
    whole = tool.Place("amx")
    answer = {"notes": ["said"], "peaks": [{"name": "mac c"}], "same": True, "groups": {"gemm": [{"work": "first"}]}}
    other = {**answer, "same": False, "groups": {"gemm": [{"work": "second"}]}}
    for name, found in (("a", answer), ("b", other)):
        (tmp_path / name).write_text(json.dumps(found), encoding="utf-8")
    tool.add(whole, [tmp_path / "a", tmp_path / "b"], "lent")
    kept = whole.kept()["gemm"]
    assert [row["work"] for row in kept["groups"]["gemm"]] == ["first", "second"]
    assert (kept["label"], kept["notes"], len(kept["peaks"]), kept["same"]) == ("lent", ["said"], 2, False)


@pytest.mark.parametrize("name", SUITES)
def test_suites_load_and_measure_something(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    module = importlib.import_module(f"suites.{name}")
    monkeypatch.delitem(sys.modules, f"suites.{name}")
    classes = [
        thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == module.__name__
    ]
    assert classes
    for suite in classes:
        assert [entry for entry in dir(suite) if entry.startswith(("time_", "peakmem_"))], suite.__name__
