"""Train and evaluate: a run from its settings to its folder, interruptible, resumable, the same bits each time."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from qnn import _kernels, checkpoint
from qnn import data as qnn_data
from qnn.chain import count_values, exact_settings
from qnn.config import TrainConfig
from qnn.data.dataset import Dataset
from qnn.errors import CheckpointError, ConfigError, RunError
from qnn.evaluation import Evaluation, evaluate
from qnn.lock import FolderLock
from qnn.runs import Record, RunFolder, RunLog, output_folder
from qnn.trainer import StepRecord, Trainer

__all__ = ["Evaluation", "Result", "evaluate", "resume", "runtime", "train"]

OnEvent = Callable[[Record], None]


@dataclass(frozen=True)
class Result:
    """What a training gave.

    Parameters
    ----------
    test_accuracy : float
        Share of right predictions on the test set; of the last finished epoch when interrupted (NaN before the first).
    digest : str
        The chain after the last step (clause DIG-2), hexadecimal.
    covered : bool
        Whether the promise about bits covers the recipe; false for ``fp32``.
    epochs : int
        Finished epochs.
    steps : int
        Finished steps.
    seconds : float
        Time of training and tests over all sessions of the run.
    images_per_second : float
        Training images per second of training.
    kernels : str
        Kernel path of this session.
    threads : int
        Kernel threads of this session.
    run_dir : Path
        The run's folder.
    interrupted : bool
        Whether Ctrl-C (or SIGTERM) ended the session before the run was done.
    """

    test_accuracy: float
    digest: str
    covered: bool
    epochs: int
    steps: int
    seconds: float
    images_per_second: float
    kernels: str
    threads: int
    run_dir: Path
    interrupted: bool


def train(config: TrainConfig, *, resume: bool = False, on_event: OnEvent | None = None) -> Result:
    """Train a network as the settings say, or go on with a run.

    Parameters
    ----------
    config : TrainConfig
        The settings. With `resume`, ``config.out`` names the run and the numeric settings must be those it began with.
    resume : bool
        Go on from the newest checkpoint of ``config.out``.
    on_event : callable, optional
        Gets each event that goes to ``metrics.jsonl`` (see :mod:`qnn.runs`).

    Returns
    -------
    Result

    Raises
    ------
    ConfigError
        If a name or value is not allowed, or a numeric setting differs from the stored one on resume (all are named).
    DataError
        If the data set is missing or broken.
    CheckpointError
        If no checkpoint can be read on resume, or it belongs to something else.
    RunError
        If the folder is in use or cannot be written, the disk is full, or anything is not finite. The last good
        checkpoint is kept.

    Notes
    -----
    Bit-exactness: clauses DIG-1 to DIG-4; the digest depends on the numeric settings and the training set only: not on
    kernel path, threads, interruptions. ``fp32`` is not covered.
    """
    config.validate()
    stored = _stored_for_resume(config) if resume else None
    with runtime(config):
        train_set = qnn_data.load(config.data, split="train")
        test_set = qnn_data.load(config.data, split="test")
        trainer = Trainer(config, train_set)
        path = stored.path if stored is not None else output_folder(config)
        with FolderLock(path):
            folder = stored if stored is not None else RunFolder.create(path, config)
            return _Session(trainer, test_set, folder, resume, on_event).run()


def resume(run_dir: str | Path, *, on_event: OnEvent | None = None, **changes: Any) -> Result:
    """Go on with the run in `run_dir` with its stored settings.

    Parameters
    ----------
    run_dir : path
        The folder.
    on_event : callable, optional
        As for :func:`train`.
    **changes
        Settings to change; only those that change no bits (``kernels``, ``threads``, ``log_every``, ...) are allowed.

    Raises
    ------
    ConfigError, DataError, CheckpointError, RunError
        As for :func:`train`.
    """
    config = RunFolder(run_dir).config().replace(**changes).replace(out=str(run_dir))
    return train(config, resume=True, on_event=on_event)


def _stored_for_resume(config: TrainConfig) -> RunFolder:
    """The folder to go on with, after checking that the settings are still those of the run."""
    if not config.out:
        raise ConfigError("got resume without an output folder; a run to go on with must be named; pass its folder as --out")
    folder = RunFolder(config.out)
    changed = folder.config().differences(config)
    if changed:
        words = ", ".join(f"{key} (stored {mine!r}, now {theirs!r})" for key, (mine, theirs) in changed.items())
        raise ConfigError(
            f"got other settings than the run {folder.path} began with: {words}; a resumed run keeps every setting that "
            "changes bits (epochs too: the schedule depends on it); leave them out, or start a new run"
        )
    return folder


@contextlib.contextmanager
def runtime(config: TrainConfig) -> Iterator[None]:
    """Run the body with the kernel path and the number of threads that the settings name, and put the old ones back.

    Raises
    ------
    ConfigError
        If the path is not available on this machine.
    """
    with contextlib.ExitStack() as stack:
        if config.kernels != "auto":
            try:
                stack.enter_context(_kernels.use_kernels(config.kernels))
            except ValueError as error:
                raise ConfigError(f"{error} (or kernels = \"auto\")") from error
        if config.threads:
            stack.enter_context(_kernels.threads(config.threads))
        try:
            _kernels.active_path()
            _kernels.get_num_threads()
        except (ValueError, TypeError) as error:  # a wrong value in the environment
            raise ConfigError(str(error)) from error
        yield


class _Interrupts:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop after the running step; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.wanted = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True


class _Session:
    """One session of a run in its locked folder: from start or checkpoint to the end or an interruption."""

    def __init__(self, trainer: Trainer, test_set: Dataset, folder: RunFolder, resume: bool, on_event: OnEvent | None) -> None:
        self.trainer = trainer
        self.config = trainer.config
        self.test_set = test_set
        self.folder = folder
        self.on_event = on_event
        self.resumed = resume
        self.notes: list[str] = []
        self.seconds = 0.0  # training and tests, earlier sessions included
        self.train_seconds = 0.0
        self.tested: Evaluation | None = None  # of the weights as they are
        self.test_accuracy = float("nan")
        self.test_loss = float("nan")
        self.saved_step = -1
        if resume:
            self._restore()
        self.log = RunLog(folder, trainer.step, trainer.epoch)

    # -- going on --------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        loaded = self._load()
        if loaded is None:
            return
        self.trainer.restore(loaded)
        try:
            progress = loaded.state["progress"]
            self.seconds, self.train_seconds = float(progress["seconds"]), float(progress["train_seconds"])
            self.test_accuracy, self.test_loss = _number(progress["test_accuracy"]), _number(progress["test_loss"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint was not written by a training run (no {error}); train again") from error
        self.saved_step = self.trainer.step

    def _load(self) -> checkpoint.Checkpoint | None:
        """The newest checkpoint that can be read; taking an older one is said aloud and put on record."""
        newest, previous = self.folder.checkpoint, self.folder.previous
        identity = self.trainer.identity()
        if not newest.exists() and not previous.exists():
            self._note(f"{self.folder.path} has no checkpoint yet; the run starts from its beginning")
            return None
        try:
            return checkpoint.load(newest, identity)
        except CheckpointError as error:
            # A newest file that is whole but belongs elsewhere must not be passed over.
            if not previous.exists() or _is_whole(newest):
                raise
            loaded = checkpoint.load(previous, identity)
            self._note(f"{error}. Going on from {previous.name} instead, at step {loaded.state['step']}")
        if newest.exists():
            aside = newest.with_name("unreadable.safetensors")
            newest.replace(aside)
            self._note(f"the unreadable checkpoint is now {aside.name}")
        return loaded

    def _note(self, message: str) -> None:
        """Say a decision on stderr, and keep it for the log."""
        print(f"qnn: {message}", file=sys.stderr)
        self.notes.append(message)

    # -- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Train to the end or to an interruption."""
        try:
            with _Interrupts() as interrupts:
                result = self._run(interrupts)
            self.log.flush(durable=True)
        except BaseException:
            # The first failure is the one to report; a full disk would fail the closing, too.
            with contextlib.suppress(RunError):
                self.log.close()
            raise
        self.log.close()
        return result

    def _run(self, interrupts: _Interrupts) -> Result:
        trainer = self.trainer
        self._begin()
        while not trainer.finished:
            if interrupts.wanted or not self._train_epoch(interrupts):
                return self._interrupted()
            self._end_epoch()
        return self._end()

    def _begin(self) -> None:
        trainer, config = self.trainer, self.config
        if trainer.step == 0:
            settings = exact_settings(trainer.settings())
            self.log.digests.append({"step": 0, "digest": trainer.digest.hex(), "settings": settings})
            sites = [site for _, site in trainer.sites]
            self.log.traces.append(
                {
                    "sites": [name for name, _ in trainer.sites],
                    "roles": [site.role for site in sites],
                    "bits": [site.bits for site in sites],
                    "r_max": [site.format.r_max for site in sites],
                }
            )
        self._emit(
            "start",
            model=config.model,
            recipe=trainer.model.recipe.name,
            data=config.data,
            n_train=len(trainer.data),
            n_test=len(self.test_set),
            classes=list(trainer.data.classes),
            parameters=sum(parameter.data.size for _, parameter in trainer.parameters),
            kernels=_kernels.active_path(),
            threads=_kernels.get_num_threads(),
            seed=config.seed,
            batch_size=config.batch_size,
            epochs=config.epochs,
            steps_per_epoch=trainer.steps_per_epoch,
            total_steps=trainer.total_steps,
            covered=trainer.covered,
            resumed=self.resumed,
        )
        for message in self.notes:
            self._emit("note", message=message)

    def _train_epoch(self, interrupts: _Interrupts) -> bool:
        """The steps that are left of an epoch; False when stopped before its end."""
        trainer, config = self.trainer, self.config
        begun = mark = time.perf_counter()
        images = 0
        before = trainer.sums.seconds
        batches = iter(trainer.batches())
        try:
            for batch, labels, indices in batches:
                record = trainer.train_step(batch, labels, indices)
                self._log_step(record)
                images += record.count
                now = time.perf_counter()
                trainer.sums.seconds = before + (now - begun)
                if trainer.step % config.log_every == 0 or trainer.step in (1, trainer.total_steps):
                    self._emit(
                        "step",
                        epoch=trainer.epoch + 1,
                        loss=record.loss * 2.0**-20 / record.count,
                        accuracy=record.correct / record.count,
                        lr=record.lr,
                        images_per_second=images / max(now - mark, 1e-9),
                    )
                    images, mark = 0, now
                last = trainer.batch == trainer.steps_per_epoch
                if not last and config.checkpoint_every and trainer.step % config.checkpoint_every == 0:
                    self._save()
                if interrupts.wanted:
                    return False
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()
        return True

    def _log_step(self, record: StepRecord) -> None:
        parts = {name: digest.hex()[:16] for name, digest in record.parts.items()}
        self.log.digests.append({"step": record.step, "digest": record.digest.hex(), "parts": parts})
        counts = [count_values(site.counts) for _, site in self.trainer.sites]
        total, nonzero, overflow, double, saturated = zip(*counts, strict=True) if counts else ((),) * 5
        self.log.traces.append(
            {
                "step": record.step,
                "exponents": record.exponents,
                "total": total,
                "nonzero": nonzero,
                "overflow": overflow,
                "overflow_double": double,
                "saturated": saturated,
            }
        )

    def _end_epoch(self) -> None:
        trainer = self.trainer
        begun = time.perf_counter()
        tested = self._test()
        sums = trainer.sums
        sites = {
            name: {
                "role": site.role,
                "exponent": site.exponent,
                **dict(zip(("overflow", "saturated", "total"), sums.sites.get(name, (0, 0, 0)), strict=True)),
            }
            for name, site in trainer.sites
        }
        self.train_seconds += sums.seconds
        self.seconds += sums.seconds + (time.perf_counter() - begun)
        trainer.end_epoch()
        self._emit(
            "epoch",
            epoch=trainer.epoch,
            train_loss=sums.mean_loss,
            train_accuracy=sums.accuracy,
            test_loss=tested.loss,
            test_accuracy=tested.accuracy,
            seconds=sums.seconds,
            images_per_second=sums.count / max(sums.seconds, 1e-9),
            digest=trainer.digest.hex(),
            sites=sites,
        )
        self._save()

    def _test(self) -> Evaluation:
        trainer = self.trainer
        try:
            self.tested = evaluate(trainer.model, self.test_set, self.config.eval_batch_size)
        except (ValueError, OverflowError) as error:
            raise RunError(f"the test after step {trainer.step} failed: {error}; the last good checkpoint is kept") from error
        self.test_accuracy, self.test_loss = self.tested.accuracy, self.tested.loss
        return self.tested

    def _interrupted(self) -> Result:
        if self.saved_step != self.trainer.step:
            self._save()
        message = (
            f"stopped after step {self.trainer.step} of {self.trainer.total_steps} and saved; "
            f"go on with: qnn train --resume --out {self.folder.path}"
        )
        self._emit("interrupt", epoch=self.trainer.epoch + 1, message=message, digest=self.trainer.digest.hex())
        return self._result(interrupted=True)

    def _end(self) -> Result:
        begun = time.perf_counter()
        tested = self.tested or self._test()  # tested already, unless a finished run was resumed
        self.folder.write_evaluation(tested.to_json(self.test_set))
        self.seconds += time.perf_counter() - begun
        result = self._result(interrupted=False)
        self._emit(
            "end",
            test_accuracy=tested.accuracy,
            test_loss=tested.loss,
            digest=result.digest,
            covered=result.covered,
            epochs=result.epochs,
            seconds=result.seconds,
            train_seconds=self.train_seconds,
            images_per_second=result.images_per_second,
            kernels=result.kernels,
            threads=result.threads,
            confusion=tested.confusion.tolist(),
        )
        return result

    # -- output ----------------------------------------------------------------------------------------------------

    def _emit(self, kind: str, **fields: Any) -> None:
        event: Record = {"kind": kind, "step": self.trainer.step, **fields}
        self.log.metrics.append(event)
        self.log.flush()
        if self.on_event is not None:
            self.on_event({**event, "run_dir": str(self.folder.path)} if kind == "start" else event)

    def _save(self) -> None:
        """Save a checkpoint; the logs reach the disk first, so that they never end before it."""
        self.log.flush(durable=True)
        state = self.trainer.checkpoint()
        state.state["progress"] = {
            "seconds": self.seconds,
            "train_seconds": self.train_seconds,
            "test_accuracy": _json_number(self.test_accuracy),
            "test_loss": _json_number(self.test_loss),
        }
        checkpoint.save(self.folder.checkpoint, state)
        self.saved_step = self.trainer.step

    def _result(self, *, interrupted: bool) -> Result:
        trainer = self.trainer
        running = trainer.sums.seconds  # of an epoch that was interrupted
        images = trainer.step * self.config.batch_size
        return Result(
            test_accuracy=self.test_accuracy,
            digest=trainer.digest.hex(),
            covered=trainer.covered,
            epochs=trainer.epoch,
            steps=trainer.step,
            seconds=self.seconds + running,
            images_per_second=images / max(self.train_seconds + running, 1e-9),
            kernels=_kernels.active_path(),
            threads=_kernels.get_num_threads(),
            run_dir=self.folder.path,
            interrupted=interrupted,
        )


def _is_whole(path: Path) -> bool:
    """Whether a file is a readable checkpoint, of whatever run."""
    try:
        checkpoint.load(path)
    except CheckpointError:
        return False
    return True


def _json_number(value: float) -> float | None:
    return None if value != value else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
