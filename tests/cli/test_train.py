"""``qnn train``: settings, result, JSON line, resume, interruption."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qnn.training.config import TrainConfig
from qnn.training.runs import RunFolder


def test_json_is_the_last_line_and_complete(invoke: Any, small: list[str], trained: Path, tmp_path: Path) -> None:
    result = invoke("train", *small, "--out", tmp_path / "r", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    wanted = {"test_accuracy", "digest", "epochs", "seconds", "images_per_second", "kernels", "threads"}
    assert wanted <= found.keys()
    assert found["epochs"] == 2
    assert 0 <= found["test_accuracy"] <= 1
    assert found["digest"] == RunFolder(trained).digests()[-1]["digest"], "the same flags give the same bits"


def test_result_table_and_files(trained: Path, invoke: Any, small: list[str], tmp_path: Path) -> None:
    result = invoke("train", *small, "--out", tmp_path / "r", "--threads", "1")
    for word in ("test accuracy", "images/s", "digest", "exponents, weight", "exponents, gradient", "report"):
        assert word in result.stdout
    assert "epoch 2/2" in result.stderr, "progress goes to stderr"
    assert "epoch 2/2" not in result.stdout
    names = {path.name for path in trained.iterdir()}
    assert {"config.toml", "metrics.jsonl", "checkpoint.safetensors", "evaluation.json", "report.html"} <= names
    assert ".lock" not in names


def test_flags_override_the_file_and_both_are_stored(invoke: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('model = "mlp"\nepochs = 7\nbatch_size = 64\ntrain_limit = 128\nlr_milestones = [1]\nseed = 5\n')
    result = invoke("train", path, "--epochs", "1", "--out", tmp_path / "r", "--schedule", "step", "--no-report")
    assert result.exit_code == 0, result.stderr
    config = RunFolder(tmp_path / "r").config()
    assert (config.epochs, config.seed, config.model, config.lr_milestones) == (1, 5, "mlp", (1,))
    assert not (tmp_path / "r" / "report.html").exists()


def test_a_fresh_folder_for_each_run(
    invoke: Any, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert invoke("train", *small[:4], "--epochs", "1", "--no-report").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-mlp-dfp8-1", "digits-mlp-dfp8-2"]


def test_every_setting_is_a_documented_flag(invoke: Any) -> None:
    text = " ".join(invoke("train", "--help").stdout.split())
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')}" in text
    for word in ("--resume", "--json", "CONFIG", f"default: {TrainConfig().epochs}", "cosine", "crop-"):
        assert word in text


def test_resume_of_a_finished_run_repeats_its_result(invoke: Any, copied: Path) -> None:
    before = RunFolder(copied).digests()[-1]["digest"]
    result = invoke("train", "--resume", "--out", copied, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["digest"] == before


def test_resume_takes_the_latest_run(
    invoke: Any, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    copied.rename(tmp_path / "runs" / "x")
    monkeypatch.chdir(tmp_path)
    assert invoke("train", "--resume").exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT of another process")
def test_interrupted_and_resumed_gives_the_bits_of_an_uninterrupted_run(
    environment: dict[str, str], real: Any, invoke: Any, tmp_path: Path
) -> None:
    flags = ["--model", "mlp", "--train-limit", "128", "--epochs", "8", "--batch-size", "64"]
    whole = invoke("train", *flags, "--out", tmp_path / "whole", "--json", "--no-report")
    wanted = json.loads(whole.stdout.splitlines()[-1])
    folder = tmp_path / "cut short"  # a blank, for the quoting of the command
    command = [sys.executable, "-m", "qnn", "train", *flags, "--out", str(folder)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        seen = ""
        while "epoch 1/8" not in seen:
            line = process.stderr.readline()
            assert line, f"ended early: {seen}"
            seen += line
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait(timeout=60)
    assert code == 1
    assert "Traceback" not in seen + rest
    found = re.search(r"^  qnn (train .*)$", rest, re.M)
    assert found, rest
    words = shlex.split(found.group(1))
    assert str(folder) in words
    assert 0 < RunFolder(folder).digests()[-1]["step"] < wanted["steps"]
    again = real(*words, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["digest"] == wanted["digest"]


def test_a_second_interruption_still_says_how_to_go_on(
    invoke: Any, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qnn import training

    def cut(config: TrainConfig, *, resume: bool, on_event: Any) -> None:
        words = {"kind": "start", "run_dir": "here", "model": "m", "recipe": "r", "data": "d", "kernels": "c"}
        numbers = ("step", "steps_per_epoch", "n_train", "parameters", "epochs", "seed", "threads")
        on_event({**words, **dict.fromkeys(numbers, 1)})
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", cut)
    result = invoke("train", *small, "--out", tmp_path / "r")
    assert result.exit_code == 1
    assert "qnn train --resume --out here" in result.stderr
