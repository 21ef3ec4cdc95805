"""Figures of a report: learning curves and weight histograms, and what all figures share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qnn.report.markup import esc, superscript
from qnn.report.svg import Panel, integer_ticks, label_room, thin
from qnn.report.view import RunView, WeightHistogram

Line = list[tuple[float, float]]
Series = tuple[str, str, Line]  # (label, css class, points)


def figure(title: str, caption: str, picture: str) -> str:
    """A card with a title, one sentence, and the picture."""
    note = f"<p>{caption}</p>" if caption else ""
    return f"<figure><figcaption><h3>{esc(title)}</h3>{note}</figcaption>{picture}</figure>"


def epoch_axis(view: RunView) -> float:
    """Steps per epoch: the factor from steps to the shared horizontal axis."""
    return float(view.steps_per_epoch or 1)


def x_limits(view: RunView) -> tuple[float, float]:
    """The epochs that the run has seen."""
    last = max([len(view.epochs)] + [points[-1][0] / epoch_axis(view) for points in (view.loss, view.lr) if points])
    return 0.0, float(max(last, 1e-9))


def epoch_ticks(limit: float) -> list[float]:
    """Whole epochs, about five of them."""
    if limit <= 1:
        return [0, 0.25, 0.5, 0.75, 1]
    return integer_ticks(0, math.floor(limit), 5)


def curves(
    describe: str,
    x_label: str,
    series: Sequence[Series],
    x: tuple[float, float],
    y: tuple[float, float],
    scale: str = "linear",
    *,
    x_ticks: Sequence[float] | None = None,
) -> str:
    """A line chart with each line's name at its end."""
    labelled = [(label, css, points[-1][1]) for label, css, points in series if points and label]
    room = label_room([label for label, _, _ in labelled]) if labelled else 10
    panel = Panel(x, y, describe, right=room, scale=scale)
    panel.axes(x_label, x_ticks)
    for label, css, points in series:
        panel.line(thin(points), css, label)
    panel.end_labels(labelled)
    return panel.svg()


def smooth(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """Running mean over ``window`` values, first values over what there is."""
    if not points:
        return []
    values = np.array([y for _, y in points])
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    mean = (total[ends] - total[starts]) / (ends - starts)
    return [(x, float(m)) for (x, _), m in zip(points, mean, strict=True)]


def learning(view: RunView) -> list[str]:
    """Loss, accuracy and learning rate over epochs."""
    return [_loss(view), _accuracy(view), _rate(view)]


def by_epoch(view: RunView, key: str, factor: float = 1.0) -> Line:
    """A number of every epoch as points."""
    return [(float(e["epoch"]), factor * float(e[key])) for e in view.epochs if isinstance(e.get(key), (int, float))]


def _loss(view: RunView) -> str:
    per, x = epoch_axis(view), x_limits(view)
    steps = [(step / per, value) for step, value in view.loss if math.isfinite(value)]
    tests = by_epoch(view, "test_loss")
    if not steps and not tests:
        return ""
    mean = training_loss(view)
    bottom, top, scale = loss_scale([y for _, y in mean + tests], [y for _, y in steps])
    held = [[(a, min(max(b, bottom), top)) for a, b in line] for line in (steps, mean, tests)]
    series: list[Series] = [("", "s1 pale", held[0]), ("train", "s1", held[1]), ("test", "s2", held[2])]
    ends = [f"{name} ends at {line[-1][1]:.3g}" for name, line in (("training", mean), ("test", tests)) if line]
    words = f"Loss over {x[1]:.3g} epochs: {', '.join(ends)}"
    picture = curves(words, "epoch", series, x, (bottom, top), scale, x_ticks=epoch_ticks(x[1]))
    unit = f"cross-entropy per image{' (log scale)' if scale == 'log' else ''}; thin: steps"
    return figure("Loss", unit, picture)


def training_loss(view: RunView) -> Line:
    """Mean loss of each epoch; of a run with fewer than three, a running mean over steps."""
    means = by_epoch(view, "train_loss")
    if len(means) >= 3:
        return means
    per = epoch_axis(view)
    steps = [(step / per, value) for step, value in view.loss if math.isfinite(value)]
    return smooth(steps, max(1, len(steps) // 40))


def loss_scale(smoothed: Sequence[float], single: Sequence[float]) -> tuple[float, float, str]:
    """Limits and scale for losses: logarithmic where they span more than a factor of twenty; outliers are cut."""
    values = sorted([*smoothed, *single])
    top = max(values[min(len(values) - 1, int(len(values) * 0.995))], 1e-6) * 1.05
    positive = [y for y in smoothed if y > 0] + [y for y in values[len(values) // 20 :] if y > 0]
    low = min(positive, default=0.0)
    if low > 0 and top / low > 20:
        return low * 0.8, top, "log"
    return 0.0, top, "linear"


def _accuracy(view: RunView) -> str:
    x = x_limits(view)
    train, test = by_epoch(view, "train_accuracy", 100), by_epoch(view, "test_accuracy", 100)
    if not train and not test:
        return ""
    low = max(0.0, math.floor(min(y for _, y in train + test) - 2))
    which, best = ("test", max(test, key=lambda p: p[1])) if test else ("train", max(train, key=lambda p: p[1]))
    caption = f"per cent right; best {which} value {best[1]:.2f} after epoch {best[0]:g}"
    series: list[Series] = [("train", "s1", train), ("test", "s2", test)]
    picture = curves(f"Accuracy: {caption}", "epoch", series, x, (low, 100.0), x_ticks=epoch_ticks(x[1]))
    return figure("Accuracy", caption, picture)


def _rate(view: RunView) -> str:
    per, x = epoch_axis(view), x_limits(view)
    lr = [(step / per, value) for step, value in view.lr]
    if not lr:
        return ""
    top = max(y for _, y in lr) * 1.08 or 1.0
    words = f"Learning rate from {lr[0][1]:g} to {lr[-1][1]:.3g}"
    picture = curves(words, "epoch", [("", "s3", lr)], x, (0, top), x_ticks=epoch_ticks(x[1]))
    return figure("Learning rate", f"schedule: {esc(view.config.get('schedule', '?'))}", picture)


def share_words(share: float) -> str:
    """A share for people: 0.32 %, or 1 in 40,000 when it is small."""
    if share <= 0:
        return "none"
    if share >= 1e-3:
        return f"{100 * share:.2g} %"
    odds = 1 / share
    digits = 10 ** max(0, math.floor(math.log10(odds)) - 1)
    return f"1 in {round(odds / digits) * digits:,}"


def weight_figure(item: WeightHistogram) -> str:
    """One weight tensor: float32 master values as a line over the integer codes as bars."""
    bins = len(item.codes)
    top = float(max(item.codes.max(initial=0), item.floats.max(initial=0), 1))
    half = 2 ** (item.bits - 1)
    step = 2.0**item.exponent
    words = (
        f"Histogram of {item.name}: {item.used} of {2**item.bits} codes used, {item.clipped} values outside the range"
    )
    panel = Panel((-half, half), (0, top * 1.06), words, height=168, left=14, right=14, bottom=42, top=6)
    panel.axes("", [-half, -half / 2, 0, half / 2, half], [], x_format=lambda v: f"{v:g}")
    width = (panel.width - panel.left - panel.right) / bins
    base = panel.height - panel.bottom
    bars = [(panel.left + i * width + 0.3, panel.py(float(item.codes[i])), i) for i in range(bins) if item.codes[i]]
    panel.boxes("codes", [(x, y, width - 0.6, base - y, 1.0) for x, y, _ in bars])
    stairs = [(-half + i * 2 * half / bins, float(v)) for i, v in enumerate([*item.floats.tolist(), 0])]
    panel.line([(-half, 0.0), *stairs], "s2", "float32 master weights", step=True)
    for i, value in enumerate((-half, -half / 2, 0, half / 2, half)):
        anchor = ("start", "middle", "middle", "middle", "end")[i]
        x = panel.px(value) + (-8 if i == 0 else 8 if i == 4 else 0)
        panel.text(x, base + 30, f"{value * step:.3g}", "name", anchor)
    shape = "×".join(map(str, item.shape))
    clipped = f", {item.clipped} clipped" if item.clipped else ""
    return figure(
        item.name,
        f"{shape} · int{item.bits} at 2{superscript(item.exponent)} · {item.used} of {2**item.bits} codes{clipped}",
        panel.svg(),
    )


def swatch(css: str) -> str:
    """A colour key for running text."""
    return f'<i class="key {css}" aria-hidden="true"></i>'
