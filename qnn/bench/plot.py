"""Pictures of a run: a roofline for ``shift``, bars for the other groups. Needs matplotlib, which only this imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw"]

OURS, THEIRS, LOOPS = "#1f6f8b", "#b0b7bd", "#c8553d"
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
    import numpy as np

    threads = rows[0]["threads"]
    x = np.logspace(-1, 4, 200)
    tops = {p["name"]: p["gops"] for p in peaks if "gops" in p and p["threads"] == threads}
    reads = sorted(
        (p["bytes"], p["gbytes_per_second"]) for p in peaks if p.get("name") == "read" and p["threads"] == threads
    )
    slopes = (
        [(f"read {size >> 10} KiB, {rate:.0f} GB/s", rate) for size, rate in {reads[0], reads[-1]}] if reads else []
    )
    for name, top in sorted(tops.items(), key=lambda item: -item[1]):
        axis.axhline(top, color="0.6", linewidth=0.8)
        axis.text(x[-1], top, f"{name} {top:.0f}", fontsize=7, ha="right", va="bottom", color="0.3")
    for name, rate in slopes:
        highest = max(tops.values(), default=1000.0)
        inside = x * rate <= highest
        axis.plot(x[inside], (x * rate)[inside], color="0.75", linewidth=0.8)
        axis.text(x[inside][-1], highest, name, fontsize=7, ha="right", va="bottom", color="0.3", rotation=30)
    shapes = {"int8": "o", "4-bit codes": "s", "xnor": "^"}
    for row in rows:
        if not row["gbytes_per_second"] or row["threads"] != threads or row["side"] == "peer":
            continue
        intensity = row["gops"] / row["gbytes_per_second"]
        colour = OURS if row["path"] != "c" else LOOPS
        axis.scatter(intensity, row["gops"], marker=shapes.get(row["variant"], "x"), color=colour, s=28)
        label = f"{row['work'].split(',')[0]} {row['variant']} {row['path']}"
        axis.annotate(label, (intensity, row["gops"]), fontsize=6, xytext=(4, -2), textcoords="offset points")
    axis.set(xscale="log", yscale="log", xlabel="operations per byte of operands and results", ylabel="GOPS")
    axis.set_title("int8, 4-bit codes and bits below the limits of arithmetic and memory", fontsize=9)


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
