"""Every ``>>>`` line in the documents and in the docstrings of the package gives the output printed below it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import qnn

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if ">>> " in page.read_text(encoding="utf-8")
)
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def modules() -> list[ModuleType]:
    """All modules of the package with a snippet in them."""
    found = []
    for info in pkgutil.walk_packages(qnn.__path__, "qnn."):
        path = Path(qnn.__file__).parent.joinpath(*info.name.split(".")[1:])
        source = path.with_suffix(".py") if not info.ispkg else path / "__init__.py"
        if source.exists() and ">>> " in source.read_text(encoding="utf-8"):
            found.append(importlib.import_module(info.name))
    return found


def test_there_are_snippets() -> None:
    assert ROOT / "docs" / "guide.md" in PAGES
    assert len(modules()) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page: Path, blocks: Callable[[Path], list[tuple[int, str]]], capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of a page run one after the other and share their names."""
    runner, names = doctest.DocTestRunner(optionflags=FLAGS), {"__name__": "page"}
    for line, code in blocks(page):
        if ">>> " not in code:
            continue
        part = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
        runner.run(part, clear_globs=False)
        names = part.globs
    assert runner.failures == 0, capsys.readouterr().out


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_docstrings(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Snippets in docstrings run too."""
    result = doctest.testmod(module, optionflags=FLAGS)
    assert result.failed == 0, capsys.readouterr().out
    assert result.attempted > 0, f"no snippet of {module.__name__} was found by doctest"
