"""``qnn digest``: print a run's digest, replay a run and compare, or find where two runs part."""

from __future__ import annotations

import sys
from typing import Any

import click

from qnn.cli.common import find_run, print_json, print_table


class DigestGroup(click.Group):
    """Lets ``qnn digest RUN`` stand beside ``qnn digest replay RUN`` and ``qnn digest bisect A B``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Anything that is no subcommand and no request for help is a run to show."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group("digest", cls=DigestGroup, short_help="Print, replay or compare the digests of runs.")
def command() -> None:
    """Print, replay or compare the digests of runs.

    \b
    qnn digest RUN             the digest after the last step (--steps: of every step)
    qnn digest replay RUN      train again, in memory, and compare step by step
    qnn digest bisect RUN RUN  the first step at which two runs part, and what differs

    The digest is a chain of sha256 over weights, optimiser state, exponents, counts, batches and noise addresses.
    Exit code 1: the replay differs, or the runs do.
    """


@command.command("show", hidden=True)
@click.argument("run", metavar="RUN")
@click.option("--steps", is_flag=True, help="Print the digest of every step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(run: str, steps: bool, as_json: bool) -> None:
    """Print the digest after the last step of RUN."""
    from qnn.training.runs import RunFolder

    folder = RunFolder(find_run(run))
    chain = folder.digests()
    if as_json:
        whole = {"digests": [record["digest"] for record in chain]} if steps else {}
        print_json({"run_dir": str(folder.path), "step": chain[-1]["step"], "digest": chain[-1]["digest"], **whole})
    elif steps:
        for record in chain:
            click.echo(f"{record['step']}\t{record['digest']}")
    else:
        click.echo(chain[-1]["digest"])


@command.command("replay")
@click.argument("run", metavar="RUN")
@click.option(
    "--from",
    "start",
    type=click.Choice(["seed", "checkpoint"]),
    default="seed",
    show_default=True,
    help="Where to begin: the first step or the older checkpoint.",
)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Compare only so many steps.")
@click.option("--kernels", metavar="NAME", help="Kernel path of the replay.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of the replay.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(run: str, start: str, steps: int | None, kernels: str | None, threads: int | None, as_json: bool) -> None:
    """Train RUN again in memory and compare the digest after every step."""
    from qnn.training import digest

    found = digest.replay(find_run(run), start=start, steps=steps, kernels=kernels, threads=threads, on_step=_bar())
    _end_bar()
    if as_json:
        print_json(vars(found))
    else:
        click.echo(str(found))
    if not found.same:
        raise click.exceptions.Exit(1)


@command.command("bisect")
@click.argument("run_a", metavar="RUN")
@click.argument("run_b", metavar="RUN")
@click.option(
    "--repeat/--no-repeat", default=True, help="Repeat the step in question to name the tensors.  [default: --repeat]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bisect(run_a: str, run_b: str, repeat: bool, as_json: bool) -> None:
    """Find the first step at which two runs part, and what differs there."""
    from qnn.training import digest

    found = digest.bisect(find_run(run_a), find_run(run_b), repeat=repeat, on_step=_bar())
    _end_bar()
    if as_json:
        print_json(vars(found))
    else:
        click.echo(str(found))
        rows = [(key, f"{mine}  |  {theirs}") for key, (mine, theirs) in found.settings.items()]
        rows += [(part, ", ".join(names)) for part, names in found.tensors.items()]
        if rows:
            print_table("What differs", rows)
    if not found.same:
        raise click.exceptions.Exit(1)


def _bar() -> Any:
    """A callback that counts steps on a terminal, or None elsewhere."""
    if not sys.stderr.isatty():
        return None

    def shown(done: int, total: int) -> None:
        click.echo(f"\rstep {done} of {total} ", nl=False, err=True)

    return shown


def _end_bar() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
