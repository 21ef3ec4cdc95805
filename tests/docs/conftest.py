"""What the tests of the documents share: the repository root, its Markdown pages, and their Python blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import qnn

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page: the number of the line before the first, and the code."""
    text = page.read_text(encoding="utf-8")
    return [(text[: m.start(2)].count("\n"), m[2]) for m in FENCE.finditer(text) if m[1] == "python"]


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def blocks() -> Callable[[Path], list[tuple[int, str]]]:
    """See `python_blocks`."""
    return python_blocks


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    """Run Python in a fresh process and an empty folder, with the qnn under test; returns its output."""

    def run(*arguments: str, **environment: str) -> str:
        path = str(Path(qnn.__file__).resolve().parents[1])
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
