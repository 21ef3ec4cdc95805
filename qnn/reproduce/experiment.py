"""An experiment: what a paper reports, the settings here, what differs and why. One TOML file each."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from importlib import resources
from typing import Any

from qnn.errors import ConfigError
from qnn.training import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same parser under its older name
    import tomli as tomllib

FOLDER = resources.files("qnn.reproduce").joinpath("experiments")


@dataclass(frozen=True)
class Row:
    """One line of an experiment's table: a recipe, and what the paper has for it.

    Parameters
    ----------
    name : str
    recipe : str
        As ``qnn train --recipe`` takes it.
    paper : float or None
        The paper's number in the experiment's metric, in per cent.
    settings : dict
        Settings of this row alone.
    init : str
        Row whose finished run of the same seed this one starts from, or empty.
    """

    name: str
    recipe: str
    paper: float | None
    settings: dict[str, Any]
    init: str = ""


@dataclass(frozen=True)
class Experiment:
    """What a paper reports and how it is repeated.

    Parameters
    ----------
    name : str
        Of the file, and on the command line.
    title, paper, where : str
        What is measured; the paper; its table, figure or section.
    claim : str
        What the paper says.
    changed : tuple of str
        What differs from the paper's settings, each with its reason.
    metric : {"accuracy", "error"}
        Of the test set, in per cent.
    baseline : str
        Row that the gaps are measured from, or empty.
    settings, quick : dict
        Settings of the full form, and what the quick form changes.
    seeds, quick_seeds : tuple of int
    rows : tuple of Row
    """

    name: str
    title: str
    paper: str
    where: str
    claim: str
    changed: tuple[str, ...]
    metric: str
    baseline: str
    settings: dict[str, Any]
    quick: dict[str, Any]
    seeds: tuple[int, ...]
    quick_seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def config(self, row: Row, seed: int, *, quick: bool) -> TrainConfig:
        """Settings of one run."""
        chosen = {**self.settings, **(self.quick if quick else {}), **row.settings}
        return TrainConfig(**chosen, recipe=row.recipe, seed=seed)

    def all_seeds(self, *, quick: bool) -> tuple[int, ...]:
        """Seeds of the form."""
        return self.quick_seeds if quick else self.seeds

    def start(self, row: Row) -> Row | None:
        """The row that a row starts from; always one above it, so that no two wait for each other."""
        if not row.init:
            return None
        above = self.rows[: self.rows.index(row)]
        for other in above:
            if other.name == row.init:
                return other
        raise ConfigError(
            f"got init = {row.init!r} in the row {row.name} of {self.name}; it must name a row above it: "
            f"{', '.join(other.name for other in above) or 'there is none'}"
        )

    def row(self, name: str) -> Row:
        """The row of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise ConfigError(f"got the row {name!r}; {self.name} has {', '.join(row.name for row in self.rows)}")


def names() -> list[str]:
    """All experiments."""
    return sorted(file.name.removesuffix(".toml") for file in FOLDER.iterdir() if file.name.endswith(".toml"))


def load(name: str) -> Experiment:
    """Read an experiment.

    Raises
    ------
    qnn.errors.ConfigError
        For an unknown name (the nearest is suggested).
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"got the experiment {name!r}; known are {', '.join(names())}{hint}")
    read = tomllib.loads(FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    own = {key: value for key, value in read.items() if key not in ("settings", "quick", "rows", "seeds", "changed")}
    quick = dict(read["quick"])
    return Experiment(
        name,
        **{"metric": "accuracy", "baseline": "", **own},
        changed=tuple(read["changed"]),
        settings=read["settings"],
        seeds=tuple(read["seeds"]),
        quick_seeds=tuple(quick.pop("seeds", (1,))),
        quick=quick,
        rows=tuple(Row(**{"paper": None, "settings": {}, **row}) for row in read["rows"]),
    )


__all__ = ["Experiment", "Row", "load", "names"]
