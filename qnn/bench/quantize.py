"""Rounding to int8 with the counts of the exponent rule, against the memory traffic of the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn.bench import peers, peers_torch
from qnn.bench.plan import Plan, cache_bytes
from qnn.bench.rows import Case, Row, Work, measure, our_cases
from qnn.numerics import Noise, Rounding, Target

TITLE = (
    "float32 and int32 to int8 with counts; of traffic: a pass that only reads 4 bytes and writes 1; ratio to the "
    "fastest peer"
)
ROUNDINGS = {
    "nearest": {"rounding": Rounding.NEAREST_DOWN},
    "SR Philox": {"rounding": Rounding.STOCHASTIC, "noise": Noise("philox", seed=7)},
    "SR LFSR": {"rounding": Rounding.STOCHASTIC, "noise": Noise("lfsr16", seed=7)},
}


def sizes(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Where the numbers are, and how many they are."""
    if plan.quick:
        return (("in L2", 1 << 12),)
    inside = min(1 << 16, cache_bytes(2) // 8)
    memory = min(1 << 28, max(1 << 25, cache_bytes(3)))
    return ("in L2", inside), ("beyond L2", 1 << 22), ("beyond L3", memory)


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all sizes, sources and roundings."""
    for place, n in sizes(plan):
        for source in ("float32", "int32"):
            for name in ROUNDINGS:
                for threads in plan.threads:
                    with peers.limited_blas(threads, plan):
                        yield from measure(plan, "quantize", work(plan, place, n, source, name, threads), threads)


def work(plan: Plan, place: str, n: int, source: str, name: str, threads: int) -> Work:
    """One size, source and rounding."""
    x = np.random.default_rng(1).standard_normal(n, np.float32)
    small = n <= 1 << 20  # the definition is slow, and paths agree on any part if they agree on this
    if source == "float32":
        target = Target(-5, **ROUNDINGS[name])  # type: ignore[arg-type]
        cases = our_cases(plan, "quantize", x, target, kind="", traffic=5 * n, reference=small)
        if name != "SR LFSR":
            ours = "nearest" if name == "nearest" else "SR"
            found = peers.collect(plan, ("torch",), lambda: peers_torch.quantizers(n, threads))
            cases += [case for case in found if case.path == ours] + (_numpy(x, ours) if plan.peers else [])
    else:
        target = Target(9, **ROUNDINGS[name])  # type: ignore[arg-type]
        acc = (x * 2**14).astype(np.int32)
        cases = our_cases(plan, "requantize", acc, 0, target, kind="", traffic=5 * n, reference=small)
    traffic = plan.peaks.bandwidth("read 4, write 1", 5 * n, threads) or 0.0
    return Work(f"{source}, {n} {place}, {name}", "element", n, cases, "", traffic, f"read 4, write 1, {5 * n} bytes")


def _numpy(x: np.ndarray, ours: str) -> list[Case]:
    """The same in NumPy without counts, with buffers of its own and its fastest generator."""
    buffer, noise, out = np.empty_like(x), np.empty_like(x), np.empty(x.size, np.int8)
    generator, scale = np.random.Generator(np.random.SFC64(1)), np.float32(32)

    def run() -> None:
        np.multiply(x, scale, out=buffer)
        if ours == "nearest":
            np.rint(buffer, out=buffer)
        else:
            generator.random(x.size, np.float32, out=noise)
            np.add(buffer, noise, out=buffer)
            np.floor(buffer, out=buffer)
        np.clip(buffer, -128, 127, out=buffer)
        np.copyto(out, buffer, casting="unsafe")

    return [Case("NumPy, buffers kept", run, "peer", ours, exact=False, bytes=5 * x.size)]
