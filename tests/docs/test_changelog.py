"""The changelog names the version, and under **Bits** every clause that the specification has."""

from __future__ import annotations

import re
from pathlib import Path

import qnn


def test_version_has_an_entry(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(qnn.__version__)} - ", text, re.MULTILINE)


def test_bits_names_every_clause(root: Path) -> None:
    """Ranges such as ``RND-1 to RND-13`` count as all of their clauses."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    bits = "\n".join(re.findall(r"^### Bits\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\b[A-Z]{2,6}-\d+\b", bits))
    for chapter, first, last in re.findall(r"\b([A-Z]{2,6})-(\d+) to \1-(\d+)\b", bits):
        named |= {f"{chapter}-{number}" for number in range(int(first), int(last) + 1)}
    pages = (root / "docs" / "spec").glob("*.md")
    clauses = {
        clause
        for page in pages
        for clause in re.findall(r"^#{2,4}\s+([A-Z]{2,6}-\d+)\b", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert clauses - named == set(), "list new clauses under Bits in CHANGELOG.md"
    assert named - clauses == set()
