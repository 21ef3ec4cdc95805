"""Weights of a few levels: thresholds, ties, laws, gradients, and a second way in fractions."""

from __future__ import annotations

import decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    THRESHOLD_PRESETS,
    alpha_schedule,
    ap2,
    aqe_grad,
    deepshift,
    deepshift_ps,
    deepshift_ps_grad,
    exact_sum,
    hardtanh_grad,
    level_format,
    level_thresholds,
    pow2_levels,
    quantize_levels,
    reconstruct,
    reconstruct_grad,
    staircase,
    staircase_grad,
    staircase_slope,
    ternary,
)

PRESETS = [(n, p) for n in (2, 3, 4, 5) for p in THRESHOLD_PRESETS if p != "paper" or n == 3]
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
WEIGHTS = st.lists(st.one_of(st.floats(-1.5, 1.5, width=32), FLOATS, st.sampled_from([0.0, -0.0, 0.125, 0.375])))
SHARES = st.floats(0, 1, width=32)


def f32(values: object) -> np.ndarray:
    return np.array(values, np.float32)


def level(w: Fraction, thresholds: list[Fraction], inclusive: bool = True) -> Fraction:
    """Equation 4 of the paper, read aloud; not inclusive: equation 22 of its companion."""
    for i, bound in enumerate(thresholds, 1):
        if w != 0 and (abs(w) > bound or (inclusive and abs(w) == bound)):
            return (1 if w > 0 else -1) * Fraction(1, 2 ** (i - 1))
    return Fraction(0)


@pytest.mark.clause("WGT-13")
@pytest.mark.parametrize("exponent", [-9, -7, -5, -2, 0])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_logquant_of_activations_is_ap2_in_range(bits: int, exponent: int) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    out = np.ldexp(staircase(codes, exponent, bits, "log").astype(np.float64), level_format(bits)[0])
    x = np.ldexp(codes.astype(np.float64), exponent)
    power = np.minimum(np.abs(ap2(x.astype(np.float32))), 1)
    smallest = 2.0 ** (1 - pow2_levels(bits))
    np.testing.assert_array_equal(out, np.where(power < smallest, 0, np.sign(x) * power))
    np.testing.assert_array_equal(out[1:], -out[:0:-1])
    passed = staircase_grad(codes, codes, exponent, 8, staircase_slope(bits, "straight")[0])
    np.testing.assert_array_equal(passed, np.where(np.abs(x) <= 1, codes, 0))


def half_even(x: Fraction) -> int:
    return round(x)  # of a Fraction: ties to even


@pytest.mark.clause("WGT-14")
@given(st.integers(2, 5), st.lists(st.tuples(st.floats(-20, 20, width=32), st.floats(-2, 2, width=32))))
def test_deepshift_ps_in_fractions(bits: int, pairs: list[tuple[float, float]]) -> None:
    shift, sign = f32([p for p, _ in pairs]), f32([s for _, s in pairs])
    out = deepshift_ps(shift, sign, bits)
    reach = 2 ** (bits - 1) - 2
    for p, s, w in zip(shift, sign, out, strict=True):
        held = min(max(Fraction(float(np.float32(p - np.float32(reach / 2)))), Fraction(-reach)), Fraction(0))
        rounded = half_even(Fraction(float(s)))
        assert Fraction(float(w)) == ((rounded > 0) - (rounded < 0)) * Fraction(2) ** half_even(held)
    assert not np.signbit(out[out == 0]).any()
    np.testing.assert_array_equal(deepshift_ps(shift, -sign, bits), -out)
    assert set(np.abs(out).tolist()) <= {0.0, *(2.0**-i for i in range(reach + 1))}
    g = f32([p for p, _ in pairs])
    np.testing.assert_array_equal(deepshift_ps_grad(g, out), (g * out) * np.float32(0.6931471805599453))


@pytest.mark.clause("WGT-14")
@pytest.mark.parametrize("wrong", [f32([np.nan]), f32([np.inf])])
def test_deepshift_ps_takes_finite_masters(wrong: np.ndarray) -> None:
    for pair in ((wrong, f32([1])), (f32([1]), wrong)):
        with pytest.raises(ValueError, match="finite"):
            deepshift_ps(*pair, 5)


@pytest.mark.clause("WGT-2")
@pytest.mark.parametrize(("bits", "preset"), PRESETS)
def test_presets_are_what_the_chapter_says(bits, preset):
    r = pow2_levels(bits)
    d = [Fraction(float(v)) for v in level_thresholds(bits, preset)]
    assert len(d) == r
    assert d == sorted(d, reverse=True)
    for i, value in enumerate(d, 1):
        if preset == "truncate":
            assert value == Fraction(2, 2**i)
        elif preset == "nearest":
            middle = (Fraction(2, 2**i) + (Fraction(1, 2**i) if i < r else 0)) / 2
            assert value == middle
        elif preset == "log":  # the smallest float32 whose square is above 2 * 4**-i
            below = Fraction(float(np.nextafter(np.float32(float(value)), np.float32(0))))
            assert below**2 < Fraction(2, 4**i) < value**2
        else:
            assert abs(value - [Fraction(14, 100), Fraction(7, 100), Fraction(2, 100)][i - 1]) < Fraction(1, 2**27)


@pytest.mark.clause("WGT-1")
@pytest.mark.parametrize(("bits", "preset"), PRESETS)
def test_a_level_begins_at_its_threshold(bits, preset):
    d = level_thresholds(bits, preset)
    below = np.nextafter(d, np.float32(0))
    powers = [2.0**-i for i in range(len(d))]
    for sign in (np.float32(1), np.float32(-1)):
        assert quantize_levels(sign * d, bits, preset).tolist() == [float(sign) * p for p in powers]
        assert quantize_levels(sign * below, bits, preset).tolist() == [float(sign) * p for p in [*powers[1:], 0.0]]


@pytest.mark.clause("WGT-1")
@pytest.mark.parametrize(("bits", "preset"), PRESETS)
def test_or_above_its_threshold(bits, preset):
    d = level_thresholds(bits, preset)
    above = np.nextafter(d, np.float32(np.inf))
    powers = [2.0**-i for i in range(len(d))]
    for sign in (np.float32(1), np.float32(-1)):
        at, over = (quantize_levels(sign * w, bits, preset, inclusive=False) for w in (d, above))
        assert at.tolist() == [float(sign) * p for p in [*powers[1:], 0.0]]
        assert over.tolist() == [float(sign) * p for p in powers]
        assert not np.signbit(at[at == 0]).any(), "no negative zero"


@pytest.mark.clause("WGT-1", "WGT-3")
@given(WEIGHTS, st.sampled_from(PRESETS), st.booleans(), st.data())
def test_levels_above_their_thresholds_in_fractions(numbers, chosen, relative, data):
    bits, preset = chosen
    most = np.float32(max((abs(v) for v in numbers if abs(v) < 2.0**120), default=0.0))
    bounds = level_thresholds(bits, preset) * (most if relative else np.float32(1))
    tied = data.draw(st.lists(st.sampled_from([float(b) for b in bounds]))) if relative is False or most else []
    w = f32([v for v in [*numbers, *tied] if abs(v) <= (most if relative else 2.0**120)])
    d = [Fraction(float(v)) for v in bounds]
    got = quantize_levels(w, bits, preset, relative, inclusive=False)
    assert [Fraction(float(v)) for v in got] == [level(Fraction(float(v)), d, inclusive=False) for v in w]
    assert np.array_equal(quantize_levels(-w, bits, preset, relative, inclusive=False), -got)


@pytest.mark.clause("WGT-10")
@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize(("bits", "preset"), PRESETS)
def test_all_bytes_through_the_staircase(bits, preset, inclusive):
    """Bytes lie on the thresholds where these are on their grid, for which the side matters."""
    codes = np.arange(-128, 128, dtype=np.int8)
    d = [Fraction(float(v)) for v in level_thresholds(bits, preset)]
    for exponent in (-9, -7, -4, 0):
        got = staircase(codes, exponent, bits, preset, inclusive)
        want = [level(int(c) * Fraction(2) ** exponent, d, inclusive) for c in codes]
        assert [int(v) * Fraction(2) ** level_format(bits)[0] for v in got] == want


@pytest.mark.clause("WGT-1")
def test_the_sign_of_zero_is_plus_one():
    tiny = 2.0**-149
    for inclusive in (True, False):
        signs = quantize_levels(f32([0.0, -0.0, tiny, -tiny, 7, -7]), 1, inclusive=inclusive)
        assert signs.tolist() == [1, 1, 1, -1, 1, -1]
    assert not np.signbit(quantize_levels(f32([0.0, -0.0, -1e-9]), 3)).any(), "no negative zero"


@pytest.mark.clause("WGT-1")
@given(WEIGHTS, st.sampled_from(PRESETS))
def test_levels_are_odd_monotone_idempotent_and_equal_to_fractions(numbers, chosen):
    bits, preset = chosen
    w = np.sort(f32(numbers))
    q = quantize_levels(w, bits, preset)
    assert q.dtype == np.float32
    assert (np.diff(q) >= 0).all()
    assert np.array_equal(quantize_levels(-w, bits, preset), -q)
    d = [Fraction(float(v)) for v in level_thresholds(bits, preset)]
    assert [Fraction(float(v)) for v in q] == [level(Fraction(float(v)), d) for v in w]
    if preset != "paper":  # its thresholds are shares of the largest weight, so a level may lie above the next one
        assert np.array_equal(quantize_levels(q, bits, preset), q)
    assert set(np.abs(q).tolist()) <= {0.0, *(2.0**-i for i in range(pow2_levels(bits)))}


@pytest.mark.clause("WGT-1")
@pytest.mark.parametrize(("bits", "preset"), PRESETS)
def test_every_level_is_its_own_level(bits, preset):
    levels = f32([0, *(2.0**-i for i in range(pow2_levels(bits)))])
    if preset == "paper":
        return  # its thresholds are shares of the largest weight and lie below the levels
    assert np.array_equal(quantize_levels(levels, bits, preset), levels)


@pytest.mark.clause("WGT-2")
@given(WEIGHTS, st.integers(2, 5))
def test_log_is_ap2_between_the_levels(numbers, bits):
    r = pow2_levels(bits)
    w = f32([v for v in numbers if 2.0 ** (1 - r) <= abs(v) <= 1])
    assert np.array_equal(quantize_levels(w, bits, "log"), ap2(w))


@pytest.mark.clause("WGT-2")
@given(st.lists(st.floats(2.0**-100, 2.0**100, width=32), min_size=3, max_size=3, unique=True), WEIGHTS)
def test_thresholds_of_your_own(numbers, weights):
    d = sorted(numbers, reverse=True)
    w = f32(weights)
    want = [level(Fraction(float(v)), [Fraction(b) for b in d]) for v in w]
    assert [Fraction(float(v)) for v in quantize_levels(w, 3, d)] == want


@pytest.mark.clause("WGT-3")
@given(WEIGHTS, st.sampled_from(PRESETS))
def test_relative_thresholds_are_rounded_products(numbers, chosen):
    bits, preset = chosen
    w = f32([v for v in numbers if abs(v) < 2.0**120])
    most = np.float32(max((abs(float(v)) for v in w), default=0.0))
    d = [Fraction(float(np.float32(v) * most)) for v in level_thresholds(bits, preset)]
    got = quantize_levels(w, bits, preset, relative=True)
    assert [Fraction(float(v)) for v in got] == [level(Fraction(float(v)), d) for v in w]


@pytest.mark.clause("WGT-3")
def test_the_numbers_of_the_papers_code():
    w = f32([1.0, 0.14, 0.1399, 0.07, 0.0699, 0.02, 0.0199, -0.02])
    for scale in (1.0, 0.5, 2.0**-20):
        got = quantize_levels(w * np.float32(scale), 3, "paper", relative=True)
        assert got.tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25, 0, -0.25]


@pytest.mark.clause("WGT-2")
@pytest.mark.parametrize(
    ("bits", "chosen", "part"),
    [
        (3, (0.1, 0.2, 0.3), "strictly decreasing"),
        (3, (0.3, 0.2, 0.2), "strictly decreasing"),
        (3, (0.3, 0.2, 0.0), "positive"),
        (3, (float("inf"), 0.2, 0.1), "finite"),
        (3, (0.3, 0.2), "give 3"),
        (1, (0.3,), "1 bit"),
        (2, "paper", "3 bits alone"),
        (3, "papers", "known are"),
        (0, "nearest", "1, 2, 3, 4 and 5"),
        (6, "nearest", "1, 2, 3, 4 and 5"),
    ],
)
def test_wrong_thresholds_are_explained(bits, chosen, part):
    with pytest.raises(ValueError, match="got") as error:
        level_thresholds(bits, chosen)
    assert part in str(error.value)


@pytest.mark.clause("WGT-1")
def test_wrong_weights_are_explained():
    for function in (lambda w: quantize_levels(w, 3), lambda w: deepshift(w, 3), ternary):
        with pytest.raises(ValueError, match="got 2 weights that are NaN or infinite"):
            function(f32([1, np.nan, -np.inf]))
        with pytest.raises(TypeError, match="float64"):
            function(np.array([1.0]))
        assert function(f32([])).shape == (0,)


def once(value: Fraction) -> Fraction:
    """Rounded once to binary32; the intervals of these tests hold no subnormal numbers."""
    if value == 0:
        return Fraction(0)
    power = Fraction(1)
    while abs(value) / power >= 2**24:
        power *= 2
    while abs(value) / power < 2**23:
        power /= 2
    return round(value / power) * power  # ties to even


@pytest.mark.clause("WGT-4")
@given(st.lists(st.floats(2.0**-20, 1, width=32)), st.floats(2.0**-10, 1 - 2.0**-10, width=32))
def test_the_reconstructed_weight_in_fractions(numbers, alpha):
    w = f32(numbers)
    q = quantize_levels(w, 3)
    a, rest = Fraction(alpha), once(1 - Fraction(alpha))
    want = [once(once(rest * Fraction(float(b))) + once(a * Fraction(float(v)))) for v, b in zip(w, q, strict=True)]
    assert [Fraction(float(v)) for v in reconstruct(w, q, alpha)] == want
    assert [Fraction(float(v)) for v in reconstruct_grad(w, alpha)] == [once(a * Fraction(float(v))) for v in w]


@pytest.mark.clause("WGT-4")
@given(st.lists(st.floats(-1, 1, width=32)))
def test_alpha_at_its_ends(numbers):
    w = f32(numbers)
    q = quantize_levels(w, 3)
    assert np.array_equal(reconstruct(w, q, 0.0), q)
    assert np.array_equal(reconstruct(w, q, 1.0), w)
    assert not reconstruct_grad(w, 0.0).any()
    for wrong in (-0.1, 1.1, float("nan")):
        for action in (
            lambda a: reconstruct(w, q, a),
            lambda a: reconstruct_grad(w, a),
            lambda a: aqe_grad(w, w, a),
        ):
            with pytest.raises(ValueError, match="share of the latent weight"):
                action(wrong)


@pytest.mark.clause("WGT-4")
@given(st.sampled_from([0.25, 0.5, 0.75]), st.integers(-255, 255))
def test_the_gradient_is_the_slope_of_what_multiplies(alpha, place):
    """On a grid where every operation is exact, within a segment."""
    w, step = f32([place / 256 + 2.0**-10]), np.float32(2.0**-11)
    ends = [reconstruct(v, quantize_levels(v, 3), alpha) for v in (w, w + step)]
    assert (ends[1] - ends[0]) / step == reconstruct_grad(f32([1]), alpha)


@pytest.mark.clause("WGT-5")
def test_the_schedule_ends_at_zero_and_falls():
    values = [alpha_schedule((epoch + 1) / 30) for epoch in range(30)]
    assert values[-1] == 0.0
    assert values == sorted(set(values), reverse=True)
    assert alpha_schedule(0.0) == 0.5
    context = decimal.Context(prec=40)
    for epoch, value in enumerate(values):
        exact = 1 - context.power(decimal.Decimal(2), decimal.Decimal(epoch + 1) / 30) / 2
        assert abs(decimal.Decimal(value) - exact) <= decimal.Decimal(2) ** -24, "two roundings below 1"
        assert np.float32(value) == value
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="progress"):
            alpha_schedule(wrong)


@pytest.mark.clause("WGT-6")
@given(WEIGHTS, st.floats(-4, 4, width=32))
def test_half_a_share_is_straight_through(numbers, gradient):
    w = f32(numbers)
    g = np.full(w.shape, gradient, np.float32)
    inside = np.array([abs(float(v)) <= 1 for v in w], bool)
    assert np.array_equal(aqe_grad(g, w, 0.5), np.where(inside, g, 0))
    assert np.array_equal(aqe_grad(g, w, 0.0), np.where(inside, 2 * g, 0))


@pytest.mark.clause("WGT-7")
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_levels_are_exact_on_their_grid(bits):
    exponent, width = level_format(bits)
    r = 1 if bits == 1 else pow2_levels(bits)
    largest = Fraction(1) / Fraction(2) ** exponent
    smallest = Fraction(1, 2 ** (r - 1)) / Fraction(2) ** exponent
    assert smallest == 1
    assert largest <= 2 ** (width - 1) - 1 or largest < 2 ** (width - 1)
    assert width == min(b for b in (2, 4, 8, 16) if b > largest.numerator.bit_length() or largest == 1)


@pytest.mark.clause("WGT-8")
@given(WEIGHTS, st.integers(2, 5))
def test_deepshift_holds_the_exponent_of_ap2(numbers, bits):
    w = f32([v for v in numbers if abs(v) < 2.0**120])
    lowest = -(2 ** (bits - 1) - 2)
    for v, got in zip(w, deepshift(w, bits), strict=True):
        if v == 0:
            assert got == 0
            continue
        power = int(np.frexp(ap2(np.abs(f32([v]))))[1][0]) - 1
        assert got == np.sign(v) * 2.0 ** min(max(power, lowest), 0)


@pytest.mark.clause("WGT-9")
@given(st.lists(FLOATS, max_size=20), st.randoms())
def test_sums_are_exact_in_any_order(numbers, random):
    total = float(sum((Fraction(v) for v in numbers), Fraction(0)))
    assert exact_sum(f32(numbers)) == total
    random.shuffle(numbers)
    assert exact_sum(f32(numbers)) == total


@pytest.mark.clause("WGT-9")
@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20))
def test_ternary_in_fractions(numbers):
    w = f32(numbers)
    magnitudes = [abs(Fraction(float(v))) for v in w]
    bound = Fraction(float(np.float32(0.7 * (float(sum(magnitudes)) / len(w)))))
    kept = [m for m in magnitudes if m > bound]
    scale = np.float32(float(sum(kept)) / max(1, len(kept)))
    want = [float(np.sign(v) * scale) if m > bound else 0.0 for v, m in zip(w, magnitudes, strict=True)]
    assert ternary(w).tolist() == want
    assert ternary(w, scaled=False).tolist() == [float(np.sign(v)) for v in want]


@pytest.mark.clause("WGT-10")
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("exponent", [-7, -5, 0])
def test_the_staircase_of_every_code(bits, exponent):
    codes = np.arange(-128, 128, dtype=np.int8)
    place, width = level_format(bits)
    got = staircase(codes, exponent, bits, "nearest")
    assert got.dtype == (np.int16 if width > 8 else np.int8)
    values = [Fraction(int(q)) * Fraction(2) ** exponent for q in codes]
    d = [Fraction(float(v)) for v in level_thresholds(bits, "nearest")]
    want = [Fraction(1 if v >= 0 else -1) if bits == 1 else level(v, d) for v in values]
    assert [Fraction(int(q)) * Fraction(2) ** place for q in got] == want


@pytest.mark.clause("WGT-10")
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_both_readings_of_lambda(bits):
    r = 1 if bits == 1 else pow2_levels(bits)
    for reading, base in (("printed", 4), ("derived", 2)):
        numerator, exponent = staircase_slope(bits, reading)
        want = 2 * sum(Fraction(1, base**i) for i in range(r))
        assert numerator * Fraction(2) ** exponent == want
    with pytest.raises(ValueError, match="printed"):
        staircase_slope(bits, "squared")
    assert staircase_slope(1, "printed") == staircase_slope(1, "derived") == (1, 1)


@pytest.mark.clause("WGT-10")
@given(st.integers(-9, 0), st.integers(1, 5))
def test_the_staircases_gradient_passes_within_one(exponent, bits):
    codes = np.arange(-128, 128, dtype=np.int8)
    g = np.full(256, -7, np.int8)
    numerator, _ = staircase_slope(bits)
    got = staircase_grad(g, codes, exponent, 8, numerator)
    assert got.dtype == np.int64
    assert np.array_equal(got, hardtanh_grad(g, codes, exponent, 8).astype(np.int64) * numerator)
    passed = [abs(Fraction(int(q)) * Fraction(2) ** exponent) <= 1 for q in codes]
    assert (got != 0).tolist() == passed
