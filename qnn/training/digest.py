"""Ask a run's digest chain: replay a run and compare, or find the first step at which two runs part and what differs.

The chain itself is made in :mod:`qnn.training.chain` and recorded in ``digest.jsonl`` (see :mod:`qnn.training.runs`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qnn.errors import CheckpointError, ConfigError, RunError
from qnn.training import checkpoint
from qnn.training.chain import PARTS
from qnn.training.config import TrainConfig
from qnn.training.control import runtime
from qnn.training.inputs import load_split
from qnn.training.runs import Record, RunFolder
from qnn.training.trainer import StepRecord, Trainer

__all__ = ["PARTS", "Bisection", "Replay", "bisect", "final_digest", "replay"]

PathLike = str | os.PathLike[str]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    Parameters
    ----------
    run_dir : Path
        The run.
    first_step, last_step : int
        The replay compared the digests after these steps and all between.
    same : bool
        Whether all agree.
    step : int or None
        First step that differs (0: the settings or the data differ already).
    expected, got : str or None
        Recorded and replayed digest of that step.
    parts : tuple of str
        Parts whose recorded hash differs there.
    covered : bool
        Whether the promise about bits covers the recipe.
    """

    run_dir: Path
    first_step: int
    last_step: int
    same: bool
    step: int | None
    expected: str | None
    got: str | None
    parts: tuple[str, ...]
    covered: bool

    def __str__(self) -> str:
        note = "" if self.covered else " (recipe not covered by the promise about bits)"
        if self.same:
            return (
                f"{self.run_dir}: the replay gives the same digests, steps {self.first_step} to {self.last_step}{note}"
            )
        if self.step == 0:
            return f"{self.run_dir}: settings or data differ from those of the run, so no step was compared{note}"
        where = f", in {', '.join(self.parts)}" if self.parts else ""
        return f"{self.run_dir}: the replay differs from step {self.step} on{where}{note}"


@dataclass(frozen=True)
class Bisection:
    """Where two runs part.

    Parameters
    ----------
    run_a, run_b : Path
        The runs.
    steps : int
        Steps that both have recorded.
    same : bool
        Whether all these agree.
    step : int or None
        First step whose digests differ; 0 when the runs began with different settings or data.
    settings : dict
        For step 0: ``{key: (value in a, value in b)}``, floats as their exact hexadecimal text.
    parts : tuple of str
        Parts of the state (see :data:`PARTS`) whose recorded hashes differ at that step.
    tensors : dict of str to tuple of str
        From repeating the step: per part, the names of the tensors and sites that differ between the two runs' settings
        of kernels and threads.
    reproduced : tuple of bool, or None
        Whether repeating the step here gave the recorded digest of run a, of run b; None when it was not repeated.
    explanation : str
        All this in a few words.
    """

    run_a: Path
    run_b: Path
    steps: int
    same: bool
    step: int | None
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reproduced: tuple[bool, bool] | None = None
    explanation: str = ""

    def __str__(self) -> str:
        return self.explanation


def final_digest(run_dir: PathLike) -> tuple[int, str]:
    """Last recorded step of a run and the digest after it.

    Raises
    ------
    RunError
        If it is no run folder or has no digests.
    """
    last = RunFolder(run_dir).digests()[-1]
    return int(last["step"]), str(last["digest"])


def replay(
    run_dir: PathLike,
    *,
    start: str = "seed",
    steps: int | None = None,
    kernels: str | None = None,
    threads: int | None = None,
    on_step: OnStep | None = None,
) -> Replay:
    """Run a run again, in memory, and compare the digest after each step with the recorded one.

    Parameters
    ----------
    run_dir : path
        The run's folder; nothing in it is changed.
    start : {"seed", "checkpoint"}
        From the beginning, or from the older of the run's checkpoints.
    steps : int, optional
        Compare only so many steps.
    kernels, threads : optional
        Kernel path and threads of the replay instead of the stored ones.
    on_step : callable, optional
        Called with (steps done, steps to do).

    Returns
    -------
    Replay

    Raises
    ------
    ConfigError, DataError, CheckpointError, RunError
        If the run, its data or the checkpoint cannot be used, or a step fails.

    Notes
    -----
    Bit-exactness: clause DIG-2; a covered recipe gives the same digests on every kernel path, thread count and machine.
    """
    if start not in ("seed", "checkpoint"):
        raise ConfigError(
            f"got start '{start}' for a replay; it is 'seed' or 'checkpoint'; 'seed' replays the whole run"
        )
    if steps is not None and steps < 1:
        raise ConfigError(f"got {steps} steps for a replay; it must be at least 1; leave it out for all")
    folder = RunFolder(run_dir)
    recorded = folder.digests()
    config = _with(folder.config(), kernels, threads)
    with runtime(config):
        trainer = Trainer(config, load_split(config, "train"))

        def outcome(first: int, step: int | None, got: bytes, parts: tuple[str, ...] = ()) -> Replay:
            expected = None if step is None else str(recorded[step]["digest"])
            return Replay(
                folder.path,
                first,
                trainer.step,
                step is None,
                step,
                expected,
                None if step is None else got.hex(),
                parts,
                trainer.covered,
            )

        if trainer.digest.hex() != recorded[0]["digest"]:
            return outcome(0, 0, trainer.digest)
        if start == "checkpoint":
            _rewind(trainer, folder, before=len(recorded) - 1)
        first = trainer.step + 1
        last = len(recorded) - 1 if steps is None else min(len(recorded) - 1, trainer.step + steps)
        if first > last:
            return outcome(trainer.step, None, trainer.digest)
        for record in trainer.steps():
            if on_step is not None:
                on_step(record.step - first + 1, last - first + 1)
            if record.digest.hex() != recorded[record.step]["digest"]:
                return outcome(first, record.step, record.digest, _parts_unlike(recorded[record.step], record))
            if record.step >= last:
                break
        return outcome(first, None, trainer.digest)


def bisect(run_a: PathLike, run_b: PathLike, *, repeat: bool = True, on_step: OnStep | None = None) -> Bisection:
    """Find the first step at which two runs differ, and what differs there.

    The recorded chains give the step and the parts. With `repeat` the run is replayed up to the step before, where both
    still agreed, and the step is done once with the kernels and threads of each run, which names the tensors, or says
    which of the two runs this machine does not reproduce.

    Parameters
    ----------
    run_a, run_b : path
        Run folders; nothing in them is changed.
    repeat : bool
        Replay to name the tensors.
    on_step : callable, optional
        Called with (steps done, steps to do) of the replay.

    Returns
    -------
    Bisection

    Raises
    ------
    ConfigError, DataError, RunError
        If a run or its data cannot be used.
    """
    a, b = RunFolder(run_a), RunFolder(run_b)
    chain_a, chain_b = a.digests(), b.digests()
    shared = min(len(chain_a), len(chain_b)) - 1
    step = _first_difference(chain_a, chain_b)
    if step is None:
        longer = (
            ""
            if len(chain_a) == len(chain_b)
            else f"; {(a if len(chain_a) > len(chain_b) else b).path} goes on for longer"
        )
        return Bisection(
            a.path,
            b.path,
            shared,
            True,
            None,
            explanation=f"the runs agree in all {shared} steps that both have{longer}",
        )
    later = range(step + 1, shared + 1)
    again = next((t for t in later if chain_a[t]["digest"] == chain_b[t]["digest"]), None)
    if again is not None:
        text = (
            f"the records differ in step {step} and agree again in step {again}, which no two runs do: a digest holds "
            "all before it; one of the two files was changed, and `qnn digest replay` says which"
        )
        return Bisection(a.path, b.path, shared, False, step, explanation=text)
    if step == 0:
        settings = _settings_unlike(chain_a[0], chain_b[0])
        words = ", ".join(f"{key} ({mine} and {theirs})" for key, (mine, theirs) in settings.items())
        text = f"the runs differ from the start: they have other settings or data: {words or 'not recorded'}"
        return Bisection(a.path, b.path, shared, False, 0, settings, explanation=text)
    parts = tuple(
        name for name in PARTS if chain_a[step].get("parts", {}).get(name) != chain_b[step].get("parts", {}).get(name)
    )
    what = ", ".join(parts) or "the recorded digest only"
    text = f"the runs agree up to step {step - 1} and differ from step {step} on, in {what}"
    if not repeat:
        return Bisection(a.path, b.path, shared, False, step, parts=parts, explanation=text)
    tensors, reproduced, more = _repeat(a, b, step, chain_a, chain_b, on_step)
    return Bisection(a.path, b.path, shared, False, step, {}, parts, tensors, reproduced, f"{text}; {more}")


def _first_difference(chain_a: list[Record], chain_b: list[Record]) -> int | None:
    """The first step whose recorded digests differ."""
    pairs = zip(chain_a, chain_b, strict=False)
    return next((step for step, (a, b) in enumerate(pairs) if a["digest"] != b["digest"]), None)


def _settings_unlike(a: Record, b: Record) -> dict[str, tuple[Any, Any]]:
    mine, theirs = a.get("settings", {}), b.get("settings", {})
    return {
        key: (mine.get(key), theirs.get(key)) for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)
    }


def _parts_unlike(recorded: Record, record: StepRecord) -> tuple[str, ...]:
    known = recorded.get("parts", {})
    return tuple(name for name in PARTS if known.get(name) != record.parts[name].hex()[:16])


def _with(config: TrainConfig, kernels: str | None, threads: int | None) -> TrainConfig:
    if kernels is not None:
        config = config.replace(kernels=kernels)
    return config if threads is None else config.replace(threads=threads)


def _rewind(trainer: Trainer, folder: RunFolder, before: int) -> bool:
    """Put the trainer to the run's oldest checkpoint before a step; False (and untouched) when there is none."""
    for path in (folder.previous, folder.checkpoint):
        with contextlib.suppress(CheckpointError):
            loaded = checkpoint.load(path, trainer.identity())
            if loaded.state["step"] < before:
                trainer.restore(loaded)
                return True
    return False


def _repeat(
    a: RunFolder, b: RunFolder, step: int, chain_a: list[Record], chain_b: list[Record], on_step: OnStep | None
) -> tuple[dict[str, tuple[str, ...]], tuple[bool, bool] | None, str]:
    """Do step `step` as run a and as run b did it, from the state before it that both had."""
    config = a.config()
    trainer = Trainer(config, load_split(config, "train"))
    with runtime(_as_recorded(a, config, step)):
        if not any(_rewind(trainer, folder, before=step) for folder in (a, b)):
            pass  # from the beginning, then
        reached = _run_to(trainer, step - 1, chain_a, on_step)
    if reached is not None:
        return (
            {},
            None,
            f"a replay on this machine differs from both already at step {reached}, so the step was not repeated",
        )
    state = trainer.checkpoint()
    hashes, reproduced = [], []
    for folder, chain in ((a, chain_a), (b, chain_b)):
        with runtime(_as_recorded(folder, config, step)):
            again = Trainer(config, trainer.data)
            again.restore(state)
            record = next(again.steps())
        hashes.append(again.tensor_hashes())
        reproduced.append(record.digest.hex() == chain[step]["digest"])
    tensors = {
        part: names
        for part in hashes[0]
        if (names := tuple(name for name in hashes[0][part] if hashes[0][part][name] != hashes[1][part].get(name)))
    }
    return tensors, (reproduced[0], reproduced[1]), _say(a, b, step, tensors, reproduced)


def _say(a: RunFolder, b: RunFolder, step: int, tensors: dict[str, tuple[str, ...]], reproduced: list[bool]) -> str:
    if all(reproduced):
        first = next((f"{part} '{names[0]}'" for part, names in tensors.items()), "nothing")
        count = sum(len(names) for names in tensors.values())
        return (
            f"repeating it with each run's kernels and threads gives both again; {count} tensors differ, first {first}"
        )
    if not any(reproduced):
        return "repeating the step here gives neither of the two: both come from another version or machine"
    good, bad = (a, b) if reproduced[0] else (b, a)
    return (
        f"repeating the step here gives that of {good.path}; "
        f"the step {step} of {bad.path} is not what this machine computes"
    )


def _run_to(trainer: Trainer, last: int, chain: list[Record], on_step: OnStep | None) -> int | None:
    """Replay up to and with step `last`; the first step that differs from the chain, or None."""
    first = trainer.step
    if trainer.digest.hex() != chain[first]["digest"]:
        return first
    steps = trainer.steps()
    while trainer.step < last:
        record = next(steps)
        if on_step is not None:
            on_step(record.step - first, last - first + 1)
        if record.digest.hex() != chain[record.step]["digest"]:
            return record.step
    return None


def _as_recorded(folder: RunFolder, config: TrainConfig, step: int) -> TrainConfig:
    """The settings with the kernels and threads that the run had at a step, as far as this machine has them."""
    from qnn import _kernels

    starts = [event for event in folder.events() if event["kind"] == "start" and event["step"] < step]
    if not starts:
        raise RunError(f"{folder.path} has no start event; its metrics.jsonl was changed; pass repeat=False")
    kernels = starts[-1]["kernels"] if starts[-1]["kernels"] in _kernels.available_kernels() else "auto"
    return config.replace(kernels=kernels, threads=starts[-1]["threads"])
