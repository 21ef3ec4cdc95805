"""Clauses LAY-8 to LAY-10: the sites of each layer, where it rounds and at which exponents, and joined tensors."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from qnn import nn, recipes
from qnn.numerics import DFP, conv2d, conv2d_input_grad, conv2d_weight_grad, max_pool_grad, sum_pool, sum_pool_grad
from qnn.tensor import Tensor

RECIPE = recipes.dfp(g_rounding="nearest_down")
CHAPTER = Path(__file__).parents[2] / "docs/spec/13-layers.md"
LAYERS: dict[str, nn.Module] = {
    "Conv2d": nn.Conv2d(1, 1, 1, recipe=RECIPE),
    "Linear": nn.Linear(1, 1, recipe=RECIPE),
    "Conv2d without bias": nn.Conv2d(1, 1, 1, bias=False, recipe=RECIPE),
    "Linear without bias": nn.Linear(1, 1, bias=False, recipe=RECIPE),
    "Normalize": nn.Normalize(1, recipe=RECIPE),
    "Scale": nn.Scale(1, recipe=RECIPE),
    "BatchNorm": nn.BatchNorm(1, recipe=RECIPE),
    "StaircaseActivation": nn.StaircaseActivation(recipes.nbq(staircase=1)),
    "Relu": nn.Relu(RECIPE),
    "Hardtanh": nn.Hardtanh(RECIPE),
    "Sign": nn.Sign(RECIPE),
    "QuantizedActivation": nn.QuantizedActivation(recipes.qnn(w=2, a=2)),
    "LogActivation": nn.LogActivation(recipes.qnn(w=2, a=2, quant_a="log")),
    "UnitActivation": nn.UnitActivation(recipes.dorefa()),
    "ShiftNormalize": nn.ShiftNormalize(1, recipe=RECIPE),
    "ShiftScale": nn.ShiftScale(1, RECIPE),
    "ShiftBatchNorm": nn.ShiftBatchNorm(1, recipe=RECIPE),
    "Flatten": nn.Flatten(RECIPE),
    "PadShortcut": nn.PadShortcut(1, 1, RECIPE),
    "Dropout": nn.Dropout(0.5, RECIPE),
    "MaxPool2d": nn.MaxPool2d(2, recipe=RECIPE),
    "AveragePool2d": nn.AveragePool2d(2, recipe=RECIPE),
    "GlobalAveragePool": nn.GlobalAveragePool(RECIPE),
    "Add": nn.Add(RECIPE),
    "Concat": nn.Concat(RECIPE),
    "Concat of signs": nn.Concat(recipes.bnn()),
    "ImageInput": nn.ImageInput([0.5], [0.5], RECIPE),
    "Quantize": nn.Quantize(RECIPE),
    "Dequantize": nn.Dequantize(RECIPE),
    "CrossEntropyLoss": nn.CrossEntropyLoss(RECIPE),
    "SquareHingeLoss": nn.SquareHingeLoss(RECIPE),
    "Sequential": nn.Sequential(),
}


def table() -> dict[str, list[str]]:
    section = CHAPTER.read_text().split("### LAY-8")[1].split("### LAY-9")[0]
    rows: dict[str, list[str]] = {}
    for layers, sites in re.findall(r"^\| ([A-Z][^|]*?) \| ([^|]*?) \|$", section, re.M):
        base, without, _ = layers.partition(" without bias")
        for layer in base.split(", "):
            rows[layer + without] = [] if sites.startswith("none") else sites.split(", ")
    return rows


@pytest.mark.clause("LAY-8")
def test_table_of_sites() -> None:
    rows = table()
    rows.pop("models")
    assert rows.keys() == LAYERS.keys()
    for name, sites in rows.items():
        assert [site for site, _ in LAYERS[name].named_sites()] == sites, name


@pytest.mark.clause("LAY-8")
@pytest.mark.parametrize("model", ["mlp", "lenet5", "digits-cnn", "resnet20"])
def test_models_have_no_sites_but_those_of_their_layers(model: str) -> None:
    from qnn import models

    net = models.build(model, recipe=RECIPE, input_shape=(16, 16, 1), classes=3, mean=[0.5], std=[0.5], seed=1)
    known = [
        f"{name}.{s}" for name, m in net.named_modules() for s in table().get(type(m).__name__, []) if "." not in s
    ]
    known = [s for s in known if not s.endswith(".bias_site") or s in dict(net.named_sites())]
    assert [name for name, _ in net.named_sites()] == known


def dfp(rng: np.random.Generator, shape: tuple[int, ...], exponent: int) -> DFP:
    return DFP(rng.integers(-128, 128, shape).astype(np.int8), exponent, 8)


def nearest_down(acc: np.ndarray, unit: Fraction) -> list[int]:
    out = []
    for value in acc.ravel().tolist():
        exact = value * unit
        low = exact.numerator // exact.denominator
        out.append(max(-128, min(127, low + (exact - low > Fraction(1, 2)))))
    return out


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


@pytest.mark.clause("LAY-9")
def test_roundings_of_a_convolution() -> None:
    rng = np.random.default_rng(3)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1, recipe=RECIPE)
    nn.prepare(layer, seed=1)
    layer.bias.data = np.float32([0.5, -1.25, 3.0])
    x = Tensor(dfp(rng, (2, 5, 5, 2), -6), requires_grad=True)
    y = layer(x)
    w = layer.weight_site.parameter(layer.weight)
    b = layer.bias_site.parameter(layer.bias, at_least=-6 + w.exponent)
    window = ((2, 2), (1, 1))
    acc = conv2d(x.data.ints, w.ints, *window).astype(object) + (b.ints.astype(object) << (b.exponent + 6 - w.exponent))
    assert y.data.ints.ravel().tolist() == nearest_down(acc, power(-6 + w.exponent - y.data.exponent))
    g = dfp(rng, y.shape, -11)
    y.backward(g)
    dx = conv2d_input_grad(g.ints, w.ints, (5, 5), *window)
    assert x.grad.ints.ravel().tolist() == nearest_down(dx, power(-11 + w.exponent - x.grad.exponent))
    dw = conv2d_weight_grad(x.data.ints, g.ints, (3, 3), *window)
    assert np.array_equal(layer.weight.grad, dw.astype(np.float32) * np.float32(2.0**-17))
    db = g.ints.astype(np.int64).sum(axis=(0, 1, 2))
    assert np.array_equal(layer.bias.grad, db.astype(np.float32) * np.float32(2.0**-11))


@pytest.mark.clause("LAY-9")
def test_roundings_of_pooling() -> None:
    rng = np.random.default_rng(4)
    for layer in (nn.AveragePool2d(3, 2, 1, recipe=RECIPE), nn.MaxPool2d(3, 2, 1, recipe=RECIPE)):
        nn.prepare(layer, seed=1)
        x = Tensor(dfp(rng, (1, 6, 6, 2), -4), requires_grad=True)
        y = layer(x)
        g = dfp(rng, y.shape, -9)
        window = ((3, 3), (2, 2), (1, 1))
        if isinstance(layer, nn.AveragePool2d):
            sums = sum_pool(x.data.ints, *window)
            assert y.data.ints.ravel().tolist() == nearest_down(sums, power(-4 - y.data.exponent) / 9)
            back, divisor = sum_pool_grad(g.ints, x.shape, *window), 9
        else:
            assert y.data.exponent == -4
            back, divisor = max_pool_grad(g.ints, y._node.operation.index, x.shape, *window), 1
        y.backward(g)
        assert x.grad.ints.ravel().tolist() == nearest_down(back, power(-9 - x.grad.exponent) / divisor)
    apart = nn.MaxPool2d(2, 3, recipe=RECIPE)
    x = Tensor(dfp(rng, (1, 6, 6, 2), -4), requires_grad=True)
    y = apart(x)
    g = DFP(np.full(y.shape, 300, np.int16), -9, 16)
    y.backward(g)
    assert (x.grad.exponent, x.grad.bits) == (-9, 16)
    assert not apart.gradient.initialised


@pytest.mark.clause("LAY-10")
def test_joined_tensors() -> None:
    def part(values: list[int], exponent: int) -> Tensor:
        return Tensor(DFP(np.array([values], np.int8), exponent, 8), requires_grad=True)

    rows = [
        (nn.Add(RECIPE), [part([1, 100], -5), part([3, 4], -7)], [2, 101]),
        (nn.Concat(RECIPE), [part([1, 100], -5), part([3], -7)], [1, 100, 1]),
        (nn.Concat(RECIPE), [part([1, 100], -5), part([9], -9)], [1, 100, 1]),
    ]
    for layer, parts, expected in rows:
        nn.prepare(layer, seed=1)
        y = layer(*parts)
        assert (y.data.exponent, y.data.ints[0].tolist()) == (-5, expected)
        y.backward(DFP(np.arange(1, y.size + 1, dtype=np.int8)[None], -8, 8))
        got = [p.grad.ints[0].tolist() for p in parts]
        assert got == ([[1, 2], [1, 2]] if isinstance(layer, nn.Add) else [[1, 2], [3]])
        assert all(p.grad.exponent == -8 for p in parts)


@pytest.mark.clause("LAY-10")
def test_joined_signs_are_not_rounded() -> None:
    layer = nn.Concat(recipes.bnn())
    assert [site.role for _, site in layer.named_sites()] == ["gradient"]
    nn.prepare(layer, seed=1)
    parts = [Tensor(DFP(np.array([ints], np.int8), 0, 2), requires_grad=True) for ints in ([1, -1], [-1])]
    y = layer(*parts)
    assert (y.data.ints.tolist(), y.data.exponent, y.data.bits) == ([[1, -1, -1]], 0, 2)
    y.backward(DFP(np.array([[300, -5, 7]], np.int16), -11, 16))
    assert [p.grad.ints.tolist() for p in parts] == [[[300, -5]], [[7]]]
    assert all((p.grad.exponent, p.grad.bits) == (-11, 16) for p in parts)
    with pytest.raises(ValueError, match="int2 at exponent 0, int8 at exponent -3 for a concat without rounding"):
        layer(Tensor(DFP(np.ones((1, 1), np.int8), -3, 8)), parts[0])
    told = nn.Concat(recipes.bnn(), rounded=True)
    nn.prepare(told, seed=1)
    y = told(parts[0], Tensor(DFP(np.array([[100]], np.int8), -3, 8)))
    assert (y.data.ints.tolist(), y.data.exponent, y.data.bits) == ([[8, -8, 100]], -3, 8)


@pytest.mark.clause("LAY-10")
@pytest.mark.parametrize("spread", [46, 47])
def test_concat_of_far_exponents(spread: int) -> None:
    layer = nn.Concat(RECIPE)
    nn.prepare(layer, seed=1)
    parts = [Tensor(DFP(np.array([[-128]], np.int8), e, 8)) for e in (0, -spread)]
    if spread == 46:
        y = layer(*parts).data
        assert (y.exponent, y.ints.tolist()) == (0, [[-128, 0]])
        return
    with pytest.raises(OverflowError, match="differ by 46"):
        layer(*parts)


@pytest.mark.clause("LAY-10")
def test_shortcut() -> None:
    x = Tensor(DFP(np.arange(18, dtype=np.int8).reshape(1, 3, 3, 2), -2, 8), requires_grad=True)
    y = nn.PadShortcut(2, 3, RECIPE)(x)
    assert y.data.ints.tolist() == [[[[0, 1, 0], [4, 5, 0]], [[12, 13, 0], [16, 17, 0]]]]
    y.backward(DFP(np.ones((1, 2, 2, 3), np.int8), 0, 8))
    assert x.grad.ints.sum(axis=-1).tolist() == [[[2, 0, 2], [0, 0, 0], [2, 0, 2]]]
