"""Importing the data layer stays quick: nothing heavy is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("matplotlib", "pooch", "requests", "PIL", "scipy", "click", "rich")


def loaded(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded("import qnn.data") == set()


def test_digits_need_nothing_heavy() -> None:
    assert (
        loaded("import qnn.data\nqnn.data.load('digits')\nlist(qnn.data.batches(qnn.data.load('digits'), 8, 0, 0))")
        == set()
    )
