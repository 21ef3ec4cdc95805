"""Judges exp32, log32, tanh32 and sigmoid32 on every float32 number and prints the errors of docs/spec/10-float32.md.

Usage: ``python tools/elementary_error.py [exp|log|tanh|sigmoid ...] [--every N]``; all of them on all numbers take
some twenty minutes on one core. A result is the exact value rounded once wherever the binary64 value before the last
rounding stays clear of the middle between two float32 numbers by more than its own error. The few arguments where it
does not are judged with 60 decimal digits. So every argument is judged, not a sample.
"""

from __future__ import annotations

import argparse
import decimal
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from qnn.numerics import elementary as el

EXACT = decimal.Context(prec=60)
DOUBT = 2.0**-45  # far above the relative error of the binary64 values, which the sampled column measures
CHUNK = 1 << 20
Decimal = decimal.Decimal


def exact_tanh(x: Decimal) -> Decimal:
    """(e**2x - 1) / (e**2x + 1) with digits enough for small x."""
    context = decimal.Context(prec=140)
    e = context.exp(context.multiply(x, Decimal(2)))
    return context.divide(context.subtract(e, Decimal(1)), context.add(e, Decimal(1)))


def exact_sigmoid(x: Decimal) -> Decimal:
    """1 / (1 + e**-x)."""
    return EXACT.divide(Decimal(1), EXACT.add(Decimal(1), EXACT.exp(EXACT.minus(x))))


FUNCTIONS: dict[str, tuple[Callable, Callable, Callable, float, float]] = {
    "exp": (el.exp32, el.exp64, EXACT.exp, -110.0, 95.0),
    "log": (el.log32, el.log64, EXACT.ln, 0.0, np.inf),
    "tanh": (el.tanh32, el._tanh64, exact_tanh, -20.0, 20.0),
    "sigmoid": (el.sigmoid32, el._sigmoid64, exact_sigmoid, -110.0, 40.0),
}


def arguments(low: float, high: float, every: int) -> Iterator[NDArray[np.float32]]:
    """All finite float32 numbers strictly between low and high in ascending order, in chunks that share an end."""
    lows = {True: np.float32(max(-low, 0)), False: np.float32(max(low, 0))}
    highs = {True: np.float32(0), False: np.float32(min(high, np.finfo(np.float32).max))}
    for negative in (True, False):
        if negative and low >= 0:
            continue
        first = int((np.float32(0) if negative else lows[False]).view(np.uint32))
        last = int((lows[True] if negative else highs[False]).view(np.uint32))
        starts = range(first, last, CHUNK * every)
        for start in reversed(starts) if negative else starts:
            bits = np.arange(start, min(start + CHUNK * every, last) + 1, every, dtype=np.uint32)
            yield -bits.view(np.float32)[::-1] if negative else bits.view(np.float32)


def excess(result: np.float32, exact: Decimal) -> float:
    """By how many units in the last place the error exceeds that of the nearest float32 number; 0 for the nearest."""
    value = Fraction(exact)
    near = [n for n in (np.nextafter(result, np.float32(s * np.inf)) for s in (-1, 1)) if np.isfinite(n)]
    if np.isinf(result):
        return 0.0 if value >= Fraction(2) ** 128 - Fraction(2) ** 103 else 1.0
    error = abs(Fraction(float(result)) - value)
    best = min(error, *(abs(Fraction(float(n)) - value) for n in near))
    unit = min(abs(Fraction(float(n)) - Fraction(float(result))) for n in near)
    return float((error - best) / unit)


def judge(name: str, every: int) -> tuple[int, int, int, float, int, float]:
    """Arguments tried, doubtful ones, wrongly rounded ones, worst excess, falls, sampled error before rounding."""
    narrow, wide, exact, low, high = FUNCTIONS[name]
    tried = doubtful = wrong = falls = 0
    most = worst = 0.0
    for x in arguments(low, high, every):
        x = x[x > 0] if name == "log" else x
        y32, y64 = narrow(x), wide(x.astype(np.float64))
        with np.errstate(over="ignore", under="ignore"):
            doubt = np.flatnonzero((y64 * (1 + DOUBT)).astype(np.float32) != (y64 * (1 - DOUBT)).astype(np.float32))
        errors = [excess(y32[i], exact(Decimal(float(x[i])))) for i in doubt]
        tried, doubtful = tried + len(x), doubtful + len(doubt)
        wrong, most = wrong + sum(e > 0 for e in errors), max([most, *errors])
        falls += int(np.count_nonzero(y32[1:] < y32[:-1]))
        for i in (0, len(x) // 3, len(x) // 2):
            value = exact(Decimal(float(x[i])))
            if value:
                worst = max(worst, abs(float((Decimal(float(y64[i])) - value) / value)))
    return tried, doubtful, wrong, most, falls, worst


def main() -> int:
    """Print one row a function; exit code 1 if a function falls or errs by more than 0.5001 units in the last place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FUNCTIONS, []], help="functions to judge (default: all)")
    parser.add_argument("--every", type=int, default=1, help="take every N-th float32 number only")
    options = parser.parse_args()
    print("| function | arguments | doubtful | not nearest | worst excess (ulp) | falls | error before rounding |")
    print("|---|---|---|---|---|---|---|")
    bad = False
    for name in options.names or FUNCTIONS:
        tried, doubtful, wrong, most, falls, worst = judge(name, options.every)
        bad |= falls > 0 or most > 1e-4
        row = (name, tried, doubtful, wrong, f"{most:.1e}", falls, f"2^{np.log2(worst):.1f}")
        print("|", " | ".join(map(str, row)), "|", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
