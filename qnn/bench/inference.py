"""A forward pass of ResNet-20 in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator

from qnn.bench import peers
from qnn.bench.plan import Plan
from qnn.bench.processes import compare
from qnn.bench.rows import Row
from qnn.bench.shapes import NETS
from qnn.bench.steps import Spec

TITLE = "inference of ResNet-20, every variant in a process of its own; ratio to the fastest peer"
TORCH = ("torch fp32 channels_last", "torch bf16 autocast", "torch compile fp32")
ORT = ("ORT fp32", "ORT int8")


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of both batches."""
    for batch in (2,) if plan.quick else (1, 128):
        for threads in plan.threads:
            name = f"resnet20, batch {batch}"
            yield from compare(plan, "inference", name, specs(plan, batch, threads), batch, NETS["resnet20"].macs)


def specs(plan: Plan, batch: int, threads: int) -> list[Spec]:
    """The variants that can run here."""
    ours = ("qnn dfp8 frozen", "qnn dfp8")  # as a list of kernel calls, and layer by layer
    found = [Spec("infer", variant, "resnet20", batch, threads, path) for variant in ours for path in plan.paths]
    found.append(Spec("infer", "qnn fp32", "resnet20", batch, threads))
    if not plan.peers:
        return found
    for modules, variants in ((("torch",), TORCH), (("onnxruntime", "onnx"), ORT)):
        missing = [name for name in modules if not peers.installed(name)]
        if missing:
            plan.note(f"not installed, so not compared with: {', '.join(missing)} (see docs/performance.md)")
            continue
        found += [Spec("infer", v, "resnet20", batch, threads) for v in (variants[:1] if plan.quick else variants)]
    return found
