"""Arithmetic energy of an inference, by counting operations and scaling published energies to their widths."""

from __future__ import annotations

from dataclasses import dataclass

from qnn.nn import Module
from qnn.nn.summary import evaluated
from qnn.numerics import DFP
from qnn.operation import TraceEntry

FLOAT_MULTIPLY, FLOAT_ADD = 3.7, 0.9
"""Picojoules of float32 operations at 45 nm (Horowitz 2014, as the QNN paper's tables have them)."""

BYTE_MULTIPLY, BYTE_ADD, WORD_ADD = 0.2, 0.03, 0.1
"""Picojoules of an 8-bit multiplication, an 8-bit and a 32-bit addition there."""


@dataclass(frozen=True)
class Energy:
    """Arithmetic of one inference.

    Parameters
    ----------
    macs : int
        Multiply-accumulates of the layers with weights.
    picojoules : float
        Of their multiplications (or shifts) and additions; no memory, no control, no other layers.
    """

    macs: int
    picojoules: float


def mac_energy(activation_bits: int, weight_bits: int, accumulator_bits: int, *, shift: bool = False) -> float:
    """Picojoules of one integer multiply-accumulate.

    A multiplier's energy is taken as proportional to the product of its widths, an adder's to its width; a shift by a
    weight's exponent is taken as an addition of the activation's width. All three are scalings of ours from the
    published numbers for 8 and 32 bits, not measurements.

    Parameters
    ----------
    activation_bits, weight_bits, accumulator_bits : int
        Widths, at least 1.
    shift : bool
        The weight is a power of two.

    Raises
    ------
    ValueError
        If a width is below 1.
    """
    if min(activation_bits, weight_bits, accumulator_bits) < 1:
        raise ValueError(
            f"got widths {activation_bits}, {weight_bits}, {accumulator_bits}; each is at least 1: pass the layer's"
        )
    add = WORD_ADD * accumulator_bits / 32
    if shift:
        return BYTE_ADD * activation_bits / 8 + add
    return BYTE_MULTIPLY * activation_bits * weight_bits / 64 + add


def inference_energy(model: Module, example: object) -> Energy:
    """Arithmetic energy of one input's way through the layers with weights.

    Parameters
    ----------
    model : Module
        In evaluation it multiplies by what its recipe's weight rule gives; codes of the rule count, not the bytes that
        hold them.
    example : uint8 image [1, H, W, C] or Tensor
        One input.

    Returns
    -------
    Energy
    """
    entries = evaluated(model, example)
    products = [entry for entry in entries if "macs" in entry.cost]
    return Energy(sum(e.cost["macs"] for e in products), sum(_energy(e, model) for e in products))


def _energy(entry: TraceEntry, model: Module) -> float:
    x = entry.inputs[0]
    if not isinstance(x, DFP):
        return entry.cost["macs"] * (FLOAT_MULTIPLY + FLOAT_ADD)
    layer = next((module for name, module in model.named_modules() if module.name == entry.module), None)
    rule = None if layer is None else layer.recipe.rule
    bits = entry.operation.weight.bits if rule is None or rule.bits is None else rule.bits  # type: ignore[attr-defined]
    shift = rule is not None and rule.shifts
    signs = layer is not None and layer.recipe.activation_layer == "sign" and x.bits == 2
    x_bits = 1 if signs else x.bits  # +-1 travels as two bits and is one
    return entry.cost["macs"] * mac_energy(x_bits, bits, entry.cost["accumulator"], shift=shift)


__all__ = ["Energy", "inference_energy", "mac_energy"]
