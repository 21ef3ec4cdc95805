"""The folder of a run: its files, what is in them, and who may write there.

========================== ===========================================================================================
``config.toml``            the settings (without ``out``: the folder may move)
``metrics.jsonl``          one event per line, see below
``traces.jsonl``           per step: exponents and counts of all quantisation sites, see below
``digest.jsonl``           per step: ``step``, ``digest`` (the chain, clause DIG-2), ``parts`` (the first 16 hexadecimal
                           digits of each part's hash, clause DIG-6); line 0 holds d_0 and the ``settings`` it is of
``checkpoint.safetensors`` the newest checkpoint, see :mod:`qnn.training.checkpoint`
``previous.safetensors``   the one before
``evaluation.json``        written at the end: ``accuracy``, ``loss``, ``classes``, ``confusion`` (rows: true class),
                           ``worst`` (list of ``index``, ``label``, ``predicted``, ``loss``, worst first)
``.lock``                  present while a process writes, see :mod:`qnn.training.lock`
========================== ===========================================================================================

Events of ``metrics.jsonl``, each with ``kind`` and ``step`` (completed steps so far); epochs count from 1, losses are
means in nats, accuracies shares from 0 to 1:

``start``
    ``model``, ``recipe``, ``data``, ``n_train``, ``n_test``, ``classes`` (names), ``parameters`` (how many numbers are
    trained), ``kernels``, ``threads``, ``seed``, ``batch_size``, ``epochs``, ``steps_per_epoch``, ``total_steps``,
    ``covered`` (whether the promise about bits covers the recipe), ``resumed`` (a resumed run has a ``start`` per
    session). The event that ``on_event`` gets also has ``run_dir``.
``step``
    Every ``log_every`` steps and at the first and last: ``epoch``, ``loss``, ``accuracy`` (of that batch), ``lr``,
    ``images_per_second`` (since the last such event).
``epoch``
    ``epoch``, ``train_loss``, ``train_accuracy`` (while training), ``test_loss``, ``test_accuracy``, ``seconds`` (of
    training in this epoch), ``images_per_second``, ``digest``, ``sites``: ``{name: {role, exponent, overflow,
    saturated, total}}`` with the counts summed over the epoch.
``note``
    ``message``: a decision taken, such as going on from the previous checkpoint.
``interrupt``
    ``epoch``, ``message`` (how to go on), ``digest``.
``end``
    ``test_accuracy``, ``test_loss``, ``digest``, ``covered``, ``epochs``, ``seconds`` (training and tests, all
    sessions), ``train_seconds``, ``images_per_second`` (training), ``kernels``, ``threads``, ``confusion`` (rows).

``traces.jsonl``: the first line is ``{"sites": [names], "roles": [...], "bits": [...], "r_max": [...]}``, then per step
one line ``{"step", "exponents", "total", "nonzero", "overflow", "overflow_double", "saturated"}`` of lists in that
order, where ``exponents`` are those the step used. The counts alone replay the exponents (clause EXP-6).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from qnn.errors import RunError
from qnn.training.checkpoint import CHECKPOINT, PREVIOUS
from qnn.training.config import TrainConfig
from qnn.training.files import write_atomically, write_failed
from qnn.training.lock import FolderLock

CONFIG = "config.toml"
METRICS = "metrics.jsonl"
TRACES = "traces.jsonl"
DIGESTS = "digest.jsonl"
EVALUATION = "evaluation.json"
Record = dict[str, Any]


class JsonLines:
    """A file of one JSON object per line that is appended to through a buffer.

    Parameters
    ----------
    path : Path
        The file, made if missing.
    keep : callable, optional
        Given: all from the first line on that is no JSON object, or for which ``keep(record)`` is false, is cut off.
        Left out: the file is emptied.

    Raises
    ------
    RunError
        If the system refuses to write, on any method.
    """

    def __init__(self, path: Path, keep: Callable[[Record], bool] | None = None) -> None:
        self.path = path
        try:
            size = _kept_size(path, keep) if keep is not None and path.exists() else 0
            self._file: BinaryIO = open(path, "ab")  # noqa: SIM115 - closed by close()
            self._file.truncate(size)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, record: Record) -> None:
        """Add a line (to the buffer; see :meth:`flush`)."""
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise self._failed(error) from error

    def flush(self, *, durable: bool = False) -> None:
        """Hand the buffer to the system, and with `durable` wait until it is on the disk."""
        try:
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Flush and close."""
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RunError:
        return write_failed(
            "to", self.path, error, "the last good checkpoint is kept; make room, then go on with --resume"
        )


def _kept_size(path: Path, keep: Callable[[Record], bool]) -> int:
    size = 0
    with open(path, "rb") as file:
        for line in file:
            record = _record(line)
            if record is None or not keep(record):
                break
            size += len(line)
    return size


def _record(line: bytes) -> Record | None:
    """The object on a line, or None for a line that was cut off while it was written."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read_lines(path: Path) -> Iterator[Record]:
    """The records of a JSON-lines file; a last line that was cut off is left out.

    Raises
    ------
    RunError
        If the file is missing, or a line in its middle is broken.
    """
    try:
        with open(path, "rb") as file:
            lines = file.readlines()
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error.strerror or error}; name a folder that `qnn train` wrote"
        ) from error
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if record is None:
            if number == len(lines):
                return
            raise RunError(
                f"line {number} of {path} is no JSON object; the file was changed; train the run again to have it whole"
            )
        yield record


@dataclass(frozen=True)
class Traces:
    """The trace of all sites of a run; the first axis of the arrays is the step, the second the site.

    Parameters
    ----------
    sites, roles : list of str
        Names and roles, in the order of the second axis.
    bits : list of int
        Width per site.
    r_max : list of float
        Tolerated overflow rate per site.
    steps : int64 [T]
        Step numbers, from 1.
    exponents, total, nonzero, overflow, overflow_double, saturated : int64 [T, S]
        Exponent that the step used, and its counts.
    """

    sites: list[str]
    roles: list[str]
    bits: list[int]
    r_max: list[float]
    steps: NDArray[np.int64]
    exponents: NDArray[np.int64]
    total: NDArray[np.int64]
    nonzero: NDArray[np.int64]
    overflow: NDArray[np.int64]
    overflow_double: NDArray[np.int64]
    saturated: NDArray[np.int64]


TRACE_KEYS = ("exponents", "total", "nonzero", "overflow", "overflow_double", "saturated")


class RunFolder:
    """A run's folder, for reading and, between :meth:`lock` and its end, for writing.

    Parameters
    ----------
    path : path-like
        An existing folder with a ``config.toml``; see :meth:`create` for a new one.

    Raises
    ------
    RunError
        If it is no run folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not (self.path / CONFIG).is_file():
            what = "has no config.toml" if self.path.is_dir() else "does not exist"
            raise RunError(f"got the run folder {self.path}, which {what}; name a folder that `qnn train` wrote")

    @classmethod
    def create(cls, path: Path, config: TrainConfig) -> RunFolder:
        """Make a folder a run's: write the settings into it. The caller holds its lock.

        Raises
        ------
        RunError
            If the folder holds a run already or cannot be written.
        """
        if any((path / name).exists() for name in (CONFIG, CHECKPOINT, PREVIOUS)):
            raise RunError(
                f"the folder {path} holds a run already; a run never overwrites another; "
                "go on with --resume, or choose another --out"
            )
        try:
            write_atomically(path / CONFIG, [config.to_toml(without=["out"]).encode()])
        except OSError as error:
            raise write_failed("into the output folder", path, error, "choose another --out") from error
        return cls(path)

    def lock(self) -> FolderLock:
        """A context manager that keeps other runs out of the folder."""
        return FolderLock(self.path)

    def config(self) -> TrainConfig:
        """The stored settings, with ``out`` naming this folder."""
        return TrainConfig.from_toml(self.path / CONFIG).replace(out=str(self.path))

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.path / CHECKPOINT

    @property
    def previous(self) -> Path:
        """The checkpoint before the newest."""
        return self.path / PREVIOUS

    def events(self) -> list[Record]:
        """All events of ``metrics.jsonl``."""
        return list(read_lines(self.path / METRICS))

    def digests(self) -> list[Record]:
        """All lines of ``digest.jsonl``; entry t is that after step t.

        Raises
        ------
        RunError
            If a step is missing.
        """
        records = list(read_lines(self.path / DIGESTS))
        for step, record in enumerate(records):
            if record.get("step") != step or not isinstance(record.get("digest"), str):
                raise RunError(
                    f"{self.path / DIGESTS} has no digest of step {step}; the file was changed; train the run again"
                )
        if not records:
            raise RunError(f"{self.path / DIGESTS} is empty; the run has not begun; train it first")
        return records

    def traces(self) -> Traces:
        """Exponents and counts of all steps (see the module's first lines)."""
        records = read_lines(self.path / TRACES)
        head = next(records, None)
        if head is None or "sites" not in head:
            raise RunError(f"{self.path / TRACES} lacks its first line; the file was changed; train the run again")
        lines = list(records)
        shape = (len(lines), len(head["sites"]))
        try:
            arrays = [np.array([line[key] for line in lines], np.int64).reshape(shape) for key in TRACE_KEYS]
            steps = np.array([line["step"] for line in lines], np.int64)
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(
                f"{self.path / TRACES} has a line that fits no step ({error}); train the run again"
            ) from error
        return Traces(head["sites"], head["roles"], head["bits"], head["r_max"], steps, *arrays)

    def evaluation(self) -> Record:
        """The content of ``evaluation.json``."""
        try:
            content = json.loads((self.path / EVALUATION).read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"cannot read {self.path / EVALUATION} ({error}); it is written last; finish the run with --resume"
            ) from error
        return dict(content)

    def write_evaluation(self, content: Record) -> None:
        """Write ``evaluation.json`` atomically."""
        path = self.path / EVALUATION
        try:
            write_atomically(path, [json.dumps(content, allow_nan=False).encode()])
        except OSError as error:
            raise write_failed("to", path, error, "make room, then go on with --resume") from error


class RunLog:
    """The three files of a run that grow with every step, opened for appending.

    Parameters
    ----------
    folder : RunFolder
        A locked folder.
    step, epochs : int
        Completed steps and epochs of the checkpoint the run goes on from; later lines are cut off. 0 empties the files.
    """

    def __init__(self, folder: RunFolder, step: int = 0, epochs: int = 0) -> None:
        def before(record: Record) -> bool:
            kind = record.get("kind")
            if kind == "epoch":
                return bool(record.get("epoch", epochs + 1) <= epochs)
            return kind != "end" and bool(record.get("step", step + 1) <= step)

        fresh = step == 0
        self.metrics = JsonLines(folder.path / METRICS, None if fresh else before)
        self.digests = JsonLines(folder.path / DIGESTS, None if fresh else before)
        self.traces = JsonLines(folder.path / TRACES, None if fresh else lambda line: "sites" in line or before(line))
        self._files = (self.metrics, self.digests, self.traces)

    def flush(self, *, durable: bool = False) -> None:
        """Hand all three to the system, and with `durable` wait until they are on the disk."""
        for file in self._files:
            file.flush(durable=durable)

    def close(self) -> None:
        """Close all three, also when one of them cannot be written."""
        failure: RunError | None = None
        for file in self._files:
            try:
                file.close()
            except RunError as error:
                failure = error
        if failure is not None:
            raise failure


def output_folder(config: TrainConfig) -> Path:
    """Make and return the folder ``config.out``, or a fresh ``runs/<data>-<model>-<recipe>-<n>`` when that is empty.

    Raises
    ------
    RunError
        If it cannot be made.
    """
    path = Path(config.out) if config.out else None
    try:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
            return path
        return _fresh_folder(config)
    except OSError as error:
        raise write_failed("the output folder", path or Path("runs"), error, "choose another --out") from error


def _fresh_folder(config: TrainConfig) -> Path:
    """The first free number, made at once so that two runs cannot both take it."""
    words = (Path(config.data).name or config.data, config.model, config.recipe)
    stem = "-".join(re.sub(r"[^A-Za-z0-9.=]+", "_", word).strip("_.") or "x" for word in words)[:80]
    root = Path("runs")
    root.mkdir(exist_ok=True)
    number = 1
    while True:
        path = root / f"{stem}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
