"""``qnn recipes`` and ``qnn reproduce`` as they print."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qnn import recipes, reproduce


def test_recipes_are_listed_with_their_arguments(invoke: Callable[..., Any]) -> None:
    text = invoke("recipes").stdout
    for name in recipes.names():
        assert name in text
    found = json.loads(invoke("recipes", "--json").stdout.splitlines()[-1])["recipes"]
    assert len(found) == len(recipes.names())
    assert all(entry["source"] for entry in found)
    one = invoke("recipes", "dfp(w=6, a=8, g=8)").stdout
    assert "int6 NEAREST_DOWN" in one
    wrong = invoke("recipes", "dpf8")
    assert wrong.exit_code == 2
    assert "did you mean 'dfp8'" in wrong.stderr


def test_activations_are_listed_as_their_layers_give_them(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # each recipe on one line
    lines = [re.split(r" {2,}", line.strip()) for line in invoke("recipes").stdout.splitlines()]
    shown = {cells[0].partition("(")[0]: cells[2] for cells in lines if len(cells) == 5}
    assert [shown[name] for name in ("bnn", "qnn")] == ["sign, int2·2^0"] * 2
    assert [shown[name] for name in ("fp32", "dfp8")] == ["float32", "int8 NEAREST_DOWN"]
    assert shown["dorefa"] == "int3·2^-2 NEAREST_EVEN"


def test_experiments_are_listed_and_tabulated(invoke: Callable[..., Any], tmp_path: Path) -> None:
    text = invoke("reproduce", "list").stdout
    assert all(name in text for name in reproduce.names())
    found = json.loads(invoke("reproduce", "list", "--json").stdout.splitlines()[-1])["experiments"]
    assert [entry["name"] for entry in found] == reproduce.names()
    shown = invoke("reproduce", "table", "dfp8-mnist-mlp", "--runs", str(tmp_path)).stdout
    assert "98.37" in shown
    assert "our record" in shown
    page = invoke("reproduce", "table", "dfp8-mnist-mlp", "--markdown", "--runs", str(tmp_path)).stdout
    assert "| fp32 | fp32 | - | 98.37 |" in page
    records = json.loads(
        invoke("reproduce", "table", "--quick", "--json", "--runs", str(tmp_path)).stdout.splitlines()[-1]
    )["records"]
    assert all(record["quick"] for record in records)
    wrong = invoke("reproduce", "run", "nothing")
    assert wrong.exit_code == 2
    assert "known are" in wrong.stderr


def test_ways_are_checked_where_runs_are(invoke: Callable[..., Any], tmp_path: Path) -> None:
    none = invoke("reproduce", "check", "nbq-mnist", "--quick", "--runs", str(tmp_path))
    assert none.exit_code == 1
    assert "qnn reproduce run nbq-mnist" in none.stderr
    experiment = reproduce.load("nbq-mnist")
    folder = reproduce.records.folder_of(tmp_path, experiment, experiment.row("n3"), 1, quick=True)
    line = ["--data", "digits", "--recipe", "nbq(n=3)", "--epochs", "1", "--train-limit", "32", "--out", str(folder)]
    done = invoke("train", *line, "--json")
    (folder / "result.json").write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    shown = invoke("reproduce", "check", "nbq-mnist", "--quick", "--row", "n3", "--runs", str(tmp_path))
    assert shown.exit_code == 0
    assert "layers, multiply, shift" in shown.stdout
