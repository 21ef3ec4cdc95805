"""What the machine can do at most: arithmetic per path from registers, and bytes a second from and to memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn.bench.timing import clock_of

__all__ = ["Peaks"]

Run = Callable[[], object]


def _extension() -> Any:
    """The compiled probes, or None where nothing was compiled: no fractions then, and everything else works."""
    try:
        from qnn._kernels import _bench
    except ImportError:
        return None
    return _bench


@dataclass
class Peaks:
    """Peak rates, measured whenever they are asked for; the highest is kept.

    Parameters
    ----------
    quick : bool
        Shorter probes.
    settle : callable
        Waits until so many threads have the machine to themselves.
    """

    quick: bool = False
    settle: Callable[[int], object] = lambda threads: None
    _rates: dict[tuple[str, int], float | None] = field(default_factory=dict)
    _iterations: dict[str, int] = field(default_factory=dict)
    _ext: Any = field(default_factory=_extension)

    def rate(self, name: str, threads: int) -> float | None:
        """Units (multiply-accumulates, bits) a second of a probe such as ``mac avx2``; None if there is none."""
        key = (name, threads)
        known = self._rates.get(key, 0.0)
        if known is not None:  # measured again whenever it is asked for: the first time may have been a bad moment
            found = self._measure(name, threads)
            self._rates[key] = None if found is None else max(known, found)
        return self._rates[key]

    def highest(self, name: str, threads: int) -> float | None:
        """The highest rate of a probe so far, without measuring."""
        return self._rates.get((name, threads))

    def _measure(self, name: str, threads: int) -> float | None:
        about = self._ext.probes().get(name) if self._ext else None
        if about is None or not about["available"]:
            return None
        iterations, again = self._iterations.get(name, 2000), name in self._iterations
        while not again and self._probe(name, iterations, threads, 1) < self._shortest:
            iterations *= 4
        self._iterations[name] = iterations
        taken = self._probe(name, iterations, threads, 3 if again else self._repeats)
        return iterations * about["units"] * threads / taken

    def _probe(self, name: str, iterations: int, threads: int, repeats: int) -> float:
        return self._seconds(lambda: self._ext.run_probe(name, iterations, threads), threads, repeats)

    def bandwidth(self, kind: str, size: int, threads: int) -> float | None:
        """Bytes a second of ``read``, ``write`` or ``read 4, write 1`` over a set of so many bytes."""
        key = (f"{kind}, {size}", threads)
        if key not in self._rates:
            self._rates[key] = self._traffic(kind, size, threads) if self._ext else None
        return self._rates[key]

    def _traffic(self, kind: str, size: int, threads: int) -> float:
        run: Run
        if kind == "read 4, write 1":
            n = size // 5
            words, out = np.ones(n, np.uint32), np.zeros(n, np.uint8)
            repeats = max(1, (1 << 24) // size)

            def run() -> None:
                self._ext.read4_write1(words, out, repeats, threads=threads)

            return 5 * n * repeats / self._best_width(run, threads)
        data, repeats = np.ones(size // 8, np.uint64), max(1, (1 << 24) // size)
        if kind == "read":

            def run() -> None:
                self._ext.read(data, repeats, threads=threads)
        else:

            def run() -> None:
                self._ext.write(data, 1, repeats, threads=threads)

        return data.nbytes * repeats / self._best_width(run, threads)

    def _best_width(self, run: Run, threads: int) -> float:
        run()
        return self._seconds(run, threads, self._repeats)

    @property
    def _shortest(self) -> float:
        return 0.0005 if self.quick else 0.004

    @property
    def _repeats(self) -> int:
        return 3 if self.quick else 15

    def _seconds(self, run: Run, threads: int, repeats: int) -> float:
        clock = clock_of(threads)
        best = float("inf")
        for _ in range(repeats):
            self.settle(threads)
            begin = clock()
            run()
            best = min(best, clock() - begin)
        return max(best, 1e-9)

    def known_loop(self, threads: int) -> Run:
        """Work of a millisecond on all threads, for the wait for quiet."""
        if self._ext is None:
            block = bytes(1 << 20)
            return lambda: hashlib.blake2b(block).digest()
        iterations, taken = 2000, 0.0
        while taken < 0.001:
            iterations *= 2
            begin = time.perf_counter()
            self._ext.run_probe("mac c", iterations, threads)
            taken = time.perf_counter() - begin
        return lambda: self._ext.run_probe("mac c", iterations, threads)

    def plain(self) -> list[dict[str, Any]]:
        """All that was measured, for the JSON."""
        table = self._ext.probes() if self._ext else {}
        found = []
        for (name, threads), rate in self._rates.items():
            if rate is None:
                continue
            row: dict[str, Any] = {"name": name, "threads": threads}
            if name in table:
                row.update(gops=2 * rate * 1e-9, instructions=table[name]["mix"])
            else:
                kind, _, size = name.rpartition(", ")
                row.update(name=kind, bytes=int(size), gbytes_per_second=rate * 1e-9)
            found.append(row)
        return found
