"""The examples run as they stand, and the documents quote them and their numbers correctly."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

PNG = b"\x89PNG\r\n\x1a\n"


def test_readme_shows_the_training_example(root: Path, blocks: Callable[[Path], list[tuple[int, str]]]) -> None:
    """The README's Python block is the file that the next test runs."""
    example = (root / "examples" / "train_digits.py").read_text(encoding="utf-8")
    assert [code for _, code in blocks(root / "README.md")] == [example]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 15
    assert len(list(ast.walk(ast.parse(example)))) > 50  # it is a program, not a stub


def test_training_example(root: Path, run_python: Callable[..., str]) -> None:
    """Its accuracy is a number that cannot vary; the README may quote it."""
    out = run_python(str(root / "examples" / "train_digits.py"))
    assert float(re.fullmatch(r"test accuracy (\d+\.\d)%\n", out)[1]) >= 97.0
    quoted = re.findall(r"test accuracy \d+\.\d%", (root / "README.md").read_text(encoding="utf-8"))
    assert set(quoted) <= {out.strip()}


def test_own_operation(root: Path, run_python: Callable[..., str]) -> None:
    out = run_python(str(root / "examples" / "own_operation.py"))
    assert "float gradients agree" in out
    assert out.rstrip().endswith("equal")


def test_rounding_figures(root: Path, run_python: Callable[..., str], tmp_path: Path) -> None:
    """Both pictures are written, and docs/figures.md has the numbers behind them."""
    out = run_python(str(root / "examples" / "rounding_figures.py"), str(tmp_path / "out"))
    for name in ("figure1_nearest.png", "figure2_stochastic.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(PNG)
    page = (root / "docs" / "figures.md").read_text(encoding="utf-8")
    for line in out.splitlines():
        assert line in page, f"docs/figures.md lacks the line: {line}"


def test_rounding_rules(root: Path, run_python: Callable[..., str], tmp_path: Path) -> None:
    run_python(str(root / "examples" / "rounding_rules.py"), str(tmp_path / "out"))
    assert (tmp_path / "out" / "rounding_rules.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", ["figure1_nearest", "figure2_stochastic", "rounding_rules"])
def test_pictures_are_in_the_documents(root: Path, name: str) -> None:
    assert f"images/{name}.png" in (root / "docs" / "figures.md").read_text(encoding="utf-8")
    assert (root / "docs" / "images" / f"{name}.png").read_bytes().startswith(PNG)


def test_promise_quotes_the_golden_digest(root: Path) -> None:
    """The page's command has the settings of a golden run, and the digest below it is the last of that run."""
    page = (root / "docs" / "promise.md").read_text(encoding="utf-8")
    run = json.loads((root / "tests" / "golden" / "run_digests.json").read_text(encoding="utf-8"))["runs"]["digits-cnn"]
    flags = dict(re.findall(r"--([a-z-]+) (\d+)", re.search(r"^qnn train (.*)$", page, re.MULTILINE)[1]))
    assert {name.replace("-", "_"): int(value) for name, value in flags.items()} == run["settings"]
    assert re.findall(r"\b[0-9a-f]{64}\b", page) == [run["digests"][-1]]
