"""``qnn reproduce``: the papers' experiments, and paper against ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qnn.cli.common import percent, print_grid, print_json, print_table

RUNS = Path("runs") / "reproduce"
PATH = click.Path(path_type=Path)
root_option = click.option(
    "--runs", type=PATH, default=RUNS, show_default=True, metavar="DIR", help="Folder of the runs."
)
quick_option = click.option("--quick", is_flag=True, help="The form for a small machine; tables say so.")


@click.group("reproduce", short_help="Repeat the papers' experiments.")
def command() -> None:
    """Repeat what the papers report: every experiment is a configuration in the package.

    Runs go on where they were stopped. The full forms can take days on two cores; --quick takes fewer epochs.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
def list_(as_json: bool) -> None:
    """Name all experiments."""
    from qnn import reproduce

    found = [reproduce.load(name) for name in reproduce.names()]
    if as_json:
        keys = ("name", "title", "paper", "where", "claim", "changed", "metric")
        starts = [{row.name: row.init for row in e.rows if row.init} for e in found]
        shown = [
            {key: getattr(e, key) for key in keys} | ({"init": init} if init else {})
            for e, init in zip(found, starts, strict=True)
        ]
        print_json({"experiments": shown})
        return
    rows = [
        [e.name, f"{e.paper}, {e.where}", e.title, str(len(e.rows)), f"{e.settings['epochs']} / {_quick_epochs(e)}"]
        for e in found
    ]
    print_grid(["experiment", "source", "what", "rows", "epochs full / quick"], rows, numeric=[3], spare=[1])


@command.command("run")
@click.argument("name")
@quick_option
@click.option("--row", "rows", multiple=True, metavar="ROW", help="Only this row; may come several times.")
@click.option(
    "--seed", "seeds", multiple=True, type=int, metavar="N", help="Only this seed; several times for several."
)
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N", help="Runs at a time.")
@root_option
def run_(name: str, quick: bool, rows: tuple[str, ...], seeds: tuple[int, ...], jobs: int, runs: Path) -> None:
    """Run an experiment, or go on with it, and print its table."""
    from qnn import reproduce
    from qnn.errors import RunError

    experiment = reproduce.load(name)

    def done(which: str, result: dict[str, Any]) -> None:
        click.echo(f"{which}: {percent(result['test_accuracy'])}, digest {result['digest'][:16]}", err=True)

    failed = reproduce.run(experiment, runs, quick=quick, rows=rows, seeds=seeds, jobs=jobs, done=done)
    show(experiment, runs, quick)
    if failed:
        raise RunError("; ".join(failed))


@command.command("check")
@click.argument("name")
@quick_option
@click.option("--row", "rows", multiple=True, metavar="ROW", help="Only this row; may come several times.")
@root_option
def check_(name: str, quick: bool, rows: tuple[str, ...], runs: Path) -> None:
    """Compare the ways to multiply: the whole test set through the layers and each frozen form, bit for bit.

    Takes the finished integer runs in --runs.
    """
    from qnn import recipes, reproduce
    from qnn.errors import RunError
    from qnn.reproduce.records import RESULT, folder_of

    experiment = reproduce.load(name)
    chosen = [experiment.row(row) for row in rows] or list(experiment.rows)
    lines = []
    for row in chosen:
        for seed in experiment.all_seeds(quick=quick):
            folder = folder_of(runs, experiment, row, seed, quick=quick)
            if (folder / RESULT).exists() and recipes.parse(row.recipe).is_integer:
                found = reproduce.check(folder)
                lines.append([row.name, str(seed), f"{found.images:,}", ", ".join(found.ways), percent(found.accuracy)])
    if not lines:
        raise RunError(
            f"got no finished integer run of {name} in {runs}; it takes one at least: qnn reproduce run {name}"
        )
    print_grid(["row", "seed", "images", "equal bits from", "accuracy"], lines, numeric=[1, 2, 4])


@command.command("table")
@click.argument("names", nargs=-1)
@quick_option
@click.option("--markdown", "as_markdown", is_flag=True, help="As sections of a page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
@root_option
def table_(names: tuple[str, ...], quick: bool, as_markdown: bool, as_json: bool, runs: Path) -> None:
    """Print paper against ours: runs in --runs, and for the others those that we measured."""
    from dataclasses import asdict

    from qnn import reproduce

    chosen = [reproduce.load(name) for name in names or reproduce.names()]
    if as_json:
        records = [r for e in chosen for r in reproduce.collect(e, runs, quick=quick)]
        print_json({"quick": quick, "records": [asdict(record) for record in records]})
        return
    for experiment in chosen:
        if as_markdown:
            records = reproduce.collect(experiment, runs, quick=quick)
            click.echo(reproduce.markdown(experiment, records, quick=quick) + "\n")
        else:
            show(experiment, runs, quick)


@command.command("costs")
@click.argument("name")
@quick_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
@root_option
def costs_(name: str, quick: bool, as_json: bool, runs: Path) -> None:
    """Measure what the rows of an experiment cost: bits, bytes, images per second on this machine, energy.

    The experiment must have been run. All rows take turns, so they see the same machine.
    """
    from dataclasses import asdict

    from qnn import reproduce
    from qnn.reproduce import costs

    found = costs.costs(reproduce.load(name), runs, quick=quick)
    if as_json:
        print_json({"experiment": name, "quick": quick, "costs": [asdict(cost) for cost in found]})
        return
    print_grid(costs.HEADER, costs.table(found), numeric=[4, 5, 6, 7], spare=[1, 2, 3])


def show(experiment: Any, runs: Path, quick: bool) -> None:
    """One experiment on the terminal."""
    from qnn import reproduce
    from qnn.reproduce.table import HEADER

    facts = [("source", f"{experiment.paper}, {experiment.where}"), ("claim", experiment.claim)]
    facts += [("form", "quick" if quick else "full"), ("numbers", f"test {experiment.metric}, per cent")]
    facts += [("differs", text) for text in experiment.changed]
    print_table(f"{experiment.name}: {experiment.title}", facts)
    lines = reproduce.table(experiment, reproduce.collect(experiment, runs, quick=quick))
    print_grid(HEADER, lines, numeric=[2, 3, 5, 6], spare=[1])


def _quick_epochs(experiment: Any) -> int:
    return int({**experiment.settings, **experiment.quick}["epochs"])
