"""Batch norm and scale, bit by bit against exact fractions with binary32 rounding after every stated step."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    Target,
    bn_eval_grad_coefficients,
    bn_eval_statistics,
    bn_grad_coefficients,
    bn_statistics,
    channel_dots,
    channel_sums,
    normalize,
    normalize_grad,
    quantize,
    requantize,
    running_update,
    scale,
)

EPS = float(np.float32(1e-5))


@st.composite
def batches(draw: st.DrawFn):
    """Input and gradient [m, C] with full-range, narrow and constant channels."""
    m, c = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([np.int8, np.int16]))
    info = np.iinfo(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(info.min, info.max, (m, c), dtype, endpoint=True)
    x[:, rng.random(c) < 0.2] = rng.integers(info.min, info.max, endpoint=True)
    extreme = rng.choice(np.array([info.min, info.max, 0], dtype), (m, c))
    x = np.where(rng.random(c) < 0.3, extreme, x).astype(dtype)
    g = rng.integers(info.min, info.max, (m, c), dtype, endpoint=True)
    return x, g, draw(st.integers(-20, 6))


def oracle_statistics(ieee, column, exponent):
    m = len(column)
    s1, s2 = sum(column), sum(q * q for q in column)
    n, power = ieee.round(m), Fraction(2) ** exponent
    mean_q = ieee.div(ieee.round(s1), n)
    var = ieee.round(ieee.div(ieee.round(m * s2 - s1 * s1), ieee.mul(n, n)) * power * power)
    inv = ieee.div(Fraction(1), ieee.sqrt(ieee.add(var, ieee.of(EPS))))
    return mean_q, ieee.round(mean_q * power), var, inv, ieee.round(inv * power)


@pytest.mark.clause("BN-1")
@given(batches())
def test_sums_are_exact_integers(case):
    x, g, _ = case
    s1, s2 = channel_sums(x)
    sg, sgx = channel_dots(g, x)
    assert {a.dtype for a in (s1, s2, sg, sgx)} == {np.dtype(np.int64)}
    for c in range(x.shape[1]):
        xs, gs = [int(v) for v in x[:, c]], [int(v) for v in g[:, c]]
        assert s1[c] == sum(xs)
        assert s2[c] == sum(v * v for v in xs)
        assert sg[c] == sum(gs)
        assert sgx[c] == sum(a * b for a, b in zip(gs, xs, strict=True))


@pytest.mark.clause("BN-1")
def test_sums_over_all_axes_but_the_last_add_up_over_any_split():
    rng = np.random.default_rng(1)
    x, g = rng.integers(-128, 128, (2, 6, 3, 2, 5), np.int8)
    whole = [*channel_sums(x), *channel_dots(g, x)]
    parts = [[*channel_sums(x[p]), *channel_dots(g[p], x[p])] for p in (slice(0, 1), slice(1, 6))]
    for total, first, second in zip(whole, *parts, strict=True):
        assert total.shape == (5,)
        assert np.array_equal(total, first + second)
    assert channel_sums(x[:0])[1].tolist() == [0] * 5
    with pytest.raises(ValueError, match="must be equal"):
        channel_dots(g[:1], x)
    with pytest.raises(TypeError, match="int8 or int16"):
        channel_sums(x.astype(np.float32))


@pytest.mark.clause("BN-2")
@given(batches())
def test_statistics_follow_the_stated_steps(case):
    x, _, exponent = case
    stats = bn_statistics(*channel_sums(x), len(x), exponent, 1e-5)
    for c in range(x.shape[1]):
        expected = oracle_statistics(ieee, [int(v) for v in x[:, c]], exponent)
        got = (stats.mean_q[c], stats.mean[c], stats.var[c], stats.inv_std[c], stats.k[c])
        assert tuple(ieee.of(v) for v in got) == expected


@pytest.mark.clause("BN-2")
def test_the_variance_of_a_large_batch_is_exact_before_its_one_conversion():
    m = 2**21 + 3
    s1 = np.array([-(m * 20000) + 1])  # nearly constant: the naive E[q*q] - mean*mean has no correct digit here
    s2 = np.array([m * 20000**2 + 7])
    stats = bn_statistics(s1, s2, m, -3, 1e-5)
    exact = m * int(s2[0]) - int(s1[0]) ** 2
    n = ieee.round(m)
    assert ieee.of(stats.var[0]) == ieee.div(ieee.round(exact), ieee.mul(n, n)) / 64


@pytest.mark.clause("BN-2", "BN-5", "BN-6", "BN-7")
@pytest.mark.parametrize("m", [1, 2, 100])
@pytest.mark.parametrize("value", [-32768, -128, 0, 1, 127])
def test_a_constant_channel_normalises_to_zero_and_passes_no_nan(m, value):
    x = np.full((m, 1), value, np.int16)
    g = np.arange(m, dtype=np.int16)[:, None] - 3
    s1, s2 = channel_sums(x)
    stats = bn_statistics(s1, s2, m, -7, 1e-5)
    assert stats.var.tolist() == [0]
    ints, _ = normalize(x, stats.mean_q, stats.k, Target(-7))
    assert not ints.any()
    sg, sgx = channel_dots(g, x)
    a, b, c = bn_grad_coefficients(stats, s1, sg, sgx, m, -10)
    assert np.isfinite([a, b, c]).all()
    dx, _ = normalize_grad(g, x, a, b, c, Target(-4, 16))
    if m == 1:
        assert not dx.any()  # one entry is always its own mean
    else:
        assert abs(int(dx.sum())) <= m


@pytest.mark.clause("BN-2")
def test_bad_arguments_are_refused():
    one = np.array([1])
    for eps in (0.0, -1e-5, np.nan, np.inf, 1e-60):
        with pytest.raises(ValueError, match="positive and finite"):
            bn_statistics(one, one, 1, 0, eps)
    with pytest.raises(ValueError, match="at least 1"):
        bn_statistics(one, one, 0, 0, 1e-5)
    with pytest.raises(OverflowError, match="beyond float32"):
        bn_statistics(np.array([0]), np.array([2**31]), 2, 63, 1e-5)


@pytest.mark.clause("BN-3")
@given(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32), st.sampled_from([0.0, 0.9, 0.99, 0.999, 1.0]))
def test_running_values_follow_the_stated_steps(old, new, momentum):
    keep = ieee.of(np.float32(momentum))
    take = ieee.sub(Fraction(1), keep)
    expected = ieee.add(ieee.mul(keep, ieee.of(old)), ieee.mul(take, ieee.of(new)))
    got = running_update(np.array([old], np.float32), np.array([new], np.float32), momentum)
    assert got.dtype == np.float32
    assert ieee.of(got[0]) == expected


@pytest.mark.clause("BN-4")
@given(batches())
def test_inference_with_the_batch_statistics_gives_the_training_numbers(case):
    x, _, exponent = case
    train = bn_statistics(*channel_sums(x), len(x), exponent, 1e-5)
    evaluated = bn_eval_statistics(train.mean, train.var, exponent, 1e-5)
    for name in ("mean_q", "inv_std", "k"):
        assert np.array_equal(getattr(evaluated, name), getattr(train, name)), name


@pytest.mark.clause("BN-5")
@given(batches(), st.integers(-12, 2))
def test_normalising_is_subtract_multiply_quantise(case, out):
    x, _, exponent = case
    stats = bn_statistics(*channel_sums(x), len(x), exponent, 1e-5)
    real = [
        [
            float(ieee.mul(ieee.sub(Fraction(int(q)), ieee.of(mean)), ieee.of(k)))
            for q, mean, k in zip(row, stats.mean_q, stats.k, strict=True)
        ]
        for row in x
    ]
    target = Target(out, 8)
    expected, expected_counts = quantize(np.array(real, np.float32), target)
    ints, counts = normalize(x, stats.mean_q, stats.k, target)
    assert np.array_equal(ints, expected)
    assert counts == expected_counts


@pytest.mark.clause("BN-6", "BN-7")
@given(batches(), st.integers(-30, 4))
def test_the_gradient_follows_the_stated_steps(case, g_exponent):
    x, g, exponent = case
    m = len(x)
    s1, s2 = channel_sums(x)
    stats = bn_statistics(s1, s2, m, exponent, 1e-5)
    sg, sgx = channel_dots(g, x)
    coefficients = bn_grad_coefficients(stats, s1, sg, sgx, m, g_exponent)
    real = np.empty(g.shape, np.float32)
    n, power = ieee.round(m), Fraction(2) ** g_exponent
    for ch in range(x.shape[1]):
        mean_q, _, _, inv, k = oracle_statistics(ieee, [int(v) for v in x[:, ch]], exponent)
        d = ieee.div(ieee.round(m * int(sgx[ch]) - int(sg[ch]) * int(s1[ch])), ieee.mul(n, n))
        b = -ieee.mul(inv, ieee.mul(ieee.mul(k, k), d))
        c = ieee.sub(-ieee.mul(inv, ieee.div(ieee.round(int(sg[ch])), n)), ieee.mul(b, mean_q))
        a, b, c = (ieee.round(v * power) for v in (inv, b, c))
        assert tuple(ieee.of(v[ch]) for v in coefficients) == (a, b, c)
        for i in range(m):
            both = ieee.add(ieee.mul(a, Fraction(int(g[i, ch]))), ieee.mul(b, Fraction(int(x[i, ch]))))
            real[i, ch] = float(ieee.add(both, c))
    target = Target(-12, 16)
    expected, expected_counts = quantize(real, target)
    ints, counts = normalize_grad(g, x, *coefficients, target)
    assert np.array_equal(ints, expected)
    assert counts == expected_counts


@pytest.mark.clause("BN-6")
def test_the_gradient_is_that_of_batch_norm():
    """The one comparison of real numbers here: within 2**-20 of the largest entry of the binary64 formula."""
    rng = np.random.default_rng(6)
    x, g = rng.integers(-128, 128, (200, 4), np.int8), rng.integers(-128, 128, (200, 4), np.int8)
    e_x, e_g = -5, -12
    s1, s2 = channel_sums(x)
    stats = bn_statistics(s1, s2, 200, e_x, 1e-5)
    a, b, c = bn_grad_coefficients(stats, s1, *channel_dots(g, x), 200, e_g)
    dx = (a * g.astype(np.float32) + b * x.astype(np.float32)) + c
    real_x, real_g = x * 2.0**e_x, g * 2.0**e_g
    inv = 1 / np.sqrt(real_x.var(axis=0) + 1e-5)
    xhat = (real_x - real_x.mean(axis=0)) * inv
    exact = inv * (real_g - real_g.mean(axis=0) - xhat * (real_g * xhat).mean(axis=0))
    assert np.abs(dx - exact).max() <= np.abs(exact).max() * 2.0**-20


@pytest.mark.clause("BN-6")
@pytest.mark.parametrize("e_x", [-64, -40, 0, 30, 63])
@pytest.mark.parametrize("e_g", [-64, -30, -10, 4])
def test_subnormal_coefficients_lose_less_than_any_result_can_show(e_x, e_g):
    rng = np.random.default_rng(8)
    x, g = rng.integers(-128, 128, (50, 3), np.int8), rng.integers(-128, 128, (50, 3), np.int8)
    s1, s2 = channel_sums(x)
    dots = channel_dots(g, x)
    if e_x == 63:
        s2 = s2 // 4096  # keep the variance within float32
        s1 = s1 // 4096
    stats = bn_statistics(s1, s2, 50, e_x, 1e-5)
    unit = bn_grad_coefficients(stats, s1, *dots, 50, 0)
    scaled = bn_grad_coefficients(stats, s1, *dots, 50, e_g)
    for plain, moved in zip(unit, scaled, strict=True):
        exact = plain.astype(np.float64) * 2.0**e_g
        normal = np.abs(exact) >= 2.0**-126
        assert np.array_equal(moved[normal].astype(np.float64), exact[normal])
        assert (np.abs(moved.astype(np.float64) - exact) <= 2.0**-150).all()
        if e_x >= -40 and e_g >= -30:  # the exponents of ordinary nets
            assert normal.all()


@pytest.mark.clause("BN-6")
def test_with_constant_statistics_the_gradient_is_a_factor():
    stats = bn_eval_statistics(np.float32([1, 2]), np.float32([4, 9]), -3, 1e-5)
    a, b, c = bn_eval_grad_coefficients(stats, -2)
    assert np.array_equal(a, stats.inv_std / 4)
    assert not b.any()
    assert not c.any()


@pytest.mark.clause("BN-8")
@given(batches(), st.booleans())
def test_scale_is_exact_and_rounded_once(case, with_bias):
    x, g, _ = case
    gamma = g[0]
    bias = np.array([(-1) ** c * (2**40 + c) for c in range(x.shape[1])]) if with_bias else None
    exact = np.empty(x.shape, object)
    for i, c in np.ndindex(*x.shape):
        exact[i, c] = int(x[i, c]) * int(gamma[c]) + (int(bias[c]) if with_bias else 0)
    target = Target(30 if with_bias else 5, 8)
    expected, expected_counts = requantize(exact, -2, target)
    ints, counts = scale(x, gamma, bias, -2, target)
    assert np.array_equal(ints, expected)
    assert counts == expected_counts


@pytest.mark.clause("BN-8")
def test_scale_needs_a_factor_for_each_channel():
    x = np.ones((2, 3), np.int8)
    assert scale(x, np.array([1, -2, 3], np.int8), np.array([0, 10, 0]), 0, Target(0))[0].tolist() == [[1, 8, 3]] * 2
    with pytest.raises(ValueError, match="one factor a channel"):
        scale(x, np.ones(2, np.int8), None, 0, Target(0))
