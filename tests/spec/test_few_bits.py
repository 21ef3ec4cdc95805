"""Weights of one to a few bits, DoReFa's maps and normalisation by shifts, against fractions, loops and all words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    Noise,
    Rounding,
    Target,
    ap2_dots,
    binarize,
    binarize_stochastic,
    by_largest,
    by_largest_grad,
    check_exact_terms,
    decode_pow2,
    dorefa_activations,
    dorefa_weights,
    dorefa_weights_grad,
    encode_pow2,
    glorot_rate,
    linear_quant,
    log_activations,
    log_quant,
    pow2_levels,
    requantize,
    round_samples,
    sample_shifts,
    shift_adamax,
    shift_bn_deviations,
    shift_bn_eval_statistics,
    shift_bn_grad_coefficients,
    shift_bn_mean,
    shift_bn_statistics,
    tanh32,
)

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-149, -(2.0**-149), 2.0**-16, 1 - 2.0**-24, -1 + 2.0**-24, 1.5, -2.0]
NUMBERS = st.one_of(st.floats(-2, 2, width=32), st.sampled_from(EDGES)).map(np.float32)
ALL_WORDS = np.arange(65536, dtype=np.uint16)


def array(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def power(x: Fraction, reading: str = "nearest") -> Fraction:
    """AP2 by squares: |x| * 2**-k above the root of 2 goes up, but where only the top bit counts."""
    if x == 0:
        return Fraction(0)
    k = 0
    while abs(x) >= Fraction(2) ** (k + 1):
        k += 1
    while abs(x) < Fraction(2) ** k:
        k -= 1
    k += reading == "nearest" and (abs(x) / Fraction(2) ** k) ** 2 > 2
    return (1 if x > 0 else -1) * Fraction(2) ** k


@pytest.mark.clause("BIT-1")
@given(st.lists(NUMBERS, min_size=1))
def test_binarised_weights_are_signs(numbers: list[np.float32]) -> None:
    w = array(*numbers)
    assert [int(v) for v in binarize(w)] == [1 if v >= 0 else -1 for v in w]
    np.testing.assert_array_equal(binarize(binarize(w)), binarize(w))


@pytest.mark.clause("BIT-2")
@given(NUMBERS)
def test_the_drawn_sign_has_its_probability_over_all_words(w: np.float32) -> None:
    drawn = binarize_stochastic(np.full(65536, w, np.float32), ALL_WORDS)
    assert set(np.unique(drawn)) <= {1.0, -1.0}
    want = min(max(math.ceil((Fraction(float(w)) + 1) * 2**15), 0), 2**16)
    assert int((drawn > 0).sum()) == want
    assert bool((np.diff(drawn) <= 0).all()), "small words give +1"


@pytest.mark.clause("BIT-2")
@given(NUMBERS, NUMBERS, st.integers(0, 65535))
def test_the_drawn_sign_rises_with_the_weight(a: np.float32, b: np.float32, word: int) -> None:
    low, high = sorted((a, b))
    signs = binarize_stochastic(array(low, high), np.array([word, word], np.uint16))
    assert signs[0] <= signs[1]


@pytest.mark.clause("BIT-3")
@given(NUMBERS, st.integers(2, 8))
def test_linear_levels(w: np.float32, bits: int) -> None:
    steps = 2 ** (bits - 1)
    scaled = Fraction(float(w)) * steps
    nearest = math.ceil(scaled - Fraction(1, 2))  # ties down
    want = Fraction(min(max(nearest, -steps), steps - 1), steps)
    got = linear_quant(array(w), bits)
    assert Fraction(float(got[0])) == want
    np.testing.assert_array_equal(linear_quant(got, bits), got)
    assert -linear_quant(-got, bits)[0] == got[0] or got[0] == -1


@pytest.mark.clause("BIT-3")
@given(st.lists(NUMBERS, max_size=9), st.integers(2, 8))
def test_linear_levels_of_shares_of_the_largest(numbers: list[np.float32], bits: int) -> None:
    w, gradient = array(*numbers), np.full(len(numbers), 3, np.float32)
    largest = max((abs(ieee.of(v)) for v in w), default=Fraction(0)) or Fraction(1)
    shares = by_largest(w)
    assert [ieee.of(v) for v in shares] == [ieee.div(ieee.of(v), largest) for v in w]
    levels = linear_quant(shares, bits)
    np.testing.assert_array_equal(linear_quant(by_largest(w * np.float32(4)), bits), levels)  # no scale is left
    if largest <= Fraction(3, 2**128):
        with pytest.raises(OverflowError, match="not finite: scale='max'"):
            by_largest_grad(gradient, w)
    else:
        want = [ieee.div(Fraction(3), largest) for _ in w]
        assert [ieee.of(v) for v in by_largest_grad(gradient, w)] == want


@pytest.mark.clause("BIT-4")
@given(NUMBERS, st.integers(2, 5), st.sampled_from(["nearest", "top"]))
def test_log_levels(w: np.float32, bits: int, reading: str) -> None:
    least = Fraction(1, 2 ** (pow2_levels(bits) - 1))
    x = Fraction(float(w))
    size = min(max(abs(power(x, reading)), least), Fraction(1))
    want = Fraction(0) if x == 0 else size if x > 0 else -size
    got = log_quant(array(w), bits, reading)
    assert Fraction(float(got[0])) == want
    np.testing.assert_array_equal(log_quant(got, bits, reading), got)
    np.testing.assert_array_equal(log_quant(-array(w), bits, reading), -got)


@pytest.mark.clause("BIT-14", "POW-5")
@pytest.mark.parametrize("reading", ["nearest", "top"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_log_activations_of_every_byte_and_exponent(bits: int, reading: str) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    last = pow2_levels(bits) - 1
    for exponent in range(-24, 5):
        got = log_activations(codes, exponent, bits, reading)
        assert got.dtype == (np.int16 if bits == 5 else np.int8)
        for q, y in zip(codes, got, strict=True):
            size = min(max(abs(power(Fraction(int(q)), reading)) * Fraction(2) ** (exponent + last), 1), 2**last)
            assert int(y) == (0 if q == 0 else size if q > 0 else -size)
        weights = log_quant(np.ldexp(codes.astype(np.float32), exponent), bits, reading)
        np.testing.assert_array_equal(np.ldexp(got.astype(np.float32), -last), weights, "as the weights of BIT-4")
        np.testing.assert_array_equal(decode_pow2(encode_pow2(got, bits), bits), got)
        np.testing.assert_array_equal(log_activations(got, -last, bits, reading), got)


@pytest.mark.clause("BIT-14")
@pytest.mark.parametrize("reading", ["nearest", "top"])
@pytest.mark.parametrize("exponent", [-64, -16, -15, -14, -9, 0, 63])
def test_log_activations_of_all_words(exponent: int, reading: str) -> None:
    codes = np.arange(-32768, 32768).astype(np.int16)
    got = log_activations(codes.reshape(256, 256), exponent, 5, reading).ravel()
    weights = log_quant(np.ldexp(codes.astype(np.float32), exponent), 5, reading)
    np.testing.assert_array_equal(np.ldexp(got.astype(np.float32), -14), weights)


@pytest.mark.clause("BIT-14")
def test_log_activations_refuse_other_bits_and_readings() -> None:
    one = np.ones(1, np.int8)
    for bits in (1, 6):
        with pytest.raises(ValueError, match="2, 3, 4 and 5"):
            log_activations(one, 0, bits)
    with pytest.raises(ValueError, match="'nearest', the nearest"):
        log_activations(one, 0, 3, "floor")
    assert log_activations(np.empty((0, 3), np.int8), 0, 3).shape == (0, 3)


@pytest.mark.clause("BIT-5")
@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_rates_are_the_inverse_of_glorots_deviation(fan_in: int, fan_out: int) -> None:
    rate = glorot_rate(fan_in, fan_out)
    assert np.float32(rate) == rate
    assert abs(rate * math.sqrt(1.5 / (fan_in + fan_out)) - 1) < 2.0**-23
    assert glorot_rate(fan_out, fan_in) == rate


@pytest.mark.clause("BIT-6")
@given(st.integers(1, 70000), st.integers(1, 8), st.integers(2, 16))
def test_exact_terms_are_those_that_fit(terms: int, largest: int, bits: int) -> None:
    if terms * largest < 2 ** (bits - 1):
        check_exact_terms(terms, largest, bits)
    else:
        with pytest.raises(OverflowError, match="products hold at most"):
            check_exact_terms(terms, largest, bits)


@pytest.mark.clause("BIT-7")
@given(st.lists(NUMBERS, min_size=1, max_size=9), st.integers(2, 8))
def test_dorefa_weights_by_fractions(numbers: list[np.float32], bits: int) -> None:
    w = array(*numbers)
    t = [ieee.of(v) for v in tanh32(w)]
    largest, steps = max(abs(v) for v in t), Fraction(2**bits - 1)
    got, gradient = dorefa_weights(w, bits), np.full_like(w, 3)
    if largest < Fraction(2) ** -120:  # 3 / largest may leave float32
        gradient = np.full_like(w, 3 * 2.0**-100)
    finite = not 0 < largest <= Fraction(2) ** -128  # 1 / largest is in float32
    if finite:
        back = dorefa_weights_grad(gradient, w, bits)
    else:
        with pytest.raises(OverflowError, match="not finite"):
            dorefa_weights_grad(gradient, w, bits)
    for i, v in enumerate(t):
        u = Fraction(1, 2)
        if largest:
            u = ieee.add(ieee.div(v, ieee.mul(Fraction(2), largest)), Fraction(1, 2))
        assert ieee.of(got[i]) == (2 * round(ieee.mul(steps, u)) - steps) / 2**bits
        if not finite:
            continue
        slope = ieee.div(ieee.sub(Fraction(1), ieee.mul(v, v)), largest) if largest else Fraction(0)
        assert ieee.of(back[i]) == ieee.mul(ieee.of(gradient[i]), slope)
    assert all(int(v * 2**bits) % 2 for v in got), "odd integers: no level is 0"
    np.testing.assert_array_equal(dorefa_weights(w, 1), binarize(w))
    with pytest.raises(ValueError, match="1 to 8"):
        dorefa_weights(w, 9)


@pytest.mark.clause("BIT-8")
@pytest.mark.parametrize("bits", [1, 2, 3, 7])
@pytest.mark.parametrize("exponent", [-9, -7, -5, 0, 2])
def test_dorefa_activations_of_every_code(bits: int, exponent: int) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    got, _ = dorefa_activations(codes, exponent, bits, Target(-bits, bits + 1, Rounding.NEAREST_EVEN))
    for q, y in zip(codes, got, strict=True):
        x = min(max(Fraction(int(q)) * Fraction(2) ** exponent, Fraction(0)), Fraction(1)) * (2**bits - 1)
        assert int(y) == round(x)  # Python rounds fractions half to even


READINGS = st.sampled_from(["nearest", "top"])
TENSORS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed))


@pytest.mark.clause("BIT-9", "BIT-10")
@given(TENSORS, st.integers(1, 9), st.integers(-8, 3), st.sampled_from([np.int8, np.int16]), READINGS)
def test_shift_statistics_and_gradient_by_loops(
    random: np.random.Generator, count: int, exponent: int, dtype: type, reading: str
) -> None:
    limits = np.iinfo(dtype)
    x = random.integers(limits.min, limits.max + 1, (count, 2)).astype(dtype)
    g = random.integers(-128, 128, (count, 2)).astype(np.int8)
    mean = shift_bn_mean(x.astype(np.int64).sum(axis=0), count)
    deviations, powers = shift_bn_deviations(x, mean, reading)
    spread = (deviations.astype(np.int64) * powers).sum(axis=0)
    stats = shift_bn_statistics(mean, spread, count, exponent, 1e-5, reading)
    sag = (g.astype(np.int64) * powers).sum(axis=0)
    a, b, c = shift_bn_grad_coefficients(stats, g.astype(np.int64).sum(axis=0), sag, count, exponent, -3)
    for ch in range(2):
        column = [int(v) for v in x[:, ch]]
        m = math.floor(Fraction(16 * sum(column), count) + Fraction(1, 2))
        assert int(mean[ch]) == m
        v = sum((16 * q - m) * power(Fraction(16 * q - m), reading) for q in column)
        var = ieee.round(ieee.div(ieee.round(v), Fraction(count)) * Fraction(2) ** (2 * (exponent - 4)))
        inverse = ieee.div(Fraction(1), ieee.sqrt(ieee.add(var, ieee.of(np.float32(1e-5)))))
        assert ieee.of(stats.inv_std[ch]) == inverse
        assert ieee.of(stats.mean_q[ch]) == Fraction(m, 16)
        shift = power(inverse, reading)
        assert ieee.of(stats.k[ch]) == shift * Fraction(2) ** exponent
        sigma, u = shift / 8, shift * Fraction(2) ** (exponent - 4)
        sums = sum(int(w) * power(Fraction(16 * q - m), reading) for q, w in zip(column, g[:, ch], strict=True))
        part = ieee.mul(ieee.mul(u, u), ieee.div(ieee.round(sums), Fraction(count)))
        assert (ieee.of(a[ch]), ieee.of(b[ch])) == (sigma, -ieee.mul(sigma, part))
        total = Fraction(sum(int(w) for w in g[:, ch]))
        assert ieee.of(c[ch]) == -ieee.mul(sigma, ieee.div(total, Fraction(count)))


@pytest.mark.clause("BIT-9")
def test_evaluation_takes_the_mean_to_sixteenths() -> None:
    stats = shift_bn_eval_statistics(array(1.03, -0.5), array(1.5, 0.7), -2)
    assert stats.mean_q.tolist() == [4.125, -2.0]
    assert stats.shift.tolist() == [2.0, 0.5]
    assert stats.k.tolist() == [0.5, 0.125]
    assert shift_bn_eval_statistics(array(1.03, -0.5), array(1.5, 0.7), -2, "top").shift.tolist() == [1.0, 0.5]
    for count in (0, 2**22 + 1):
        with pytest.raises(ValueError, match="entries a channel"):
            shift_bn_mean(np.zeros(1, np.int64), count)


@pytest.mark.clause("BIT-11")
@pytest.mark.parametrize("reading", ["nearest", "top"])
def test_dots_with_powers_over_all_codes(reading: str) -> None:
    q = np.arange(-128, 128, dtype=np.int8)[:, None]
    g = np.random.default_rng(0).integers(-128, 128, q.shape).astype(np.int8)
    want = sum(int(a) * power(Fraction(int(b)), reading) for a, b in zip(g[:, 0], q[:, 0], strict=True))
    assert ap2_dots(g, q, reading).tolist() == [want]


@pytest.mark.clause("UPD-4")
@given(
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS.map(abs),
    st.integers(1, 5000),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from(["exact", "ap2"]),
    READINGS,
)
def test_shift_adamax_follows_the_stated_steps(w, g, m, v, step, decay, store, reading) -> None:
    betas = (0.875, 1 - 2.0**-10)
    new_w, new_m, new_v = shift_adamax(
        array(w), array(g), array(m), array(v), step, 0.01, weight_decay=decay, store=store, reading=reading
    )
    b1, b2, lam = (ieee.of(np.float32(b)) for b in (*betas, decay))
    d = ieee.add(ieee.of(g), ieee.mul(lam, ieee.of(w)))
    first = ieee.add(ieee.mul(b1, ieee.of(m)), ieee.mul(Fraction(1, 8), d))
    largest = max(ieee.mul(b2, ieee.of(v)), abs(d))
    tiny = Fraction(1, 2**27)
    if store == "ap2":
        largest = divisor = ieee.add(power(largest, reading), tiny)
    else:
        divisor = power(max(largest, tiny), reading)
    assert (ieee.of(new_m[0]), ieee.of(new_v[0])) == (first, largest)
    rate = power(ieee.of(np.float32(0.01 / (1 - 0.875**step))), reading)
    assert ieee.of(new_w[0]) == ieee.sub(ieee.of(w), ieee.div(ieee.mul(rate, first), divisor))


@pytest.mark.clause("UPD-4")
def test_what_adamax_stores_falls_by_its_reading() -> None:
    for store, reading, least in (("exact", "nearest", 0.97), ("ap2", "nearest", 1.0), ("ap2", "top", 2.0**-18)):
        w, m, v = array(0), array(0), array(1)
        for step in range(1, 31):
            w, m, v = shift_adamax(w, array(0), m, v, step, 0.125, store=store, reading=reading)
        assert least <= v[0] < least * 1.01
    with pytest.raises(ValueError, match=r"'exact', .* and 'ap2'"):
        shift_adamax(w, w, m, v, 1, 0.1, store="power")


@pytest.mark.clause("BIT-1", "BIT-2", "BIT-3", "BIT-4", "BIT-7")
def test_bad_input_is_refused() -> None:
    bad = array(1, np.nan)
    for function in (
        binarize,
        lambda w: linear_quant(w, 4),
        lambda w: log_quant(w, 4),
        lambda w: dorefa_weights(w, 2),
        by_largest,
    ):
        with pytest.raises(ValueError, match="NaN or infinite"):
            function(bad)
        with pytest.raises(TypeError, match="float64"):
            function(np.ones(2))
    with pytest.raises(ValueError, match="one uint16 word each"):
        binarize_stochastic(array(1, 2), np.zeros(3, np.uint16))


# --- gradients sample by sample ---
BATCHES = st.tuples(
    st.sampled_from([np.int8, np.int16]), st.integers(0, 4), st.integers(0, 9), st.integers(0, 2**32 - 1)
)


def batch(made: tuple[type, int, int, int]) -> np.ndarray:
    """Samples of very different magnitudes."""
    dtype, samples, size, seed = made
    random = np.random.default_rng(seed)
    bits = np.iinfo(dtype).bits
    x = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (samples, size))
    return (x >> random.integers(0, bits, (samples, 1))).astype(dtype)


@pytest.mark.clause("BIT-13")
@given(BATCHES, st.integers(2, 16))
def test_the_shift_is_the_least_that_holds_the_largest_entry(made: tuple[type, int, int, int], bits: int) -> None:
    x = batch(made)
    for row, shift in zip(x, sample_shifts(x, bits).tolist(), strict=True):
        largest = max((abs(int(value)) for value in row), default=0)
        assert largest < 2 ** (shift + bits - 1)
        assert shift == 0 or largest >= 2 ** (shift + bits - 2)


@pytest.mark.clause("BIT-13")
@given(BATCHES, st.integers(2, 16), st.integers(0, 100))
def test_each_sample_is_requantised_by_itself_with_the_words_of_its_place(
    made: tuple[type, int, int, int], bits: int, start: int
) -> None:
    x = batch(made)
    noise = Noise(seed=3, stream=4, step=5, start=start)
    got, counts = round_samples(x, bits, noise)
    assert got.dtype == x.dtype
    assert got.shape == x.shape
    assert counts.total == x.size
    for place, (row, shift) in enumerate(zip(x, sample_shifts(x, bits).tolist(), strict=True)):
        own = Noise(seed=3, stream=4, step=5, start=start + place * len(row))
        ints, _ = requantize(row.astype(np.int64), 0, Target(shift, bits, Rounding.STOCHASTIC, own))
        assert got[place].tolist() == [int(value) << shift for value in ints]
        if shift == 0:
            np.testing.assert_array_equal(got[place], row)
        assert (np.abs(got[place].astype(int) - row.astype(int)) <= 1 << shift).all()


@pytest.mark.clause("BIT-13")
@given(BATCHES, st.integers(2, 16), st.integers(0, 4))
def test_a_sample_does_not_see_the_others(made: tuple[type, int, int, int], bits: int, cut: int) -> None:
    x = batch(made)
    cut = min(cut, len(x))
    whole, _ = round_samples(x, bits, Noise(seed=1))
    size = x[0].size if len(x) else 0
    parts = [
        round_samples(x[:cut], bits, Noise(seed=1))[0],
        round_samples(x[cut:], bits, Noise(seed=1, start=cut * size))[0],
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
