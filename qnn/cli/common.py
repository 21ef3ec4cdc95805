"""What several commands share: finding run folders, naming new ones, printing tables and the JSON line."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qnn.cli.errors import nearest

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
WIDE = 110  # columns from which a table shows what it can do without


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run: its configuration is there."""
    return folder.is_dir() and (folder / "config.toml").is_file()


def latest_run(root: Path = RUNS) -> Path:
    """The run in ``root`` that was written to last."""
    found = [folder for folder in root.iterdir() if is_run(folder)] if root.is_dir() else []
    if not found:
        raise click.UsageError(
            f"found no run in {str(root)!r}; a run is a folder that `qnn train` wrote. "
            "Train one first or name a run folder."
        )
    return max(found, key=lambda folder: (folder / "config.toml").stat().st_mtime_ns)


def find_run(name: str | None) -> Path:
    """The run folder for a path, or for the bare name of a folder in ``runs``; None is the latest run."""
    if name is None:
        return latest_run()
    for folder in (Path(name), RUNS / name):
        if is_run(folder):
            return folder
    path = Path(name)
    if path.is_dir():
        raise click.UsageError(
            f"got {name!r}, which is a folder without config.toml, so not a run. Name a folder that `qnn train` wrote."
        )
    known = [folder.name for folder in RUNS.iterdir() if is_run(folder)] if RUNS.is_dir() else []
    hint = nearest(path.name, known)
    have = f" Runs here: {', '.join(sorted(known)[:8])}." if known and not hint else ""
    raise click.UsageError(f"got the run {name!r}; no such folder. Name a folder that `qnn train` wrote.{hint}{have}")


def plain(value: Any) -> Any:
    """A value that JSON has: arrays become lists, paths and other objects text, NaN and infinity null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def print_json(value: dict[str, Any]) -> None:
    """One object on one line of stdout: the last thing a command prints."""
    click.echo(json.dumps(plain(value), ensure_ascii=True, sort_keys=False))


def console(err: bool = False) -> Console:
    """A rich console that follows the stream it writes to; imported here because rich costs time."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else 200  # no wrapping where a program or a file reads
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def print_table(title: str, rows: Iterable[tuple[str, str]], err: bool = False) -> None:
    """A table of two columns: name and value."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    out = console(err)
    out.print(Text(title, style="bold"))
    out.print(table)


def print_grid(
    header: list[str], rows: Iterable[list[str]], numeric: Iterable[int] = (), spare: Iterable[int] = ()
) -> None:
    """A table with a header on stdout; columns of ``numeric`` stand right, those of ``spare`` need a wide terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    right, out = set(numeric), console()
    hidden = set(spare) if out.width < WIDE else set()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for i, name in enumerate(header):
        if i not in hidden:
            table.add_column(name, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for i, cell in enumerate(row) if i not in hidden))
    out.print(table)


def percent(share: float | None, digits: int = 2) -> str:
    """A share as per cent, or a dash when there is none."""
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def seconds(value: float | None) -> str:
    """A duration for people: 4.2 s, 3 min 05 s, 2 h 07 min."""
    if value is None or not math.isfinite(value):
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{int(value) // 60} min {int(value) % 60:02d} s"
    return f"{int(value) // 3600} h {int(value) % 3600 // 60:02d} min"
