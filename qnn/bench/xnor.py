"""Products of +-1 vectors by counting bits, against our own int8 product of the same numbers and float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qnn import kernels
from qnn.bench import peers, peers_torch
from qnn.bench.plan import Plan
from qnn.bench.rows import Row, Work, measure, our_cases
from qnn.bench.shapes import QUICK_XNOR, XNOR, ints

TITLE = "products of +-1 by xnor and popcount (1 bit = 2 operations); ratio to int8 gemm of the same numbers"


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all shapes."""
    for shape in QUICK_XNOR if plan.quick else XNOR:
        for threads in plan.threads:
            yield from measure(plan, "xnor", work(plan, *shape, threads), threads)


def work(plan: Plan, m: int, n: int, k: int, threads: int) -> Work:
    """One shape: bits, int8 (the same integers), float32."""
    a, w = ints((m, k), 1), ints((n, k), 2)
    a_bits, w_bits = kernels.pack_bits(a), kernels.pack_bits(w)
    a_signs, w_signs = (np.where(x >= 0, 1, -1).astype(np.int8) for x in (a, w))
    cases = our_cases(plan, "xnor_gemm", a_bits, w_bits, k, kind="xnor", reference=m * n * k < 1 << 31)
    cases += our_cases(plan, "gemm", a_signs, w_signs, False, True, kind="mac", reference=False)
    cases += peers.collect(plan, ("torch",), lambda: peers_torch.floats(m, n, k, threads))
    return Work(f"{m} x {n} x {k}", "bit", m * n * k, cases, base="gemm")
