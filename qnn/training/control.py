"""Train and evaluate: a run from its settings to its folder, interruptible, resumable, the same bits each time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qnn import _kernels
from qnn.errors import ConfigError
from qnn.training.config import TrainConfig
from qnn.training.evaluation import Evaluation, evaluate
from qnn.training.inputs import load_split
from qnn.training.lock import FolderLock
from qnn.training.runs import RunFolder, output_folder
from qnn.training.session import OnEvent, Result, Session
from qnn.training.trainer import Trainer

__all__ = ["Evaluation", "Result", "evaluate", "resume", "runtime", "train"]


def train(config: TrainConfig, *, resume: bool = False, on_event: OnEvent | None = None) -> Result:
    """Train a network as the settings say, or go on with a run.

    Parameters
    ----------
    config : TrainConfig
        The settings. With `resume`, ``config.out`` names the run and the numeric settings must be those it began with.
    resume : bool
        Go on from the newest checkpoint of ``config.out``.
    on_event : callable, optional
        Gets each event that goes to ``metrics.jsonl`` (see :mod:`qnn.training.runs`).

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
    config.validate(begun=resume)
    stored = _stored_for_resume(config) if resume else None
    with runtime(config):
        train_set = load_split(config, "train")
        test_set = load_split(config, "test")
        trainer = Trainer(config, train_set)
        path = stored.path if stored is not None else output_folder(config)
        with FolderLock(path):
            folder = stored if stored is not None else RunFolder.create(path, config)
            return Session(trainer, test_set, folder, resume, on_event).run()


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
        raise ConfigError(
            "got resume without an output folder; a run to go on with must be named; pass its folder as --out"
        )
    folder = RunFolder(config.out)
    changed = folder.config().differences(config, (*config.numeric_keys(), "init"))
    if changed:
        words = ", ".join(f"{key} (stored {mine!r}, now {theirs!r})" for key, (mine, theirs) in changed.items())
        raise ConfigError(
            f"got other settings than the run {folder.path} began with: {words}; a resumed run keeps every setting "
            "that changes bits (epochs too: the schedule depends on it); leave them out, or start a new run"
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
                raise ConfigError(f'{error} (or kernels = "auto")') from error
        if config.threads:
            stack.enter_context(_kernels.threads(config.threads))
        try:
            _kernels.active_path()
            _kernels.get_num_threads()
        except (ValueError, TypeError) as error:  # a wrong value in the environment
            raise ConfigError(str(error)) from error
        yield
