"""The tables and picture lists of a report: confusion matrix, worst examples, layers, sites, settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.report.charts import share_words
from qnn.report.markup import esc, scroll, short_name, superscript, tag
from qnn.report.pictures import data_address
from qnn.report.svg import Panel
from qnn.report.view import RunView

TABLE_MOST = 24  # above this many classes the matrix is a picture instead of a table
Matrix = NDArray[np.int64]


def pair_table(rows: Iterable[tuple[str, Any]], name: str) -> str:
    """A table of names and values."""
    body = "".join(
        tag("tr", tag("th", esc(key), scope="row"), tag("td", esc(value), cls="mono wrap")) for key, value in rows
    )
    return scroll(name, tag("table", tag("tbody", body)))


def grid_table(header: list[str], rows: Iterable[list[str]], numeric: set[int], name: str) -> str:
    """A table with a header; the first column names the row."""
    kind = dict.fromkeys(numeric, "n")
    head = "".join(tag("th", esc(cell), scope="col", cls=kind.get(i)) for i, cell in enumerate(header))
    body = []
    for row in rows:
        cells = [tag("td", esc(cell), cls=kind.get(i)) for i, cell in enumerate(row[1:], 1)]
        body.append(tag("tr", tag("th", esc(row[0]), scope="row", cls="mono"), *cells))
    return scroll(name, tag("table", tag("thead", tag("tr", head)), tag("tbody", *body)))


def site_table(view: RunView) -> str:
    """Every quantisation site with its format, exponents and counts."""
    header = ["site", "layer", "role", "bits", "rounding", "stream", "first exp", "last exp", "moves"]
    header += ["overflow", "saturated", "entries seen"]
    rows = []
    for site in view.sites:
        ends = [str(site.exponents[0]), str(site.exponents[-1])] if site.steps.size else ["–", "–"]
        stream = "–" if site.stream is None else str(site.stream)
        counts = ["–", "–", "–"]
        if site.entries:
            counts = [share_words(site.share("overflow")), share_words(site.share("saturated")), f"{site.entries:,}"]
        head = [site.name, site.label or "–", site.role, str(site.bits), site.rounding or "–", stream]
        rows.append([*head, *ends, str(site.moves), *counts])
    return grid_table(header, rows, {3, 5, 6, 7, 8, 9, 10, 11}, "Quantisation sites")


def layer_table(view: RunView) -> str:
    """The network, operation by operation, for one image."""
    header = ["layer", "operation", "output", "format", "sum bits", "sum bits dx", "sum bits dw", "MACs", "bytes"]
    rows = []
    for row in view.layers:
        widths = [row["accumulator"], row["accumulator_input_gradient"], row["accumulator_weight_gradient"]]
        shape = " × ".join(str(n) for n in row["shape"][1:])
        counts = [f"{row['macs']:,}" if row["macs"] else "–", f"{row['output_bytes']:,}"]
        shown = re.sub(r"2\^(-?\d+)", lambda found: f"2{superscript(int(found[1]))}", row["output"])
        sums = [str(width) if width else "–" for width in widths]
        rows.append([short_name(row["name"]), row["kind"].replace("_", " "), shape, shown, *sums, *counts])
    return grid_table(header, rows, {4, 5, 6, 7, 8}, "Network")


def confusion_pairs(classes: list[str], matrix: Matrix, most: int = 8) -> list[tuple[str, str, int, float]]:
    """The most frequent mistakes: (truth, said, count, share of the truth's images)."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    found = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        truth, said = divmod(int(flat), matrix.shape[1])
        count = int(wrong[truth, said])
        if count:
            found.append((classes[truth], classes[said], count, count / int(matrix[truth].sum())))
    return found


def confusion(view: RunView) -> str:
    """The confusion matrix and the most frequent mistakes; empty without test results."""
    matrix = view.confusion
    if matrix is None:
        return ""
    picture = (
        _matrix_table(view.classes, matrix) if len(matrix) <= TABLE_MOST else _matrix_picture(view.classes, matrix)
    )
    pairs = confusion_pairs(view.classes, matrix)
    rows = [[truth, said, f"{count:,}", f"{100 * share:.1f} %"] for truth, said, count, share in pairs]
    listed = grid_table(["is", "said", "images", "of its class"], rows, {2, 3}, "Most frequent mistakes")
    return tag("div", tag("div", picture), tag("div", listed if rows else tag("p", "No mistakes.")), cls="split")


def _matrix_table(classes: list[str], matrix: Matrix) -> str:
    tall = "tall" if max(map(len, classes), default=0) > 3 else None
    head = "".join(tag("th", tag("span", esc(name)), scope="col", cls=tall) for name in classes)
    body = []
    for i, name in enumerate(classes):
        total = max(int(matrix[i].sum()), 1)
        cells = [_cell(count, count / total, i == j) for j, count in enumerate(matrix[i].tolist())]
        body.append(tag("tr", tag("th", esc(name), scope="row"), *cells))
    caption = tag(
        "caption",
        "Rows: what the image is. Columns: what the network said. Blue: right; red: wrong, darker for a greater share "
        "of the row.",
    )
    table = tag("table", caption, tag("thead", tag("tr", "<td></td>", head)), tag("tbody", *body), cls="confusion")
    return scroll("Confusion matrix", table)


def _cell(count: int, share: float, hit: bool) -> str:
    if not count:
        return tag("td", "0", cls="zero")
    strength = 8 + 34 * share if hit else 12 + 48 * min(1.0, share / 0.12)
    return tag("td", str(count), cls="hit" if hit else "miss", style=f"--v:{strength:.0f}")


def _matrix_picture(classes: list[str], matrix: Matrix) -> str:
    side = 600.0
    size = side / len(matrix)
    words = f"Confusion matrix of {len(matrix)} classes; the most frequent mistakes are in the table beside it"
    panel = Panel((0, 1), (0, 1), words, width=side, height=side)
    panel.boxes("band", [(0, 0, side, side, 0.6)])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for css, chosen, full in (("cell", np.eye(len(matrix), dtype=bool), 1.0), ("hotcell", None, 0.12)):
        part = np.where(~np.eye(len(matrix), dtype=bool) if chosen is None else chosen, shares, 0)
        where = zip(*np.nonzero(part), strict=True)
        shade = {(i, j): 0.15 + 0.85 * min(1.0, float(part[i, j]) / full) for i, j in where}
        panel.boxes(css, [(j * size, i * size, size * 0.96, size * 0.96, s) for (i, j), s in shade.items()])
    caption = "Rows: what the image is. Columns: what the network said. Classes in their order, from the top left."
    return tag("figure", panel.svg(), tag("figcaption", tag("p", caption)))


def worst(view: RunView) -> str:
    """The worst examples as pictures with what they are and what was said."""
    items = []
    for example in view.worst:
        alt = f"test image {example.index}: is {example.truth}, said {example.said}"
        picture = f'<img src="{data_address(example.image)}" alt="{esc(alt)}">' if example.image is not None else ""
        lines = [
            f"is {tag('strong', esc(example.truth))}",
            f"said {tag('strong', esc(example.said), cls=None if example.said == example.truth else 'wrong')}",
            f"loss {example.loss:.2f}",
            f"image {example.index}",
        ]
        items.append(tag("li", picture, "<br>".join(lines)))
    return tag("ul", *items, cls="worst")


def exponent_words(view: RunView) -> str:
    """One or two sentences on what the exponents did."""
    sites = [site for site in view.sites if site.steps.size and (site.entries or site.moves)]
    if not sites:
        return "There is no exponent to show: the recipe has no quantisation sites, or nothing was recorded yet."
    moves = sum(site.moves for site in sites)
    still = sum(site.moves == 0 for site in sites)
    most = max(sites, key=lambda site: site.moves)
    text = f"Each of the {len(sites)} sites in use has one power of two; a value is its integer times that power. "
    if not moves:
        return text + "None of them moved."
    text += f"They moved {moves:,} times in all; " + (f"{still} never moved; " if still else "")
    now = f"now at 2{superscript(int(most.exponents[-1]))}"
    return text + f"the most restless is {most.label or most.name} ({most.role}) with {most.moves} moves, {now}."
