"""Figures of the quantisation sites through time: exponents, and shares of overflowing and saturated entries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qnn.report.charts import epoch_axis, epoch_ticks, figure, share_words, x_limits
from qnn.report.markup import esc, shorten, superscript, tag
from qnn.report.svg import CHAR, SERIES, WIDTH, Panel, integer_ticks, label_room
from qnn.report.view import RunView, SiteTrace

LINES_MOST = 10  # above this many sites in a picture, lines give way to one strip a site
ROWS_MOST = 48  # sites in one picture of overflow
BUCKETS = 56  # equal parts of the run
MARGINS = 58.0  # of a strip chart: axis and colour key


def sites_in_use(view: RunView, group: str) -> list[SiteTrace]:
    """The sites of a group that data passed through, or whose exponent moved."""
    return [site for site in view.sites_of(group) if site.entries or site.moves]


def labels_of(sites: Sequence[SiteTrace], most: int = 20) -> list[str]:
    """Short labels for direct use in a picture."""
    return [shorten(site.label or site.name, most) for site in sites]


def exponent_figures(view: RunView, titles: dict[str, str]) -> list[str]:
    """One figure a group, all of one height: stairs with names at their ends, or strips where there are many sites."""
    groups = {group: sites for group in titles if (sites := sites_in_use(view, group))}
    tall = [216.0]
    for sites in groups.values():
        few = len(sites) <= LINES_MOST
        tall.append(56 + 13.0 * len(sites) if few else MARGINS + len(sites) * _row_height(len(sites)))
    return [_exponent_figure(view, sites, titles[group], max(tall)) for group, sites in groups.items()]


def _exponent_figure(view: RunView, sites: Sequence[SiteTrace], title: str, height: float) -> str:
    moves = sum(site.moves for site in sites)
    low = min(int(site.exponents.min()) for site in sites)
    high = max(int(site.exponents.max()) for site in sites)
    span = f"between 2{superscript(low)} and 2{superscript(high)}" if high > low else f"all at 2{superscript(low)}"
    caption = f"{len(sites)} site{'s' * (len(sites) != 1)}, {moves:,} move{'s' * (moves != 1)}, {span}"
    draw = _exponent_lines if len(sites) <= LINES_MOST else _exponent_strips
    return figure(title, caption, draw(view, sites, (low, high), f"Exponents, {title.lower()}: {caption}", height))


def _columns(view: RunView, site: SiteTrace, count: int) -> list[NDArray[np.int64]]:
    """The exponents of a site in equal parts of the run; a part without a step repeats the one before."""
    edges = np.arange(count + 1) * x_limits(view)[1] * epoch_axis(view) / count
    at = np.searchsorted(site.steps, edges + 0.5, side="left")
    at[-1] = site.steps.size
    parts = []
    for begin, end in pairwise(at.tolist()):
        parts.append(site.exponents[begin:end] if end > begin else site.exponents[max(begin - 1, 0) : max(begin, 1)])
    return parts


def _exponent_lines(
    view: RunView, sites: Sequence[SiteTrace], limits: tuple[int, int], words: str, height: float
) -> str:
    labels = labels_of(sites)
    low, room = limits[0], max(limits[1] - limits[0], 3)
    panel = Panel(x_limits(view), (low - 0.6, low + room + 0.6), words, right=label_room(labels), height=height)
    ticks = integer_ticks(low, low + room, 7)
    panel.axes("epoch", epoch_ticks(panel.x[1]), ticks, y_format=lambda v: f"2{superscript(int(v))}")
    gap = min(2.4, 10.0 / len(sites))
    shifts = [(i - (len(sites) - 1) / 2) * gap for i in range(len(sites))]  # lines on one exponent stay side by side
    ends: list[tuple[str, str, float]] = []
    width = (panel.x[1] - panel.x[0]) / BUCKETS
    for i, (site, label) in enumerate(zip(sites, labels, strict=True)):
        css = f"s{i % SERIES + 1}"
        parts = _columns(view, site, BUCKETS)
        usual = [_mode(part) for part in parts]
        left, wide = panel.px(0), panel.px(width) - panel.px(0)
        bands = []
        for j, part in enumerate(parts):
            top, bottom = panel.py(float(part.max())) + shifts[i], panel.py(float(part.min())) + shifts[i]
            if bottom > top:
                bands.append((left + j * wide, top, wide, bottom - top, 0.2))
        panel.boxes(f"area {css}", bands)
        stair = [(j * width, float(value)) for j, value in enumerate(usual)] + [(panel.x[1], float(usual[-1]))]
        title = f"{site.name}: {site.exponents[0]} to {site.exponents[-1]}, {site.moves} moves"
        panel.line(stair, css, title, step=True, shift=shifts[i])
        ends.append((label, css, float(usual[-1])))
    panel.end_labels(ends, shifts)
    return panel.svg()


def _mode(values: NDArray[np.int64]) -> int:
    """The most frequent value; the greatest of equally frequent ones."""
    found, counts = np.unique(values, return_counts=True)
    return int(found[len(counts) - 1 - int(np.argmax(counts[::-1]))])


def _row_height(rows: int) -> float:
    return min(15.0, max(4.0, 620.0 / rows))


def _strip_panel(view: RunView, sites: Sequence[SiteTrace], words: str, row: float) -> Panel:
    """An empty panel with one named row a site."""
    labels = labels_of(sites, 21)
    left = min(132, max(map(len, labels)) * CHAR * 0.96 + 8)
    panel = Panel(x_limits(view), (0, 1), words, height=row * len(sites) + 40, top=4, left=left, right=8)
    panel.axes("epoch", epoch_ticks(panel.x[1]), [])
    width = panel.width - panel.left - panel.right
    panel.boxes("band", [(panel.left, panel.top + i * row + 0.5, width, row - 1, 0.6) for i in range(len(sites))])
    for i in range(0, len(labels), max(1, math.ceil(10 / row))):
        panel.text(panel.left - 5, panel.top + (i + 0.5) * row + 3.2, labels[i], "rowname", "end")
    return panel


def _exponent_strips(
    view: RunView, sites: Sequence[SiteTrace], limits: tuple[int, int], words: str, height: float
) -> str:
    row = min(24.0, (height - MARGINS) / len(sites))
    panel = _strip_panel(view, sites, words, row)
    columns = max(24, min(112, 6000 // len(sites)))
    width = (panel.width - panel.left - panel.right) / columns
    low, high = limits
    boxes = []
    for i, site in enumerate(sites):
        means = np.array([part.mean() for part in _columns(view, site, columns)])
        shades = np.round(0.1 + 0.9 * (means - low) / max(high - low, 1), 1)
        starts = [0, *(np.flatnonzero(np.diff(shades)) + 1).tolist(), columns]
        for start, stop in pairwise(starts):
            y = panel.top + i * row + 0.5
            boxes.append((panel.left + start * width, y, (stop - start) * width, row - 1, float(shades[start])))
    panel.boxes("cell", boxes)
    return panel.svg() + _key(f"2{superscript(low)}", f"2{superscript(high)}", "cell")


def _key(first: str, last: str, css: str) -> str:
    """A small colour key under a strip chart."""
    boxes = "".join(
        tag("rect", cls=css, x=60 + 14 * i, y=3, width=13, height=9, fill_opacity=f"{0.12 + 0.88 * i / 7:.2f}")
        for i in range(8)
    )
    words = tag("text", esc(first), x=54, y=11.5, text_anchor="end") + tag("text", esc(last), x=178, y=11.5)
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
    sites = sites_in_use(view, group)
    entries = sum(site.entries for site in sites)
    if not entries:
        return ""
    over, clip = _shares(view, sites, "overflow"), _shares(view, sites, "saturated")
    hits = sum(site.hits for site in sites)
    caption = f"none of {entries:,} entries overflowed"
    if hits:
        caption = f"{share_words(hits / entries)} overflowed: {hits:,} entries"
    seen = [float(v) for v in (*over, *clip) if v > 0]
    span = (min(seen), max(seen)) if seen else (1e-6, 1e-4)
    panel = Panel(x_limits(view), span, f"{title}: {caption}", height=176, scale="log0")
    panel.axes("epoch", epoch_ticks(panel.x[1]), y_format=_power)
    width = (panel.width - panel.left - panel.right) / BUCKETS
    base = panel.height - panel.bottom
    for css, values, inset in (("over", over, 0.4), ("sat", clip, 1.5)):
        tall = [(panel.left + i * width + inset, panel.py(float(v))) for i, v in enumerate(values) if v > 0]
        panel.boxes(css, [(x, y, width - 2 * inset, base - y, 1.0) for x, y in tall])
    return figure(title, caption, panel.svg())


def _power(value: float) -> str:
    return "0" if value == 0 else f"10{superscript(round(math.log10(value)))}"


def overflow_strips(view: RunView, titles: dict[str, str]) -> list[str]:
    """Where and when values overflow: one figure a group, one row a site, darker for a greater share."""
    chosen = {group: sites for group in titles if (sites := _overflowing(view, group))}
    most = max((len(sites) for sites in chosen.values()), default=0)
    height = MARGINS + most * _row_height(most) if most else 0.0
    return [_overflow_strip(view, group, sites, titles[group], height) for group, sites in chosen.items()]


def _overflowing(view: RunView, group: str) -> list[SiteTrace]:
    """The sites with any overflow, at most :data:`ROWS_MOST` of the greatest shares, in the order of the network."""
    sites = [site for site in sites_in_use(view, group) if site.hits]
    worst = sorted(sites, key=lambda site: -site.share("overflow"))[:ROWS_MOST]
    kept = {id(site) for site in worst}
    return [site for site in sites if id(site) in kept]


def _overflow_strip(view: RunView, group: str, sites: Sequence[SiteTrace], title: str, height: float) -> str:
    every = len(sites_in_use(view, group))
    some = "that overflow most" if len(sites) == ROWS_MOST else "that overflowed"
    caption = f"all {every} sites" if len(sites) == every else f"the {len(sites)} of {every} sites {some}"
    table = np.nan_to_num(np.stack([_shares(view, [site], "overflow") for site in sites]))
    low, high = math.floor(math.log10(table[table > 0].min())), math.ceil(math.log10(table.max()))
    words = f"{title}, {caption}; the greatest share in one column is {share_words(float(table.max()))}"
    row = min(24.0, (height - MARGINS) / len(sites))
    panel = _strip_panel(view, sites, words, row)
    width = (panel.width - panel.left - panel.right) / BUCKETS
    boxes = []
    for i, j in zip(*np.nonzero(table), strict=True):
        shade = 0.15 + 0.85 * (math.log10(table[i, j]) - low) / max(high - low, 1)
        boxes.append((panel.left + j * width, panel.top + i * row + 0.5, width, row - 1, shade))
    panel.boxes("hotcell", boxes)
    key = _key(f"10{superscript(low)}", f"10{superscript(high)}", "hotcell")
    return figure(title, caption, panel.svg() + key)
