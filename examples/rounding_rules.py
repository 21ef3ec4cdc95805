"""The nine rounding rules, one small picture each: what -3 to 3 in steps of 1/16 becomes.

    python examples/rounding_rules.py [FOLDER]

writes ``rounding_rules.png`` (to ``docs/images`` without FOLDER). Large dots are ties, small dots everything else;
STOCHASTIC is drawn with all 16 noise words of 4 random bits, darker where more of them agree. Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from qnn import Rounding
from qnn.numerics import round_ratio

mpl.use("Agg")
from matplotlib import pyplot as plt

SHIFT = 4  # x = numerator / 2^4
NUMERATORS = np.arange(-(3 << SHIFT), (3 << SHIFT) + 1, dtype=np.int64)
TIES = NUMERATORS % (1 << SHIFT) == 1 << (SHIFT - 1)
INK, QUIET, MARK = "#1f3a5f", "#b9c4d0", "#c8501e"


def staircase(rounding: Rounding) -> NDArray[np.int64]:
    """What a rule without noise makes of x."""
    return np.asarray(round_ratio(NUMERATORS, SHIFT, rounding), np.int64)


def shares() -> dict[int, NDArray[np.float64]]:
    """For each integer, the share of the 16 noise words that send x there."""
    results = np.stack(
        [
            np.asarray(round_ratio(NUMERATORS, SHIFT, Rounding.STOCHASTIC, np.full(NUMERATORS.size, word, np.uint16)))
            for word in np.arange(16, dtype=np.uint16) << np.uint16(12)
        ]
    )
    return {int(value): (results == value).mean(axis=0) for value in np.unique(results)}


def draw(axes: plt.Axes, rounding: Rounding) -> None:
    """One small picture."""
    x = NUMERATORS / (1 << SHIFT)
    axes.plot([-3, 3], [-3, 3], color=QUIET, linewidth=1, zorder=1)
    if rounding is Rounding.STOCHASTIC:
        for value, share in shares().items():
            axes.scatter(x, np.full(x.shape, value), s=13, color=INK, alpha=share, linewidths=0, zorder=2)
    else:
        y = staircase(rounding)
        directed = rounding in (Rounding.FLOOR, Rounding.CEIL, Rounding.TRUNCATE)  # they know no ties
        ties = np.zeros_like(TIES) if directed else TIES
        axes.scatter(x[~ties], y[~ties], s=13, color=INK, linewidths=0, zorder=2)
        axes.scatter(x[ties], y[ties], s=34, color=MARK, linewidths=0, zorder=3)
    axes.set_title(f"{rounding.value}  {rounding.name}", loc="left", fontsize=10, fontweight="bold")
    axes.set_xticks(range(-3, 4))
    axes.set_yticks(range(-3, 4))
    axes.tick_params(length=3, labelsize=9)
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_aspect("equal")


def main(folder: Path) -> None:
    """Draw all rules into one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    figure, grid = plt.subplots(3, 3, figsize=(8.0, 8.4), sharex=True, sharey=True, layout="constrained")
    for axes, rounding in zip(grid.flat, Rounding, strict=True):
        draw(axes, rounding)
    figure.supxlabel("exact value", fontsize=10)
    figure.supylabel("rounded", fontsize=10)
    figure.savefig(folder / "rounding_rules.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs" / "images")
