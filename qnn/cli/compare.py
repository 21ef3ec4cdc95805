"""``qnn compare``: several runs in one table and one page of overlaid curves."""

from __future__ import annotations

from pathlib import Path

import click

from qnn.cli.common import find_run, print_grid, print_json
from qnn.errors import RunError

PICTURES = (".png", ".svg", ".pdf")


@click.command("compare", short_help="Compare runs: a table and overlaid curves.")
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Page (.html) or picture (.png, .svg, .pdf) to write.  [default: compare.html]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
def command(runs: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Compare two or more runs: a table here, their curves over each other in a file, and how far their bits agree."""
    if len(runs) < 2:
        raise click.UsageError(f"got {len(runs)} run; a comparison needs two or more. Name another run folder.")
    target = out or Path("compare.html")
    if target.suffix.lower() not in (".html", ".htm", *PICTURES):
        raise click.UsageError(
            f"got --out {str(target)!r}; allowed endings: .html, {', '.join(PICTURES)}. Choose one of them."
        )
    from qnn.report import comparison, write_page
    from qnn.report.reader import read_run

    views = [read_run(find_run(run)) for run in runs]
    if target.suffix.lower() in PICTURES:
        try:
            comparison.draw(views, target)
        except OSError as error:
            raise RunError(
                f"cannot write {target}: {error.strerror or error}; name a place that you may write to, with --out"
            ) from error
    else:
        write_page(target, comparison.render(views))
    table = comparison.rows(views)
    if as_json:
        keys = ("test_accuracy", "test_loss", "seconds", "images_per_second", "digest", "finished")
        found = [
            {"run_dir": str(view.folder), **{key: getattr(view, key) for key in keys}, "bits": row[-1]}
            for view, row in zip(views, table, strict=True)
        ]
        unlike = {row[0]: row[1:] for row in comparison.differences(views)}
        print_json({"runs": found, "settings_that_differ": unlike, "file": str(target)})
        return
    shown = [0, 5, 6, 7, 8, 9, 10]
    print_grid([comparison.HEADER[i] for i in shown], [[row[i] for i in shown] for row in table], numeric=range(1, 6))
    for row in comparison.differences(views):
        click.echo(f"{row[0]}: {' | '.join(row[1:])}")
    click.echo(f"curves: {target}")
