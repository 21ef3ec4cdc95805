"""Replay and bisect: they agree with a good run and find the step and the tensor of a bad one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import _kernels, optim, training
from qnn.errors import ConfigError, RunError
from qnn.training import checkpoint, digest, runs
from qnn.training.config import TrainConfig

TINY: dict[str, Any] = {"train_limit": 64, "batch_size": 16, "epochs": 2, "log_every": 4, "threads": 1}
STEPS = 8


def tiny(out: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**{**TINY, "out": str(out), **changes})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run, not to be changed."""
    out = tmp_path_factory.mktemp("good") / "run"
    training.train(tiny(out))
    return out


def with_chain(run: Path, out: Path, change: dict[int, dict[str, Any]]) -> Path:
    """A copy of a run with other lines in its chain."""
    shutil.copytree(run, out)
    lines = [json.loads(line) for line in (out / runs.DIGESTS).read_text().splitlines()]
    for step, values in change.items():
        lines[step] = {**lines[step], **values}
    (out / runs.DIGESTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


@pytest.mark.clause("DIG-6")
@pytest.mark.parametrize("kernels", [None, *_kernels.available_kernels()])
def test_replay_of_a_good_run_agrees_and_changes_nothing(good: Path, kernels: str | None) -> None:
    before = {name: (good / name).read_bytes() for name in os.listdir(good)}
    seen: list[tuple[int, int]] = []
    found = digest.replay(good, kernels=kernels, threads=3, on_step=lambda done, total: seen.append((done, total)))
    assert (found.same, found.step, found.first_step, found.last_step, found.covered) == (True, None, 1, STEPS, True)
    assert "gives the same digests, steps 1 to 8" in str(found)
    assert seen == [(step, STEPS) for step in range(1, STEPS + 1)]
    assert {name: (good / name).read_bytes() for name in os.listdir(good)} == before


def test_replay_from_the_checkpoint_and_of_some_steps(good: Path) -> None:
    found = digest.replay(good, start="checkpoint")
    assert (found.same, found.first_step, found.last_step) == (True, 5, STEPS)
    found = digest.replay(good, steps=3)
    assert (found.same, found.first_step, found.last_step) == (True, 1, 3)


def test_replay_names_the_step_and_the_part_of_a_change(good: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (good / runs.DIGESTS).read_text().splitlines()]
    parts = {**lines[3]["parts"], "buffers": "0" * 16}
    bad = with_chain(good, tmp_path / "bad", {3: {"digest": "0" * 64, "parts": parts}})
    found = digest.replay(bad)
    assert (found.same, found.step, found.expected, found.parts) == (False, 3, "0" * 64, ("buffers",))
    assert found.got == lines[3]["digest"]
    assert "differs from step 3 on, in buffers" in str(found)


def test_replay_with_other_settings_says_so(good: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(good, bad)
    (bad / runs.CONFIG).write_text((bad / runs.CONFIG).read_text().replace("seed = 1 ", "seed = 2 "))
    found = digest.replay(bad)
    assert (found.same, found.step) == (False, 0)
    assert "settings or data differ" in str(found)


def test_bad_requests_are_refused(good: Path, tmp_path: Path) -> None:
    for action in (lambda: digest.replay(good, start="end"), lambda: digest.replay(good, steps=0)):
        with pytest.raises(ConfigError):
            action()
    with pytest.raises(ConfigError, match="reference"):
        digest.replay(good, kernels="avx1024")
    with pytest.raises(RunError):
        digest.replay(tmp_path)
    with pytest.raises(RunError):
        digest.bisect(good, tmp_path)
    assert digest.final_digest(good) == (
        STEPS,
        json.loads((good / runs.DIGESTS).read_text().splitlines()[-1])["digest"],
    )


def test_bisect_of_equal_runs(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "copy")
    found = digest.bisect(good, tmp_path / "copy")
    assert (found.same, found.step, found.steps) == (True, None, STEPS)
    assert str(found) == "the runs agree in all 8 steps that both have"
    lines = (good / runs.DIGESTS).read_text().splitlines(keepends=True)
    (tmp_path / "copy" / runs.DIGESTS).write_text("".join(lines[:4]))
    found = digest.bisect(good, tmp_path / "copy")
    assert (found.same, found.steps) == (True, 3)
    assert f"{good} goes on for longer" in str(found)


def test_bisect_looks_at_every_step(good: Path, tmp_path: Path) -> None:
    changed = with_chain(good, tmp_path / "changed", {3: {"digest": f"{3:064x}"}})
    found = digest.bisect(good, changed)
    assert (found.same, found.step, found.parts) == (False, 3, ())
    assert "differ in step 3 and agree again in step 4" in str(found)


def test_bisect_of_other_settings_names_them(good: Path, tmp_path: Path) -> None:
    training.train(tiny(tmp_path / "other", seed=2, lr=0.5, epochs=1))
    found = digest.bisect(good, tmp_path / "other")
    assert (found.same, found.step, found.parts) == (False, 0, ())
    assert found.settings == {"epochs": (2, 1), "lr": ((0.05).hex(), (0.5).hex()), "seed": (1, 2)}


@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_bisect_finds_every_step(good: Path, tmp_path: Path, step: int) -> None:
    bad = with_chain(good, tmp_path / "bad", {t: {"digest": f"{t:064x}"} for t in range(step, STEPS + 1)})
    found = digest.bisect(good, bad, repeat=False)
    assert (found.same, found.step, found.tensors, found.reproduced) == (False, step, {}, None)


@pytest.mark.parametrize("checkpoints", [True, False])
def test_bisect_finds_a_bit_that_fell(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: bool
) -> None:
    """One weight of one step one unit in the last place off, as a memory fault would have it."""
    update, calls = optim.SGD._update, [0]

    def faulty(self: optim.SGD, *args: Any) -> tuple[Any, ...]:
        weight, velocity = update(self, *args)
        calls[0] += 1
        if calls[0] == 6 * len(self.parameters):
            weight.flat[0] = np.nextafter(weight.flat[0], np.float32(np.inf))
        return weight, velocity

    bad = tmp_path / "bad"
    with monkeypatch.context() as patch:
        patch.setattr(optim.SGD, "_update", faulty)
        training.train(tiny(bad))
    if not checkpoints:
        for run in (bad, shutil.copytree(good, tmp_path / "good")):
            (Path(run) / checkpoint.CHECKPOINT).unlink()
            (Path(run) / checkpoint.PREVIOUS).unlink()
        good = tmp_path / "good"
    found = digest.bisect(bad, good)
    assert (found.same, found.step, found.parts) == (False, 6, ("parameters",))
    assert found.reproduced == (False, True)
    assert found.tensors == {}
    assert f"step 6 of {bad} is not what this machine computes" in str(found)


def test_bisect_names_the_tensors_of_a_faulty_kernel(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel path that is wrong in its fifth step gives the same wrong step again, so the tensors can be named."""
    row = _kernels.TABLE["conv2d_weight_grad"]
    if "c" not in row:
        pytest.skip("needs a second kernel path")
    right, calls, sound = row["reference"], [0], 2 * 4  # two convolutions, four sound steps

    def faulty(*args: Any, **kwargs: Any) -> Any:
        gradient = right(*args, **kwargs).copy()
        calls[0] += 1
        if calls[0] == sound + 1:
            gradient[0, 0, 0, 0] += 1
        return gradient

    bad = tmp_path / "bad"
    with monkeypatch.context() as patch:
        patch.setitem(row, "reference", faulty)
        training.train(tiny(bad, kernels="reference"))
        # The good run's step is repeated on its own path, so the faulty function sees the bad run's step only.
        calls[0] = sound
        found = digest.bisect(good, bad)
    assert (found.same, found.step) == (False, 5)
    assert "parameters" in found.parts
    assert "batch" not in found.parts
    assert found.reproduced == (True, True)
    assert len(found.tensors["parameters"]) == len(found.tensors["optimizer"]) == 1
    assert "2 tensors differ, first parameters 'net." in str(found)
