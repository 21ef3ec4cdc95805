"""The run folder: lock, logs that go on exactly where a checkpoint stood, reading back, atomic writing."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.errors import RunError
from qnn.training import files, lock, runs
from qnn.training.config import TrainConfig
from qnn.training.lock import FolderLock
from qnn.training.runs import JsonLines, RunFolder, RunLog, output_folder, read_lines


def make_folder(path: Path, **settings: object) -> RunFolder:
    path.mkdir(exist_ok=True)
    return RunFolder.create(path, TrainConfig(**settings))  # type: ignore[arg-type]


# -- the folder -----------------------------------------------------------------------------------------------------


def test_new_folder_holds_the_settings_without_its_own_name(tmp_path: Path) -> None:
    config = TrainConfig(out=str(tmp_path / "a" / "b"), epochs=3)
    path = output_folder(config)
    folder = RunFolder.create(path, config)
    assert "out = " not in (path / "config.toml").read_text()
    assert folder.config() == config
    moved = tmp_path / "moved"
    path.rename(moved)
    assert RunFolder(moved).config() == config.replace(out=str(moved))


def test_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    make_folder(tmp_path, seed=5)
    with pytest.raises(RunError, match="holds a run already"):
        RunFolder.create(tmp_path, TrainConfig())
    assert RunFolder(tmp_path).config().seed == 5


def test_fresh_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(data="/some/where/my set", recipe="dfp(w=4, a=8)")
    made = [output_folder(config) for _ in range(3)]
    assert [path.name.rsplit("-", 1)[1] for path in made] == ["1", "2", "3"]
    assert all(path.is_dir() and path.parent.name == "runs" for path in made)
    assert "/" not in made[0].name
    assert " " not in made[0].name


@pytest.mark.parametrize("content", ["missing", "file", "empty"])
def test_what_is_no_run_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x"
    if content == "file":
        path.write_text("")
    if content == "empty":
        path.mkdir()
    with pytest.raises(RunError, match="name a folder"):
        RunFolder(path)


def test_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another --out"):
        output_folder(TrainConfig(out=str(tmp_path / "file" / "run")))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="choose another"):
        FolderLock(tmp_path).acquire()
    with pytest.raises(RunError, match="choose another"):
        RunFolder.create(tmp_path, TrainConfig())


def test_write_that_the_system_refuses_is_a_run_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a folder without write permission gives, also where the tests run as root.
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunError, match="Permission denied"):
        FolderLock(tmp_path).acquire()
    with pytest.raises(RunError, match="Permission denied"):
        RunFolder.create(tmp_path, TrainConfig())
    assert list(tmp_path.iterdir()) == []


# -- the lock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flock", [True, False])
def test_second_run_in_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flock: bool) -> None:
    if not flock:
        monkeypatch.setattr(lock, "_flock", lambda _: False)
    with FolderLock(tmp_path):
        with pytest.raises(RunError, match=rf"in use by process {os.getpid()} on "):
            FolderLock(tmp_path).acquire()
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()
    with FolderLock(tmp_path):
        pass


@pytest.mark.parametrize("flock", [True, False])
def test_stale_lock_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flock: bool) -> None:
    if not flock:
        monkeypatch.setattr(lock, "_flock", lambda _: False)
    # A process that has ended: its number may be in use again only after all others were.
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join()
    for content in (json.dumps({"pid": child.pid, "host": socket.gethostname()}), "", "{broken", "[1]"):
        (tmp_path / ".lock").write_text(content)
        with FolderLock(tmp_path):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_lock_of_another_host_is_respected_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_flock", lambda _: False)
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere.example"}))
    with pytest.raises(RunError, match="process 1 on elsewhere"):
        FolderLock(tmp_path).acquire()


def test_release_twice_is_harmless(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    held.acquire()
    held.release()
    held.release()


# -- logs -----------------------------------------------------------------------------------------------------------


def test_lines_are_read_back(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "a.jsonl")
    records = [{"step": i, "text": "ü\n", "x": [1.5, None]} for i in range(5)]
    for record in records:
        log.append(record)
    log.close()
    assert list(read_lines(tmp_path / "a.jsonl")) == records


def test_not_a_number_is_never_written(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "a.jsonl")
    with pytest.raises(ValueError):
        log.append({"x": float("nan")})
    log.close()
    assert (tmp_path / "a.jsonl").read_bytes() == b""


@given(cut=st.integers(0, 200))
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    whole = b"".join(json.dumps({"step": i, "name": "x" * i}).encode() + b"\n" for i in range(8))
    path.write_bytes(whole[: len(whole) - cut] if cut < len(whole) else b"")
    got = list(read_lines(path))
    assert got == [{"step": i, "name": "x" * i} for i in range(len(got))]
    assert len(got) == (whole[: max(len(whole) - cut, 0)]).count(b"\n")


def test_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        list(read_lines(path))
    with pytest.raises(RunError, match="cannot read"):
        list(read_lines(tmp_path / "missing"))


def write_log(folder: RunFolder, steps: int, per_epoch: int, first: int = 0) -> None:
    """A run's three files as training writes them, from completed step `first` on."""
    log = RunLog(folder, first, first // per_epoch)
    if first == 0:
        log.digests.append({"step": 0, "digest": "d0", "settings": {}})
        log.traces.append({"sites": ["a", "b"], "roles": ["weight", "gradient"], "bits": [8, 8], "r_max": [0.0, 0.0]})
        log.metrics.append({"kind": "start", "step": 0})
    for step in range(first + 1, steps + 1):
        log.digests.append({"step": step, "digest": f"d{step}", "parts": {}})
        log.traces.append({"step": step, **{key: [step, -step] for key in runs.TRACE_KEYS}})
        log.metrics.append({"kind": "step", "step": step})
        if step % per_epoch == 0:
            log.metrics.append({"kind": "epoch", "step": step, "epoch": step // per_epoch})
    log.metrics.append({"kind": "end", "step": steps})
    log.close()


@given(steps=st.integers(1, 20), per_epoch=st.integers(1, 6), back=st.integers(0, 20))
def test_going_on_from_any_step_leaves_the_files_of_a_straight_run(
    tmp_path_factory: pytest.TempPathFactory, steps: int, per_epoch: int, back: int
) -> None:
    root = tmp_path_factory.mktemp("logs")
    straight, resumed = make_folder(root / "straight"), make_folder(root / "resumed")
    write_log(straight, steps, per_epoch)
    write_log(resumed, steps, per_epoch)
    write_log(resumed, steps, per_epoch, first=max(steps - back, 0))
    for name in (runs.METRICS, runs.TRACES, runs.DIGESTS):
        assert (resumed.path / name).read_bytes() == (straight.path / name).read_bytes()


def test_epoch_event_of_an_epoch_that_the_checkpoint_has_not_finished_is_cut(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    write_log(folder, 4, 4)
    # The checkpoint was made at the last step of the epoch, before its test.
    log = RunLog(folder, step=4, epochs=0)
    log.close()
    assert [event["kind"] for event in folder.events()] == ["start", "step", "step", "step", "step"]


def test_traces_and_digests_are_read_back(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    write_log(folder, 3, 2)
    traces = folder.traces()
    assert traces.sites == ["a", "b"]
    np.testing.assert_array_equal(traces.steps, [1, 2, 3])
    np.testing.assert_array_equal(traces.overflow, [[1, -1], [2, -2], [3, -3]])
    assert [line["digest"] for line in folder.digests()] == ["d0", "d1", "d2", "d3"]


def test_missing_digest_or_trace_is_an_error(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    write_log(folder, 3, 2)
    lines = (tmp_path / runs.DIGESTS).read_text().splitlines(keepends=True)
    (tmp_path / runs.DIGESTS).write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(RunError, match="no digest of step 2"):
        folder.digests()
    (tmp_path / runs.DIGESTS).write_text("")
    with pytest.raises(RunError, match="empty"):
        folder.digests()
    lines = (tmp_path / runs.TRACES).read_text().splitlines(keepends=True)
    (tmp_path / runs.TRACES).write_text("".join(lines[1:]))
    with pytest.raises(RunError, match="first line"):
        folder.traces()
    (tmp_path / runs.TRACES).write_text(lines[0] + '{"step": 1}\n')
    with pytest.raises(RunError, match="fits no step"):
        folder.traces()
    with pytest.raises(RunError, match=r"evaluation\.json"):
        folder.evaluation()


def test_full_disk_is_a_run_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    log = JsonLines(tmp_path / "a.jsonl")
    log._file.close()
    log._file = open("/dev/full", "ab")  # noqa: SIM115 - every write to it says: no space left
    log.append({"step": 1})
    with pytest.raises(RunError, match=r"No space left.*--resume"):
        log.flush()
    with pytest.raises(RunError, match="No space left"):
        log.close()


# -- atomic writing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_failure_at_any_point_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, [b"old"])

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            files.write_atomically(path, [b"new"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    files.write_atomically(path, [b"n", bytearray(b"e"), memoryview(b"w")])
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_previous_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path, kept = tmp_path / "file", tmp_path / "kept"
    for i in range(4):
        files.write_atomically(path, [b"%d" % i], keep_as=kept)
        assert path.read_bytes() == b"%d" % i
        if i:
            assert kept.read_bytes() == b"%d" % (i - 1)
    assert sorted(os.listdir(tmp_path)) == ["file", "kept"]


def test_stop_between_keeping_and_replacing_is_healed_by_the_next_write(tmp_path: Path) -> None:
    path, kept = tmp_path / "file", tmp_path / "kept"
    path.write_bytes(b"old")
    os.link(path, kept)  # as a kill between the two renames leaves it
    (tmp_path / ".file.tmp").write_bytes(b"half")
    os.link(path, tmp_path / ".kept.tmp")
    files.write_atomically(path, [b"new"], keep_as=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"new", b"old")
    assert sorted(os.listdir(tmp_path)) == ["file", "kept"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: write(fd, view[:3]))
    files.write_atomically(tmp_path / "file", [b"0123456789"])
    assert (tmp_path / "file").read_bytes() == b"0123456789"
