"""Figures 1 and 2 of the DFP paper: 1000 values of N(0, 3^2), rounded to 4 bits to the nearest and stochastically.

    python examples/rounding_figures.py [FOLDER]

writes ``figure1_nearest.png`` and ``figure2_stochastic.png`` (to ``docs/images`` without FOLDER) and prints what became
of the values between -1/2 and 1/2. All numbers come from addressed noise through specified arithmetic, so they are the
same on every machine. Needs matplotlib.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

import qnn
from qnn import Noise, Rounding
from qnn.numerics import cos_pi, log32, philox32

mpl.use("Agg")
from matplotlib import pyplot as plt

COUNT, DEVIATION, BITS, SEED = 1000, 3, 4, 1
INK, QUIET, MARK = "#1f3a5f", "#b9c4d0", "#c8501e"
FIGURES = {
    "figure1_nearest": (Rounding.NEAREST_DOWN, "Nearest rounding (NEAREST_DOWN)"),
    "figure2_stochastic": (Rounding.STOCHASTIC, "Stochastic rounding (STOCHASTIC)"),
}


def normals(count: int = COUNT, deviation: float = DEVIATION, seed: int = SEED) -> NDArray[np.float32]:
    """Normal numbers by Box and Muller's method: two 24-bit uniform numbers each, specified log and cosine.

    Bit-exactness: clauses NOI-3, FLT-5 and FLT-8; float32 products in the order written.
    """
    words = philox32(seed, stream=0, start=0, count=2 * count) >> np.uint32(8)
    uniform = (words[0::2] + np.uint32(1)).astype(np.float32) * np.float32(2.0**-24)  # in (0, 1], exact
    radius = np.sqrt(np.float32(-2) * log32(uniform))
    cosine = np.array([cos_pi(int(word), 2**23) for word in words[1::2]], np.float32)
    return np.float32(deviation) * (radius * cosine)


def rounded(x: NDArray[np.float32], rounding: Rounding) -> NDArray[np.int8]:
    """The values as 4-bit integers at exponent 0."""
    return qnn.quantize(x, 0, BITS, rounding, Noise(seed=SEED, stream=1)).ints


@dataclass(frozen=True)
class Small:
    """What became of the values x with -1/2 < x <= 1/2, which nearest rounding makes 0."""

    total: int
    minus_one: int
    zero: int
    one: int
    mean: float


def small_values(x: NDArray[np.float32], y: NDArray[np.int8]) -> Small:
    """Count the results of the small values."""
    chosen = y[(x > -0.5) & (x <= 0.5)]
    minus_one, zero, one = (int((chosen == value).sum()) for value in (-1, 0, 1))
    return Small(len(chosen), minus_one, zero, one, float(chosen.mean()))


def draw(x: NDArray[np.float32], y: NDArray[np.int8], title: str, path: Path) -> None:
    """Input against output on the left, how many values each integer got on the right."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.0, 4.4), width_ratios=(3, 1), sharey=True, layout="constrained"
    )
    small = (x > -0.5) & (x <= 0.5)
    left.plot([-8, 7], [-8, 7], color=QUIET, linewidth=1, zorder=1)
    left.scatter(x[~small], y[~small], s=70, marker="|", color=INK, alpha=0.5, linewidths=0.8, label="a value")
    left.scatter(
        x[small], y[small], s=70, marker="|", color=MARK, alpha=0.9, linewidths=0.8, label="a value in (-½, ½]"
    )
    left.set(xlabel="x, of N(0, 3²)", ylabel="4-bit integer", xlim=(-10.5, 10.5), xticks=range(-10, 11, 2))
    left.set_yticks(range(-8, 8))
    left.legend(loc="upper left", frameon=False, handletextpad=0.2)
    values = np.arange(-8, 8)
    right.barh(values, [(y == v).sum() for v in values], color=QUIET, height=0.75)
    right.barh(values, [(y[small] == v).sum() for v in values], color=MARK, height=0.75)
    right.set(xlabel=f"how many of {len(x)}", xlim=(0, 160))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main(folder: Path) -> dict[str, Small]:
    """Draw both figures into ``folder`` and print the table of docs/figures.md."""
    folder.mkdir(parents=True, exist_ok=True)
    x = normals()
    found = {}
    print("| figure | -1/2 < x ≤ 1/2 | to -1 | to 0 | to 1 | their mean |\n|---|---:|---:|---:|---:|---:|")
    for name, (rounding, title) in FIGURES.items():
        y = rounded(x, rounding)
        draw(x, y, title, folder / f"{name}.png")
        s = found[name] = small_values(x, y)
        print(f"| {name} | {s.total} | {s.minus_one} | {s.zero} | {s.one} | {s.mean:+.3f} |")
    print(f"The mean of these x is {x[(x > -0.5) & (x <= 0.5)].astype(np.float64).mean():+.3f}.")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs" / "images")
