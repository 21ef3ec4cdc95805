"""Pictures of a run: a roofline for ``shift``, bars for the other groups. Needs matplotlib, which only this imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw"]

OURS, THEIRS, LOOPS = "#1f6f8b", "#b0b7bd", "#c8553d"
COLOURS = {"int8": "#1f6f8b", "4-bit codes": "#c8553d", "xnor": "#5b8c3a"}
MOST_BARS = 60


def draw(document: dict[str, Any], file: Path) -> None:
    """Write a picture of a run; its ending says the format.

    Parameters
    ----------
    document : dict
        As ``qnn bench --json`` prints it.
    file : Path
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = {name: rows for name, rows in document["groups"].items() if rows}
    if not groups:
        return
    sizes = [_height(name, rows) for name, rows in groups.items()]
    figure, axes = pyplot.subplots(
        len(groups), 1, figsize=(10, sum(sizes)), squeeze=False, height_ratios=sizes, layout="constrained"
    )
    for axis, (name, rows) in zip(axes[:, 0], groups.items(), strict=True):
        if name == "shift":
            _roofline(axis, rows, document["peaks"])
        elif any("axis" in row["extra"] for row in rows):
            _growth(axis, rows)
        else:
            _bars(axis, name, rows)
    figure.suptitle(f"{document['machine']['cpu']}, qnn {document['machine']['qnn']}", fontsize=10)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _height(name: str, rows: list[dict[str, Any]]) -> float:
    if name == "shift" or any("axis" in row["extra"] for row in rows):
        return 6.0
    return 1.0 + 0.17 * min(len(rows), MOST_BARS)


def _roofline(axis: Any, rows: list[dict[str, Any]], peaks: list[dict[str, Any]]) -> None:
    """Giga-operations a second over operations per byte, below what arithmetic and memory allow."""
    threads = rows[0]["threads"]
    shown = [
        row
        for row in rows
        if row["gbytes_per_second"] and row["threads"] == threads and row["side"] == "qnn" and row["variant"] in COLOURS
    ]
    axis.set(xscale="log", yscale="log", xlim=(0.7, 3000))
    _roofs(axis, [p for p in peaks if p["threads"] == threads])
    first = shown[0]["path"] if shown else ""
    drawn: set[str] = set()
    for row in shown:
        colour, label = COLOURS[row["variant"]], f"{row['variant']} {row['path']}"
        intensity, fast = row["gops"] / row["gbytes_per_second"], row["path"] == first
        axis.scatter(
            intensity,
            row["gops"],
            s=34,
            edgecolors=colour,
            facecolors=colour if fast else "none",
            label=None if label in drawn else label,
            zorder=3,
        )
        drawn.add(label)
        if fast:
            shape = row["work"].split(",")[0]
            axis.annotate(shape, (intensity, row["gops"]), fontsize=6, xytext=(5, -2), textcoords="offset points")
    axis.set(xlabel="operations per byte of operands and results", ylabel="GOPS")
    every = [row["gops"] for row in shown] + [p["gops"] for p in peaks if "gops" in p]
    axis.set_ylim(min(every, default=1.0) / 2, 2 * max(every, default=100.0))
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.09), ncols=6, frameon=False)
    axis.set_title("int8, 4-bit codes and bits below the limits of arithmetic and memory", fontsize=9)


def _roofs(axis: Any, peaks: list[dict[str, Any]]) -> None:
    """Level lines for arithmetic, slopes for reading from near and from far."""
    tops = sorted((p["gops"], p["name"]) for p in peaks if "gops" in p)
    last = 0.0
    for top, name in tops:
        axis.axhline(top, color="0.75", linewidth=0.8, zorder=1)
        near = top < 1.2 * last  # two lines side by side have their names on different ends
        axis.text(
            0.75 if near else 2900, top, f"{name} {top:.0f}", fontsize=7, ha="left" if near else "right", va="bottom"
        )
        last = top
    reads = sorted((p["bytes"], p["gbytes_per_second"]) for p in peaks if p.get("name") == "read")
    for index, (size, rate) in enumerate(dict.fromkeys(reads[:1] + reads[-1:])):
        axis.plot([0.7, 3000], [0.7 * rate, 3000 * rate], color="0.75", linewidth=0.8, linestyle="--", zorder=1)
        label = f"read {size / 2**20:.3g} MiB: {rate:.0f} GB/s"
        axis.text(0.75, 0.75 * rate * (0.5 if index else 1.3), label, fontsize=7)


def _growth(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Seconds of a step over each quantity, with its exponent."""
    names = dict.fromkeys(row["extra"]["axis"] for row in rows if "axis" in row["extra"])
    for name in names:
        found = [row for row in rows if row["extra"].get("axis") == name]
        label = f"{name} ({found[0]['work'].split(',')[0]}): exponent {found[0]['extra']['exponent']:.2f}"
        first = found[0]
        x = [row["extra"]["value"] / first["extra"]["value"] for row in found]
        axis.plot(x, [row["seconds"] / first["seconds"] for row in found], marker="o", label=label)
    axis.plot([1, 16], [1, 16], color="0.8", linewidth=0.8, label="in proportion")
    axis.set(xscale="log", yscale="log", xlabel="quantity, first value = 1", ylabel="time of a step, first value = 1")
    axis.legend(fontsize=8)
    axis.set_title("how the cost of a dfp8 training step grows", fontsize=9)


def _bars(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    """Rates of all rows, ours in colour."""
    shown = rows[:MOST_BARS]
    rates = [row["gops"] or 1 / row["ns_per_unit"] for row in shown]
    labels = [f"{row['work']}  {row['variant']} {row['path']}" for row in shown]
    colours = [OURS if row["side"] == "qnn" else LOOPS if row["side"] == "loop" else THEIRS for row in shown]
    places = list(range(len(shown)))
    axis.barh(places, rates, color=colours)
    axis.set_yticks(places, labels, fontsize=6)
    axis.invert_yaxis()
    axis.set_xlabel("GOPS" if shown[0]["gops"] else "giga-elements a second", fontsize=8)
    more = f" (the first {MOST_BARS} of {len(rows)})" if len(rows) > MOST_BARS else ""
    axis.set_title(name + more, fontsize=9)
