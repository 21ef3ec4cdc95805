"""``kill -9`` at a random moment of saving: the last good checkpoint loads and the run ends with the same digest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qnn
from qnn import training
from qnn.training import checkpoint
from qnn.training.config import TrainConfig
from qnn.training.runs import RunFolder

PACKAGE_PARENT = Path(qnn.__file__).resolve().parents[1]  # of the copy that is tested
SETTINGS = {"train_limit": 64, "batch_size": 16, "log_every": 3, "threads": 1, "eval_batch_size": 360}

# Trains on with a checkpoint per step. Before each system call of a save it says so on its output, so that the killer
# can choose one; files are written in small pieces, so that the kill can fall in the middle of one.
CHILD = """
import os, sys
from qnn import training
from qnn.training import files
files._CHUNK = 20000

def announced(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        if saving:
            out(1, b".")
        return real(*args, **kwargs)
    return call

saving, out = [], os.write
for name in ("open", "write", "fsync", "close", "link", "replace", "unlink"):
    setattr(os, name, announced(name))
training.resume(sys.argv[1], checkpoint_every=1, on_event=lambda event: saving.append(1))
"""


def run_until_killed(out: Path, chance: random.Random) -> bool:
    """Resume in a process of its own and kill it; False if it ended first."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out)],
        cwd=out.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    with child.stdout, child.stderr:
        for _ in range(chance.randrange(1, 40)):
            if not child.stdout.read(1):
                break
        time.sleep(chance.choice([0, 0, chance.random() * 0.002]))
        child.send_signal(signal.SIGKILL)
        error = child.stderr.read().decode()
        assert child.wait() in (-signal.SIGKILL, 0), error
        return child.returncode != 0


def kill_often(tmp_path: Path, times: int, seed: int) -> None:
    config = TrainConfig(**SETTINGS, epochs=times, out=str(tmp_path / "straight"))  # type: ignore[arg-type]
    straight = training.train(config)
    out = tmp_path / "killed"
    out.mkdir()
    RunFolder.create(out, config)
    chance = random.Random(seed)
    step, killed = 0, 0
    for _ in range(times):
        killed += run_until_killed(out, chance)
        path = out / checkpoint.CHECKPOINT
        if step or path.exists():
            loaded = checkpoint.load(path)
            assert loaded.state["step"] >= step
            step = loaded.state["step"]
            lines = (out / "digest.jsonl").read_bytes().split(b"\n")
            assert loaded.state["digest"].encode() in lines[step]
            if (out / checkpoint.PREVIOUS).exists():
                checkpoint.load(out / checkpoint.PREVIOUS)
    assert killed == times
    assert step > 0
    result = training.resume(out)
    assert result.digest == straight.digest
    assert result.test_accuracy == straight.test_accuracy
    for name in ("digest.jsonl", "traces.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert not [name for name in os.listdir(out) if name.endswith(".tmp")]


pytestmark = [pytest.mark.skipif(os.name != "posix", reason="kill -9 needs POSIX"), pytest.mark.clause("DIG-5")]


def test_killed_while_saving_fifteen_times(tmp_path: Path) -> None:
    kill_often(tmp_path, 15, seed=1)


@pytest.mark.slow
def test_killed_while_saving_a_hundred_times(tmp_path: Path) -> None:
    kill_often(tmp_path, 100, seed=2)
