"""Joining tensors: residual addition and concatenation of channels, in integers with one rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import DFP
from qnn.operation import Operation
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


class AddInteger(Operation):
    """Sum of DFP tensors of one shape: exact, then rounded once (clause REQ-7); the gradient goes to each unchanged."""

    name = "add"

    def __init__(self, output: Quantizer) -> None:
        self.output = output

    def forward(self, *parts: DFP) -> DFP:
        shapes = {p.shape for p in parts}
        if len(shapes) != 1:
            raise ValueError(
                f"got shapes {sorted(shapes)} for the integer sum; they must be equal: integers do not broadcast here"
            )
        return self.output.add(parts)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return tuple(gradient if needed else None for needed in self.needs)


class ConcatFloat(Operation):
    """Concatenation along the last axis."""

    name = "concat"

    def forward(self, *parts: Float) -> Float:
        self.ends = np.cumsum([p.shape[-1] for p in parts])
        return np.concatenate(parts, axis=-1)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return tuple(np.ascontiguousarray(p) for p in np.split(gradient, self.ends[:-1], axis=-1))


class ConcatInteger(Operation):
    """Concatenation along the last axis: all parts are brought to the output site's exponent, each entry rounded once.

    Parameters
    ----------
    output : Quantizer or None
        None joins parts of one format as they are.

    Notes
    -----
    Bit-exactness: clause LAY-10.
    """

    name = "concat"

    def __init__(self, output: Quantizer | None) -> None:
        self.output = output

    def forward(self, *parts: DFP) -> DFP:
        self.ends = np.cumsum([p.shape[-1] for p in parts])
        if self.output is None:
            formats = sorted({(p.bits, p.exponent) for p in parts})
            if len(formats) != 1:
                found = ", ".join(f"int{bits} at exponent {exponent}" for bits, exponent in formats)
                raise ValueError(
                    f"got {found} for a concat without rounding; its parts must have one format: put the recipe's "
                    "activation before it, or round them with nn.Concat(recipe, rounded=True)"
                )
            return DFP(np.concatenate([p.ints for p in parts], axis=-1), parts[0].exponent, parts[0].bits)
        lowest = min(p.exponent for p in parts)
        spread = max(p.exponent for p in parts) - lowest
        if spread > 46:
            raise OverflowError(
                f"got exponents {[p.exponent for p in parts]} for concat; they may differ by 46: rescale a branch"
            )
        wide = [p.ints.astype(np.int64) << (p.exponent - lowest) for p in parts]
        return self.output.requantize(np.concatenate(wide, axis=-1), lowest)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        pieces = np.split(gradient.ints, self.ends[:-1], axis=-1)
        return tuple(DFP(np.ascontiguousarray(p), gradient.exponent, gradient.bits) for p in pieces)
