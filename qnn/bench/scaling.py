"""How the cost of a training step grows with batch, width, depth and threads: measured steps and fitted exponents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qnn.bench.plan import Plan
from qnn.bench.processes import compare
from qnn.bench.rows import Row
from qnn.bench.shapes import NETS
from qnn.bench.steps import Spec

__all__ = ["AXES", "fit", "rows"]


@dataclass(frozen=True)
class Axis:
    """One quantity that grows while the rest stays: its name, the network, its values, and how work grows with it."""

    name: str
    net: str
    values: tuple[int, ...]
    quick: tuple[int, ...]

    def spec(self, value: int, threads: int, path: str) -> Spec:
        """The step at one value."""
        batch, width, depth = NETS[self.net].batch, 0, 0
        if self.name == "batch":
            batch = value
        elif self.name == "width":
            width = value
        elif self.name == "depth":
            depth = value
        else:
            threads = value
        return Spec("train", "qnn dfp8", self.net, batch, threads, path, width, depth)

    def work(self, value: int) -> int:
        """Multiply-accumulates of a step's forward pass, of which the exponent can be compared."""
        net = NETS[self.net]
        if self.name == "batch":
            return net.macs * value
        if self.name == "width":
            return net.batch * (784 * value + value * value + value * 10)
        if self.name == "depth":
            return net.batch * (net.macs + 6 * 2_359_296 * (value - 3))  # two convolutions a block, three stages
        return net.macs * net.batch


AXES = (
    Axis("batch", "resnet20", (8, 16, 32, 64, 128), (2, 4)),
    Axis("width", "mlp", (128, 256, 512, 1024, 2048), (16, 32)),
    Axis("depth", "resnet20", (1, 2, 3, 5, 9), ()),
)


def fit(values: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of seconds = c * value**p by least squares of the logarithms.

    Raises
    ------
    ValueError
        Fewer than two different values.
    """
    if len(set(values)) < 2:
        raise ValueError(f"got the values {list(values)}; a fit needs two different ones; measure more")
    return float(np.polyfit(np.log(np.asarray(values, float)), np.log(np.asarray(seconds, float)), 1)[0])


def rows(plan: Plan) -> Iterator[Row]:
    """Yield a row per value; the exponents of an axis stand in the extra facts of its rows."""
    threads, path = plan.threads[0], plan.paths[0]
    axes = list(AXES)
    if len(plan.threads) > 1:
        axes.append(Axis("threads", "resnet20", plan.threads, plan.threads))
    for axis in axes:
        values = axis.quick if plan.quick else axis.values
        found = []
        for value in values:
            spec = axis.spec(value, threads, path)
            macs = 3 * axis.work(value) // spec.batch
            name = f"{axis.net}, {axis.name} {value}"
            found += list(compare(plan, "train", name, [spec], spec.batch, macs))
        if len(found) < 2:
            continue
        seconds = [row.seconds or 0.0 for row in found]
        exponent = fit(values, seconds)
        work = [float(axis.work(value)) for value in values]
        of_work = fit(work, seconds) if len(set(work)) > 1 else None
        for value, row in zip(values, found, strict=True):
            row.extra.update(axis=axis.name, value=value, exponent=exponent, exponent_of_work=of_work)
            yield row
