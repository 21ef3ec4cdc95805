"""``qnn bench``: how fast the kernels are on every path, against the machine's limits and other libraries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from qnn.cli.common import console, print_grid, print_json
from qnn.cli.errors import FAILED, nearest

GROUP_NAMES = "gemm|conv|shift|xnor|quantize|noise|train|inference"
PICTURES = (".png", ".svg", ".pdf", ".jpg")


@click.command("bench", short_help="Measure the kernels against the machine's limits and other libraries.")
@click.argument("group", metavar=f"[{GROUP_NAMES}]", required=False)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    multiple=True,
    default=(1,),
    metavar="N",
    show_default="1",
    help="Threads; several times for several.",
)
@click.option(
    "--kernels", multiple=True, metavar="PATH", help="Kernel path, several times for several.  [default: all]"
)
@click.option("--peers/--no-peers", default=True, show_default=True, help="Also measure PyTorch, ONNX Runtime, ...")
@click.option("--quick", is_flag=True, help="Small shapes and few turns: an impression, no result.")
@click.option("--scaling", is_flag=True, help="With train: also how cost grows with batch, width, depth and threads.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a picture (.png, .svg, .pdf, .jpg).",
)
def command(
    group: str | None,
    threads: tuple[int, ...],
    kernels: tuple[str, ...],
    peers: bool,
    quick: bool,
    scaling: bool,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Measure one group of kernels, or without a name all of them with small shapes.

    The columns: ns and giga-operations a second (a multiply-accumulate or an xnor bit is 2), the share of what the
    processor reaches on the same path without memory, the share of what memory allows, the ratio to the fastest peer,
    and a checksum of the exact integers. Paths whose integers differ end the command with code 1.
    """
    from qnn import bench
    from qnn.bench.plan import Plan

    if group is not None and group not in bench.GROUPS:
        allowed = ", ".join(bench.GROUPS)
        raise click.UsageError(f"got the group {group!r}; allowed: {allowed}.{nearest(group, bench.GROUPS)}")
    if scaling and group not in (None, "train"):
        raise click.UsageError(f"got --scaling with {group}; it belongs to train. Run `qnn bench train --scaling`.")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise click.UsageError(f"got --plot {str(plot)!r}; its folder does not exist. Create it or name another file.")
    if plot is not None and plot.suffix.lower() not in PICTURES:
        raise click.UsageError(f"got --plot {str(plot)!r}; allowed endings: {', '.join(PICTURES)}. Name such a file.")
    plan = Plan(
        quick=quick or group is None, threads=tuple(dict.fromkeys(threads)), paths=_paths(kernels), peers=peers,
        scaling=scaling, say=_progress(),
    )  # fmt: skip
    names = bench.GROUPS if group is None else (group,)
    groups, stopped = _measure(plan, names)
    _finish(plan, groups, as_json, plot)
    if stopped:
        raise KeyboardInterrupt
    wrong = [row for rows in groups.values() for row in rows if row.same is False]
    if wrong:
        which = "; ".join(f"{row.work}, {row.variant} on {row.path}" for row in wrong[:4])
        click.echo(f"error: the integers differ: {which}. Please report this with the output of `qnn info`.", err=True)
        raise click.exceptions.Exit(FAILED)


def _paths(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The paths in the order of their speed, or a message that lists those of this machine."""
    from qnn import _kernels

    allowed = _kernels.available_kernels()
    for name in wanted:
        if name not in allowed:
            raise click.UsageError(
                f"got the kernel path {name!r}; this machine has: {', '.join(allowed)}.{nearest(name, allowed)}"
            )
    return tuple(name for name in allowed if name in wanted)


def _progress() -> Any:
    """Lines about progress, where somebody watches."""
    if not sys.stderr.isatty():
        return lambda line: None
    return lambda line: click.echo(f"\r\x1b[2K{line[:100]} ...", nl=False, err=True)


def _measure(plan: Any, names: tuple[str, ...]) -> tuple[dict[str, list[Any]], bool]:
    """Rows of every group, and whether Ctrl-C ended it; what was measured until then is kept."""
    from qnn import bench

    groups: dict[str, list[Any]] = {}
    try:
        for name in names:
            rows = groups.setdefault(name, [])
            for row in bench.group(name).rows(plan):
                rows.append(row)
    except KeyboardInterrupt:
        return groups, True
    return groups, False


def _finish(plan: Any, groups: dict[str, list[Any]], as_json: bool, plot: Path | None) -> None:
    """Tables or JSON, and the picture."""
    from qnn import bench
    from qnn.bench.document import HEADER, NUMERIC, cells, document
    from qnn.bench.peers import versions
    from qnn.cli.machine import machine

    if sys.stderr.isatty():
        click.echo("\r\x1b[2K", nl=False, err=True)
    found = document(plan, machine(), groups, versions() if plan.peers else {})
    if plot is not None:
        from qnn.bench.plot import draw

        draw(found, plot)
    if as_json:
        print_json(found)
        return
    for name, rows in found["groups"].items():
        if rows:
            header, lines = cells(rows)
            console().print(f"[bold]{name}[/bold]: {bench.group(name).TITLE}")
            print_grid(header, lines, [header.index(HEADER[i]) for i in NUMERIC if HEADER[i] in header])
    _facts(found)


def _facts(found: dict[str, Any]) -> None:
    """What stands below the tables: machine, limits, peers, notes."""
    out = console()
    about, settings = found["machine"], found["settings"]
    out.print(
        f"{about['cpu']}, {about['cpus_allowed']} usable; qnn {about['qnn']}, paths {', '.join(settings['paths'])}"
    )
    for peak in found["peaks"]:
        if "gops" in peak:
            out.print(
                f"peak {peak['name']}: {peak['gops']:.0f} GOPS on {peak['threads']} ({peak['instructions']})",
                markup=False,
            )
    have = ", ".join(f"{name} {version}" for name, version in found["peers"].items() if version)
    if have:
        out.print(f"peers: {have}")
    for line in found["notes"]:
        out.print(line, markup=False)
    if settings["quick"]:
        out.print("small shapes and few turns: an impression, no result")
