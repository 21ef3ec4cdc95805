"""What tables say about a recipe: the codes of its weights, and what its activation layers give."""

from __future__ import annotations

from qnn.numerics import level_format
from qnn.recipes.recipe import Recipe


def weight_codes(recipe: Recipe) -> str:
    """Bits of a weight's code in evaluation, with those of the first and last layer where they differ.

    A grid may be wider than the codes of the levels on it: the levels of three bits are multiples of 2^-2 in int4.
    """
    usual = _codes(recipe)
    ends = {"first": _codes(recipe.first_layer()), "last": _codes(recipe.last_layer())}
    return "; ".join([usual, *(f"{place} {codes}" for place, codes in ends.items() if codes != usual)])


def outputs(recipe: Recipe) -> str:
    """Format of what the activation layer gives: that of the layer before it where it rounds nothing itself."""
    if recipe.activation_layer == "sign":
        return "sign, int2·2^0"
    if recipe.activation_layer == "staircase" and recipe.staircase is not None:
        exponent, width = level_format(recipe.staircase.bits)
        return f"{recipe.staircase.bits}-bit levels, int{width}·2^{exponent}"
    if recipe.activation_layer == "log" and recipe.activated is not None:
        bits = recipe.activated.bits.bit_length()  # levels of k bits are 2^(k-1) bits wide
        return f"{bits}-bit powers of two, int{recipe.activated.bits}·2^{recipe.activated.exponent}"
    return str(recipe.activated or recipe.activation or "float32")


def _codes(recipe: Recipe) -> str:
    bits = None if recipe.rule is None else recipe.rule.bits
    if recipe.weight is None:
        return "float32"
    return str(recipe.weight) if bits in (None, recipe.weight.bits) else f"{bits}-bit codes"


__all__ = ["outputs", "weight_codes"]
