"""The tables of docs/performance.md are those of docs/performance.json, and the asv suites load."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from qnn.bench import GROUPS
from qnn.bench.document import SCHEMA

SUITES = ("products", "elements", "steps")


@pytest.fixture(scope="module")
def tool() -> Any:
    """tools/performance.py as a module."""
    path = Path(__file__).resolve().parents[2] / "tools" / "performance.py"
    spec = importlib.util.spec_from_file_location("performance_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_tables_of_the_measurement(tool: Any) -> None:
    kept = json.loads(tool.DATA.read_text(encoding="utf-8"))
    assert set(kept) <= set(GROUPS)
    assert {found["schema"] for found in kept.values()} == {SCHEMA}
    assert all(found["same"] for found in kept.values())
    text = tool.PAGE.read_text(encoding="utf-8")
    assert tool.page(text, kept) == text, "run `python tools/performance.py render`"


def test_a_table_without_a_place_is_refused(tool: Any) -> None:
    kept = json.loads(tool.DATA.read_text(encoding="utf-8"))
    with pytest.raises(SystemExit, match="add the marks"):
        tool.page("no marks here", kept)


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
