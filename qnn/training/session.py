"""One session of a run in its locked folder: from the start or a checkpoint to the end or an interruption."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnn import _kernels
from qnn.data.dataset import Dataset
from qnn.errors import CheckpointError, RunError
from qnn.ops.loss import LOSS_UNIT
from qnn.training import checkpoint
from qnn.training.chain import count_values, exact_settings
from qnn.training.evaluation import Evaluation, evaluate
from qnn.training.interrupts import Interrupts
from qnn.training.runs import DIGESTS, Record, RunFolder, RunLog
from qnn.training.trainer import StepRecord, Trainer

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


class Session:
    """One session of a run in its locked folder: from start or checkpoint to the end or an interruption."""

    def __init__(
        self, trainer: Trainer, test_set: Dataset, folder: RunFolder, resume: bool, on_event: OnEvent | None
    ) -> None:
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
            raise CheckpointError(
                f"the checkpoint was not written by a training run (no {error}); train again"
            ) from error
        self.saved_step = self.trainer.step
        self._check_record()

    def _check_record(self) -> None:
        """Refuse to go on with a recorded chain that does not lead to the checkpoint: it would prove nothing."""
        step, digest = self.trainer.step, self.trainer.digest.hex()
        recorded = self.folder.digests()
        if len(recorded) <= step or recorded[step]["digest"] != digest:
            raise RunError(
                f"{self.folder.path / DIGESTS} does not lead to the checkpoint at step {step} ({digest[:16]}...); "
                "the file was changed or cut; put the right one back, or train again in another folder"
            )

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
            with Interrupts() as interrupts:
                result = self._run(interrupts)
            self.log.flush(durable=True)
        except BaseException:
            # The first failure is the one to report; a full disk would fail the closing, too.
            with contextlib.suppress(RunError):
                self.log.close()
            raise
        self.log.close()
        return result

    def _run(self, interrupts: Interrupts) -> Result:
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
            parameters=trainer.parameter_count,
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

    def _train_epoch(self, interrupts: Interrupts) -> bool:
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
                        loss=record.loss * LOSS_UNIT / record.count,
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
            raise RunError(
                f"the test after step {trainer.step} failed: {error}; checkpoints saved before it are kept"
            ) from error
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
