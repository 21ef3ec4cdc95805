"""Bad input: the right exit code, one message that says what to do, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn.training.lock import FolderLock

USAGE: dict[str, tuple[list[str], str]] = {
    "command": (["trian"], "'train'"),
    "option": (["train", "--epochz", "3"], "--epochs"),
    "data": (["train", "--data", "mnits"], "mnist"),
    "path": (["train", "--data", "./no/such/file.csv"], "file.csv"),
    "model": (["train", "--model", "lenet"], "lenet5"),
    "recipe": (["train", "--recipe", "dfp9"], "dfp8"),
    "recipe bits": (["train", "--recipe", "dfp(w=17)"], "16"),
    "recipe syntax": (["train", "--recipe", "dfp(w=8"], "dfp("),
    "schedule": (["train", "--schedule", "cosin"], "cosine"),
    "optimizer": (["train", "--optimizer", "agd"], "sgd"),
    "augment": (["train", "--augment", "flip"], "crop-flip"),
    "no number": (["train", "--epochs", "many"], "many"),
    "no epochs": (["train", "--epochs", "0"], "epochs"),
    "seed": (["train", "--seed", "-1"], "seed"),
    "rate": (["train", "--lr", "nan"], "lr"),
    "milestones": (["train", "--lr-milestones", "3,x"], "3,x"),
    "threads": (["train", "--threads", "-2"], "threads"),
    "kernels": (["train", "--kernels", "axv2"], "reference"),
    "batch": (["train", "--batch-size", "5000"], "1437"),
    "config": (["train", "no.toml"], "no.toml"),
    "eval": (["eval", "no-run"], "no-run"),
    "report": (["report", "no-run"], "no-run"),
    "digest": (["digest", "no-run"], "no-run"),
    "replay": (["digest", "replay", "no-run"], "no-run"),
    "compare one": (["compare", "no-run"], "two"),
    "latest": (["predict", "x.png"], "runs"),
    "data get": (["data", "get", "cifar11"], "cifar10"),
    "data check": (["data", "check", "nothing"], "nothing"),
    "nothing": (["compare"], "RUN"),
}


@pytest.mark.parametrize("case", USAGE)
def test_bad_usage(case: str, invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, hint = USAGE[case]
    monkeypatch.chdir(tmp_path)
    result = invoke(*words)
    assert result.exit_code == 2, result.stderr
    assert hint in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("epoch = 3\n", "epochs"),
        ('epochs = "3"\n', "epochs"),
        ("epochs = \n", "TOML"),
        ("lr = inf\n", "lr"),
        ('[train]\nmodel = "mlp"\n', "train"),
        ("seed = 99999999999999999999\n", "seed"),
        ('out = "a\\u0000b"\n', "NUL"),
        ('data = "a\\u0000b"\n', "NUL"),
    ],
)
def test_bad_configuration_file(text: str, hint: str, invoke: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    result = invoke("train", path, "--out", tmp_path / "r")
    assert result.exit_code == 2
    assert hint in result.stderr
    assert not (tmp_path / "r").exists()


def test_configuration_with_a_byte_order_mark(invoke: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b'\xef\xbb\xbfmodel = "lenet6"\n')
    result = invoke("train", tmp_path / "run.toml")
    assert result.exit_code == 2
    assert "did you mean 'lenet5'" in result.stderr, "the file was read"


def test_configuration_that_is_no_text(invoke: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    assert invoke("train", tmp_path / "run.toml").exit_code == 2
    assert invoke("train", tmp_path).exit_code == 2


def _arrays(case: str) -> dict[str, Any]:
    images = np.zeros((40, 8, 8, 1), np.uint8)
    labels = np.arange(40) % 4
    if case == "count":
        labels = labels[:-1]
    if case == "nan":
        images = images.astype(np.float32)
        images[0, 0, 0, 0] = np.nan
    if case == "negative label":
        labels[3] = -1
    if case == "float label":
        labels = labels + 0.5
    return {"x_train": images, "y_train": labels, "x_test": images[:8], "y_test": labels[:8]}


@pytest.mark.parametrize("case", ["count", "nan", "negative label", "float label", "truncated", "no archive", "empty"])
def test_bad_data_file(case: str, invoke: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, **_arrays(case))
    if case == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    if case in ("no archive", "empty"):
        path.write_bytes(b"hello" if case == "no archive" else b"")
    result = invoke("train", "--data", path, "--model", "mlp", "--epochs", "1", "--out", tmp_path / "r")
    assert result.exit_code == 2, result.stderr
    assert "own.npz" in result.stderr or case in ("count", "negative label")
    assert not (tmp_path / "r").exists()


def test_truncated_public_data(invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (folder / name).write_bytes(b"\x00\x00\x08\x03" + b"\x00" * 12)
    monkeypatch.setenv("QNN_DATA", str(tmp_path))
    assert invoke("train", "--data", "mnist", "--out", tmp_path / "r").exit_code == 2
    assert invoke("data", "check", "mnist").exit_code == 1
    shutil.rmtree(folder)
    missing = invoke("train", "--data", "mnist", "--out", tmp_path / "r")
    assert missing.exit_code == 2
    assert "qnn data get mnist" in missing.stderr
    assert not (tmp_path / "r").exists()


def test_output_folder(invoke: Any, small: list[str], trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    under_a_file = invoke("train", *small, "--out", tmp_path / "file" / "r")
    assert under_a_file.exit_code == 1
    assert "--out" in under_a_file.stderr
    taken = invoke("train", *small, "--out", trained)
    assert taken.exit_code == 1
    assert "--resume" in taken.stderr


def test_two_runs_in_one_folder(invoke: Any, copied: Path) -> None:
    with FolderLock(copied):
        result = invoke("train", "--resume", "--out", copied)
    assert result.exit_code == 1
    assert str(os.getpid()) in result.stderr


def test_resume(invoke: Any, copied: Path, tmp_path: Path) -> None:
    assert invoke("train", "--resume", "--out", tmp_path / "none").exit_code == 1
    changed = invoke("train", "--resume", "--out", copied, "--epochs", "9")
    assert changed.exit_code == 2
    assert "epochs" in changed.stderr


def _damage(folder: Path, how: str) -> None:
    for name in ("checkpoint.safetensors", "previous.safetensors"):
        content = (folder / name).read_bytes()
        if how == "truncated":
            (folder / name).write_bytes(content[: len(content) // 2])
        elif how == "tampered":
            (folder / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        elif how == "empty":
            (folder / name).write_bytes(b"")
        else:
            (folder / name).unlink()


@pytest.mark.parametrize("how", ["truncated", "tampered", "empty", "missing"])
def test_damaged_checkpoints(how: str, invoke: Any, copied: Path, tmp_path: Path) -> None:
    _damage(copied, how)
    result = invoke("eval", copied)
    assert result.exit_code == 1
    assert "checkpoint.safetensors" in result.stderr
    resumed = invoke("train", "--resume", "--out", copied).stderr if how != "missing" else "train again"
    assert "train again" in resumed
    assert "use previous.safetensors" not in resumed, "the one that was just found to be damaged"
    assert invoke("report", copied, "--out", tmp_path / "r.html").exit_code == 0, "the report says what it lacks"
    if how != "missing":
        assert invoke("train", "--resume", "--out", copied).exit_code == 1


def test_only_the_newest_checkpoint_is_damaged(invoke: Any, copied: Path) -> None:
    (copied / "checkpoint.safetensors").write_bytes(b"half")
    result = invoke("eval", copied)
    assert result.exit_code == 0
    assert "previous.safetensors" in result.stderr


def test_full_disk(invoke: Any, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    result = invoke("train", *small, "--out", tmp_path / "r")
    assert result.exit_code == 1
    assert "space" in result.stderr
    assert not list(tmp_path.glob("r/*.tmp"))


def test_full_disk_for_the_report_only(
    invoke: Any, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qnn.report
    from qnn.errors import RunError

    def full(*_: object) -> None:
        raise RunError("cannot write the report: no space left")

    monkeypatch.setattr(qnn.report, "write_report", full)
    result = invoke("train", *small, "--out", tmp_path / "r")
    assert result.exit_code == 1
    assert "test accuracy" in result.stdout, "the result of the finished run is not lost"
    assert "no space left" in result.stderr


def test_diverging_run(invoke: Any, small: list[str], tmp_path: Path) -> None:
    result = invoke("train", *small, "--lr", "1e6", "--momentum", "0.99", "--epochs", "40", "--out", tmp_path / "r")
    assert result.exit_code == 1
    assert "finite" in result.stderr
    assert result.stderr.count("smaller learning rate") <= 1


@pytest.mark.parametrize(
    ("name", "value"), [("QNN_KERNELS", "axv2"), ("QNN_NUM_THREADS", "none"), ("QNN_NUM_THREADS", "0")]
)
def test_wrong_environment(name: str, value: str, real: Any, small: list[str], tmp_path: Path) -> None:
    for words in (["info"], ["train", *small, "--out", tmp_path / "r"]):
        result = real(*words, env={name: value})
        assert result.returncode == 2, result.stderr
        assert value in result.stderr
        assert "Traceback" not in result.stderr


def test_unexpected_error(invoke: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qnn.cli import info

    def broken(operations: bool) -> None:
        raise ZeroDivisionError("what is this")

    monkeypatch.setattr(info, "collect", broken)
    result = invoke("info")
    assert result.exit_code == 1
    assert "ZeroDivisionError: what is this" in result.stderr
    assert "QNN_DEBUG=1" in result.stderr


def test_debug_shows_the_traceback(real: Any) -> None:
    for words, env in ((["report", "no-run", "--debug"], {}), (["report", "no-run"], {"QNN_DEBUG": "1"})):
        result = real(*words, env=env)
        assert result.returncode == 2
        assert "Traceback" in result.stderr
