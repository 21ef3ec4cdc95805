"""Clauses LAY: image table, relu, hardtanh, dropout, and what happens between layers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn import nn, recipes
from qnn.numerics import (
    DFP,
    Rounding,
    Target,
    add_requantize,
    dropout,
    dropout_kept,
    dropout_mask,
    dropout_shift,
    hardtanh,
    hardtanh_grad,
    hardtanh_limits,
    image_values,
    philox,
    relu,
    relu_grad,
    subsample,
    subsample_grad,
)
from qnn.tensor import Tensor

ALL8 = np.arange(-128, 128, dtype=np.int8)


@pytest.mark.clause("LAY-1")
def test_image_table_by_single_operations() -> None:
    mean, std = np.float32([0.5, 0.1307, 0.0]), np.float32([0.25, 0.3081, 0.5])
    table = image_values(mean, std)
    for p in range(256):
        for c in range(3):
            share = ieee.div(Fraction(p), Fraction(255))
            expected = ieee.div(ieee.sub(share, ieee.of(mean[c])), ieee.of(std[c]))
            assert Fraction(float(table[p, c])) == expected
    assert table[0, 0] == -2
    assert table[255, 0] == 2
    assert int(table[51, 2].view(np.uint32)) == 0x3ECCCCCE or table[51, 2] == np.float32(0.4)


@pytest.mark.clause("LAY-1")
@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.0]), ([np.nan], [1.0]), ([0.5], [np.inf]), ([0.5, 0.5], [1.0])])
def test_image_table_refuses(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match="got"):
        image_values(np.float32(mean), np.float32(std))


@pytest.mark.clause("LAY-2")
def test_relu_exhaustively() -> None:
    y = relu(ALL8)
    assert y.dtype == np.int8
    assert y.tolist() == [max(int(q), 0) for q in ALL8]
    for g in (-128, -1, 0, 1, 127):
        expected = [g if q > 0 else 0 for q in ALL8.tolist()]
        assert relu_grad(np.full(256, g, np.int8), y).tolist() == expected


@pytest.mark.clause("LAY-10")
@pytest.mark.parametrize(("h", "w", "stride"), [(4, 4, 2), (5, 3, 2), (1, 7, 3), (3, 3, 1), (2, 2, 9)])
def test_subsample_place_by_place(h: int, w: int, stride: int) -> None:
    x = np.arange(2 * h * w * 3, dtype=np.int16).reshape(2, h, w, 3) - 20
    y = subsample(x, stride, 5)
    assert y.shape == (2, -(-h // stride), -(-w // stride), 5)
    for n, r, s, c in np.ndindex(y.shape):
        assert y[n, r, s, c] == (x[n, r * stride, s * stride, c] if c < 3 else 0)
    back = subsample_grad(y, stride, x.shape)
    for n, r, s, c in np.ndindex(x.shape):
        picked = r % stride == 0 and s % stride == 0
        assert back[n, r, s, c] == (x[n, r, s, c] if picked else 0)


@pytest.mark.clause("LAY-3")
@pytest.mark.parametrize("exponent", range(-20, 1))
def test_hardtanh_exhaustively(exponent: int) -> None:
    low, high = hardtanh_limits(exponent, 8)
    unit = Fraction(2) ** exponent
    for q, y, g in zip(ALL8.tolist(), hardtanh(ALL8, exponent, 8), hardtanh_grad(ALL8, ALL8, exponent, 8), strict=True):
        assert y == min(max(q, low), high)
        inside = abs(q * unit) <= 1
        assert (g == q) == (inside or q == 0)
        if inside:
            assert y == q, "values within the limits stay"
        else:
            assert abs(y * unit) == 1


@pytest.mark.clause("LAY-3")
def test_hardtanh_has_no_one_on_a_coarse_grid() -> None:
    with pytest.raises(ValueError, match="not on that grid"):
        hardtanh(ALL8, 1, 8)


@pytest.mark.clause("LAY-4")
@pytest.mark.parametrize(("p", "kept"), [(0.5, 32768), (0.25, 49152), (0.0, 65536), (1 / 65536, 65535)])
def test_kept_words(p: float, kept: int) -> None:
    assert dropout_kept(p) == kept


@pytest.mark.clause("LAY-4")
@pytest.mark.parametrize("p", [-0.1, 1.0, 1 - 2.0**-18, float("nan")])
def test_rates_that_keep_nothing_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match="allowed is"):
        dropout_kept(p)


@pytest.mark.clause("LAY-4")
@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(0, 50), st.integers(0, 50), st.floats(0, 0.99))
def test_mask_is_addressed_and_the_ratio_exact(seed: int, step: int, first: int, second: int, p: float) -> None:
    kept = dropout_kept(p)
    whole = dropout_mask(seed, 7, step, 0, (first + second,), kept)
    parts = [dropout_mask(seed, 7, step, 0, (first,), kept), dropout_mask(seed, 7, step, first, (second,), kept)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(whole, philox(seed, 7, 0, first + second, step) < kept)
    x = np.resize(ALL8, first + second).astype(np.int8)
    ints, _ = dropout(x, whole, kept, -5, Target(-4, 8, Rounding.FLOOR))
    for q, keep, y in zip(x.tolist(), whole, ints, strict=True):
        exact = Fraction(q * 65536, kept) * Fraction(2) ** -1 if keep else Fraction(0)
        assert y == max(-128, min(127, exact.numerator // exact.denominator))


@pytest.mark.clause("LAY-4")
def test_factors_that_are_powers_of_two() -> None:
    for kept in range(1, 65537):
        shift = dropout_shift(kept)
        assert (shift is not None) == (65536 % kept == 0 and Fraction(65536, kept).numerator.bit_count() == 1)
        assert shift is None or kept << shift == 65536
    assert dropout_shift(0) is None


@pytest.mark.clause("LAY-4")
@pytest.mark.parametrize("p", [0.5, 0.75, 0.25])
@pytest.mark.parametrize("recipe", ["niti", "dfp8", "dfp(g=12)"])
def test_dropout_per_feature(recipe: str, p: float) -> None:
    chosen = recipes.parse(recipe)
    layer = nn.Dropout(p, chosen, per="feature")
    run = nn.prepare(layer, seed=3)
    kept, shift = dropout_kept(p), dropout_shift(dropout_kept(p))
    rng = np.random.default_rng(1)
    x = DFP(rng.integers(-127, 128, (6, 4, 4, 40)).astype(np.int8), -5)
    width = chosen.gradient.bits if chosen.gradient else 8
    g = DFP(rng.integers(-127, 128, x.shape).astype(np.int8 if width == 8 else np.int16), -9, width)
    masks = []
    for step in range(3):
        mask = dropout_mask(3, layer.stream or 0, step, 0, (40,), kept)
        masks.append(mask.tolist())
        for part in (slice(None), slice(2)):  # any part of a batch gets the mask of the step
            tensor = Tensor(DFP(x.ints[part], -5), requires_grad=True)
            out = layer(tensor)
            out.backward(DFP(g.ints[part], -9, width))
            if shift is not None:  # nothing is rounded
                assert (out.data.exponent, tensor.grad.exponent) == (-5 + shift, -9 + shift)
                assert np.array_equal(out.data.ints, x.ints[part] * mask)
                assert np.array_equal(tensor.grad.ints, g.ints[part] * mask)
            else:
                for got in (out.data, tensor.grad):
                    assert not got.ints[..., ~mask].any()
                exact = x.ints[part] * mask * (65536 / kept) * 2.0 ** (-5 - out.data.exponent)
                assert np.abs(out.data.ints - exact).max() <= 0.5
        run.advance()
    assert masks[0] != masks[1] != masks[2]
    layer.eval()
    assert layer(Tensor(x)).data is x
    sites = [name for name, _ in layer.named_sites()]
    assert sites == ["gradient_sum"] + (["activation", "gradient"] if shift is None else [])


@pytest.mark.clause("LAY-4")
def test_dropout_per_feature_in_float32_and_wrong_names() -> None:
    layer = nn.Dropout(0.5, per="feature")
    nn.prepare(layer, seed=3)
    x = Tensor(np.ones((5, 7), np.float32), requires_grad=True)
    out = layer(x)
    mask = dropout_mask(3, layer.stream or 0, 0, 0, (7,), 32768)
    assert np.array_equal(out.data, np.broadcast_to(np.float32(2) * mask, (5, 7)))
    out.backward(np.ones((5, 7), np.float32))
    assert np.array_equal(x.grad, out.data)
    with pytest.raises(ValueError, match="'element' and 'feature'"):
        nn.Dropout(0.5, per="sample")


@pytest.mark.clause("LAY-5")
def test_table_of_gradient_sums() -> None:
    target = Target(-3, 8, Rounding.FLOOR)

    def total(*parts: tuple[int, int]) -> int:
        return int(add_requantize([(np.array([q], np.int8), e) for q, e in parts], target)[0][0])

    assert total((3, -3), (3, -3)) == 6
    assert total((3, -3), (5, -5)) == 4


@pytest.mark.clause("LAY-5")
def test_one_consumer_rounds_nothing_and_two_round_once() -> None:
    recipe = recipes.dfp(g=4, g_rounding="floor")
    for consumers in (1, 2, 3):
        relu_layer = nn.Relu(recipe)
        nn.prepare(relu_layer, seed=1)
        x = Tensor(DFP(np.array([1, 2, 3], np.int8), -2, 8), requires_grad=True)
        y = relu_layer(x)
        add = nn.Add(recipe)
        out = y if consumers == 1 else add(*[y] * consumers)
        out.backward(DFP(np.array([3, -5, 7], np.int8), -6, 4))
        site = relu_layer.gradient_sum
        if consumers == 1:
            assert x.grad.ints.tolist() == [3, -5, 7]
            assert not site.initialised
        else:
            unit = Fraction(2) ** (x.grad.exponent + 6)
            exact = [Fraction(consumers * v) / unit for v in (3, -5, 7)]
            assert x.grad.ints.tolist() == [e.numerator // e.denominator for e in exact]


@pytest.mark.clause("LAY-6")
def test_second_use_takes_the_following_words() -> None:
    recipe = recipes.dfp8()
    site = recipe.site("gradient")
    holder = nn.Module(recipe)
    holder.site = site
    run = nn.prepare(holder, seed=9)
    values = (np.arange(8) / np.float32(7)).astype(np.float32)
    site.quantize(values)
    run.advance()
    whole = site.quantize(values)
    run.step = 1
    parts = [site.quantize(values[:3]), site.quantize(values[3:])]
    assert np.array_equal(whole.ints, np.concatenate([p.ints for p in parts]))


@pytest.mark.clause("LAY-6")
def test_streams_in_order_of_definition_and_dropout_after_them() -> None:
    recipe = recipes.dfp8()
    net = nn.Sequential(nn.Quantize(recipe), nn.Dropout(0.5, recipe), nn.Linear(2, 2, recipe=recipe))
    run = nn.prepare(net, nn.CrossEntropyLoss(recipe), seed=1)
    assert [site.stream for _, site in run.sites] == list(range(len(run.sites)))
    assert net[1].stream == len(run.sites)


@pytest.mark.clause("LAY-7")
def test_weights_are_quantised_once_per_step_and_exponents_move_at_its_end() -> None:
    recipe = recipes.dfp8()
    layer = nn.Linear(3, 2, recipe=recipe)
    run = nn.prepare(layer, seed=1)
    x = Tensor(DFP(np.array([[1, 2, 3]], np.int8), 0, 8))
    layer(x)
    first = layer.weight_site.parameter(layer.weight)
    assert layer.weight_site.parameter(layer.weight) is first
    layer.weight.data = layer.weight.data * np.float32(4)
    assert layer.weight_site.exponent == first.exponent
    run.advance()
    assert run.step == 1
    layer(x)
    assert layer.weight_site.exponent == first.exponent, "step i quantises with e_i"
    run.advance()
    assert layer.weight_site.exponent == first.exponent + 1
