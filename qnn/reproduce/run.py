"""Run an experiment: one process of ``qnn train`` per row and seed, each in its folder, finished or gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qnn.errors import RunError
from qnn.reproduce.experiment import Experiment, Row
from qnn.reproduce.records import RESULT, config_of, folder_of
from qnn.training import TrainConfig
from qnn.training.files import write_atomically

Job = tuple[Row, int]


def run(
    experiment: Experiment,
    root: Path,
    *,
    quick: bool = False,
    rows: Iterable[str] = (),
    seeds: Iterable[int] = (),
    jobs: int = 1,
    done: Callable[[str, dict[str, Any]], None] = lambda name, result: None,
) -> list[str]:
    """Run what is not finished yet.

    Parameters
    ----------
    experiment : Experiment
    root : Path
        Below it every run has its folder.
    quick : bool
        The quick form.
    rows : iterable of str
        Only these, and those that they start from; none for all.
    seeds : iterable of int
        Only these; none for all of the form.
    jobs : int
        Runs at a time, one thread each; a single one takes the threads of the environment.
    done : callable
        Told the name and the result of each run that is finished.

    Returns
    -------
    list of str
        What failed, in words; empty if nothing did. The other runs are finished all the same.

    Raises
    ------
    qnn.errors.ConfigError
        For a row that the experiment does not have, or one that starts from no row above it.
    """
    asked = [experiment.row(name) for name in rows] or experiment.rows
    depths = {row.name: depth for last in asked for depth, row in enumerate(_from_the_first(experiment, last))}
    waves = [[row for row in experiment.rows if depths.get(row.name) == d] for d in sorted({*depths.values()})]
    chosen = tuple(seeds) or experiment.all_seeds(quick=quick)

    def one(cell: Job) -> str:
        row, seed = cell
        folder = folder_of(root, experiment, row, seed, quick=quick)
        config = config_of(root, experiment, row, seed, quick=quick)
        try:
            if config.init and not Path(config.init, RESULT).exists():  # a checkpoint may be there all the same
                raise RunError(f"starts from the row {row.init}, whose run failed; the same command goes on with it")
            result = _finish(config, folder, jobs)
        except RunError as error:
            return f"{row.name}, seed {seed}: {error}"
        done(f"{row.name}, seed {seed}", result)
        return ""

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        ended = [list(pool.map(one, [(row, seed) for seed in chosen for row in wave])) for wave in waves]
    return [message for messages in ended for message in messages if message]


def _from_the_first(experiment: Experiment, row: Row) -> list[Row]:
    """A row and those that it starts from, in the order in which they run."""
    start = experiment.start(row)
    return [*([] if start is None else _from_the_first(experiment, start)), row]


def _finish(config: TrainConfig, folder: Path, jobs: int) -> dict[str, Any]:
    """The result of one run, from its folder or by running it to its end."""
    file = folder / RESULT
    if not file.exists():
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "QNN_NUM_THREADS": "1"} if jobs > 1 else {}
        ended = subprocess.run(
            command(config, folder), capture_output=True, text=True, env=os.environ | one_thread, check=False
        )
        if ended.returncode:
            last = (ended.stderr.strip() or "no message").splitlines()[-1]
            raise RunError(f"qnn train ended with code {ended.returncode}: {last}; the same command goes on with it")
        write_atomically(file, [(ended.stdout.strip().splitlines()[-1] + "\n").encode()])
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def command(config: TrainConfig, folder: Path) -> list[str]:
    """The command line of a run; it goes on with a folder that holds one."""
    line = [sys.executable, "-m", "qnn", "train", "--out", str(folder), "--json"]
    if (folder / "config.toml").exists():
        return [*line, "--resume"]
    standard = TrainConfig()
    for key in TrainConfig.keys():  # noqa: SIM118 - of the settings, no dict
        value = getattr(config, key)
        if value == getattr(standard, key) or key == "out":
            continue
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            line.append(f"--{'' if value else 'no-'}{flag}")
        else:
            line += [f"--{flag}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return line


__all__ = ["command", "run"]
