"""What tables say about a recipe is what its layers do."""

from __future__ import annotations

import numpy as np
import pytest

import qnn
from qnn import DFP, nn
from qnn.recipes.words import outputs, weight_codes
from qnn.report import compression
from qnn.tensor import Tensor


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("bnn", "sign, int2·2^0"),
        ("qnn(w=1, a=1)", "sign, int2·2^0"),
        ("qnn(w=4, a=1)", "sign, int2·2^0"),
        ("qnn(w=1, a=2)", "int2·2^-1 NEAREST_DOWN"),
        ("qnn(w=1, a=2, quant_a=log)", "2-bit powers of two, int2·2^0"),
        ("qnn(w=4, a=4, quant_a=log)", "4-bit powers of two, int8·2^-6"),
        ("qnn(w=4, a=5, quant=log, quant_a=log)", "5-bit powers of two, int16·2^-14"),
        ("dorefa(w=1, a=2, g=6)", "int3·2^-2 NEAREST_EVEN"),
        ("nbq(n=3, staircase=1)", "1-bit levels, int2·2^0"),
        ("nbq(n=3, staircase=3)", "3-bit levels, int4·2^-2"),
        ("logquant(staircase=4)", "4-bit levels, int8·2^-6"),
        ("wage", "int8·2^-7 NEAREST_EVEN, ±127"),
        ("dfp8", "int8 NEAREST_DOWN"),
        ("fp32", "float32"),
    ],
)
def test_outputs_have_the_format_that_is_said(recipe: str, words: str) -> None:
    chosen = qnn.recipes.parse(recipe)
    assert outputs(chosen) == words
    if not chosen.is_integer:
        return
    given = Tensor(DFP(np.arange(-128, 128, dtype=np.int8).reshape(2, 128), -6, 8))
    made = nn.activation(chosen)(given).data
    assert isinstance(made, DFP)
    said = words.split(", ")[-2 if words.endswith("127") else -1]
    assert said.startswith(f"int{made.bits}")
    assert "·" not in said or said.split()[0] == f"int{made.bits}·2^{made.exponent}"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("fp32", "float32"),
        ("dfp8", "int8 NEAREST_DOWN"),
        ("dfp8(last_bits=16)", "int8 NEAREST_DOWN; last int16 NEAREST_DOWN"),
        ("nbq(n=3)", "3-bit codes"),
        ("nbq(n=3, exempt=last)", "3-bit codes; last int8 NEAREST_DOWN"),
        ("bnn", "1-bit codes"),
        ("ternary", "2-bit codes"),
        ("deepshift", "5-bit codes"),
        ("dorefa(w=1, a=2, g=6)", "1-bit codes; first int8 NEAREST_DOWN; last int8 NEAREST_DOWN"),
        ("qnn(w=4, a=4)", "int4·2^-3 NEAREST_DOWN"),
    ],
)
def test_weights_have_the_bits_that_are_said(recipe: str, words: str) -> None:
    chosen = qnn.recipes.parse(recipe)
    assert weight_codes(chosen) == words
    if not chosen.is_integer:
        return
    model = qnn.models.build(
        "digits-cnn", recipe=chosen, input_shape=(8, 8, 1), classes=10, mean=[0.5], std=[0.25], seed=1
    )
    bits = [size.quantized // size.weights for size in compression.layer_sizes(model)]
    usual, *ends = words.split("; ")
    width = int(usual.removeprefix("int")[0])
    own = {place: int(text.removeprefix("int").split()[0]) for place, _, text in (end.partition(" ") for end in ends)}
    assert bits == [own.get("first", width), *[width] * (len(bits) - 2), own.get("last", width)]
