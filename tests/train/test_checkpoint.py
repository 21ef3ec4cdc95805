"""Checkpoints: whole or refused, whatever happens to the file or while it is written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from qnn.errors import CheckpointError, RunError
from qnn.training import checkpoint
from qnn.training.checkpoint import Checkpoint, Identity

IDENTITY = Identity("mlp", "dfp8", "c0ffee")
DTYPES = ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u8", "?")


def example(step: int = 3, size: int = 40) -> Checkpoint:
    rng = np.random.default_rng(step)
    tensors = {f"model.{dtype}": rng.integers(0, 2, (size, 2)).astype(dtype) for dtype in DTYPES}
    tensors |= {
        "model.scalar": np.array(step, np.int64),
        "model.empty": np.zeros((0, 3), np.float32),
        "optimizer.velocity.w": np.array([0.0, -0.0, np.finfo(np.float32).tiny / 2], np.float32),
        "criterion.gradient.exponent": np.array([-5, 1], np.int64),
    }
    return Checkpoint(tensors, IDENTITY, {"step": step, "digest": "ab", "sums": {"loss": 2**70}, "x": [1, None, "ü"]})


def assert_equal(got: Checkpoint, want: Checkpoint) -> None:
    assert got.identity == want.identity
    assert got.state == want.state
    assert got.tensors.keys() == want.tensors.keys()
    for name, array in want.tensors.items():
        np.testing.assert_array_equal(got.tensors[name], array, strict=True)
        assert got.tensors[name].tobytes() == array.tobytes()  # the sign of zero, too


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example())
    assert_equal(checkpoint.load(path, IDENTITY), example())
    assert checkpoint.load(path).part("optimizer").keys() == {"velocity.w"}
    assert os.listdir(tmp_path) == [checkpoint.CHECKPOINT]


def test_views_of_any_layout_are_stored_by_value(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {"model.t": base.T, "model.s": base[::2, ::-1], "model.ro": base.copy()}
    arrays["model.ro"].flags.writeable = False
    checkpoint.save(path, Checkpoint(arrays, IDENTITY, {}))
    for name, array in checkpoint.load(path).tensors.items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)


def test_any_safetensors_reader_opens_it_and_nothing_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example())
    assert load_file(path).keys() == example().tensors.keys()
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert json.loads(header["__metadata__"]["qnn"])["identity"]["recipe"] == "dfp8"


def test_previous_is_kept(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    for step in range(4):
        checkpoint.save(path, example(step))
    assert_equal(checkpoint.load(path), example(3))
    assert_equal(checkpoint.load(tmp_path / checkpoint.PREVIOUS), example(2))


@pytest.mark.clause("DIG-5")
def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example(size=4))
    whole = path.read_bytes()
    lengths = {0, 1, 7, 8, 9, len(whole) - 1, *range(0, len(whole), 37)}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


@pytest.mark.clause("DIG-5")
@given(data=st.data())
def test_every_change_of_a_byte_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("tampered") / checkpoint.CHECKPOINT
    checkpoint.save(path, example(size=2))
    raw = bytearray(path.read_bytes())
    index = data.draw(st.integers(0, len(raw) - 1))
    raw[index] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    # White space around the header's JSON is the one change that safetensors leaves without a meaning.
    try:
        got = checkpoint.load(path)
    except CheckpointError:
        return
    assert_equal(got, example(size=2))


@pytest.mark.parametrize("what", ["tensor", "step", "identity", "name", "dtype", "missing"])
@pytest.mark.clause("DIG-5")
def test_tampering_that_keeps_the_file_well_formed_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example())
    tensors = load_file(path)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    content = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["qnn"])
    if what == "tensor":
        tensors["model.f4"][0, 0] += 1
    elif what == "step":
        content["state"]["step"] += 1
    elif what == "identity":
        content["identity"]["recipe"] = "fp32"
    elif what == "name":
        tensors["model.other"] = tensors.pop("model.f4")
    elif what == "dtype":
        tensors["model.i4"] = tensors["model.i4"].view(np.uint32)
    else:
        del tensors["model.f8"]
    save_file(tensors, path, {"qnn": json.dumps(content)})
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Identity("lenet5", "dfp8", "c0ffee"), "model 'mlp', but this run has 'lenet5'"),
        (Identity("mlp", "fp32", "c0ffee"), "recipe 'dfp8', but this run has 'fp32'"),
        (Identity("mlp", "dfp8", "beef"), "data 'c0ffee', but this run has 'beef'"),
        (Identity("mlp", "dfp8", "c0ffee", "9.9"), "version "),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path: Path, other: Identity, words: str) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example())
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(path, other)


def test_other_format_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 3)
        checkpoint.save(path, example())
    with pytest.raises(CheckpointError, match="format 3; this version"):
        checkpoint.load(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoint.load(tmp_path)
    huge = struct.pack("<Q", 2**62) + b"{}"
    for content in (
        b"",
        b"text",
        pickle.dumps({"step": 1}),
        b"PK\x03\x04" + bytes(60),
        huge,
        struct.pack("<Q", 2) + b"[]",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
    for metadata in (None, {"format": "pt"}, {"qnn": "{"}, {"qnn": "[]"}, {"qnn": '{"format": 1}'}):
        save_file({"a": np.zeros(2, np.float32)}, path, metadata)
        with pytest.raises(CheckpointError, match="no qnn checkpoint"):
            checkpoint.load(path)
    save_file({"a": np.zeros(2, np.float32)}, path, {"qnn": '{"format": 1, "identity": {"me": 1}, "state": {}}'})
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoint.load(path)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example(1))
    checkpoint.save(path, example(2))

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(RunError, match=r"No space left.*last good checkpoint is kept.*--resume"):
            checkpoint.save(path, example(3))
    assert_equal(checkpoint.load(path), example(2))
    assert sorted(os.listdir(tmp_path)) == [checkpoint.CHECKPOINT, checkpoint.PREVIOUS]
    checkpoint.save(path, example(4))
    assert_equal(checkpoint.load(path), example(4))


def test_disk_that_fills_up_in_the_middle_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example(1))
    write, room = os.write, [3000]

    def limited(descriptor: int, view: memoryview) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(descriptor, view[: room[0]])
        room[0] -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", limited)
        with pytest.raises(RunError, match="No space left"):
            checkpoint.save(path, example(2, size=5000))
    assert_equal(checkpoint.load(path), example(1))


def test_state_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.CHECKPOINT
    checkpoint.save(path, example(1))
    with pytest.raises(ValueError):
        checkpoint.save(path, Checkpoint({}, IDENTITY, {"loss": float("nan")}))
    assert_equal(checkpoint.load(path), example(1))
