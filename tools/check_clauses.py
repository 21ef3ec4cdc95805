"""Fails on a clause of docs/spec without a test, on a test that names no existing clause, on a chapter without a link.

Usage: ``python tools/check_clauses.py [--list] [ROOT]``. Tests are parsed, never imported. A clause is a heading like
``### RND-3 NEAREST_DOWN: ties toward minus infinity``; a test names it with ``@pytest.mark.clause("RND-3")`` on the
function or class, in ``pytestmark``, or in the marks of a parameter. Every chapter is linked from docs/spec/README.md.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HEADING = re.compile(r"^#+\s+([A-Z]{2,6}-\d+)\b\s*(.*)$")


def find_clauses(spec: Path) -> tuple[dict[str, str], list[str]]:
    """Clause ids with their place, and complaints about ids that occur twice."""
    places: dict[str, str] = {}
    complaints = []
    for path in sorted(spec.glob("*.md")):
        fenced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fenced ^= line.lstrip().startswith("```")
            match = None if fenced else HEADING.match(line)
            if not match:
                continue
            place = f"{path.name}:{number}"
            if match[1] in places:
                complaints.append(f"{place}: clause {match[1]} is already at {places[match[1]]}; give it a new number")
            else:
                places[match[1]] = place
    return places, complaints


def find_tests(tests: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Tests for each clause id that a test names, and complaints about marks that cannot be read."""
    named: dict[str, list[str]] = defaultdict(list)
    complaints = []
    for path in sorted([*tests.rglob("test_*.py"), *tests.rglob("*_test.py")]):
        place = path.relative_to(tests.parent).as_posix()
        for test, line, mark in _marks(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            if not mark.args or mark.keywords:
                complaints.append(f"{place}:{line}: the mark of {test} names no clause; write the id as a string")
            for argument in mark.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    named[argument.value].append(f"{place}:{line} {test}")
                else:
                    complaints.append(f"{place}:{line}: a clause id of {test} is computed; write it as a plain string")
    return dict(named), complaints


def _marks(module: ast.Module) -> Iterator[tuple[str, int, ast.Call]]:
    """Every ``...mark.clause(...)`` that applies to a test: (name of the test, line, the call)."""
    has_tests = any(isinstance(node, ast.FunctionDef) and node.name.startswith("test") for node in ast.walk(module))
    for node in ast.walk(module):
        where: list[ast.expr] = []
        name = "module"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.lower().startswith("test"):
                where, name = node.decorator_list, node.name
        elif isinstance(node, ast.Assign) and has_tests and "pytestmark" in map(ast.unparse, node.targets):
            where = [node.value]
        for expression in where:
            for call in ast.walk(expression):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "clause":
                    yield name, call.lineno, call


def check(root: Path) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """All complaints, the clauses and the tests of a checkout."""
    clauses, complaints = find_clauses(root / "docs" / "spec")
    named, more = find_tests(root / "tests")
    complaints += more + check_links(root / "docs" / "spec")
    if not clauses:
        complaints.append(f"{root / 'docs' / 'spec'}: no clause at all; run it in the root of the checkout")
    for clause in sorted(clauses, key=_order):
        if clause not in named:
            complaints.append(f"{clauses[clause]}: clause {clause} has no test; mark one with clause({clause!r})")
    for clause in sorted(set(named) - set(clauses), key=_order):
        complaints.append(f"{named[clause][0]}: names clause {clause}, which docs/spec lacks; correct one of them")
    return complaints, clauses, named


def check_links(spec: Path) -> list[str]:
    """Complaints about chapters that the README of the specification does not link."""
    readme = spec / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    chapters = (path.name for path in sorted(spec.glob("*.md")) if path != readme)
    return [
        f"README.md: no link to {name}; add it to the list of chapters" for name in chapters if f"]({name})" not in text
    ]


def _order(clause: str) -> tuple[str, int, str]:
    chapter, _, number = clause.partition("-")
    return chapter, int(number) if number.isdigit() else 0, clause


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when clauses and tests agree, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--list", action="store_true", help="print each clause with its tests")
    options = parser.parse_args(arguments)
    complaints, clauses, named = check(options.root)
    if options.list:
        for clause in sorted(clauses, key=_order):
            print(f"{clause} ({clauses[clause]})")
            for test in named.get(clause, []):
                print(f"    {test}")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    tests = len({test for places in named.values() for test in places})
    print(f"{len(clauses)} clauses, {tests} tests that name one, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
