"""The table of clause NOI-8 is what the tool measures, word for word."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.clause("NOI-8")
def test_the_document_has_the_measured_table() -> None:
    spec = importlib.util.spec_from_file_location("noise_statistics", ROOT / "tools" / "noise_statistics.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.table() in (ROOT / "docs" / "spec" / "05-noise.md").read_text(encoding="utf-8")
