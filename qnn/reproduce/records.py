"""What runs gave: read from their folders, or from the record of our own runs that comes with the package."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from qnn.reproduce.experiment import Experiment, Row
from qnn.training import TrainConfig

RESULT = "result.json"
FILE = resources.files("qnn.reproduce").joinpath("measured.json")


@dataclass(frozen=True)
class Record:
    """One finished run.

    Parameters
    ----------
    experiment, row : str
    quick : bool
    seed : int
    accuracy : float
        Share of right predictions on the test set.
    digest : str
        Of the run; equal digests are equal bits.
    settings : dict
        All numeric settings, so that a record of other settings is never shown for these; under "init", where the run
        starts from another, that one's.
    here : bool
        Read from a run's folder, not from our record.
    """

    experiment: str
    row: str
    quick: bool
    seed: int
    accuracy: float
    digest: str
    settings: dict[str, Any]
    here: bool = False


def folder_of(root: Path, experiment: Experiment, row: Row, seed: int, *, quick: bool) -> Path:
    """Where a run lies."""
    return root / experiment.name / ("quick" if quick else "full") / f"{row.name}-{seed}"


def config_of(root: Path, experiment: Experiment, row: Row, seed: int, *, quick: bool) -> TrainConfig:
    """Settings of a run, with the folder of the one that it starts from."""
    config, start = experiment.config(row, seed, quick=quick), experiment.start(row)
    if start is None:
        return config
    return config.replace(init=str(folder_of(root, experiment, start, seed, quick=quick).resolve()))


def numeric(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a run's bits, as JSON has them."""
    found: dict[str, Any] = json.loads(json.dumps({**config.numeric(), "data": config.data}))
    return found


def settings_of(experiment: Experiment, row: Row, seed: int, *, quick: bool) -> dict[str, Any]:
    """What decides the bits of a row's run: its settings, and those of the run that it starts from."""
    own = numeric(experiment.config(row, seed, quick=quick))
    start = experiment.start(row)
    return own if start is None else {**own, "init": settings_of(experiment, start, seed, quick=quick)}


def measured() -> list[Record]:
    """Our own runs."""
    return [Record(**item) for item in json.loads(FILE.read_text(encoding="utf-8"))]


def collect(experiment: Experiment, root: Path, *, quick: bool) -> list[Record]:
    """Finished runs of an experiment below ``root``; what does not lie there is taken from our record.

    Parameters
    ----------
    experiment : Experiment
    root : Path
        Folder of the runs; it need not exist.
    quick : bool
        Which form.
    """
    own = {(r.experiment, r.row, r.quick, r.seed): r for r in measured()}
    found = []
    for row in experiment.rows:
        for seed in experiment.all_seeds(quick=quick):
            settings = settings_of(experiment, row, seed, quick=quick)
            file = folder_of(root, experiment, row, seed, quick=quick) / RESULT
            kept = own.get((experiment.name, row.name, quick, seed))
            if file.exists():
                result = json.loads(file.read_text(encoding="utf-8"))
                accuracy, digest = result["test_accuracy"], result["digest"]
                found.append(Record(experiment.name, row.name, quick, seed, accuracy, digest, settings, True))
            elif kept is not None and kept.settings == settings:
                found.append(kept)
    return found


def dump(records: list[Record]) -> str:
    """Records as the text of ``measured.json``: one line each."""
    kept = ({key: value for key, value in asdict(record).items() if key != "here"} for record in records)
    lines = (json.dumps(item, sort_keys=True) for item in kept)
    return "[\n" + ",\n".join(lines) + "\n]\n"


__all__ = ["FILE", "RESULT", "Record", "collect", "config_of", "dump", "folder_of", "measured", "settings_of"]
