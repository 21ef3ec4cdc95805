"""Measures the noise generators and prints the table of docs/spec/05-noise.md (clause NOI-8).

Usage: ``python tools/noise_statistics.py``. Every number is a pure function of the addresses below, so the table is the
same on every machine; a test compares it with the one in the document.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from qnn.numerics import LFSR_TAPS_ALTERNATIVE, Noise

GENERATORS = {
    "PHILOX": Noise("philox", seed=1, stream=2, step=3),
    "LFSR16 (0, 2, 3, 5)": Noise("lfsr16", seed=1, stream=2, step=3),
    "LFSR16 (0, 1, 3, 12)": Noise("lfsr16", seed=1, stream=2, step=3, taps=LFSR_TAPS_ALTERNATIVE),
}
WORDS = 1 << 16
WINDOW = 64
PERIOD = 65535
SHARED = 4096
PAIRS = 400


def chi_square_p(words: NDArray[np.uint16]) -> float:
    """Probability that 256 equally likely upper bytes differ from even counts at least as much as these do."""
    counts = np.bincount(words >> 8, minlength=256)
    return float(stats.chisquare(counts).pvalue)


def serial_correlation(words: NDArray[np.uint16], lag: int) -> float:
    """Correlation of the words with those ``lag`` places later; 0 for independent words."""
    centred = words.astype(np.float64) - words.mean()
    return float(np.dot(centred[:-lag], centred[lag:]) / np.dot(centred, centred))


def rounding_errors(words: NDArray[np.uint16], fractions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Error of stochastic rounding of ``fractions / 2**16``, in units of the last place."""
    rounded = (fractions + words.astype(np.int64)) >> 16
    return np.asarray(rounded - fractions / 65536)


def window_variance(words: NDArray[np.uint16], fractions: NDArray[np.int64]) -> float:
    """Variance of the error summed over 64 neighbours, relative to independent noise (which gives 1)."""
    errors = rounding_errors(words, fractions)
    sums = errors[: errors.size // WINDOW * WINDOW].reshape(-1, WINDOW).sum(axis=1)
    p = fractions / 65536
    return float(np.mean(sums**2) / (WINDOW * np.mean(p * (1 - p))))


def shared_runs(noise: Noise) -> float:
    """Share of pairs of streams of 4096 words in which one holds a run of four words of the other."""
    heads = []
    for stream in range(PAIRS + 1):
        words = Noise(noise.kind, noise.seed, 1000 + stream, noise.step, taps=noise.taps).u16(SHARED).astype(np.uint64)
        runs = words[:-3] | words[1:-2] << np.uint64(16) | words[2:-1] << np.uint64(32) | words[3:] << np.uint64(48)
        heads.append(runs)
    return sum(np.intersect1d(a, b).size > 0 for a, b in itertools.pairwise(heads)) / PAIRS


def measure(noise: Noise) -> dict[str, str]:
    """All measures of one generator, as they stand in the table."""
    words = noise.u16(WORDS)
    constant = np.full(WORDS, 19661, dtype=np.int64)  # 0.3
    varied = Noise(seed=99, stream=77).u16(WORDS).astype(np.int64)
    later = noise.at(PERIOD).u16(4096)
    mean_error = abs(float(rounding_errors(words, constant).mean()))
    rows = {
        "mean of u / 2^16 over 65536 words": f"{words.mean() / 65536:.4f}",
        "chi-square p of the upper byte, first 16384 words": f"{chi_square_p(words[:16384]):.4f}",
        "chi-square p of the upper byte, 65535 words": f"{chi_square_p(words[:PERIOD]):.4f}",
    }
    for lag in (1, 2, 4, 8, 16):
        rows[f"serial correlation, lag {lag}"] = f"{serial_correlation(words, lag):+.3f}"
    rows["same words again after 65535 elements"] = "yes" if np.array_equal(words[:4096], later) else "no"
    rows["pairs of streams of 4096 words that share a run"] = f"{100 * shared_runs(noise):.1f} %"
    rows["mean error of rounding 0.3, 65536 elements"] = f"{mean_error:.4f}"
    rows["variance of the error summed over 64 neighbours, all 0.3"] = f"{window_variance(words, constant):.2f}"
    rows["variance of the error summed over 64 neighbours, varied data"] = f"{window_variance(words, varied):.2f}"
    return rows


def table() -> str:
    """The Markdown table of clause NOI-8."""
    columns = {name: measure(noise) for name, noise in GENERATORS.items()}
    lines = ["| measure | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    for row in next(iter(columns.values())):
        lines.append(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
