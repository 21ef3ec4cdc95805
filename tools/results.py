"""Measure the table of docs/results.md.

``python tools/results.py run [NAME ...]``, then ``python tools/results.py table``. Each run is a ``qnn train`` process
on one core with its own folder under --runs, resumed if it was cut short and skipped if it is done. ``table``
prints the Markdown and brings docs/results.json up to date from the finished runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "results.json"
NEAREST_GRADIENTS = "dfp(w=8, a=8, g=8, g_rounding=nearest_down)"
LFSR_GRADIENTS = "dfp(w=8, a=8, g=8, noise=lfsr16)"
RECIPES = {"fp32": "fp32", "dfp8": "dfp8", "dfp8-nr": NEAREST_GRADIENTS, "dfp8-lfsr": LFSR_GRADIENTS}
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Experiment:
    """One row of the table: a network on a data set, the same settings for every recipe and seed."""

    name: str
    settings: dict[str, Any]
    recipes: tuple[str, ...]
    goal: str


EXPERIMENTS = (
    Experiment(
        "mnist-lenet5",
        {
            "data": "mnist",
            "model": "lenet5",
            "epochs": 5,
            "batch_size": 64,
            "optimizer": "adam",
            "lr": 0.002,
            "weight_decay": 0.0,
        },
        ("fp32", "dfp8", "dfp8-nr"),
        "dfp8 at least 99.0 %, gap at most 0.2",
    ),
    Experiment(
        "fashion-lenet5",
        {"data": "fashion-mnist", "model": "lenet5", "epochs": 10, "batch_size": 64, "lr": 0.03, "weight_decay": 5e-4},
        ("fp32", "dfp8", "dfp8-nr"),
        "gap at most 0.7",
    ),
    Experiment(
        "mnist-mlp",
        {"data": "mnist", "model": "mlp", "epochs": 5, "batch_size": 100, "lr": 0.05},
        ("fp32", "dfp8", "dfp8-nr"),
        "",
    ),
    Experiment(
        "cifar10-resnet20",
        {"data": "cifar10", "model": "resnet20", "epochs": 5, "batch_size": 128, "lr": 0.1, "augment": "crop-flip"},
        ("dfp8", "fp32", "dfp8-nr"),
        "gap stated (paper: 0.12 after 150 epochs)",
    ),
    Experiment(
        "cifar10-resnet20-long",
        {"data": "cifar10", "model": "resnet20", "epochs": 20, "batch_size": 128, "lr": 0.1, "augment": "crop-flip"},
        ("dfp8", "fp32"),
        "gap stated (paper: 0.12 after 150 epochs)",
    ),
)


def command(experiment: Experiment, recipe: str, seed: int, folder: Path) -> list[str]:
    """The command line of one run; resumes a folder that holds a run."""
    line = [sys.executable, "-m", "qnn", "train", "--out", str(folder), "--threads", "1", "--json"]
    if (folder / "config.toml").exists():
        return [*line, "--resume"]
    settings = {**experiment.settings, "recipe": RECIPES[recipe], "seed": seed}
    return line + [part for key, value in settings.items() for part in (f"--{key.replace('_', '-')}", str(value))]


def run_one(experiment: Experiment, recipe: str, seed: int, runs: Path) -> None:
    """Run (or finish) one cell of the table."""
    folder = runs / f"{experiment.name}-{recipe}-{seed}"
    if (folder / "result.json").exists():
        return
    one_core = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(experiment, recipe, seed, folder),
        capture_output=True,
        text=True,
        env=os.environ | one_core,
        check=False,
    )
    if done.returncode:
        print(f"{folder.name}: exit {done.returncode}\n{done.stderr[-2000:]}", flush=True)
        return
    (folder / "result.json").write_text(done.stdout.strip().splitlines()[-1] + "\n")
    print(f"{folder.name}: {done.stdout.strip().splitlines()[-1]}", flush=True)


def collect(runs: Path) -> list[dict[str, Any]]:
    """Finished runs as rows; where a run is not in the folder, the row on record if it had the same settings."""
    recorded = {
        (row["experiment"], row["recipe"], row["seed"]): row
        for row in (json.loads(RECORD.read_text()) if RECORD.exists() else [])
    }
    rows = []
    for experiment in EXPERIMENTS:
        for recipe in experiment.recipes:
            for seed in SEEDS:
                file = runs / f"{experiment.name}-{recipe}-{seed}" / "result.json"
                row = recorded.get((experiment.name, recipe, seed))
                if file.exists():
                    result = json.loads(file.read_text())
                    kept = {k: result[k] for k in ("test_accuracy", "digest", "epochs", "kernels")}
                    rows.append(
                        {
                            "experiment": experiment.name,
                            "recipe": recipe,
                            "seed": seed,
                            "settings": experiment.settings,
                            **kept,
                        }
                    )
                elif row and row["settings"] == experiment.settings:
                    rows.append(row)
    return rows


def cell(accuracies: list[float]) -> str:
    """Mean and all values in percent."""
    if not accuracies:
        return "not run"
    values = ", ".join(f"{100 * a:.2f}" for a in accuracies)
    return f"**{100 * statistics.mean(accuracies):.2f}** ({values})"


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table of accuracies and gaps."""
    lines = [
        "| experiment | fp32 | dfp8 (SR gradients) | gap | NEAREST_DOWN gradients | gap | wanted |",
        "|---|---|---|---|---|---|---|",
    ]
    for experiment in EXPERIMENTS:
        found = {
            recipe: {
                r["seed"]: r["test_accuracy"]
                for r in rows
                if (r["experiment"], r["recipe"]) == (experiment.name, recipe)
            }
            for recipe in RECIPES
        }

        def gap(recipe: str, found: dict[str, dict[int, float]] = found) -> str:
            common = sorted(found["fp32"].keys() & found[recipe].keys())
            if not common:
                return "-"
            differences = [100 * (found["fp32"][s] - found[recipe][s]) for s in common]
            return f"{statistics.mean(differences):+.2f}" + (
                "" if len(common) == len(SEEDS) else f" ({len(common)} seed)"
            )

        s = experiment.settings
        method = f"{s.get('optimizer', 'sgd').replace('sgd', 'SGD').replace('adam', 'Adam')}, lr {s['lr']} cosine"
        what = f"{s['data']} {s['model']}, {s['epochs']} epochs, batch {s['batch_size']}, {method}"
        cells = [cell(list(found[r].values())) for r in ("fp32", "dfp8", "dfp8-nr")]
        line = [what, cells[0], cells[1], gap("dfp8"), cells[2], gap("dfp8-nr"), experiment.goal]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def main() -> int:
    """Run or tabulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("names", nargs="*", help="experiments (default: all)")
    parser.add_argument("--recipes", nargs="*", choices=tuple(RECIPES), help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "results")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    options = parser.parse_args()
    unknown = set(options.names) - {e.name for e in EXPERIMENTS}
    if unknown:
        parser.error(f"got {sorted(unknown)}; experiments are {', '.join(e.name for e in EXPERIMENTS)}")
    if options.what == "table":
        rows = collect(options.runs)
        RECORD.write_text(json.dumps(rows, indent=1) + "\n")
        print(table(rows))
        return 0
    options.runs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for experiment in EXPERIMENTS:
            if options.names and experiment.name not in options.names:
                continue
            for seed in options.seeds:
                for recipe in experiment.recipes:
                    if not options.recipes or recipe in options.recipes:
                        pool.submit(run_one, experiment, recipe, seed, options.runs)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
