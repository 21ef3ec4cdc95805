"""Imports point downward only: the source of every module is read and each import of the package's own judged."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qnn

PACKAGE = Path(qnn.__file__).resolve().parent

# The layers from the ground up. A module may import its own layer and those below it; `errors` is for all but numerics.
LAYERS: list[set[str]] = [
    {"numerics"},
    {"_kernels"},
    {"lazy"},
    {
        "kernels",
        "arithmetic",
        "noise",
        "tensor",
        "tape",
        "operation",
        "quantizer",
        "batch_quantizer",
        "weights",
        "updates",
    },
    {"ops"},
    {"nn", "optim", "recipes"},
    {"inference"},
    {
        "models",
        "data",
        "training",
    },
    {
        "report",
        "reproduce",
        "hardware",
        "export",
        "testing",
        "extend",
        "",
    },  # "" is the package itself
    {"bench"},
    {"cli", "__main__"},
]
LEAVES = {"errors", "__version__"}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    """The name directly below qnn that a file belongs to; "" for the package's own file."""
    return "" if path == Path("__init__.py") else path.parts[0].removesuffix(".py")


def is_module(name: str) -> bool:
    """Whether qnn.<name> is a module or a package."""
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


def statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports of a module, those inside of functions too, but not those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        yield from statements(node)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports."""
    for node in statements(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
            continue
        base = node.module or ""
        if node.level:
            package = ("qnn", *path.parent.parts)
            base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
        if base == "qnn":
            yield from ((node.lineno, f"qnn.{alias.name}") for alias in node.names)
        else:
            yield node.lineno, base


def test_every_module_has_a_layer() -> None:
    unknown = {top(path) for path in MODULES} - set(RANK) - LEAVES
    assert not unknown, f"say in LAYERS where these belong: {sorted(unknown)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.as_posix())
def test_imports_point_downward(path: Path) -> None:
    mine, upward = top(path), []
    for line, name in imported(path):
        parts = name.split(".")
        if parts[0] != "qnn":
            continue
        other = parts[1] if len(parts) > 1 else ""
        if mine == "errors" or (other == "errors" and mine == "numerics"):
            upward.append(f"line {line}: {name}")
        if other in LEAVES or mine in LEAVES:
            continue
        if RANK.get(other if is_module(other) else "", 0) > RANK.get(mine, len(LAYERS)):
            upward.append(f"line {line}: {name}")
    assert not upward, f"qnn/{path} may import only its own layer and those below: {upward}"


def test_numerics_needs_numpy_and_nothing_else() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy"}
    for path in MODULES:
        if top(path) == "numerics":
            foreign = {name for _, name in imported(path) if name.split(".")[0] not in allowed}
            assert all(name.startswith("qnn.numerics") for name in foreign), f"qnn/{path} imports {foreign}"


def test_importing_the_package_leaves_plotting_and_command_line_out() -> None:
    code = "import sys, qnn; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"PYTHONPATH": str(PACKAGE.parent), "QNN_KERNELS": "reference"},
    )
    assert not set(result.stdout.split()) & {"matplotlib", "rich", "click", "pooch", "PIL"}
