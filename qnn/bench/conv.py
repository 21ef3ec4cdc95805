"""3x3 convolutions of ResNet-20 and ResNet-50: exact int32 results, forward rounded to int8, and both gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from qnn._kernels import TABLE
from qnn.bench import peers, peers_ort, peers_torch
from qnn.bench.plan import Plan
from qnn.bench.rows import Case, Row, Work, has_own, measure, our_cases
from qnn.bench.shapes import CONV, QUICK_CONV, Layer, ints
from qnn.numerics import Target

TITLE = "3x3 convolutions, padding 1: forward, input gradient, weight gradient; ratio to the fastest peer"
DIRECTIONS = ("forward", "input gradient", "weight gradient")


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all layers, batches and directions."""
    for layer, batch in QUICK_CONV if plan.quick else CONV:
        for direction in DIRECTIONS:
            for threads in plan.threads:
                yield from measure(plan, "conv", work(plan, layer, batch, direction, threads), threads)


def work(plan: Plan, layer: Layer, batch: int, direction: str, threads: int) -> Work:
    """One layer in one direction."""
    x = ints((batch, layer.size, layer.size, layer.inputs), 1)
    w = ints((layer.outputs, 3, 3, layer.inputs), 2)
    g = ints((batch, layer.size, layer.size, layer.outputs), 3)
    geometry = ((1, 1), (1, 1))
    operation, arguments = {
        "forward": ("conv2d", (x, w, *geometry)),
        "input gradient": ("conv2d_input_grad", (g, w, (layer.size, layer.size), *geometry)),
        "weight gradient": ("conv2d_weight_grad", (x, g, (3, 3), *geometry)),
    }[direction]
    macs = batch * layer.size**2 * layer.outputs * layer.inputs * 9
    cases = our_cases(plan, operation, *arguments, kind="mac", reference=macs < 1 << 30)
    if direction == "forward":
        cases += rounded(plan, x, w, geometry, reference=macs < 1 << 30)
        cases += peers.collect(plan, ("onnxruntime", "onnx"), lambda: peers_ort.convolutions(layer, batch, threads))
    cases += peers.collect(plan, ("torch",), lambda: peers_torch.convolutions(layer, batch, direction, threads))
    return Work(f"{layer.name}, batch {batch}, {direction}", "MAC", macs, cases)


def rounded(plan: Plan, x: Any, w: Any, geometry: Any, *, reference: bool) -> list[Case]:
    """Prepared and rounded to bytes, as inference has it: other integers, so their checksum is compared among them."""
    paths = [path for path in plan.paths if has_own("prepare_conv2d", path)]
    if reference and "reference" not in paths:
        paths.append("reference")
    cases = []
    for path in paths:
        kernel = TABLE["prepare_conv2d"][path](w, None, 0, Target(9), x.shape[1:], None, *geometry)
        timed = path in plan.paths
        cases.append(
            Case("conv2d to int8", partial(kernel, x), path=path, peak=f"mac {path}" if timed else "", timed=timed)
        )
        cases[-1].family = "int8"
    return cases
