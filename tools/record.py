#!/usr/bin/env python3
"""Add finished runs of ``qnn reproduce`` to the record that comes with the package.

    python tools/record.py runs/reproduce

Runs below the folder replace records of the same experiment, row, form and seed; other records stay, unless their
settings are no longer those of the experiment.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from qnn import reproduce
from qnn.reproduce.records import FILE, dump


def main() -> None:
    root = Path(sys.argv[1])
    found = []
    for name in reproduce.names():
        experiment = reproduce.load(name)
        for quick in (False, True):
            found += [replace(r, here=False) for r in reproduce.collect(experiment, root, quick=quick)]
    Path(str(FILE)).write_text(dump(found), encoding="utf-8")
    print(f"{len(found)} records")


if __name__ == "__main__":
    main()
