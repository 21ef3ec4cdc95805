"""Noise words of 16 bits by address, against generators that only run forward."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn.bench import peers, peers_torch
from qnn.bench.plan import Plan
from qnn.bench.rows import Case, Row, Work, measure, our_cases
from qnn.numerics import Noise

TITLE = "16-bit noise words by address (Philox, LFSR); fraction of a pass that only writes; ratio to the fastest peer"
KINDS = ("philox", "lfsr16")


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of both generators in cache and beyond."""
    for n in (1 << 12,) if plan.quick else (1 << 16, 1 << 22):
        for kind in KINDS:
            for threads in plan.threads:
                yield from measure(plan, "noise", work(plan, kind, n, threads), threads)


def work(plan: Plan, kind: str, n: int, threads: int) -> Work:
    """One generator and number of words."""
    cases = our_cases(plan, "noise_u16", Noise(kind, seed=7), n, kind="", traffic=2 * n)
    if plan.peers:
        cases += [_numpy(name, n) for name in ("Philox", "SFC64")]
    cases += peers.collect(plan, ("torch",), lambda: peers_torch.noises(n, threads))
    traffic = plan.peaks.bandwidth("write", 2 * n, threads) or 0.0
    return Work(f"{kind}, {n} words", "word", n, cases, "", traffic, f"write, {2 * n} bytes")


def _numpy(name: str, n: int) -> Case:
    generator = np.random.Generator(getattr(np.random, name)(1))

    def run() -> np.ndarray:
        return generator.integers(0, 1 << 16, n, np.uint16)

    return Case(f"NumPy {name}", run, "peer", "uint16", exact=False, bytes=2 * n)
