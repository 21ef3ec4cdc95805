"""Clauses INT-9 to INT-13: WAGE's powers of two, levels, steps, loss and activation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    Target,
    nearest_power,
    quantize,
    relu_clip_grad,
    sum_of_squares,
    wage_layer,
    wage_limit,
    wage_masters,
    wage_update,
    wage_weights,
)


@pytest.mark.clause("INT-9")
@given(st.one_of(st.integers(1, 2**70), st.floats(2.0**-60, 2.0**60, width=32)))
def test_nearest_power_is_the_rounded_logarithm(value: float) -> None:
    p = nearest_power(value)
    assert Fraction(2) ** (2 * p - 1) <= Fraction(value) ** 2 < Fraction(2) ** (2 * p + 1)


@pytest.mark.clause("INT-10")
@given(fan_in=st.one_of(st.integers(1, 5000), st.integers(1, 10**7)), bits=st.integers(2, 8))
def test_layers_of_any_size(fan_in: int, bits: int) -> None:
    bound, log2_alpha = wage_layer(fan_in, bits)
    ratio = Fraction(3, 2) * Fraction(2) ** (1 - bits)
    squared = ratio**2 * fan_in / 3
    assert log2_alpha == max(
        0, next(p for p in range(-40, 40) if Fraction(2) ** (2 * p - 1) <= squared < Fraction(2) ** (2 * p + 1))
    )
    assert bound >= float(ratio)


@pytest.mark.clause("INT-10")
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("log2_alpha", [0, 3])
def test_levels_of_every_master(bits: int, log2_alpha: int) -> None:
    masters = np.arange(-200, 201, dtype=np.float32) / np.float32(128)
    view = wage_weights(masters, bits, log2_alpha)
    ints, _ = quantize(view, Target(1 - bits - log2_alpha, bits, "nearest_even"))
    top = 2 ** (bits - 1) - 1
    want = [max(-top, min(top, round(Fraction(int(m * 128), 128) * 2 ** (bits - 1)))) for m in masters.tolist()]
    assert ints.tolist() == want


@pytest.mark.clause("INT-10")
@given(seed=st.integers(0, 99), bits=st.integers(2, 8))
def test_masters_are_on_their_grid(seed: int, bits: int) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, 20).astype(np.float32)
    got = wage_masters(values, bits)
    steps = [Fraction(v) * 2 ** (bits - 1) for v in got.tolist()]
    assert all(s.denominator == 1 for s in steps)
    assert all(
        abs(s - Fraction(v) * 2 ** (bits - 1)) <= Fraction(1, 2) for s, v in zip(steps, values.tolist(), strict=True)
    )
    for wrong in (1, 9):
        with pytest.raises(ValueError, match="2 to 8"):
            wage_limit(wrong)


@pytest.mark.clause("INT-11")
@given(
    seed=st.integers(0, 999), w_bits=st.integers(2, 8), g_bits=st.integers(2, 8), lr=st.sampled_from([8.0, 1.0, 0.125])
)
def test_step_in_fractions(seed: int, w_bits: int, g_bits: int, lr: float) -> None:
    rng = np.random.default_rng(seed)
    masters = wage_masters(rng.uniform(-1, 1, 16).astype(np.float32), g_bits)
    gradient = rng.integers(-300, 300, 16).astype(np.float32)
    words = rng.integers(0, 65536, 16).astype(np.uint16)
    got = wage_update(masters, gradient, lr, words, w_bits, g_bits)
    limit = 1 - Fraction(2) ** (1 - w_bits)
    p = nearest_power(float(np.abs(gradient).max()))
    for new, old, g, u in zip(got.tolist(), masters.tolist(), gradient.tolist(), words.tolist(), strict=True):
        v = Fraction(round(Fraction(lr) * Fraction(g) / Fraction(2) ** p * 2**15), 2**15)
        whole = abs(v).numerator // abs(v).denominator
        step = whole + (abs(v) - whole > Fraction(u, 2**16))
        clipped = max(-limit, min(limit, Fraction(old)))
        assert Fraction(new) == clipped - (step if v > 0 else -step) * Fraction(2) ** (1 - g_bits)


@pytest.mark.clause("INT-11")
def test_noise_rounds_up_as_often_as_the_fraction_says() -> None:
    words = np.arange(65536, dtype=np.uint16)
    gradient = np.full(65536, 0.25, np.float32)
    gradient[0] = 1
    moved = wage_update(np.zeros(65536, np.float32), gradient, 1.0, words, 2, 8)
    assert int((moved[1:] != 0).sum()) == 16384 - 1
    with pytest.raises(OverflowError, match="finite"):
        wage_update(moved, np.full(65536, np.inf, np.float32), 1.0, words, 2, 8)
    with pytest.raises(ValueError, match="agree"):
        wage_update(moved, gradient, 1.0, words[1:], 2, 8)


@pytest.mark.clause("INT-12")
@given(seed=st.integers(0, 99))
def test_sum_of_squares_of_exact_outputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.integers(-999, 1000, (4, 5))
    labels = rng.integers(0, 5, 4)
    losses, grad = sum_of_squares((q / 256).astype(np.float32), labels)
    d = q - 256 * (np.arange(5) == labels[:, None])
    np.testing.assert_array_equal(grad, (d / 256).astype(np.float32))
    assert losses.tolist() == [int(v) * 2**3 for v in (d * d).sum(axis=1)]


@pytest.mark.clause("INT-13")
@given(x=st.integers(-(2**15), 2**15 - 1), exponent=st.integers(-20, 3), bits=st.integers(2, 8))
def test_mask_of_the_clip(x: int, exponent: int, bits: int) -> None:
    got = relu_clip_grad(np.array([7], np.int8), np.array([x], np.int16), exponent, bits)
    assert (int(got[0]) == 7) == (0 < x * Fraction(2) ** exponent <= 1 - Fraction(2) ** (1 - bits))
