"""Clauses INT-1 to INT-8: exponents from the batch, pseudo-stochastic rounding, integer steps, weights and loss."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from generators import accumulators
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    Counts,
    Target,
    batch_exponent,
    first_weights,
    integer_cross_entropy,
    integer_update,
    log2_fixed,
    mu_at,
    pseudo_requantize,
    pseudo_stochastic,
    requantize,
    round_ratio,
    saturate_symmetric,
    update_shift,
)

Ints = np.ndarray


@pytest.mark.clause("INT-1")
@given(acc=accumulators(), exponent=st.integers(-30, 30), bits=st.integers(2, 16))
def test_the_batch_fits_and_nothing_is_wasted(acc: Ints, exponent: int, bits: int) -> None:
    largest = max(abs(int(v)) for v in acc)
    found = batch_exponent(largest, exponent, bits)
    shift = found - exponent
    if found < 63:
        assert largest < 2 ** (bits - 1 + shift)
    assert shift >= 0
    if shift:
        assert largest >= 2 ** (bits - 2 + shift)


@pytest.mark.clause("INT-1")
@given(value=st.floats(2.0**-40, 2.0**40, width=32), bits=st.integers(2, 16))
def test_real_data_fill_the_format(value: float, bits: int) -> None:
    found = batch_exponent(value, 0, bits, shift_left=True)
    assert 2 ** (bits - 2) <= Fraction(value) / Fraction(2) ** found < 2 ** (bits - 1) or found in (-64, 63)


@pytest.mark.clause("INT-1")
def test_a_maximum_of_128_is_shifted_and_does_not_wrap() -> None:
    exponent = batch_exponent(128, -14, 8)
    ints, _ = requantize(np.array([128, -128], np.int32), -14, Target(exponent, 8, "nearest_away"))
    assert ints.tolist() == [64, -64]


@pytest.mark.clause("INT-2")
@pytest.mark.parametrize("bits", range(2, 9))
def test_symmetric_for_every_code(bits: int) -> None:
    codes = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)).astype(np.int8)
    got, changed = saturate_symmetric(codes, bits)
    assert got.tolist() == [max(q, 1 - 2 ** (bits - 1)) for q in codes.tolist()]
    assert (changed, got.dtype) == (1, np.int8)
    np.testing.assert_array_equal(saturate_symmetric(-got, bits)[0], -got)


@pytest.mark.clause("INT-3")
@pytest.mark.parametrize("shift", range(1, 9))
def test_round_shift_in_both_readings_of_the_division(shift: int) -> None:
    def truncated(a: int, b: int) -> int:
        return int(math.copysign(abs(a) // b, a)) if a else 0

    def round_shift(x: int, divide: object) -> int:
        t = divide(x, 2**shift)  # type: ignore[operator]
        return t + divide(x - t * 2**shift, 2 ** (shift - 1))  # type: ignore[operator]

    values = np.arange(-600, 601)
    away = [round_shift(int(x), truncated) for x in values]
    up = [round_shift(int(x), lambda a, b: a // b) for x in values]
    assert round_ratio(values, shift, "nearest_away").tolist() == away
    assert round_ratio(values, shift, "nearest_up").tolist() == up


def slow_psr(x: int, k: int) -> int:
    sign, magnitude = (x > 0) - (x < 0), abs(x)
    bits = f"{magnitude % 2**k:0{k}b}" if k else ""
    upper, lower = bits[: k - k // 2], bits[k - k // 2 :]
    p, q = int(upper or "0", 2), int(lower or "0", 2) * (2 if k % 2 else 1)
    return sign * (magnitude // 2**k + (p > q))


@pytest.mark.clause("INT-4")
@pytest.mark.parametrize("k", range(11))
def test_pseudo_stochastic_of_all_low_bits(k: int) -> None:
    values = np.arange(-(2 ** (k + 1)), 2 ** (k + 1) + 1)
    assert pseudo_stochastic(values, k).tolist() == [slow_psr(int(x), k) for x in values]
    ups = int((pseudo_stochastic(np.arange(2**k), k)).sum())
    assert Fraction(ups, 2**k) == (
        Fraction(0) if k == 0 else Fraction(1, 2) - (0 if k % 2 else Fraction(1, 2 * 2 ** (k // 2)))
    )


@pytest.mark.clause("INT-4")
@given(acc=accumulators(), k=st.integers(0, 62))
def test_pseudo_stochastic_is_odd_and_off_by_less_than_one(acc: Ints, k: int) -> None:
    acc = np.clip(acc, -(2**62), 2**62)
    got = pseudo_stochastic(acc, k)
    np.testing.assert_array_equal(pseudo_stochastic(-acc, k), -got)
    for x, y in zip(acc.tolist(), got.tolist(), strict=True):
        assert abs(y * 2**k - x) < 2**k
        assert y == slow_psr(x, k)


@pytest.mark.clause("INT-4")
@given(
    acc=accumulators(),
    shift=st.integers(-20, 80),
    bits=st.sampled_from([2, 8, 16]),
    halvings=st.integers(0, 3),
    odd=st.sampled_from([1, 3, 7, 49]),
    bias=st.sampled_from([None, 0, -5, 2**40]),
)
def test_pseudo_stochastic_requantising(
    acc: Ints, shift: int, bits: int, halvings: int, odd: int, bias: int | None
) -> None:
    target, divisor = Target(-3, bits), odd << halvings
    added = None if bias is None else np.full(acc.shape[-1:], bias, np.int64)
    ints, counts = pseudo_requantize(acc, -3 - shift, target, divisor, added)
    top, k = 1 << (bits - 1), shift + halvings
    values = [int(x) + (bias or 0) for x in acc.tolist()]
    whole = [abs(v) // odd * ((v > 0) - (v < 0)) for v in values]
    want = [slow_psr(v, k) if k >= 0 else v << -k for v in whole]
    assert ints.tolist() == [min(max(v, -top), top - 1) for v in want]
    exact = [Fraction(v, divisor) / Fraction(2) ** shift for v in values]
    assert counts == Counts(
        total=len(values),
        nonzero=sum(v != 0 for v in values),
        overflow=sum(not -top <= v < top for v in exact),
        overflow_double=sum(not -top <= 2 * v < top for v in exact),
        saturated=sum(not -top <= v < top for v in want),
    )


@pytest.mark.clause("INT-5")
@given(acc=accumulators(), mu=st.integers(1, 7), seed=st.integers(0, 99), noisy=st.booleans())
def test_integer_step(acc: Ints, mu: int, seed: int, noisy: bool) -> None:
    rng = np.random.default_rng(seed)
    acc = np.clip(acc, -(2**62), 2**62)
    weight = rng.integers(-127, 128, acc.shape).astype(np.int8)
    words = rng.integers(0, 65536, acc.shape).astype(np.uint16)
    got = integer_update(weight, acc, mu, words if noisy else None)
    length = max(abs(int(v)) for v in acc).bit_length()
    k = max(length - mu, 0)
    if noisy:
        steps = round_ratio(acc, k, "stochastic", words).tolist()
    else:
        steps = [slow_psr(int(x), k) for x in acc]
    assert got.tolist() == [min(max(w - s, -127), 127) for w, s in zip(weight.tolist(), steps, strict=True)]
    assert update_shift(acc, mu) == (k if length else None)
    if length >= mu:
        assert max(abs(int(s)) for s in steps) in range(2 ** (mu - 1), 2**mu + 1)


@pytest.mark.clause("INT-5")
def test_mu_falls_and_stays_above_zero() -> None:
    assert [mu_at(5, e / 4) for e in (1, 2, 3, 4)] == [5, 5, 4, 3]
    assert mu_at(1, 1.0) == 1
    with pytest.raises(ValueError, match="mu=8"):
        update_shift(np.array([1]), 8)
    with pytest.raises(ValueError, match="equal shapes"):
        integer_update(np.zeros(2, np.int8), np.zeros(3, np.int64), 5)


@pytest.mark.clause("INT-6")
@given(seed=st.integers(0, 999), scale=st.floats(2.0**-20, 2.0**10, width=32))
def test_first_weights_fill_the_range(seed: int, scale: float) -> None:
    values = (np.random.default_rng(seed).uniform(-1, 1, 9) * scale).astype(np.float32)
    got = first_weights(values)
    assert int(np.abs(got.ints).max()) == 127
    largest = Fraction(float(np.abs(values).max()))
    assert Fraction(2) ** (got.exponent + 6) < largest <= Fraction(2) ** (got.exponent + 7)
    for q, x in zip(got.ints.tolist(), values.tolist(), strict=True):
        assert abs(q - Fraction(x) / largest * 127) <= Fraction(1, 2) + Fraction(1, 10000)


def slow_gradient(q: list[int], e: int, label: int) -> list[int]:
    if e > -7:
        s = [v * 47274 // 2**15 for v in q]
        s = [math.floor(Fraction(v) * Fraction(2) ** e) for v in s]
        p = [2 ** max(v - max(s) + 10, 0) - 1 for v in s]
    else:
        fine = max(e, -15)
        s = [v // 2 ** (fine - e) for v in q]
        p = [2 ** (1 - 2 * fine) + v * 2 ** (1 - fine) + v * v for v in s]
    g = [v * 2**11 // sum(p) for v in p]
    g[label] -= sum(g)
    return g


@pytest.mark.clause("INT-7")
@pytest.mark.clause("INT-8")
@given(
    q=st.lists(st.one_of(st.sampled_from([-128, -127, 0, 127]), st.integers(-128, 127)), min_size=2, max_size=10),
    e=st.one_of(st.sampled_from([-64, -16, -15, -8, -7, -6, 0, 8, 63]), st.integers(-20, 12)),
    data=st.data(),
)
def test_integer_cross_entropy(q: list[int], e: int, data: st.DataObject) -> None:
    label = data.draw(st.integers(0, len(q) - 1))
    losses, grad = integer_cross_entropy(np.array([q], np.int8), e, np.array([label]))
    assert grad[0].tolist() == slow_gradient(q, e, label)
    assert int(grad.sum()) == 0
    assert grad[0, label] <= 0
    assert losses[0] >= 0
    assert int(np.abs(grad).max()) <= 2**11
    two, _ = integer_cross_entropy(np.array([q, q], np.int8), e, np.array([label, label]))
    assert two.tolist() == [losses[0]] * 2


@pytest.mark.clause("INT-8")
@given(value=st.one_of(st.integers(1, 2**62 - 1), st.integers(0, 61).map(lambda k: 2**k)))
def test_log2_in_fixed_point(value: int) -> None:
    got = int(log2_fixed(np.array([value]))[0])
    assert abs(got - math.log2(value) * 2**20) < 2
    if value & (value - 1) == 0:
        assert got == (value.bit_length() - 1) << 20


@pytest.mark.clause("INT-7")
def test_wrong_outputs_and_labels() -> None:
    good = np.zeros((2, 3), np.int8)
    with pytest.raises(TypeError, match="int8"):
        integer_cross_entropy(good.astype(np.float32), 0, np.array([0, 1]))
    with pytest.raises(ValueError, match="reshape"):
        integer_cross_entropy(good, 0, np.array([0]))
    with pytest.raises(ValueError, match="labels"):
        integer_cross_entropy(good, 0, np.array([0, 3]))
