"""``qnn data``: which data sets there are, fetching a public one, checking files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from qnn.cli.common import print_grid, print_json


@click.group("data", short_help="List, fetch and check data sets.")
def command() -> None:
    """List, fetch and check data sets.

    Public sets lie in $QNN_DATA or ~/.cache/qnn. The digits are part of the package and need no network.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """List the data sets that have a name, and whether they are on this machine."""
    from qnn import data

    found = data.catalogue()
    if as_json:
        print_json({"data_folder": str(data.data_root()), "data": [vars(row) for row in found]})
        return
    rows = [
        [
            row.name,
            row.state,
            "x".join(map(str, row.shape)),
            str(row.classes),
            f"{row.train:,}",
            f"{row.test:,}",
            size(row.download_bytes),
            row.title,
        ]
        for row in found
    ]
    print_grid(
        ["name", "state", "picture", "classes", "train", "test", "download", "what it is"],
        rows,
        numeric=[3, 4, 5, 6],
        spare=[7],
    )
    click.echo(f"data folder: {data.data_root()}")


@command.command("get")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def get(names: tuple[str, ...]) -> None:
    """Fetch public data sets, check them against their published sums, and put them into the data folder."""
    from qnn import data

    for name in names:
        folder: Path = data.get(name, meter())
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
        click.echo(f"{name}: {folder}")


@command.command("check")
@click.argument("names", metavar="[NAME|PATH]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Compare every file with its published size and sum, or read data of your own as a trial.

    Without a name: all named sets that are here. Exit code 1: something is missing or wrong.
    """
    from qnn import data

    chosen = names or tuple(row.name for row in data.catalogue() if row.state != "missing")
    found = {name: data.check(name) for name in chosen}
    if as_json:
        print_json({"data": {name: [{**vars(row), "ok": row.ok} for row in rows] for name, rows in found.items()}})
    else:
        for name, rows in found.items():
            for row in rows:
                mark = click.style(row.state, fg="green" if row.ok else "red", bold=not row.ok)
                click.echo(f"{name}  {mark}  {row.file}  ({row.detail})")
    if not all(row.ok for rows in found.values() for row in rows):
        raise click.exceptions.Exit(1)


def size(count: int) -> str:
    """Bytes for people."""
    return "-" if count == 0 else f"{count / 1e6:.1f} MB"


def meter() -> Callable[[str, int, int], None] | None:
    """A callback that counts megabytes on a terminal, or None elsewhere."""
    if not sys.stderr.isatty():
        return None

    def shown(file: str, done: int, total: int) -> None:
        whole = f" of {size(total)}" if total else ""
        click.echo(f"\r\033[K{file}: {size(done)}{whole}", nl=False, err=True)

    return shown
