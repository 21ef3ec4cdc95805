"""Products of int8 matrices with exact int32 results, and fused with one rounding to int8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qnn.bench import peers, peers_ort, peers_torch
from qnn.bench.plan import Plan
from qnn.bench.rows import Case, Row, Work, measure, our_cases
from qnn.bench.shapes import GEMM, QUICK_GEMM, ints
from qnn.numerics import Target

TITLE = "int8 products [M, K] x [K, N]; weights [N, K] as in a layer; ratio to the fastest peer"


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all shapes."""
    for shape in QUICK_GEMM if plan.quick else GEMM:
        for threads in plan.threads:
            with peers.limited_blas(threads, plan):
                yield from measure(plan, "gemm", work(plan, *shape, threads), threads)


def work(plan: Plan, m: int, n: int, k: int, threads: int) -> Work:
    """One shape on all paths, fused and not, and the peers."""
    a, w = ints((m, k), 1), ints((n, k), 2)
    cases = our_cases(plan, "gemm", a, w, False, True, kind="mac")
    cases += fused(plan, a, w)
    if plan.peers:
        cases.append(_numpy(m, n, k))
    cases += peers.collect(plan, ("torch",), lambda: peers_torch.products(m, n, k, threads))
    cases += peers.collect(plan, ("onnxruntime", "onnx"), lambda: peers_ort.products(m, n, k, threads))
    return Work(f"{m} x {n} x {k}", "MAC", m * n * k, cases)


def fused(plan: Plan, a: Any, w: Any) -> list[Case]:
    """Fused with NEAREST_DOWN to 8 bits: other integers, so their checksum is compared among themselves."""
    cases = our_cases(plan, "gemm_requantize", a, w, True, None, 0, Target(9), kind="mac", variant="gemm to int8")
    for case in cases:
        case.family = "int8"
    return cases


def _numpy(m: int, n: int, k: int) -> Case:
    random = np.random.default_rng(3)
    a, b = random.standard_normal((m, k), np.float32), random.standard_normal((n, k), np.float32).T
    out = np.empty((m, n), np.float32)
    return Case("NumPy fp32", lambda: np.matmul(a, b, out=out), "peer", "fp32", "fp32 fma", exact=False)
