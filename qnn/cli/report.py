"""``qnn report``: draw a run's report again."""

from __future__ import annotations

from pathlib import Path

import click

from qnn.cli.common import find_run


@click.command("report", short_help="Write the HTML report of a run.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write.  [default: RUN/report.html]",
)
def command(run: str | None, out: Path | None) -> None:
    """Write the HTML report of RUN (default: the latest in ./runs): one file that needs nothing else.

    It shows the result, learning curves, exponent and overflow traces, histograms of weights and their integers, the
    confusion matrix, the worst examples, and how to get the same bits again. It is drawn from the run folder alone.
    """
    from qnn.report import write_report

    click.echo(str(write_report(find_run(run), out)))
