"""``qnn eval``: test a trained run again, on its own or on another data set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from qnn.cli.common import find_run, percent, print_json, print_table, seconds

TRUNCATING = "shift-truncating"
_OTHERWISE = (
    f"{TRUNCATING}: each shifted term is rounded down (clause POW-4), so these are not the outputs of the network as "
    "it was trained; --products shift has those"
)


@click.command("eval", short_help="Test a run on its own or other data.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("-d", "--data", metavar="NAME|PATH", help="Data set.  [default: that of the run]")
@click.option(
    "--split", type=click.Choice(["train", "test"]), default="test", show_default=True, help="Which part of it."
)
@click.option(
    "--batch-size", type=click.IntRange(1, 65536), default=256, show_default=True, metavar="N", help="Images per step."
)
@click.option(
    "--products",
    type=click.Choice(["auto", "multiply", "xnor", "shift", TRUNCATING, "layers"]),
    default="auto",
    show_default=True,
    help=f"How the frozen network multiplies, or layer by layer; the outputs are the same but for {TRUNCATING}.",
)
@click.option("--kernels", metavar="NAME", help="Kernel path, as in qnn info.")
@click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads of the kernels.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
def command(
    run: str | None,
    data: str | None,
    split: str,
    batch_size: int,
    products: str,
    kernels: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Test the network in RUN's newest checkpoint (default: the latest run in ./runs)."""
    from qnn import training
    from qnn.report.restore import restore
    from qnn.training.inputs import load_split
    from qnn.training.runs import RunFolder

    folder = RunFolder(find_run(run))
    config = folder.config()
    changes: dict[str, Any] = {"data": data, "kernels": kernels, "threads": threads}
    config = config.replace(**{key: value for key, value in changes.items() if value is not None})
    restored = restore(folder.path, config.seed)
    dataset = load_split(config, split)
    check_fit(dataset, restored, config.data)
    with training.runtime(config):
        begun = time.perf_counter()
        tested = training.evaluate(restored.model, dataset, batch_size, products)
        taken = time.perf_counter() - begun
    if restored.note:
        click.echo(restored.note, err=True)
    if products == TRUNCATING:
        click.echo(_OTHERWISE, err=True)
    if as_json:
        keys: dict[str, Any] = {
            "test_accuracy": tested.accuracy,
            "test_loss": tested.loss,
            "images": len(dataset),
            "data": config.data,
            "split": split,
            "products": products,
            "outputs": tested.outputs,
        }
        keys |= {"run_dir": str(folder.path), "step": restored.step, "digest": restored.digest, "seconds": taken}
        print_json({**keys, "images_per_second": len(dataset) / max(taken, 1e-9), "confusion": tested.confusion})
        return
    rows = [
        ("run", str(folder.path)),
        ("checkpoint", f"{restored.file.name}, step {restored.step}"),
        ("data", f"{config.data}, {split}, {len(dataset):,} images"),
        ("accuracy", percent(tested.accuracy)),
        ("loss", f"{tested.loss:.4f}"),
        ("outputs", f"sha256 {tested.outputs[:16]}, products {products}"),
        ("time", f"{seconds(taken)}, {len(dataset) / max(taken, 1e-9):,.0f} images/s"),
    ]
    wrong = [
        (int(n), name)
        for name, n in zip(restored.classes, tested.confusion.sum(1) - tested.confusion.diagonal(), strict=True)
        if n
    ]
    rows.append(("most mistakes", ", ".join(f"{name} ({n})" for n, name in sorted(wrong, reverse=True)[:5]) or "none"))
    print_table("Evaluation", rows)


def check_fit(dataset: Any, restored: Any, name: str) -> None:
    """Refuse a data set whose pictures or classes are not those of the network."""
    got, want = tuple(dataset.images.shape[1:]), restored.input_shape
    if got != want or len(dataset.classes) != len(restored.classes):
        raise click.UsageError(
            f"got {Path(name).name} with pictures of {'x'.join(map(str, got))} and {len(dataset.classes)} classes; "
            f"this network takes {'x'.join(map(str, want))} and {len(restored.classes)} classes. "
            "Name data of that form with --data."
        )
