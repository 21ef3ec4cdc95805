"""A run from settings to folder: events, interruption, resuming to the same bits, and every refusal."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import _kernels, training
from qnn import data as qnn_data
from qnn.errors import CheckpointError, ConfigError, RunError
from qnn.numerics import Counts, next_exponent
from qnn.training import checkpoint, files, runs
from qnn.training.checkpoint import Checkpoint
from qnn.training.config import TrainConfig
from qnn.training.lock import FolderLock
from qnn.training.runs import Record, RunFolder
from qnn.training.trainer import Trainer

TINY: dict[str, Any] = {"train_limit": 96, "batch_size": 16, "epochs": 3, "log_every": 2, "threads": 1}
STEPS = 18
TIMES = ("seconds", "train_seconds", "images_per_second")


def tiny(out: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**{**TINY, "out": str(out), **changes})


class Stop(Exception):
    """Stands for anything that ends a run from outside."""


def at_step(step: int, action: Callable[[], None]) -> Callable[[Record], None]:
    """Do something when the event of a step comes (with log_every=1 each step has one)."""

    def on_event(event: Record) -> None:
        if event["kind"] == "step" and event["step"] == step:
            action()

    return on_event


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def crash() -> None:
    raise Stop


def files_of(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in (runs.DIGESTS, runs.TRACES)}


def events_of(path: Path) -> list[Record]:
    """The events without what depends on time or on how often the run was started."""
    keep = [event for event in RunFolder(path).events() if event["kind"] in ("step", "epoch", "end")]
    return [{key: value for key, value in event.items() if key not in TIMES} for event in keep]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For what does not go through train(), which sets the threads itself."""
    with _kernels.threads(1):
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, training.Result, list[Record]]:
    """A run without interruption, its result and the events it announced."""
    out = tmp_path_factory.mktemp("straight") / "run"
    seen: list[Record] = []
    result = training.train(tiny(out, log_every=1), on_event=seen.append)
    return out, result, seen


def assert_as_straight(
    out: Path, result: training.Result, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    reference, wanted, _ = straight
    assert result.digest == wanted.digest
    assert (result.test_accuracy, result.epochs, result.steps, result.interrupted) == (
        wanted.test_accuracy,
        3,
        STEPS,
        False,
    )
    assert files_of(out) == files_of(reference)
    assert events_of(out) == events_of(reference)
    mine, theirs = checkpoint.load(out / checkpoint.CHECKPOINT), checkpoint.load(reference / checkpoint.CHECKPOINT)
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name, array in mine.tensors.items():
        np.testing.assert_array_equal(array, theirs.tensors[name], strict=True)


# -- what a run leaves ------------------------------------------------------------------------------------------------


def test_run_leaves_all_files_and_tells_all_events(straight: tuple[Path, training.Result, list[Record]]) -> None:
    out, result, seen = straight
    assert sorted(os.listdir(out)) == sorted(
        [
            runs.CONFIG,
            runs.METRICS,
            runs.TRACES,
            runs.DIGESTS,
            runs.EVALUATION,
            checkpoint.CHECKPOINT,
            checkpoint.PREVIOUS,
        ]
    )
    stored = RunFolder(out).events()
    assert seen[0].pop("run_dir") == str(out)
    assert stored == seen
    kinds = [event["kind"] for event in stored]
    assert kinds == ["start", *(["step"] * 6 + ["epoch"]) * 3, "end"]
    start, end = stored[0], stored[-1]
    assert (start["n_train"], start["steps_per_epoch"], start["total_steps"], start["covered"]) == (96, 6, STEPS, True)
    assert start["recipe"] == "dfp8"
    assert end["digest"] == result.digest == RunFolder(out).digests()[-1]["digest"]
    assert end["test_accuracy"] == result.test_accuracy == stored[-2]["test_accuracy"]
    assert np.sum(end["confusion"]) == start["n_test"]
    assert result.covered
    assert not result.interrupted


def test_epoch_events_sum_the_traces_exactly(straight: tuple[Path, training.Result, list[Record]]) -> None:
    folder = RunFolder(straight[0])
    traces = folder.traces()
    for event in folder.events():
        if event["kind"] == "epoch":
            rows = slice((event["epoch"] - 1) * 6, event["epoch"] * 6)
            assert list(event["sites"]) == traces.sites
            for i, (name, role) in enumerate(zip(traces.sites, traces.roles, strict=True)):
                site = event["sites"][name]
                assert site["role"] == role
                for key in ("overflow", "saturated", "total"):
                    assert site[key] == getattr(traces, key)[rows, i].sum()


@pytest.mark.clause("EXP-6")
def test_the_trace_of_counts_alone_gives_the_exponents(straight: tuple[Path, training.Result, list[Record]]) -> None:
    traces = RunFolder(straight[0]).traces()
    assert len(traces.steps) == STEPS
    assert traces.total.any(axis=0).sum() > 10  # sites that sum gradients have no data where nothing branches
    moved = 0
    for i, r_max in enumerate(traces.r_max):
        # A site that has seen only zeros (biases at first) still waits for its first exponent.
        first = int(np.argmax(traces.nonzero[:, i] > 0))
        exponent = int(traces.exponents[first, i])
        for t in range(first, STEPS):
            assert traces.exponents[t, i] == exponent
            counts = Counts(*(int(getattr(traces, key)[t, i]) for key in runs.TRACE_KEYS[1:]))
            exponent = next_exponent(counts, exponent, r_max)
            moved += exponent != traces.exponents[t, i]
    assert moved > 0


def test_evaluation_file_is_that_of_the_model(straight: tuple[Path, training.Result, list[Record]]) -> None:
    content = RunFolder(straight[0]).evaluation()
    assert content["accuracy"] == straight[1].test_accuracy
    losses = [entry["loss"] for entry in content["worst"]]
    assert losses == sorted(losses, reverse=True)
    assert np.trace(content["confusion"]) / np.sum(content["confusion"]) == content["accuracy"]


# -- interruption and resuming ----------------------------------------------------------------------------------------


@pytest.mark.clause("DIG-5", "DIG-6")
@pytest.mark.parametrize("stops", [[1], [6], [7, 8], [5, 12, 17], [18]])
def test_interrupted_run_goes_on_to_the_same_bits(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], stops: list[int]
) -> None:
    out = tmp_path / "run"
    config = tiny(out, log_every=1)
    result = training.train(config, on_event=at_step(stops[0], press_ctrl_c))
    for before, stop in zip(stops, [*stops[1:], None], strict=True):
        assert (result.steps, result.interrupted) == (before, True)
        result = training.train(config, resume=True, on_event=at_step(stop, press_ctrl_c) if stop else None)
    assert_as_straight(out, result, straight)
    assert not (out / ".lock").exists()


def test_interruption_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = training.train(tiny(out, log_every=1), on_event=at_step(2, press_ctrl_c))
    last = RunFolder(out).events()[-1]
    assert last["kind"] == "interrupt"
    assert f"qnn train --resume --out {out}" in last["message"]
    assert last["digest"] == result.digest
    assert result.epochs == 0
    assert result.test_accuracy != result.test_accuracy


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    training.train(tiny(tmp_path / "a", log_every=1), on_event=at_step(1, press_ctrl_c))
    with pytest.raises(Stop):
        training.train(tiny(tmp_path / "b", log_every=1), on_event=at_step(1, crash))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_second_ctrl_c_stops_at_once_and_the_run_can_go_on(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    out = tmp_path / "run"
    config = tiny(out, log_every=1, checkpoint_every=4)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, on_event=at_step(9, twice))
    assert_as_straight(out, training.train(config, resume=True), straight)


@pytest.mark.parametrize(("every", "step"), [(0, 3), (0, 10), (1, 10), (4, 6), (4, 15), (5, 18)])
def test_run_that_crashed_goes_on_from_its_last_checkpoint(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], every: int, step: int
) -> None:
    out = tmp_path / "run"
    config = tiny(out, log_every=1, checkpoint_every=every)
    with pytest.raises(Stop):
        training.train(config, on_event=at_step(step, crash))
    assert_as_straight(out, training.train(config, resume=True), straight)


def test_finished_run_is_not_trained_again(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(straight[0], out)
    seen: list[Record] = []
    result = training.resume(out, on_event=seen.append)
    assert [event["kind"] for event in seen] == ["start", "end"]
    assert_as_straight(out, result, straight)


def test_other_settings_go_through_all_parts_and_resume_alike(tmp_path: Path) -> None:
    other = {
        "optimizer": "adam",
        "lr": 0.002,
        "schedule": "step",
        "lr_milestones": [1, 2],
        "augment": "crop-flip",
        "model": "mlp",
        "recipe": "dfp(w=6, a=7, g=5)",
        "seed": 2**63 - 1,
        "epochs": 2,
    }
    one = training.train(tiny(tmp_path / "one", **other))
    training.train(tiny(tmp_path / "two", log_every=1, **other), on_event=at_step(8, press_ctrl_c))
    two = training.train(tiny(tmp_path / "two", **other), resume=True)
    assert one.digest == two.digest
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_settings_that_fix_bits_fix_the_digest_and_no_others_do(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    same = tiny(tmp_path / "same", threads=3, log_every=7, checkpoint_every=5, eval_batch_size=11)
    assert training.train(same).digest == straight[1].digest
    train_set = qnn_data.load("digits", split="train")
    first = RunFolder(straight[0]).digests()[0]["digest"]
    assert Trainer(TrainConfig(**TINY), train_set).digest.hex() == first
    for change in ({"seed": 2}, {"lr": 0.0501}, {"weight_decay": 0.0}, {"epochs": 2}, {"train_limit": 97}):
        assert Trainer(TrainConfig(**{**TINY, **change}), train_set).digest.hex() != first


def test_float_recipe_is_marked_as_not_covered(tmp_path: Path) -> None:
    result = training.train(tiny(tmp_path / "run", recipe="fp32", epochs=1))
    assert not result.covered
    assert len(result.digest) == 64
    assert RunFolder(tmp_path / "run").events()[-1]["covered"] is False
    assert RunFolder(tmp_path / "run").traces().exponents.shape == (6, 0)


def test_training_works_in_another_thread(tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]) -> None:
    results: list[training.Result] = []
    thread = threading.Thread(target=lambda: results.append(training.train(tiny(tmp_path / "run"))))
    thread.start()
    thread.join()
    assert results[0].digest == straight[1].digest


# -- refusals ---------------------------------------------------------------------------------------------------------


def copy_of(straight: tuple[Path, training.Result, list[Record]], out: Path) -> Path:
    shutil.copytree(straight[0], out)
    return out


@pytest.mark.parametrize("changes", [{"seed": 2}, {"epochs": 4}, {"lr": 0.1, "recipe": "fp32"}, {"model": "mlp"}])
def test_resume_with_other_numeric_settings_is_refused_by_name(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], changes: dict[str, Any]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    before = {name: (out / name).read_bytes() for name in os.listdir(out)}
    with pytest.raises(ConfigError) as caught:
        training.resume(out, **changes)
    for key in changes:
        assert key in str(caught.value)
    assert {name: (out / name).read_bytes() for name in os.listdir(out)} == before


def test_resume_with_other_data_is_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    train_set = qnn_data.load("digits", split="train")
    np.savez(tmp_path / "mine.npz", images=train_set.images[::-1], labels=train_set.labels[::-1])
    with pytest.raises(CheckpointError, match="belongs to data"):
        training.resume(out, data=str(tmp_path / "mine.npz"))


def test_resume_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--out"):
        training.train(TrainConfig(), resume=True)
    with pytest.raises(RunError, match="does not exist"):
        training.train(tiny(tmp_path / "none"), resume=True)
    assert not (tmp_path / "none").exists()


def test_checkpoint_of_another_recipe_in_the_folder_is_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    other = training.train(tiny(tmp_path / "other", recipe="fp32", epochs=1))
    shutil.copy(other.run_dir / checkpoint.CHECKPOINT, out / checkpoint.CHECKPOINT)
    with pytest.raises(CheckpointError, match="belongs to recipe 'fp32', but this run has 'dfp8'"):
        training.resume(out)


def test_version_of_another_package_is_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_of(straight, tmp_path / "run")
    loaded = checkpoint.load(out / checkpoint.CHECKPOINT)
    old = checkpoint.Identity(**{**vars(loaded.identity), "version": "0.0.1"})
    checkpoint.save(out / checkpoint.CHECKPOINT, Checkpoint(loaded.tensors, old, loaded.state))
    with pytest.raises(CheckpointError, match=r"version '0\.0\.1'"):
        training.resume(out)


def test_new_run_in_a_used_folder_is_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already"):
        training.train(tiny(out))
    assert files_of(out) == files_of(straight[0])


def test_two_runs_in_one_folder_are_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    with FolderLock(out), pytest.raises(RunError, match="in use by process"):
        training.resume(out)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with FolderLock(fresh), pytest.raises(RunError, match="in use by process"):
        training.train(tiny(fresh))
    assert os.listdir(fresh) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "lenet"}, "lenet5"),
        ({"recipe": "dfp9"}, "dfp8"),
        ({"data": "digit"}, "digits"),
        ({"kernels": "avx1024"}, "reference"),
        ({"batch_size": 97}, "at most 96"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):  # ConfigError and DataError are ValueErrors
        training.train(tiny(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_kernels_and_threads_hold_within_the_run_only(tmp_path: Path) -> None:
    before = _kernels.active_path(), _kernels.get_num_threads()
    result = training.train(tiny(tmp_path / "run", kernels="reference", threads=3, epochs=1))
    assert (result.kernels, result.threads) == ("reference", 3)
    assert (_kernels.active_path(), _kernels.get_num_threads()) == before


# -- damage -----------------------------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_unreadable_newest_checkpoint_is_passed_over_aloud(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    damage(out / checkpoint.CHECKPOINT)
    result = training.resume(out)
    assert "Going on from previous.safetensors instead, at step 12" in capsys.readouterr().err
    notes = [event["message"] for event in RunFolder(out).events() if event["kind"] == "note"]
    assert len(notes) == 2
    assert (out / "unreadable.safetensors").exists()
    assert checkpoint.load(out / checkpoint.PREVIOUS).state["step"] == 12
    assert files_of(out) == files_of(straight[0])
    assert result.digest == straight[1].digest


def test_missing_newest_checkpoint_is_passed_over_aloud(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    (out / checkpoint.CHECKPOINT).unlink()
    assert training.resume(out).digest == straight[1].digest
    assert "at step 12" in capsys.readouterr().err


def test_two_unreadable_checkpoints_are_an_error_and_stay(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    damage(out / checkpoint.CHECKPOINT)
    damage(out / checkpoint.PREVIOUS)
    with pytest.raises(CheckpointError, match="previous"):
        training.resume(out)
    assert (out / checkpoint.CHECKPOINT).exists()


def test_checkpoint_with_state_that_does_not_fit_is_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]]
) -> None:
    out = copy_of(straight, tmp_path / "run")
    loaded = checkpoint.load(out / checkpoint.CHECKPOINT)
    for tensors, state in (
        ({name: array for name, array in loaded.tensors.items() if not name.startswith("optimizer.")}, loaded.state),
        ({name: array.ravel() for name, array in loaded.tensors.items()}, loaded.state),
        (loaded.tensors, {"step": 3}),
        (loaded.tensors, {**loaded.state, "digest": "not hexadecimal"}),
        (loaded.tensors, {key: value for key, value in loaded.state.items() if key != "progress"}),
    ):
        checkpoint.save(out / checkpoint.CHECKPOINT, Checkpoint(tensors, loaded.identity, state), keep_previous=False)
        with pytest.raises(CheckpointError):
            training.resume(out)


@pytest.mark.parametrize("change", ["missing", "short", "other"])
def test_chain_that_does_not_lead_to_the_checkpoint_is_refused(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], change: str
) -> None:
    out = copy_of(straight, tmp_path / "run")
    path = out / runs.DIGESTS
    lines = path.read_text().splitlines(keepends=True)
    if change == "missing":
        path.unlink()
    elif change == "short":
        path.write_text("".join(lines[:-3]))
    else:
        path.write_text("".join([*lines[:-1], lines[-1].replace(straight[1].digest, "0" * 64)]))
    before = (out / runs.METRICS).read_bytes()
    with pytest.raises(RunError, match=r"digest\.jsonl"):
        training.resume(out)
    assert (out / runs.METRICS).read_bytes() == before


def test_disk_that_fills_up_while_saving_keeps_the_last_checkpoint(
    tmp_path: Path, straight: tuple[Path, training.Result, list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    saves, fsync = [0], os.fsync

    def full(descriptor: int) -> None:
        saves[0] += 1
        if saves[0] > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(RunError, match=r"No space left.*last good checkpoint is kept"):
            training.train(tiny(out, log_every=1, checkpoint_every=2))
    step = checkpoint.load(out / checkpoint.CHECKPOINT).state["step"]
    assert 0 < step < STEPS
    assert_as_straight(out, training.resume(out), straight)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe", ["dfp8", "fp32"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_not_finite_stops_the_run_and_is_named(recipe: str, value: float) -> None:
    trainer = Trainer(TrainConfig(**TINY, recipe=recipe), qnn_data.load("digits", split="train"))
    records = trainer.steps()
    next(records)
    name, parameter = trainer.parameters[0]
    weights = parameter.data.copy()
    weights.flat[3] = value
    parameter.data = weights
    with pytest.raises(RunError, match=rf"step 2 \(epoch 1\) failed.*weight {name}"):
        next(records)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_run_that_diverges_stops_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tiny(out, recipe="fp32", lr=1e6, schedule="constant", checkpoint_every=1, momentum=0.99)
    with pytest.raises(RunError, match=r"step \d+ \(epoch \d\) failed|test after step"):
        training.train(config)
    loaded = checkpoint.load(out / checkpoint.CHECKPOINT)
    assert all(np.isfinite(array).all() for array in loaded.tensors.values())


# -- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_does_not_depend_on_the_batch_size_nor_change_the_training(one_thread: None) -> None:
    train_set = qnn_data.load("digits", split="train")
    test_set = qnn_data.load("digits", split="test").subset(50)
    plain, tested = (Trainer(TrainConfig(**TINY), train_set) for _ in range(2))
    for one, two in zip(plain.steps(), tested.steps(), strict=True):
        assert one.digest == two.digest
        if one.step % 9 == 0:
            first, *others = (training.evaluate(tested.model, test_set, size) for size in (50, 7, 1000))
            assert tested.model.training
            for other in others:
                np.testing.assert_array_equal(first.losses, other.losses, strict=True)
                np.testing.assert_array_equal(first.confusion, other.confusion, strict=True)
                assert first.loss == other.loss
    assert first.confusion.sum() == 50
    assert first.accuracy == np.mean(first.predictions == test_set.labels)
    assert np.all(np.diff(first.losses[first.worst]) <= 0)
    with pytest.raises(ValueError, match="at least 1"):
        training.evaluate(plain.model, test_set, 0)
    with pytest.raises(ValueError, match="auto, multiply, xnor, shift, shift-truncating, layers"):
        training.evaluate(plain.model, test_set, products="division")


def test_evaluation_is_json(straight: tuple[Path, training.Result, list[Record]]) -> None:
    json.dumps(RunFolder(straight[0]).evaluation(), allow_nan=False)
