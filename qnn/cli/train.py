"""``qnn train``: settings from defaults, a TOML file and flags; live progress; a result table and the report."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qnn.cli.common import latest_run, percent, print_json, print_table, seconds
from qnn.errors import QnnError
from qnn.training.config import TrainConfig

if TYPE_CHECKING:
    from qnn.training import Result
    from qnn.training.runs import RunFolder

SHORT = {"epochs": "-e", "out": "-o", "data": "-d", "model": "-m", "recipe": "-r"}


class WholeNumbers(click.ParamType):
    """Whole numbers with commas between them, as a tuple."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Parse the text of the flag."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"got {value!r}; it must be whole numbers with commas between them, such as 30,45", param, ctx)


KINDS: dict[type, tuple[Any, str]] = {
    str: (str, "NAME"),
    int: (int, "N"),
    float: (float, "X"),
    tuple: (WholeNumbers(), "N,N,..."),
}


def setting_flags(function: Callable[..., None]) -> Callable[..., None]:
    """One flag for each setting, with the setting's own help text; a flag that is not given stays None."""
    for field in reversed(dataclasses.fields(TrainConfig)):
        flag = "--" + field.name.replace("_", "-")
        words = TrainConfig.doc(field.name)
        told = field.default not in ("", ()) and not isinstance(field.default, bool)
        shown = f"  [default: {field.default}]" if told else ""
        names = [flag, *([SHORT[field.name]] if field.name in SHORT else []), field.name]
        if isinstance(field.default, bool):
            names[0] = f"{flag}/--no-{flag[2:]}"
            function = click.option(*names, default=None, help=words)(function)
        else:
            kind, metavar = KINDS[type(field.default)]
            metavar = {"data": "NAME|PATH", "init": "RUN", "out": "DIR"}.get(field.name, metavar)
            function = click.option(*names, type=kind, default=None, metavar=metavar, help=words + shown)(function)
    return function


@click.command("train", short_help="Train a network, or go on with a run.")
@click.argument("config_file", metavar="[CONFIG]", required=False, type=click.Path(path_type=Path))
@setting_flags
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --out (without --out: the latest in ./runs), to the same bits.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on the last line of stdout.")
@click.option("--report/--no-report", default=True, help="Write report.html into the run folder.  [default: --report]")
def command(config_file: Path | None, resume: bool, as_json: bool, report: bool, **flags: Any) -> None:
    """Train a network.

    CONFIG is a TOML file whose keys are the names of the flags (with _ for -); flags override it. Without either, a
    small convolutional network learns handwritten digits in 8-bit integers. The run goes to a fresh folder under
    ./runs unless --out names one. Ctrl-C saves and says how to go on.

    Exit code 1 also stands for a run that was interrupted (and saved).
    """
    given = {key: value for key, value in flags.items() if value is not None}
    config = resumed_config(config_file, given) if resume else fresh_config(config_file, given)
    from qnn import training
    from qnn.cli.progress import Progress

    progress = Progress(config)
    try:
        with progress:
            result = training.train(config, resume=resume, on_event=progress.event)
    except KeyboardInterrupt:
        raise stopped_at_once(progress.run_dir) from None
    trouble: QnnError | None = None
    try:
        finish(result, report)
    except QnnError as error:  # the run is complete: say its result first
        trouble = error
    if as_json:
        print_json(summary(result))
    elif not result.interrupted:
        print_table("Result", result_rows(result, report))
    if trouble is not None:
        raise trouble
    if result.interrupted:
        click.echo(f"Stopped after step {result.steps} and saved. Go on with:\n  {again(result.run_dir)}", err=True)
        raise click.exceptions.Exit(1)


def again(run_dir: Path | str) -> str:
    """The command that goes on with a run."""
    return f"qnn train --resume --out {shlex.quote(str(run_dir))}"


def stopped_at_once(run_dir: str) -> BaseException:
    """What a second Ctrl-C, or one outside of the steps, ends with."""
    if not run_dir:
        return click.exceptions.Abort()
    click.echo(f"Stopped at once. Go on from the last checkpoint with:\n  {again(run_dir)}", err=True)
    return click.exceptions.Exit(1)


def fresh_config(path: Path | None, given: dict[str, Any]) -> TrainConfig:
    """The settings of a new run."""
    config = TrainConfig() if path is None else TrainConfig.from_toml(path)
    return config.replace(**given).validate()


def resumed_config(path: Path | None, given: dict[str, Any]) -> TrainConfig:
    """The stored settings of the run to go on with, and what was given on top of them."""
    from qnn.training.runs import RunFolder

    out = given.get("out")
    if out is None and path is not None:
        out = TrainConfig.from_toml(path).out or None
    folder = latest_run() if out is None else Path(out)
    stored = RunFolder(folder).config()
    config = stored if path is None else TrainConfig.from_toml(path)
    return config.replace(**{**given, "out": str(folder)})


def finish(result: Result, report: bool) -> None:
    """What the command adds to the run folder: the worst examples' pixels, the machine, the report."""
    from qnn.training.runs import RunFolder

    folder = RunFolder(result.run_dir)
    if not result.interrupted:
        store_pictures(folder)
    store_runtime(folder)
    if report:
        from qnn.report import write_report

        write_report(folder.path)


def store_pictures(folder: RunFolder) -> None:
    """Put the worst examples' pixels into the run folder, so that its report needs no data set."""
    from qnn.report.reader import add_pictures
    from qnn.training.inputs import load_split

    add_pictures(folder, load_split(folder.config(), "test").images)


def store_runtime(folder: RunFolder) -> None:
    """Record on which machine and with which versions the run was made."""
    import json

    from qnn.cli.machine import machine
    from qnn.report.reader import RUNTIME
    from qnn.training.files import write_atomically, write_failed

    path = folder.path / RUNTIME
    try:
        write_atomically(path, [json.dumps(machine()).encode()])
    except OSError as error:
        raise write_failed("to", path, error, "make room; the run itself is complete") from error


def summary(result: Result) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {**fields, "run_dir": str(result.run_dir)}


def result_rows(result: Result, report: bool) -> list[tuple[str, str]]:
    """The rows of the final table."""
    from qnn.training.runs import RunFolder

    folder = RunFolder(result.run_dir)
    rows = [
        ("test accuracy", percent(result.test_accuracy)),
        ("time", seconds(result.seconds)),
        ("speed", f"{result.images_per_second:,.0f} images/s"),
        ("kernels, threads", f"{result.kernels}, {result.threads}"),
        ("digest", result.digest if result.covered else f"{result.digest} (fp32: not covered by the promise of bits)"),
    ]
    rows += exponent_rows(folder)
    rows.append(("run", str(folder.path)))
    if report:
        rows.append(("report", str(folder.path / "report.html")))
    return rows


def exponent_rows(folder: RunFolder, most: int = 24) -> list[tuple[str, str]]:
    """The last exponents, compactly: one row a role, in the order of the network, or counted where there are many."""
    last = next((event for event in reversed(folder.events()) if event["kind"] == "epoch"), None)
    if not last:
        return []
    rows = []
    for role in ("input", "weight", "bias", "activation", "gradient"):
        of_role = [site for site in last["sites"].values() if site["role"] == role]
        values = [int(site["exponent"]) for site in of_role if site["total"] or role == "input"]
        if len(values) > most:
            counted = (f"{value} ({values.count(value)} sites)" for value in sorted(set(values), reverse=True))
            rows.append((f"exponents, {role}", ", ".join(counted)))
        elif values:
            rows.append((f"exponents, {role}", " ".join(map(str, values))))
    return rows
