"""The speed benchmark runs end to end and writes what it says; how fast anything is, no test asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_train_speed(root: Path, run_python: Callable[..., str], tmp_path: Path) -> None:
    script, out = str(root / "benchmarks" / "train_speed.py"), tmp_path / "speed.json"
    small = ("--nets", "lenet5", "--threads", "1", "--rounds", "3", "--block", "0.01")
    table = run_python(script, *small, "--variants", "qnn fp32", "qnn dfp8", "--out", str(out)).splitlines()
    assert table[0] == "| net | batch | threads | qnn fp32 | qnn dfp8 | dfp8 / fp32 |"
    assert table[2].startswith("| lenet5 | 128 | 1 | ")
    results = json.loads(out.read_text())["results"]
    assert [r["variant"] for r in results] == ["qnn fp32", "qnn dfp8"]
    assert {r["parameters"] for r in results} == {61706}
    for r in results:
        assert len(r["samples"]) == 3
        assert r["images_per_second"] == sorted(r["samples"])[1]
