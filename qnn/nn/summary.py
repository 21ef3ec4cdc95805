"""The model as a table: shapes, formats, accumulator widths, multiply-adds and bytes, read off the tape of one
forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qnn.nn.module import Module
from qnn.operation import TraceEntry, no_grad, trace
from qnn.quantizer import Quantizer


@dataclass(frozen=True)
class SummaryRow:
    """One operation of the forward pass.

    Attributes
    ----------
    name, kind : str
        Dotted module name and operation.
    shape : tuple of int
        Output, with the batch first.
    output : str
        Format of the output.
    accumulator, accumulator_input_gradient, accumulator_weight_gradient : int
        Bits that hardware needs for the exact sums forward and backward (clause MAC-2); 0 where there is none.
    macs : int
        Multiply-adds of the forward pass for the batch.
    output_bytes : int
        Bytes of the output.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    output: str
    accumulator: int
    accumulator_input_gradient: int
    accumulator_weight_gradient: int
    macs: int
    output_bytes: int


@dataclass(frozen=True)
class Summary:
    """Rows of :func:`summarize` and their sums; prints as a table."""

    rows: list[SummaryRow]
    parameters: int
    parameter_bytes: int
    batch: int

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass for the batch."""
        return sum(row.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs for the batch."""
        return sum(row.output_bytes for row in self.rows)

    def __str__(self) -> str:
        head = ("layer", "operation", "output", "format", "acc bits fwd/dx/dw", "MACs", "bytes")
        body = [head]
        for row in self.rows:
            widths = (row.accumulator, row.accumulator_input_gradient, row.accumulator_weight_gradient)
            body.append(
                (
                    row.name,
                    row.kind,
                    "x".join(map(str, row.shape)),
                    row.output,
                    "/".join(map(str, widths)) if any(widths) else "",
                    f"{row.macs:,}" if row.macs else "",
                    f"{row.output_bytes:,}",
                )
            )
        columns = [max(len(line[i]) for line in body) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, columns, strict=True)).rstrip() for line in body
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        lines.append(
            f"batch {self.batch}: {self.macs:,} multiply-adds, {self.activation_bytes:,} bytes of activations; "
            f"{self.parameters:,} parameters, {self.parameter_bytes:,} bytes as they are used"
        )
        return "\n".join(lines)


def summarize(model: Module, example: object) -> Summary:
    """Run one example batch through the model in evaluation mode and tabulate its operations.

    Parameters
    ----------
    model : Module
    example : uint8 images [N, H, W, C] or Tensor
        What the model takes.

    Returns
    -------
    Summary
        The model's mode and exponents are left as they were.
    """
    entries = evaluated(model, example)
    parameters = list(model.named_parameters())
    sites = dict(model.named_sites())
    size = sum(int(np.prod(p.shape)) * _bytes(name, sites) for name, p in parameters)
    batch = entries[0].output_shape[0] if entries else 0
    return Summary([_row(entry) for entry in entries], sum(p.size for _, p in parameters), size, batch)


def evaluated(model: Module, example: object) -> list[TraceEntry]:
    """The operations of one forward pass in evaluation mode; the model is left in the mode it was in."""
    training = model.training
    model.eval()
    try:
        with no_grad(), trace() as entries:
            model(example)
    finally:
        model.train(training)
    return entries


def _row(entry: TraceEntry) -> SummaryRow:
    kind = entry.output_format.split(" ", 1)[1]
    width = 4 if kind == "float32" else 1 if int(kind[3:].split("·")[0]) <= 8 else 2
    cost = entry.cost
    return SummaryRow(
        entry.module,
        entry.name,
        tuple(entry.output_shape),
        kind,
        cost.get("accumulator", 0),
        cost.get("accumulator_input_gradient", 0),
        cost.get("accumulator_weight_gradient", 0),
        cost.get("macs", 0),
        int(np.prod(entry.output_shape)) * width,
    )


def _bytes(parameter: str, sites: dict[str, Quantizer]) -> int:
    """Bytes per entry of a parameter as the kernels see it."""
    prefix, _, key = parameter.rpartition(".")
    site = sites.get(f"{prefix}.{'weight_site' if key in ('weight', 'gamma') else 'bias_site'}".lstrip("."))
    return 4 if site is None else 1 if site.bits <= 8 else 2


__all__ = ["Summary", "SummaryRow", "evaluated", "summarize"]
