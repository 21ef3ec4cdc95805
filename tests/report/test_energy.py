"""Energy by counting: the published numbers at their widths, and a network's sum."""

from __future__ import annotations

import numpy as np
import pytest

import qnn
from qnn.nn.summary import evaluated
from qnn.report.energy import _energy, inference_energy, mac_energy


def test_published_widths_have_the_published_energy() -> None:
    assert mac_energy(8, 8, 32) == pytest.approx(0.2 + 0.1)
    assert mac_energy(8, 4, 32, shift=True) == pytest.approx(0.03 + 0.1)
    assert mac_energy(1, 1, 32) == pytest.approx(0.2 / 64 + 0.1)
    assert mac_energy(16, 8, 32) > mac_energy(8, 8, 32) > mac_energy(8, 8, 16)
    with pytest.raises(ValueError, match="widths"):
        mac_energy(0, 8, 32)


@pytest.mark.parametrize(("recipe", "bits"), [("fp32", 32), ("dfp8", 8), ("dfp(w=4, a=8, g=8)", 4)])
def test_a_network_is_the_sum_of_its_layers(recipe: str, bits: int) -> None:
    model = qnn.models.build("mlp", recipe=recipe, input_shape=(2, 2, 1), classes=3, mean=(0.5,), std=(0.25,), seed=1)
    layers = [(4, 512), (512, 512), (512, 3)]
    found = inference_energy(model, np.zeros((1, 2, 2, 1), np.uint8))
    assert found.macs == sum(k * n for k, n in layers)
    assert model.training
    if recipe == "fp32":
        want = found.macs * 4.6
    else:
        want = sum(k * n * mac_energy(8, bits, 8 + bits - 1 + int(np.ceil(np.log2(k)))) for k, n in layers)
        want_wider = sum(k * n * mac_energy(8, bits, 8 + bits + int(np.ceil(np.log2(k)))) for k, n in layers)
        assert want * 0.999 <= found.picojoules <= want_wider * 1.001
        return
    assert found.picojoules == pytest.approx(want)


@pytest.mark.parametrize(
    ("recipe", "width"), [("bnn()", 1), ("nbq(n=3)", 8), ("qnn(w=4, a=8, quant=log)", 8), ("dorefa(w=2, a=3)", 4)]
)
def test_rules_count_with_the_bits_of_their_codes(recipe: str, width: int) -> None:
    """The second convolution: signs count 1 bit, powers of two shift, DoReFa has k bits of weights."""
    made = {"input_shape": (4, 4, 1), "classes": 3, "mean": (0.5,), "std": (0.25,), "seed": 1}
    model = qnn.models.build("digits-cnn", recipe=recipe, **made)
    qnn.nn.prepare(model, seed=1)
    layer = next(m for m in model.modules() if getattr(m, "weight", None) is not None and m.weight.shape[0] == 32)
    entries = evaluated(model, np.zeros((1, 4, 4, 1), np.uint8))
    entry = next(e for e in entries if e.module == layer.name and "macs" in e.cost)
    bits = {"bnn()": 1, "nbq(n=3)": 3, "qnn(w=4, a=8, quant=log)": 4, "dorefa(w=2, a=3)": 2}[recipe]
    shift = recipe not in ("dorefa(w=2, a=3)",)
    want = entry.cost["macs"] * mac_energy(width, bits, entry.cost["accumulator"], shift=shift)
    assert _energy(entry, model) == pytest.approx(want)
