"""Print one of the README's two commands, exactly as it stands there: ``python tools/readme_command.py main|test``."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command(which: str) -> str:
    """The shell block that follows ``<!-- command: WHICH -->`` in README.md."""
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- command: {re.escape(which)} -->\n+```sh\n(.*?)\n```", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"got no block marked <!-- command: {which} --> in README.md; the CI runs it: put it back")
    return found[1]


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("main", "test"):
        raise SystemExit("usage: python tools/readme_command.py main|test")
    print(command(sys.argv[1]))
