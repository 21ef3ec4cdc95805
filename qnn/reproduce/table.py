"""Paper against ours, as rows for a terminal or a page."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from qnn.reproduce.experiment import Experiment
from qnn.reproduce.records import Record, measured

HEADER = ["row", "recipe", "paper", "ours", "seeds", "difference", "paper's difference", "bits"]


def table(experiment: Experiment, records: Sequence[Record]) -> list[list[str]]:
    """One line per row: the paper's number, the mean of ours with every seed, the differences to the baseline, and
    whether runs made here have the digests of ours.

    Parameters
    ----------
    experiment : Experiment
    records : sequence of Record
        Of one form, full or quick.

    Returns
    -------
    list of list of str
        Under :data:`HEADER`; numbers in per cent.
    """
    ours = {
        row.name: {r.seed: _percent(experiment, r) for r in records if r.row == row.name} for row in experiment.rows
    }
    digests = {(r.experiment, r.row, r.quick, r.seed): r.digest for r in measured()}
    baseline = ours.get(experiment.baseline, {})
    base_paper = next((row.paper for row in experiment.rows if row.name == experiment.baseline), None)
    lines = []
    for row in experiment.rows:
        found = ours[row.name]
        common = sorted(found.keys() & baseline.keys())
        gap = statistics.mean(found[s] - baseline[s] for s in common) if common else None
        paper_gap = None if row.paper is None or base_paper is None else row.paper - base_paper
        is_base = row.name == experiment.baseline
        lines.append(
            [
                row.name,
                f"{row.recipe} from {row.init}" if row.init else row.recipe,
                _number(row.paper),
                _number(statistics.mean(found.values()) if found else None, "not run"),
                ", ".join(f"{found[seed]:.2f}" for seed in sorted(found)) if len(found) > 1 else str(len(found)),
                "" if is_base else _number(gap, sign=True),
                "" if is_base else _number(paper_gap, sign=True),
                _bits([r for r in records if r.row == row.name], digests),
            ]
        )
    return lines


def markdown(experiment: Experiment, records: Sequence[Record], *, quick: bool) -> str:
    """The experiment as a section of a page: what is claimed, the table, what differs."""
    form = "quick form" if quick else "full form"
    lines = [f"### {experiment.title}", "", f"{experiment.paper}, {experiment.where}. {experiment.claim}", ""]
    lines += [f"Test {experiment.metric} in per cent, {form}: `{reproduce_command(experiment, quick=quick)}`.", ""]
    rows = [HEADER, ["---"] * len(HEADER), *table(experiment, records)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {text}" for text in experiment.changed)])


def reproduce_command(experiment: Experiment, *, quick: bool) -> str:
    """What to type."""
    return f"qnn reproduce run {experiment.name}{' --quick' if quick else ''}"


def _percent(experiment: Experiment, record: Record) -> float:
    return 100 * (record.accuracy if experiment.metric == "accuracy" else 1 - record.accuracy)


def _number(value: float | None, missing: str = "-", *, sign: bool = False) -> str:
    return missing if value is None else f"{value:+.2f}" if sign else f"{value:.2f}"


def _bits(records: Sequence[Record], digests: dict[tuple[str, str, bool, int], str]) -> str:
    """Where the runs are from, and whether those made here have the digests on record."""
    if not records:
        return "-"
    if not any(r.here for r in records):
        return "our record"
    known = [(r, digests.get((r.experiment, r.row, r.quick, r.seed))) for r in records if r.here]
    compared = [record.digest == digest for record, digest in known if digest is not None]
    if not compared:
        return "no record"
    return "equal" if all(compared) else "differ"


__all__ = ["HEADER", "markdown", "reproduce_command", "table"]
