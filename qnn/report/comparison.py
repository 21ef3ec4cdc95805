"""The comparison of several runs: one table, overlaid curves, and the settings in which they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qnn.errors import QnnError
from qnn.report import charts
from qnn.report.markup import esc, note, shorten, tag
from qnn.report.page import document
from qnn.report.svg import SERIES
from qnn.report.tables import grid_table
from qnn.report.view import RunView

HEADER = ["run", "model", "recipe", "data", "seed", "epochs", "test accuracy", "test loss", "time", "images/s", "bits"]
NUMERIC = {4, 5, 6, 7, 8, 9}
Points = list[tuple[float, float]]


def rows(views: Sequence[RunView]) -> list[list[str]]:
    """The table, one row a run; ``bits`` says how far its digests agree with the first run's."""
    found = []
    for view in views:
        config = view.config
        found.append(
            [
                view.name,
                *(str(config.get(key, "-")) for key in ("model", "recipe", "data", "seed")),
                f"{len(view.epochs)}/{config.get('epochs', '-')}",
                "-" if view.test_accuracy is None else f"{100 * view.test_accuracy:.2f} %",
                "-" if view.test_loss is None else f"{view.test_loss:.4f}",
                "-" if view.seconds is None else f"{view.seconds:.1f} s",
                "-" if view.images_per_second is None else f"{view.images_per_second:,.0f}",
                agreement(views[0], view),
            ]
        )
    return found


def agreement(first: RunView, other: RunView) -> str:
    """How far the digests of two runs agree."""
    from qnn.training.digest import bisect

    if other is first:
        return (other.digest or "-")[:12]
    try:
        found = bisect(first.folder, other.folder, repeat=False)
    except QnnError:
        return "no digests"
    if found.same:
        whole = other.finished and first.finished and first.digest == other.digest
        return "the same bits" if whole else f"the same for {found.steps} steps"
    return "other settings" if found.step == 0 else f"differ from step {found.step}"


def differences(views: Sequence[RunView]) -> list[list[str]]:
    """The settings in which the runs differ: name, then each run's value."""
    keys = list(dict.fromkeys(key for view in views for key in view.config))
    return [
        [key, *values] for key in keys if len(set(values := [str(view.config.get(key, "-")) for view in views])) > 1
    ]


def curves(view: RunView) -> dict[str, Points]:
    """The overlaid curves of one run, by title; the horizontal axis is epochs."""
    return {
        "Test accuracy": charts.by_epoch(view, "test_accuracy", 100.0),
        "Training loss": charts.training_loss(view),
        "Test loss": charts.by_epoch(view, "test_loss"),
    }


CAPTIONS = {
    "Test accuracy": "per cent right after each epoch",
    "Training loss": "cross-entropy while training",
    "Test loss": "cross-entropy after each epoch",
}


def render(views: Sequence[RunView]) -> str:
    """The comparison as one self-contained HTML page."""
    names = short_names(views)
    every = [curves(view) for view in views]
    limit = max(charts.x_limits(view)[1] for view in views)
    figures = [_overlay(title, names, [found[title] for found in every], limit) for title in CAPTIONS]
    unlike = differences(views)
    settings = grid_table(["setting", *names], unlike, set(), "Settings that differ") if unlike else note("None.")
    parts = {
        "Results": grid_table(HEADER, rows(views), NUMERIC, "Results"),
        "Curves": tag("div", *figures, cls="grid3") if any(figures) else note("Nothing was recorded yet."),
        "Settings that differ": settings,
    }
    title = tag("h1", f"{len(views)} runs side by side")
    names_line = tag("p", esc(", ".join(view.name for view in views)), cls="lede")
    top = tag("header", tag("p", "qnn comparison", cls="eyebrow"), title, names_line, cls="top")
    main = tag("main", *(tag("section", tag("h2", name), content) for name, content in parts.items()))
    foot = tag("footer", tag("p", "Drawn from the run folders alone. This file loads nothing from anywhere."))
    return document(f"{len(views)} runs · qnn", top + main + foot)


def _overlay(title: str, names: Sequence[str], lines: Sequence[Points], limit: float) -> str:
    """One picture with a line for each run; empty when no run has one."""
    series = [(names[i], f"s{i % SERIES + 1}", points) for i, points in enumerate(lines) if points]
    values = [y for _, _, points in series for _, y in points]
    if not values:
        return ""
    bottom, top, scale = max(0.0, math.floor(min(values) - 2)), 100.0, "linear"
    if title != "Test accuracy":
        bottom, top, scale = charts.loss_scale(values, [])
    held = [(name, css, [(x, min(max(y, bottom), top)) for x, y in points]) for name, css, points in series]
    words = f"{title} of {len(series)} runs over {limit:g} epochs"
    ticks = charts.epoch_ticks(limit)
    picture = charts.curves(words, "epoch", held, (0.0, limit), (bottom, top), scale, x_ticks=ticks)
    return charts.figure(title, CAPTIONS[title] + (", log scale" if scale == "log" else ""), picture)


def short_names(views: Sequence[RunView]) -> list[str]:
    """Names for the ends of lines: without the beginning that all share, and never two alike."""
    names = [view.name for view in views]
    parts = [name.split("-") for name in names]
    shared = 0
    while len(names) > 1 and all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    short = [shorten("-".join(part[shared:]), 18) for part in parts]
    return [name if short.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(short)]


def draw(views: Sequence[RunView], path: Path) -> None:
    """The overlaid curves as a picture file (PNG, SVG or PDF, by the ending), through matplotlib.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure: Any
    figure, axes = pyplot.subplots(1, len(CAPTIONS), figsize=(5.0 * len(CAPTIONS), 3.8), layout="constrained")
    names = short_names(views)
    for axis, (title, caption) in zip(axes, CAPTIONS.items(), strict=True):
        for name, view in zip(names, views, strict=True):
            points = curves(view)[title]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, linewidth=1.6)
        axis.set_title(title, loc="left", fontsize=12, fontweight="bold")
        axis.set_xlabel("epoch")
        axis.set_ylabel(caption, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        if axis.has_data():
            axis.legend(frameon=False, fontsize=9)
    try:
        figure.savefig(path, dpi=150)
    finally:
        pyplot.close(figure)
