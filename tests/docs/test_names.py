"""The public surface: written by hand, documented name by name, small, and quick to import."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import qnn

PARTS = ("kernels", "noise", "nn", "optim", "recipes", "inference", "models", "data", "extend")
MODULES = ("qnn", *(f"qnn.{part}" for part in PARTS))
NOT_BEFORE_NEEDED = (
    "matplotlib",
    "click",
    "rich",
    "pooch",
    "PIL",
    "scipy",
    "safetensors",
    "requests",
    "torch",
    "qnn.bench",
)


def documented(root: Path, module: str) -> list[str]:
    """The names in the table below the heading of a module in docs/api.md."""
    page = (root / "docs" / "api.md").read_text(encoding="utf-8")
    found = re.search(rf"^## `{re.escape(module)}`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/api.md has no heading ## `{module}`"
    return re.findall(r"^\| `(\w+)` \|", found[1], re.MULTILINE)


def resolve(module: str) -> object:
    """The module behind its public name."""
    return importlib.import_module(module)


@pytest.mark.parametrize("module", MODULES)
def test_documented_names_are_the_public_ones(root: Path, module: str) -> None:
    names = documented(root, module)
    assert len(names) == len(set(names))
    assert set(names) == set(resolve(module).__all__), f"edit the table of {module} in docs/api.md, or its __all__"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_exist_and_say_what_they_are(module: str) -> None:
    holder = resolve(module)
    for name in holder.__all__:
        thing = getattr(holder, name)
        if inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing):
            assert inspect.getdoc(thing), f"{module}.{name} has no docstring"


def test_the_surface_stays_small() -> None:
    assert len(qnn.__all__) < 40


def test_import_loads_only_what_it_needs(run_python: Callable[..., str]) -> None:
    program = f"import sys, qnn; print(*[name for name in {NOT_BEFORE_NEEDED!r} if name in sys.modules])"
    assert run_python("-c", program).split() == []
