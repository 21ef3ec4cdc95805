"""Shifting against multiplying against counting bits, on the same numbers where they can be the same.

The loops at the end are the honest comparison of the arithmetic: the same product by loops that multiply and loops
that shift, in plain C and in SIMD, with everything decoded beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qnn import kernels
from qnn.bench import peers, peers_torch
from qnn.bench.plan import Plan, cache_bytes
from qnn.bench.rows import Case, Row, Work, measure, our_cases
from qnn.bench.shapes import codes, ints

TITLE = "4-bit power-of-two weights, int8 weights and 1-bit weights; ratio to multiplying"

SHAPES = ((1, 4096, 4096), (1, 512, 512), (16, 4096, 4096), (64, 1024, 1024), (1024, 1024, 1024))
QUICK_SHAPES = ((1, 256, 256), (16, 256, 256))
LOOPS, QUICK_LOOPS = (64, 1024, 1024), (8, 64, 64)
BASES = {  # a loop that shifts: the loop that multiplies in the same way
    "shift, plain C scalar": "multiply, plain C scalar",
    "shift, plain C vectorised for AVX2": "multiply, plain C vectorised for AVX2",
    "shift, AVX2 vpsllvd": "multiply, AVX2 vpmaddwd",
}


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all shapes, then the loops."""
    for threads in plan.threads:
        for shape in QUICK_SHAPES if plan.quick else SHAPES:
            yield from measure(plan, "shift", work(plan, *shape, threads), threads)
        loops = loop_work(plan, *(QUICK_LOOPS if plan.quick else LOOPS), threads)
        if loops is not None:
            yield from with_bases(measure(plan, "shift", loops, threads))


def place(weights: int) -> str:
    """Where so many bytes of weights come from, call after call."""
    return "from L2" if weights <= cache_bytes(2) // 2 else "beyond L2" if weights <= cache_bytes(3) else "from memory"


def work(plan: Plan, m: int, n: int, k: int, threads: int) -> Work:
    """One shape: int8 weights, the same weights as 4-bit codes, and bits (other numbers, so no common checksum)."""
    packed, weights = codes((n, k), 2)
    x = ints((m, k), 1)
    other = m * k + 4 * m * n
    cases = our_cases(plan, "gemm", x, weights, False, True, kind="mac", variant="int8", traffic=n * k + other)
    cases += our_cases(
        plan, "shift_gemm", x, packed, 4, k, kind="mac", variant="4-bit codes", traffic=packed.nbytes + other
    )
    x_bits, w_bits = kernels.pack_bits(x), kernels.pack_bits(ints((n, k), 3))
    traffic = x_bits.nbytes + w_bits.nbytes + 4 * m * n
    bits = our_cases(plan, "xnor_gemm", x_bits, w_bits, k, kind="xnor", variant="xnor", traffic=traffic)
    for case in bits:
        case.family = "bits"
    cases += bits + peers.collect(plan, ("torch",), lambda: peers_torch.floats(m, n, k, threads))
    for case in cases:
        if case.path == "c" and case.variant == "4-bit codes":
            case.peak = "shift c"  # this path really shifts, the others decode and multiply
    size = n * k
    traffic_of = plan.peaks.bandwidth("read", max(size, 1 << 15), threads) or 0.0
    name = f"{m} x {n} x {k}, int8 weights {place(size)}"
    return Work(name, "MAC", m * n * k, cases, "int8", traffic_of, f"read, {size} bytes")


def loop_work(plan: Plan, m: int, n: int, k: int, threads: int) -> Work | None:
    """The loops of the benchmark's own C file; None where it was not compiled."""
    try:
        from qnn._kernels import _bench
    except ImportError:
        plan.note("the loops that shift and multiply are C code that was not compiled here: left out")
        return None
    _, weights = codes((n, k), 5)
    x = ints((m, k), 4)
    product = _bench.Product(x, np.ascontiguousarray(weights.T))
    cases = [Case(name, _loop(product, name, threads), "loop", _path(name), _peak(name)) for name in _bench.loops()]
    cases += our_cases(plan, "gemm", x, weights, False, True, kind="mac", variant="our int8 kernel", reference=True)
    return Work(f"loops, {m} x {n} x {k}, decoded beforehand", "MAC", m * n * k, cases, "multiply, AVX2 vpmaddwd")


def _loop(product: Any, name: str, threads: int) -> Callable[[], Any]:
    return lambda: product.run(name, threads)


def _path(name: str) -> str:
    return "avx2" if "AVX2" in name else "c"


def _peak(name: str) -> str:
    """The probe that has a loop's instructions; the compiler's own choice has none."""
    return {
        "multiply, AVX2 vpmaddwd": "mac avx2",
        "shift, AVX2 vpsllvd": "shift avx2",
        "shift, plain C scalar": "shift c",
    }.get(name, "")


def with_bases(found: Iterator[Row]) -> Iterator[Row]:
    """Give each loop that shifts the ratio to the loop that multiplies in the same way."""
    every = list(found)
    seconds = {row.variant: row.seconds for row in every}
    for row in every:
        base = BASES.get(row.variant)
        row.ratio, row.ratio_to = None, None
        if base in seconds and row.seconds and seconds[base]:
            row.ratio, row.ratio_to = seconds[base] / row.seconds, base  # type: ignore[operator]
    yield from every
