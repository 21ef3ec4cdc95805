"""The papers' experiments: every configuration can run, runs are finished once, and tables say what is from where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import _kernels as kernels
from qnn import reproduce
from qnn.errors import ConfigError, FreezeError, RunError, SpecError
from qnn.recipes import parse
from qnn.reproduce import costs
from qnn.reproduce.records import dump, folder_of, settings_of
from qnn.reproduce.run import command
from qnn.training import TrainConfig, digest, evaluation


def small(**changes: Any) -> reproduce.Experiment:
    """An experiment of two rows that takes seconds, on the data that come with the package."""
    settings = {"data": "digits", "model": "mlp", "epochs": 2, "batch_size": 64, "train_limit": 64}
    rows = tuple(
        reproduce.Row(name, recipe, paper, {})
        for name, recipe, paper in (("fp32", "fp32", 90.0), ("int", "dfp8", 89.5))
    )
    made = reproduce.Experiment(
        "small", "A title", "A paper", "table 1", "It works.", ("Everything.",), "accuracy", "fp32", settings,
        {"epochs": 1}, (1, 2), (1,), rows,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize("name", reproduce.names())
def test_every_experiment_is_whole(name: str) -> None:
    experiment = reproduce.load(name)
    assert all((experiment.title, experiment.paper, experiment.where, experiment.claim, experiment.changed))
    assert experiment.metric in ("accuracy", "error")
    assert len({row.name for row in experiment.rows}) == len(experiment.rows) >= 2
    assert experiment.baseline in ("", *(row.name for row in experiment.rows))
    for quick in (False, True):
        assert experiment.all_seeds(quick=quick)
        for row in experiment.rows:
            config = experiment.config(row, 1, quick=quick).validate()
            parse(config.recipe)
            experiment.start(row)
    assert experiment.config(experiment.rows[0], 1, quick=True).epochs <= experiment.settings["epochs"]


def test_records_belong_to_settings_that_still_hold() -> None:
    """A changed configuration must not keep showing the accuracy of the old one."""
    for record in reproduce.measured():
        experiment = reproduce.load(record.experiment)
        settings = settings_of(experiment, experiment.row(record.row), record.seed, quick=record.quick)
        assert settings == record.settings, f"{record.experiment} {record.row}: run it again"
        assert 0.05 < record.accuracy <= 1
    assert json.loads(dump(reproduce.measured())) == json.loads(
        Path(str(reproduce.records.FILE)).read_text(encoding="utf-8")
    )


def test_runs_are_finished_once_and_gone_on_with(tmp_path: Path) -> None:
    experiment = small()
    told: list[str] = []
    assert reproduce.run(experiment, tmp_path, quick=True, rows=["int"], done=lambda name, _: told.append(name)) == []
    folder = folder_of(tmp_path, experiment, experiment.row("int"), 1, quick=True)
    before = (folder / "digest.jsonl").read_bytes()
    assert reproduce.run(experiment, tmp_path, quick=True, jobs=2, done=lambda name, _: told.append(name)) == []
    assert (folder / "digest.jsonl").read_bytes() == before
    assert told[0] == "int, seed 1"
    assert sorted(told[1:]) == ["fp32, seed 1", "int, seed 1"]
    records = reproduce.collect(experiment, tmp_path, quick=True)
    assert [(r.row, r.seed, r.here) for r in records] == [("fp32", 1, True), ("int", 1, True)]
    assert reproduce.collect(experiment, tmp_path, quick=False) == []
    (folder / "result.json").unlink()  # as if it had been stopped before its end
    assert "--resume" in command(experiment.config(experiment.row("int"), 1, quick=True), folder)
    assert reproduce.run(experiment, tmp_path, quick=True, rows=["int"]) == []
    assert reproduce.collect(experiment, tmp_path, quick=True) == records


def test_a_run_that_fails_is_named_and_the_others_end(tmp_path: Path) -> None:
    bad = reproduce.Row("bad", "dfp8", None, {"data": "nowhere"})
    failed = reproduce.run(small(rows=(bad, *small().rows[1:])), tmp_path, quick=True)
    assert len(failed) == 1
    assert failed[0].startswith("bad, seed 1: ")
    assert "nowhere" in failed[0]
    with pytest.raises(ConfigError, match="row"):
        reproduce.run(small(), tmp_path, rows=["none"])
    with pytest.raises(ConfigError, match="did you mean 'dfp8-mnist-mlp'"):
        reproduce.load("dfp8-mnist-mpl")


def tuned() -> reproduce.Experiment:
    """A net of levels from a full one, and that one pruned."""
    rows = (
        reproduce.Row("fp32", "fp32", None, {}),
        reproduce.Row("tuned", "nbq", None, {}, "fp32"),
        reproduce.Row("pruned", "nbq", None, {"prune": 0.5}, "tuned"),
    )
    return small(rows=rows, settings=small().settings | {"model": "digits-cnn"})


@pytest.mark.clause("DIG-1", "UPD-5")
def test_rows_start_from_finished_runs_of_others(tmp_path: Path) -> None:
    experiment = tuned()
    told: list[str] = []
    assert not reproduce.run(
        experiment, tmp_path, quick=True, rows=["pruned"], jobs=2, done=lambda name, _: told.append(name)
    )
    assert told == ["fp32, seed 1", "tuned, seed 1", "pruned, seed 1"]
    fp32, middle, last = reproduce.collect(experiment, tmp_path, quick=True)
    assert "init" not in fp32.settings
    assert middle.settings["init"] == fp32.settings
    assert last.settings["init"] == middle.settings
    assert [record.settings.get("prune") for record in (fp32, middle, last)] == [None, None, 0.5]
    assert [line[1] for line in reproduce.table(experiment, [last])] == ["fp32", "nbq from fp32", "nbq from tuned"]
    folder = folder_of(tmp_path, experiment, experiment.row("pruned"), 1, quick=True)
    assert digest.replay(folder).same
    assert digest.replay(folder, start="checkpoint").same
    spent = costs.costs(experiment, tmp_path, quick=True, rounds=1)
    assert [cost.row for cost in spent] == ["fp32", "tuned", "pruned"]


def test_a_row_whose_start_is_missing_says_so(tmp_path: Path) -> None:
    bad = reproduce.Row("fp32", "fp32", None, {"data": "nowhere"})
    failed = reproduce.run(replace(tuned(), rows=(bad, *tuned().rows[1:])), tmp_path, quick=True)
    assert [message.partition(":")[0] for message in failed] == [f"{row.name}, seed 1" for row in tuned().rows]
    assert "starts from the row fp32" in failed[1]
    for name in ("none", "int", "later"):
        rows = tuple(reproduce.Row(row, "dfp8", None, {}, init) for row, init in (("int", name), ("later", "")))
        with pytest.raises(ConfigError, match="a row above it: there is none"):
            reproduce.run(small(rows=rows), tmp_path)


def test_settings_reach_the_command_line(tmp_path: Path) -> None:
    changed = {"nesterov": True, "lr_milestones": (1, 2), "schedule": "step", "weight_decay": 0.0, "epochs": 3}
    config = TrainConfig(**changed, recipe="fp32", seed=4)
    line = command(config, tmp_path / "new")
    for part in (
        ["--nesterov"],
        ["--lr-milestones", "1,2"],
        ["--weight-decay", "0.0"],
        ["--seed", "4"],
        ["--recipe", "fp32"],
    ):
        at = line.index(part[0])
        assert line[at : at + len(part)] == part
    assert "--momentum" not in line


def test_tables_say_what_they_are() -> None:
    experiment = small()
    known = [
        reproduce.Record("small", row, False, seed, accuracy, "d", {}, here)
        for row, seed, accuracy, here in (("fp32", 1, 0.9, True), ("fp32", 2, 0.8, True), ("int", 1, 0.875, False))
    ]
    fp32, integers = reproduce.table(experiment, known)
    assert fp32 == ["fp32", "fp32", "90.00", "85.00", "90.00, 80.00", "", "", "no record"]
    assert integers == ["int", "dfp8", "89.50", "87.50", "1", "-2.50", "-0.50", "our record"]
    page = reproduce.markdown(experiment, known, quick=False)
    assert "| int | dfp8 | 89.50 | 87.50 | 1 | -2.50 | -0.50 | our record |" in page
    assert "`qnn reproduce run small`" in page
    assert reproduce.table(replace(experiment, metric="error"), known)[1][3:6] == ["12.50", "1", "+2.50"]
    assert reproduce.table(experiment, [])[1][3] == "not run"


def test_costs_are_those_of_trained_rows(tmp_path: Path) -> None:
    experiment = small()
    with pytest.raises(RunError, match="qnn reproduce run small --quick"):
        costs.costs(experiment, tmp_path, quick=True)
    assert reproduce.run(experiment, tmp_path, quick=True) == []
    fp32, integers = costs.costs(experiment, tmp_path, quick=True, rounds=1)
    assert fp32.weight_bytes == 4 * integers.weight_bytes > 0
    assert fp32.nanojoules > 8 * integers.nanojoules > 0
    assert min(fp32.training, fp32.inference, integers.training, integers.inference) > 0
    assert [line[0] for line in costs.table([fp32, integers])] == ["fp32", "int"]
    assert all(len(line) == len(costs.HEADER) for line in costs.table([fp32, integers]))
    assert (fp32.weights, fp32.activations, fp32.gradients) == ("float32",) * 3
    assert (integers.weights, integers.activations) == ("int8 NEAREST_DOWN",) * 2


def test_costs_name_the_codes_that_they_count(tmp_path: Path) -> None:
    rows = tuple(reproduce.Row(name, name, None, {}) for name in ("nbq(n=3)", "bnn"))
    experiment = small(rows=rows, baseline="", settings=small().settings | {"model": "digits-cnn"})
    assert reproduce.run(experiment, tmp_path, quick=True) == []
    levels, signs = costs.costs(experiment, tmp_path, quick=True, rounds=1)
    assert (levels.weights, signs.weights) == ("3-bit codes", "1-bit codes")
    assert (levels.activations, signs.activations) == ("int8 NEAREST_DOWN", "sign, int2·2^0")
    assert levels.weight_bytes == 3 * signs.weight_bytes


@pytest.mark.clause("WGT-11", "LAY-11")
def test_ways_to_multiply_are_compared_on_all_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(reproduce.Row(name, name, None, {"model": "digits-cnn"}) for name in ("nbq", "fp32"))
    experiment = small(rows=rows, baseline="")
    assert reproduce.run(experiment, tmp_path, quick=True) == []
    folder, float_folder = (folder_of(tmp_path, experiment, row, 1, quick=True) for row in rows)
    found = reproduce.check(folder)
    assert found.images == 360
    assert found.ways == ("layers", "multiply", "shift")
    assert found.accuracy == json.loads((folder / "result.json").read_text())["test_accuracy"]
    assert reproduce.check(folder, batch_size=7) == found
    with pytest.raises(FreezeError):
        reproduce.check(float_folder)
    real = evaluation.freeze

    def wrong(model: Any, example: Any, *, products: str) -> Any:
        frozen = real(model, example, products=products)
        return frozen if products == "multiply" else lambda x: np.nextafter(frozen(x), np.float32(1e9))

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "freeze", wrong)
        with pytest.raises(SpecError, match=r"products shift than"):
            reproduce.check(folder)
    kernel = kernels.get("shift_conv2d")  # settles the table
    monkeypatch.setitem(kernels._active, "shift_conv2d", lambda *args, **kwargs: kernel(*args, **kwargs) + 1000)
    with pytest.raises(FreezeError, match="other outputs"):  # found already when it is frozen
        reproduce.check(folder)
