"""The pictures of a report: learning curves, exponent traces, overflow, and weight histograms, each one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qnn.report.markup import esc, num, shorten, superscript, tag
from qnn.report.svg import CHAR, SERIES, WIDTH, Panel, integer_ticks, label_room, thin
from qnn.report.view import RunView, SiteTrace, WeightHistogram

LINES_MOST = 9  # above this many sites in a picture, lines give way to one strip a site
BUCKETS = 56
ROWS_MOST = 48  # sites in one picture of overflow

Series = tuple[str, str, list[tuple[float, float]]]  # (label, css class, points)


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
    **axes: object,
) -> str:
    """A line chart with each line's name at its end."""
    labelled = [(label, css, points[-1][1]) for label, css, points in series if points and label]
    panel = Panel(x, y, describe, right=label_room([label for label, _, _ in labelled]) if labelled else 10)
    panel.axes(x_label, **axes)  # type: ignore[arg-type]
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
    per = epoch_axis(view)
    x = x_limits(view)
    ticks = epoch_ticks(x[1])
    out = []
    loss = [(step / per, value) for step, value in view.loss if math.isfinite(value)]
    tests = [(e["epoch"], e["test_loss"]) for e in view.epochs if e.get("test_loss") is not None]
    if loss or tests:
        mean = smooth(loss, max(1, len(loss) // 40))
        tops = sorted(y for _, y in loss + tests)
        top = max(tops[min(len(tops) - 1, int(len(tops) * 0.995))], 1e-3)
        clipped = [(a, min(b, top * 1.05)) for a, b in loss]
        series: list[Series] = [("", "s1 pale", clipped), ("train", "s1", [(a, min(b, top * 1.05)) for a, b in mean])]
        if tests:
            series.append(("test", "s2", tests))
        words = f"Loss over {x[1]:.3g} epochs; training ends at {mean[-1][1]:.3f}" if mean else "Test loss"
        out.append(
            figure(
                "Loss",
                "cross-entropy per image; thin: single steps",
                curves(words, "epoch", series, x, (0, top * 1.05), x_ticks=ticks),
            )
        )
    train = [(e["epoch"], 100 * e["train_accuracy"]) for e in view.epochs if e.get("train_accuracy") is not None]
    test = [(e["epoch"], 100 * e["test_accuracy"]) for e in view.epochs if e.get("test_accuracy") is not None]
    if train or test:
        values = [y for _, y in train + test]
        low = max(0.0, math.floor(min(values) - 2))
        series = [(name, css, points) for name, css, points in (("train", "s1", train), ("test", "s2", test)) if points]
        best = max(test or train, key=lambda point: point[1])
        words = f"Accuracy in per cent after each epoch; best {best[1]:.2f} after epoch {best[0]:g}"
        picture = curves(words, "epoch", series, x, (low, 100.0), x_ticks=ticks)
        out.append(
            figure(
                "Accuracy",
                f"per cent right; best {'test' if test else 'train'} value {best[1]:.2f} after epoch {best[0]:g}",
                picture,
            )
        )
    lr = [(step / per, value) for step, value in view.lr]
    if lr:
        top = max(y for _, y in lr)
        picture = curves(
            f"Learning rate from {lr[0][1]:g} to {lr[-1][1]:.3g}",
            "epoch",
            [("", "s3", lr)],
            x,
            (0, top * 1.08 or 1),
            x_ticks=ticks,
        )
        out.append(figure("Learning rate", f"schedule: {esc(view.config.get('schedule', '?'))}", picture))
    return out


def labels_of(sites: Sequence[SiteTrace], most: int = 19) -> list[str]:
    """Short labels for direct use in a picture."""
    return [shorten(site.label or site.name, most) for site in sites]


def exponent_figure(view: RunView, group: str, title: str) -> str:
    """Exponents of one group of sites: stair lines with names at their ends, or a strip a site when there are many."""
    sites = view.sites_of(group)
    if not sites:
        return ""
    moves = sum(site.moves for site in sites)
    low = min(int(site.exponents.min()) for site in sites)
    high = max(int(site.exponents.max()) for site in sites)
    span = f"between 2{superscript(low)} and 2{superscript(high)}"
    caption = f"{len(sites)} site{'s' * (len(sites) != 1)}, {moves:,} move{'s' * (moves != 1)}, {span}"
    words = f"Exponents of {len(sites)} {group} sites over the run: {caption}"
    picture = (
        _exponent_lines(view, sites, low, high, words)
        if len(sites) <= LINES_MOST
        else _exponent_strips(view, sites, low, high, words)
    )
    return figure(title, caption, picture)


def _held(site: SiteTrace, per: float) -> list[tuple[float, float]]:
    """The exponent as corners of a stair: (epoch at which a value begins, value), and the end of the run."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(site.exponents)) + 1])
    corners = [((float(site.steps[i]) - 1) / per, float(site.exponents[i])) for i in starts]
    corners[0] = (0.0, corners[0][1])
    return [*thin(corners, 200), (float(site.steps[-1]) / per, float(site.exponents[-1]))]


def _exponent_lines(view: RunView, sites: Sequence[SiteTrace], low: int, high: int, words: str) -> str:
    per = epoch_axis(view)
    labels = labels_of(sites)
    room = max(high - low, 3)
    height = max(216.0, 48 + 13.0 * len(sites))
    panel = Panel(x_limits(view), (low - 0.6, low + room + 0.6), words, right=label_room(labels), height=height)
    panel.axes(
        "epoch",
        epoch_ticks(panel.x[1]),
        integer_ticks(low, low + room, 6),
        y_format=lambda v: f"2{superscript(int(v))}",
    )
    gap = min(2.0, 7.0 / len(sites))
    shifts = [
        (i - (len(sites) - 1) / 2) * gap for i in range(len(sites))
    ]  # lines on one exponent stay visible side by side
    ends: list[tuple[str, str, float]] = []
    for i, (site, label) in enumerate(zip(sites, labels, strict=True)):
        css = f"s{i % SERIES + 1}"
        title = f"{site.name}: {site.exponents[0]} to {site.exponents[-1]}, {site.moves} moves"
        panel.line(_held(site, per), css, title, step=True, shift=shifts[i])
        ends.append((label, css, float(site.exponents[-1])))
    panel.end_labels(ends, shifts)
    return panel.svg()


def _strip_panel(view: RunView, sites: Sequence[SiteTrace], words: str) -> tuple[Panel, float]:
    """An empty panel with one named row a site; returns it with the height of a row."""
    row = min(15.0, max(4.0, 620.0 / len(sites)))
    labels = labels_of(sites, 21)
    left = min(132, max(map(len, labels)) * CHAR * 0.96 + 8)
    panel = Panel(x_limits(view), (0, 1), words, height=row * len(sites) + 40, top=4, left=left, right=8)
    panel.axes("epoch", epoch_ticks(panel.x[1]), [])
    every = max(1, math.ceil(10 / row))
    width = panel.width - panel.left - panel.right
    panel.boxes("band", [(panel.left, panel.top + i * row + 0.5, width, row - 1, 0.6) for i in range(len(sites))])
    for i in range(0, len(labels), every):
        panel.text(panel.left - 5, panel.top + (i + 0.5) * row + 3.2, labels[i], "rowname", "end")
    return panel, row


def _exponent_strips(view: RunView, sites: Sequence[SiteTrace], low: int, high: int, words: str) -> str:
    per, limit = epoch_axis(view), x_limits(view)[1]
    panel, row = _strip_panel(view, sites, words)
    columns = max(24, min(112, 6000 // len(sites)))
    width = (panel.width - panel.left - panel.right) / columns
    boxes = []
    for i, site in enumerate(sites):
        ends = (np.arange(1, columns + 1) * limit * per / columns).astype(np.int64)  # last step inside each column
        at = np.clip(np.searchsorted(site.steps, ends, side="right") - 1, 0, site.steps.size - 1)
        values = site.exponents[at]
        starts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), columns]
        for start, stop in zip(starts, starts[1:], strict=False):
            shade = 0.1 + 0.9 * (int(values[start]) - low) / max(high - low, 1)
            boxes.append(
                (panel.left + start * width, panel.top + i * row + 0.5, (stop - start) * width, row - 1, shade)
            )
    panel.boxes("cell", boxes)
    return panel.svg() + _scale(f"2{superscript(low)}", f"2{superscript(high)}", "cell")


def _scale(first: str, last: str, css: str) -> str:
    """A small colour key under a strip chart."""
    boxes = "".join(
        f'<rect class="{css}" x="{60 + 14 * i}" y="3" width="13" height="9" fill-opacity="{0.12 + 0.88 * i / 7:.2f}"/>'
        for i in range(8)
    )
    words = f'<text x="54" y="11.5" text-anchor="end">{esc(first)}</text><text x="178" y="11.5">{esc(last)}</text>'
    label = f"Colour scale from {first} to {last}"
    return tag("svg", boxes, words, cls="chart scale", viewBox=f"0 0 {WIDTH} 18", role="img", aria_label=label)


def _shares(view: RunView, sites: Sequence[SiteTrace], which: str) -> NDArray[np.float64]:
    """Share of entries over time, all given sites together, in equal parts of the run; NaN where nothing was seen."""
    per, limit = epoch_axis(view), x_limits(view)[1]
    hits, totals = np.zeros(BUCKETS), np.zeros(BUCKETS)
    for site in sites:
        at = np.clip(((site.steps - 0.5) / per / limit * BUCKETS).astype(np.int64), 0, BUCKETS - 1)
        np.add.at(hits, at, getattr(site, which))
        np.add.at(totals, at, site.total)
    return np.divide(hits, totals, out=np.full(BUCKETS, np.nan), where=totals > 0)


def overflow_figure(view: RunView, group: str, title: str) -> str:
    """Share of overflowing and saturated entries of one group over time: columns on a decimal logarithm."""
    sites = view.sites_of(group)
    entries = sum(site.entries for site in sites)
    if not entries:
        return ""
    over, clip = _shares(view, sites, "overflow"), _shares(view, sites, "saturated")
    hits = sum(site.hits for site in sites)
    caption = (
        f"{share_words(hits / entries)} overflowed: {hits:,} entries"
        if hits
        else f"none of {entries:,} entries overflowed"
    )
    seen = [float(v) for v in (*over, *clip) if v > 0]
    floor, top = (min(seen), max(seen)) if seen else (1e-6, 1e-4)
    panel = Panel(x_limits(view), (floor, top), f"{title}: {caption}", height=176, y_log=True)
    panel.axes(
        "epoch", epoch_ticks(panel.x[1]), y_format=lambda v: "0" if v == 0 else f"10{superscript(round(math.log10(v)))}"
    )
    width = (panel.width - panel.left - panel.right) / BUCKETS
    base = panel.height - panel.bottom
    for css, values, inset in (("over", over, 0.4), ("sat", clip, 1.5)):
        tall = [
            (panel.left + i * width + inset, panel.py(float(v)), width - 2 * inset)
            for i, v in enumerate(values)
            if v > 0
        ]
        panel.boxes(css, [(x, y, w, base - y, 1.0) for x, y, w in tall])
    return figure(title, caption, panel.svg())


def overflow_strips(view: RunView, group: str, title: str) -> str:
    """Where and when values overflow: one row a site, darker for a greater share."""
    every = view.sites_of(group)
    sites = [site for site in every if site.hits]
    if not sites:
        return ""
    if len(sites) > ROWS_MOST:
        least = sorted((site.share("overflow") for site in sites), reverse=True)[ROWS_MOST - 1]
        sites = [site for site in sites if site.share("overflow") >= least][:ROWS_MOST]
    table = np.nan_to_num(np.stack([_shares(view, [site], "overflow") for site in sites]))
    low, high = math.floor(math.log10(table[table > 0].min())), math.ceil(math.log10(table.max()))
    some = "that overflow most" if len(sites) == ROWS_MOST else "that overflowed"
    caption = (
        f"all {len(every)} sites" if len(sites) == len(every) else f"the {len(sites)} of {len(every)} sites {some}"
    )
    words = f"{title}, {caption}; the greatest share in one column is {share_words(float(table.max()))}"
    panel, row = _strip_panel(view, sites, words)
    width = (panel.width - panel.left - panel.right) / BUCKETS
    boxes = []
    for i, j in zip(*np.nonzero(table), strict=True):
        shade = 0.15 + 0.85 * (math.log10(table[i, j]) - low) / max(high - low, 1)
        boxes.append((panel.left + j * width, panel.top + i * row + 0.5, width, row - 1, shade))
    panel.boxes("hotcell", boxes)
    return figure(title, caption, panel.svg() + _scale(f"10{superscript(low)}", f"10{superscript(high)}", "hotcell"))


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


__all__ = [
    "curves",
    "exponent_figure",
    "figure",
    "learning",
    "num",
    "overflow_figure",
    "overflow_strips",
    "share_words",
    "swatch",
    "weight_figure",
]
