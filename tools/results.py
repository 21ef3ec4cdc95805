#!/usr/bin/env python3
"""Write the tables of docs/results.md from the record of runs that comes with the package.

    python tools/results.py

A table stands between ``<!-- experiment: NAME -->`` and ``<!-- end -->``; the text around it is by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from qnn import reproduce  # noqa: E402
from qnn.reproduce.records import measured  # noqa: E402
from qnn.reproduce.table import HEADER, reproduce_command, table  # noqa: E402

PAGE = ROOT / "docs" / "results.md"
MARK = re.compile(r"<!-- experiment: ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
PAPER = ("paper", "paper's difference")  # left out where the paper has no number at all
SEEDS = {"0": "", "1": "one"}


def section(name: str) -> str:
    """What is tested, the command, and the rows of the quick form."""
    experiment = reproduce.load(name)
    records = [r for r in measured() if r.experiment == name and r.quick]
    lines = [dict(zip(HEADER, line, strict=True)) for line in table(experiment, records)]
    without = () if any(line["paper"] != "-" for line in lines) else PAPER
    columns = [column for column in HEADER if column != "bits" and column not in without]
    for line in lines:
        line["recipe"] = f"`{line['recipe']}`"
        line["seeds"] = SEEDS.get(line["seeds"], line["seeds"])
    rows = [columns, ["---"] * len(columns), *([line[column] for column in columns] for line in lines)]
    said = f"Test {experiment.metric} in per cent: `{reproduce_command(experiment, quick=True)}`."
    return "\n".join([said, "", *(f"| {' | '.join(row)} |" for row in rows)])


def fill(text: str) -> str:
    """The page with its tables."""
    return MARK.sub(lambda found: f"<!-- experiment: {found[1]} -->\n{section(found[1])}\n<!-- end -->", text)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
