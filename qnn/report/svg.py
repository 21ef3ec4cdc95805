"""A small chart module: axes, lines, steps, bars and strips as inline SVG strings, coloured by CSS classes of the page.

Every chart is drawn for one panel width (:data:`WIDTH`), which is the width of a column on a desktop and nearly that of
a phone, so the text keeps its size on both. Colours come from the page's style sheet (``s1`` .. ``s8``), so that light
and dark mode share one picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from qnn.report.markup import esc, num

WIDTH = 372
HEIGHT = 216
CHAR = 6.1  # mean advance of the 11 px label face; labels are laid out before any browser measures them
SERIES = 8

Points = Sequence[tuple[float, float]]


def nice_ticks(lo: float, hi: float, count: int = 5) -> list[float]:
    """Round tick values (1, 2, 5 times a power of ten) that cover ``[lo, hi]`` inside."""
    if not (math.isfinite(lo) and math.isfinite(hi)) or hi <= lo:
        return [lo]
    raw = (hi - lo) / max(count, 1)
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= raw * 0.999)
    first = math.ceil(lo / step - 1e-9)
    last = math.floor(hi / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def integer_ticks(lo: int, hi: int, count: int = 6) -> list[float]:
    """Whole-number ticks, for exponents."""
    step = max(1, math.ceil((hi - lo) / count))
    return [float(i) for i in range(math.ceil(lo / step) * step, hi + 1, step)]


def short(value: float) -> str:
    """A tick label of few characters (12000 -> 12k, 0.05, 2.5)."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    if size < 1e-3:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4g}"


def thin(points: Points, limit: int = 240) -> list[tuple[float, float]]:
    """At most about ``limit`` points that keep every bucket's first, lowest, highest and last value."""
    points = list(points)
    if len(points) <= limit:
        return points
    size = len(points) / (limit / 4)
    kept: list[tuple[float, float]] = []
    for bucket in range(math.ceil(limit / 4)):
        part = points[int(bucket * size) : int((bucket + 1) * size)]
        if not part:
            continue
        index = {0, len(part) - 1}
        index.add(min(range(len(part)), key=lambda i: part[i][1]))
        index.add(max(range(len(part)), key=lambda i: part[i][1]))
        kept.extend(part[i] for i in sorted(index))
    return kept


def spread(wanted: Sequence[float], gap: float, lo: float, hi: float) -> list[float]:
    """Label positions as near as may be to the wanted ones, at least ``gap`` apart and within ``[lo, hi]``."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    if len(order) * gap > hi - lo and order:
        gap = (hi - lo) / len(order)
    placed = [0.0] * len(wanted)
    previous = lo - gap
    for i in order:
        placed[i] = previous = max(wanted[i], previous + gap)
    limit = hi
    for i in reversed(order):
        placed[i] = limit = min(placed[i], limit)
        limit -= gap
    return placed


@dataclass
class Panel:
    """One chart: limits, margins and the marks drawn so far.

    ``scale`` is "linear", "log" (positive values on a decimal logarithm) or "log0" (the same over whole decades, with
    zeros on a base line of their own, marked "0").
    """

    x: tuple[float, float]
    y: tuple[float, float]
    describe: str
    width: float = WIDTH
    height: float = HEIGHT
    left: float = 42
    right: float = 10
    top: float = 10
    bottom: float = 30
    scale: str = "linear"
    marks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.x[1] <= self.x[0]:
            self.x = (self.x[0], self.x[0] + 1)
        if self.scale == "log0":
            lo = math.floor(math.log10(self.y[0]))
            self._log = (lo - 1.0, float(max(math.ceil(math.log10(self.y[1])), lo + 1)))
        elif self.scale == "log":
            self._log = (math.log10(self.y[0]), max(math.log10(self.y[1]), math.log10(self.y[0]) + 0.1))
        elif self.y[1] <= self.y[0]:
            pad = abs(self.y[0]) * 0.05 or 0.5
            self.y = (self.y[0] - pad, self.y[0] + pad)

    def px(self, x: float) -> float:
        """Horizontal pixel of a data value."""
        return self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - self.right)

    def py(self, y: float) -> float:
        """Vertical pixel of a data value."""
        if self.scale == "log0":
            lo, hi = self._log
            share = 0.0 if y <= 0 else (max(math.log10(y), lo + 0.5) - lo) / (hi - lo)
        elif self.scale == "log":
            lo, hi = self._log
            share = (math.log10(max(y, self.y[0])) - lo) / (hi - lo)
        else:
            share = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def axes(
        self,
        x_label: str,
        x_ticks: Sequence[float] | None = None,
        y_ticks: Sequence[float] | None = None,
        x_format: Callable[[float], str] = short,
        y_format: Callable[[float], str] = short,
    ) -> None:
        """Grid lines, tick labels and the name of the horizontal axis."""
        base = self.height - self.bottom
        if y_ticks is None:
            y_ticks = self._ticks()
        for value in y_ticks:
            y = num(self.py(value))
            self.marks.append(f'<path class="grid" d="M{num(self.left)} {y}H{num(self.width - self.right)}"/>')
            label = esc(y_format(value))
            self.marks.append(
                f'<text class="tick" text-anchor="end" x="{num(self.left - 6)}" y="{y}" dy=".35em">{label}</text>'
            )
        ticks = list(nice_ticks(*self.x, 5) if x_ticks is None else x_ticks)
        for value in ticks:
            x = num(self.px(value))
            self.marks.append(f'<path class="axis" d="M{x} {num(base)}v4"/>')
            self.marks.append(
                f'<text class="tick" text-anchor="middle" x="{x}" y="{num(base + 15)}">{esc(x_format(value))}</text>'
            )
        self.marks.append(f'<path class="axis" d="M{num(self.left)} {num(base)}H{num(self.width - self.right)}"/>')
        middle = (self.left + self.width - self.right) / 2
        self.marks.append(
            f'<text class="name" text-anchor="middle" x="{num(middle)}" y="{num(self.height - 2)}">'
            f"{esc(x_label)}</text>"
        )

    def _ticks(self) -> list[float]:
        """Values to mark on the vertical axis."""
        if self.scale == "linear":
            return nice_ticks(*self.y)
        lo, hi = self._log
        if self.scale == "log0":
            every = math.ceil((hi - lo - 1) / 5) or 1
            return [0.0] + [10.0**d for d in range(int(lo) + 1, int(hi) + 1, every)]
        factors = (1, 2, 5) if hi - lo < 2.2 else (1,)
        every = math.ceil((hi - lo) / 6)
        decades = range(math.floor(lo), math.ceil(hi) + 1, every)
        return [f * 10.0**d for d in decades for f in factors if lo - 1e-9 <= math.log10(f) + d <= hi + 1e-9]

    def line(self, points: Points, css: str, title: str = "", step: bool = False, shift: float = 0.0) -> None:
        """A polyline, or with ``step`` a stair that holds each value until the next point; ``shift`` is in pixels."""
        if not points:
            return
        if len(points) == 1:
            self.dot(points[0], css)
            return
        parts: list[str] = []
        last_y = ""
        for i, (x, y) in enumerate(points):
            px, py = num(self.px(x)), num(self.py(y) + shift)
            if i == 0:
                parts.append(f"M{px} {py}")
            elif step:
                if py != last_y:
                    parts.append(f"H{px}V{py}")
                elif i == len(points) - 1:
                    parts.append(f"H{px}")
            else:
                parts.append(f"L{px} {py}")
            last_y = py
        inner = f"<title>{esc(title)}</title>" if title else ""
        self.marks.append(f'<path class="line {css}" d="{"".join(parts)}">{inner}</path>')

    def dot(self, point: tuple[float, float], css: str, radius: float = 3) -> None:
        """A filled marker."""
        self.marks.append(
            f'<circle class="dot {css}" cx="{num(self.px(point[0]))}" cy="{num(self.py(point[1]))}" r="{num(radius)}"/>'
        )

    def end_labels(self, labels: Sequence[tuple[str, str, float]], shift: Sequence[float] | None = None) -> None:
        """Names at the right end of lines, spread so that none covers another; items are (text, css, value)."""
        edge = self.width - self.right
        ends = [self.py(value) + (shift[i] if shift else 0.0) for i, (_, _, value) in enumerate(labels)]
        gap = 12.5
        placed = spread(ends, gap, self.top, self.height - self.bottom)
        for (text, css, _), end, y in zip(labels, ends, placed, strict=True):
            self.marks.append(f'<path class="lead {css}" d="M{num(edge + 1)} {num(end)}L{num(edge + 9)} {num(y)}"/>')
            self.marks.append(
                f'<text class="direct {css}" x="{num(edge + 11)}" y="{num(y)}" dy=".35em">{esc(text)}</text>'
            )

    def rect(
        self, x: float, y: float, width: float, height: float, css: str, opacity: float = 1.0, title: str = ""
    ) -> None:
        """A filled box in pixels."""
        shade = "" if opacity >= 1 else f' fill-opacity="{opacity:.2f}"'
        box = f'<rect class="{css}" x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}"{shade}'
        self.marks.append(f"{box}><title>{esc(title)}</title></rect>" if title else f"{box}/>")

    def boxes(self, css: str, items: Iterable[tuple[float, float, float, float, float]], levels: int = 10) -> None:
        """Many shaded boxes (x, y, width, height, shade 0..1) as one path a shade: far smaller than an element each."""
        paths: dict[int, list[str]] = {}
        for x, y, width, height, shade in items:
            left, right = round(x, 1), round(x + width, 1)
            move = f"M{num(left)} {num(y)}h{num(right - left)}v{num(height)}h{num(left - right)}z"
            paths.setdefault(min(levels, max(1, round(shade * levels))), []).append(move)
        for level, moves in sorted(paths.items()):
            self.marks.append(f'<path class="{css}" fill-opacity="{level / levels:.2f}" d="{"".join(moves)}"/>')

    def text(self, x: float, y: float, text: str, css: str, anchor: str = "start") -> None:
        """Words at a pixel position."""
        self.marks.append(f'<text class="{css}" text-anchor="{anchor}" x="{num(x)}" y="{num(y)}">{esc(text)}</text>')

    def svg(self) -> str:
        """The finished picture; its description is what a screen reader says."""
        box = f'viewBox="0 0 {num(self.width)} {num(self.height)}"'
        return f'<svg class="chart" {box} role="img" aria-label="{esc(self.describe)}">{"".join(self.marks)}</svg>'


def label_room(names: Sequence[str], most: float = 132) -> float:
    """The right margin that the longest of the direct labels needs."""
    return min(most, max((len(name) for name in names), default=0) * CHAR + 16)
