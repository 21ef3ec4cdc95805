"""The clause checker finds what it must find, and can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = "import pytest\n@pytest.mark.clause({})\ndef {}(): pass\n"


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool("check_clauses")


def checkout(root: Path, spec: str, test: str, name: str = "test_x.py") -> Path:
    (root / "docs" / "spec").mkdir(parents=True)
    (root / "tests" / "deep").mkdir(parents=True)
    (root / "docs" / "spec" / "01.md").write_text(spec)
    (root / "docs" / "spec" / "README.md").write_text("[1](01.md)\n")
    (root / "tests" / "deep" / name).write_text(test)
    return root


def test_agreement(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "# Chapter\n### AB-1 One\n### AB-2 Two\n```\n### AB-3 an example, not a clause\n```\n"
    root = checkout(tmp_path, text, MARK.format('"AB-1", "AB-2"', "test_both"))
    assert tool.main([str(root), "--list"]) == 0
    assert "2 clauses, 1 tests that name one, 0 complaints" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "test", "complaint"),
    [
        ("### AB-1 One\n### AB-2 Two\n", MARK.format('"AB-1"', "test_a"), "clause AB-2 has no test"),
        ("### AB-1 One\n", MARK.format('"AB-1", "AB-9"', "test_a"), "names clause AB-9"),
        ("### AB-1 One\n### AB-1 Again\n", MARK.format('"AB-1"', "test_a"), "is already at"),
        ("### AB-1 One\n", MARK.format('"AB-1"', "helper"), "clause AB-1 has no test"),
        ("### AB-1 One\n", MARK.format("NAME", "test_a"), "is computed"),
        ("### AB-1 One\n", MARK.format("", "test_a"), "names no clause"),
        ("no clause\n", MARK.format('"AB-1"', "test_a"), "no clause at all"),
    ],
)
def test_disagreement(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, test: str, complaint: str
) -> None:
    assert tool.main([str(checkout(tmp_path, spec, test))]) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "test",
    [
        "import pytest\npytestmark = pytest.mark.clause('AB-1')\ndef test_a(): pass\n",
        "import pytest\n@pytest.mark.clause('AB-1')\nclass TestAll:\n    def test_a(self): pass\n",
        "import pytest\n@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.clause('AB-1'))])\n"
        "def test_a(x): pass\n",
    ],
)
def test_every_way_to_mark(tool: ModuleType, tmp_path: Path, test: str) -> None:
    assert tool.main([str(checkout(tmp_path, "### AB-1 One\n", test))]) == 0


def test_a_chapter_that_is_not_linked(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = checkout(tmp_path, "### AB-1 One\n", MARK.format('"AB-1"', "test_a"))
    (root / "docs" / "spec" / "02.md").write_text("### AB-2 Two\n")
    assert tool.main([str(root)]) == 1
    assert "no link to 02.md" in capsys.readouterr().err


def test_marks_outside_of_test_files_do_not_count(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.main([str(checkout(tmp_path, "### AB-1 One\n", MARK.format('"AB-1"', "test_a"), "helpers.py"))]) == 1


def test_the_chapters_of_the_core_agree_with_their_tests(tool: ModuleType) -> None:
    """The whole repository is checked in CI; here only the chapters whose tests lie in this folder."""
    _, clauses, named = tool.check(ROOT)
    core = {clause for clause, place in clauses.items() if place[:2] in ("01", "02", "03", "04", "05")}
    assert {clause.partition("-")[0] for clause in core} == {"FMT", "RND", "SR", "REQ", "EXP", "NOI"}
    assert core <= set(named)
