"""Training steps: forward, backward, SGD with momentum, and for qnn the move of the exponents."""

from __future__ import annotations

from collections.abc import Iterator

from qnn.bench import peers, scaling
from qnn.bench.plan import Plan
from qnn.bench.processes import compare
from qnn.bench.rows import Row
from qnn.bench.shapes import NETS, Net
from qnn.bench.steps import Spec

TITLE = (
    "training steps, every variant in a process of its own; GOPS count 6 operations for a multiply-accumulate of the "
    "forward pass; memory: peak growth in the first two steps; ratio to the fastest peer"
)
PLAIN = (
    "torch fp32",
    "torch fp32 channels_last",
    "torch bf16 autocast",
    "torch compile fp32",
    "torch compile bf16 autocast",
)
SIMULATED = ("torch fake-quant DFP8, SR gradients", "torch QPyTorch fixed point 8 bit, SR")


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all networks, then how cost grows where that is asked for."""
    nets = [Net("lenet5", (28, 28, 1), 16, NETS["lenet5"].macs)] if plan.quick else list(NETS.values())
    for net in nets:
        for threads in plan.threads:
            name = f"{net.name}, batch {net.batch}"
            yield from compare(plan, "train", name, specs(plan, net, threads), net.batch, 3 * net.macs)
    if plan.scaling:
        yield from scaling.rows(plan)


def specs(plan: Plan, net: Net, threads: int) -> list[Spec]:
    """The variants that can run here."""
    ours = [Spec("train", "qnn dfp8", net.name, net.batch, threads, path) for path in plan.paths]
    ours.append(Spec("train", "qnn fp32", net.name, net.batch, threads))
    return ours + [Spec("train", variant, net.name, net.batch, threads) for variant in variants(plan, net)]


def variants(plan: Plan, net: Net) -> list[str]:
    """The peers' variants; those that say nothing new of a network are left out."""
    if not plan.peers:
        return []
    if not peers.installed("torch"):
        plan.note("not installed, so not compared with: torch (see docs/performance.md)")
        return []
    if plan.quick:
        return ["torch fp32"]
    found = [variant for variant in PLAIN if net.name != "mlp" or "channels_last" not in variant]
    found.append(SIMULATED[0])
    if peers.installed("qtorch"):
        found.append(SIMULATED[1])
    else:
        plan.note("not installed, so not compared with: qtorch (see docs/performance.md)")
    return found
