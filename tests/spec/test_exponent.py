"""Chapter EXP: counts, Algorithm 1 against the oracle, bounds, first exponents, replay from counts alone."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import generators as gen
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    EXP_MAX,
    EXP_MIN,
    Counts,
    Rounding,
    Target,
    first_exponent_float,
    first_exponent_int,
    integer_overflow,
    next_exponent,
    quantize,
    requantize,
)


@st.composite
def tallies(draw: st.DrawFn) -> Counts:
    """Counts that can occur: overflow of x implies overflow of 2x implies not zero."""
    total = draw(st.integers(0, 40))
    nonzero = draw(st.integers(0, total))
    double = draw(st.integers(0, nonzero))
    return Counts(total, nonzero, draw(st.integers(0, double)), double, draw(st.integers(0, nonzero)))


def as_tuple(counts: Counts) -> tuple[int, int, int, int, int]:
    return counts.total, counts.nonzero, counts.overflow, counts.overflow_double, counts.saturated


@pytest.mark.clause("EXP-1")
@pytest.mark.parametrize("bits", range(2, 17))
def test_the_interval_is_half_open(bits: int) -> None:
    half = 2.0 ** (bits - 1)
    below, above = np.nextafter(np.float32(half), np.float32(0)), np.nextafter(np.float32(-half), np.float32(-np.inf))
    cases = {-half: 0, float(above): 1, half: 1, float(below): 0, half - 0.5: 0}
    for value, overflow in cases.items():
        _, counts = quantize(np.array([value], dtype=np.float32), Target(0, bits))
        assert counts.overflow == overflow
        _, counts = quantize(np.array([value / 2], dtype=np.float32), Target(0, bits))
        assert (counts.overflow, counts.overflow_double) == (0, overflow)


def outside(values: list[Fraction], bits: int) -> tuple[int, int]:
    """Values, and doubles, beyond the range of the integers."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return sum(not low <= v <= high for v in values), sum(not low <= 2 * v <= high for v in values)


@pytest.mark.clause("EXP-1")
@given(gen.reals(), st.integers(2, 14), st.one_of(gen.exponents, st.integers(-6, 6)))
def test_overflow_of_the_integers_of_reals(x: np.ndarray, bits: int, exponent: int) -> None:
    _, counts = quantize(x, Target(exponent, bits))
    got = integer_overflow(counts, exponent, bits, lambda target: quantize(x, target))
    overflow, double = outside([Fraction(float(v)) / Fraction(2) ** exponent for v in x], bits)
    if exponent == EXP_MIN:
        double = counts.overflow_double
    assert got == replace(counts, overflow=overflow, overflow_double=double)
    assert got.overflow >= counts.overflow


@pytest.mark.clause("EXP-1")
@given(gen.accumulators(), st.integers(2, 14), st.integers(-9, 20), gen.divisors)
def test_overflow_of_the_integers_of_sums(acc: np.ndarray, bits: int, shift: int, divisor: int) -> None:
    _, counts = requantize(acc, -shift, Target(0, bits), divisor)
    got = integer_overflow(counts, 0, bits, lambda target: requantize(acc, -shift, target, divisor))
    overflow, double = outside([Fraction(int(v), divisor) / Fraction(2) ** shift for v in acc], bits)
    assert got == replace(counts, overflow=overflow, overflow_double=double)


@pytest.mark.clause("EXP-1")
def test_overflow_of_integers_is_for_formats_that_leave_room() -> None:
    with pytest.raises(ValueError, match="2 to 14"):
        integer_overflow(Counts(), 0, 15, lambda target: quantize(np.zeros(1, np.float32), target))


@pytest.mark.clause("EXP-1")
@given(tallies(), tallies(), tallies())
def test_counts_add_like_integers(a: Counts, b: Counts, c: Counts) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Counts() == a
    assert as_tuple(a + b) == tuple(x + y for x, y in zip(as_tuple(a), as_tuple(b), strict=True))


@pytest.mark.clause("EXP-1")
def test_counts_add_to_counts_only() -> None:
    with pytest.raises(TypeError):
        Counts() + 1  # type: ignore[operator]


@pytest.mark.clause("EXP-2", "EXP-3", "EXP-4", "EXP-7")
@given(tallies(), gen.exponents, st.sampled_from([0.0, 0.1, 0.25, 1e-4, 0.5]))
def test_algorithm_1_equals_the_oracle(counts: Counts, exponent: int, r_max: float) -> None:
    got = next_exponent(counts, exponent, r_max)
    assert got == oracle.next_exponent(as_tuple(counts), exponent, Fraction(r_max))
    assert abs(got - exponent) <= 1
    assert EXP_MIN <= got <= EXP_MAX


@pytest.mark.clause("EXP-2")
@given(gen.reals(20), st.integers(-30, 30), gen.bit_widths)
def test_algorithm_1_in_the_paper_s_words(x: np.ndarray, exponent: int, bits: int) -> None:
    half = 2 ** (bits - 1)

    def rate(values: list[Fraction]) -> int:
        return int(any(not -half <= v / oracle.power(exponent) < half for v in values))

    exact = [Fraction(float(v)) for v in x]
    if rate(exact) > 0:
        wanted = exponent + 1
    elif rate([2 * v for v in exact]) <= 0:
        wanted = exponent - 1
    else:
        wanted = exponent
    if any(exact):
        assert next_exponent(quantize(x, Target(exponent, bits))[1], exponent) == wanted


@pytest.mark.clause("EXP-2")
def test_twice_the_rate_is_not_the_rate_of_twice() -> None:
    """The wrong variant compares 2 r(x): with no overflow of x it would shrink although 2x overflows."""
    _, counts = quantize(np.array([100.0], dtype=np.float32), Target(0))
    assert (counts.overflow, counts.overflow_double) == (0, 1)
    assert next_exponent(counts, 0) == 0


@pytest.mark.clause("EXP-3")
@given(gen.exponents, st.integers(0, 5))
def test_zeros_keep_the_exponent(exponent: int, size: int) -> None:
    for x in (np.zeros(size, np.float32), -np.zeros(size, np.float32)):
        _, counts = quantize(x, Target(exponent))
        assert counts == Counts(total=size)
        assert next_exponent(counts, exponent) == exponent
    _, counts = requantize(np.zeros(size, np.int32), -9, Target(exponent))
    assert next_exponent(counts, exponent) == exponent


@pytest.mark.clause("EXP-3")
def test_a_tensor_that_only_rounds_to_zero_still_shrinks() -> None:
    ints, counts = quantize(np.array([1e-3, 0], dtype=np.float32), Target(0))
    assert not ints.any()
    assert next_exponent(counts, 0) == -1


@pytest.mark.clause("EXP-4")
def test_bounds() -> None:
    over, under = Counts(1, 1, 1, 1, 1), Counts(1, 1, 0, 0, 0)
    assert next_exponent(over, EXP_MAX) == EXP_MAX
    assert next_exponent(under, EXP_MIN) == EXP_MIN
    assert (EXP_MIN, EXP_MAX) == (-64, 63)
    for bad in (-65, 64):
        with pytest.raises(ValueError, match="-64 to 63"):
            next_exponent(under, bad)
    with pytest.raises(TypeError):
        next_exponent(under, 0.5)  # type: ignore[arg-type]


@pytest.mark.clause("EXP-5")
@given(gen.reals(), gen.bit_widths)
def test_first_exponent_of_real_data(x: np.ndarray, bits: int) -> None:
    got = first_exponent_float(float(x.min()), float(x.max()), bits)
    assert got == oracle.first_exponent([Fraction(float(v)) for v in x], bits)
    if got is None:
        return
    _, counts = quantize(x, Target(got, bits))
    assert counts.overflow == 0 or got == EXP_MAX
    if EXP_MIN < got < EXP_MAX:
        assert next_exponent(counts, got) == got


@pytest.mark.clause("EXP-5")
@given(gen.accumulators(), st.integers(-70, 70), gen.bit_widths, gen.divisors)
def test_first_exponent_of_accumulators(acc: np.ndarray, exponent: int, bits: int, divisor: int) -> None:
    got = first_exponent_int(int(acc.min()), int(acc.max()), exponent, bits, divisor)
    assert got == oracle.first_exponent([a * oracle.power(exponent) / divisor for a in acc.tolist()], bits)
    if got is not None and EXP_MIN < got < EXP_MAX:
        _, counts = requantize(acc, exponent, Target(got, bits), divisor)
        assert counts.overflow == 0
        assert next_exponent(counts, got) == got


@pytest.mark.clause("EXP-5")
def test_first_exponent_of_one_sided_and_bad_ranges() -> None:
    assert first_exponent_float(0.0, 1.0, 8) == -6
    assert first_exponent_float(-1.0, 0.0, 8) == -7
    assert first_exponent_float(0.5, 1.0, 8) == -6
    assert first_exponent_float(-1.0, -0.5, 8) == -7
    assert first_exponent_float(0.0, 0.0, 8) is None
    assert first_exponent_float(-0.0, 0.0, 8) is None
    assert first_exponent_int(0, 0, 5, 8) is None
    assert first_exponent_float(0.0, 3e38, 8) == EXP_MAX
    assert first_exponent_float(0.0, 1e-45, 8) == EXP_MIN
    for lo, hi in ((float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(ValueError, match="finite"):
            first_exponent_float(lo, hi, 8)
    with pytest.raises(ValueError, match="minimum must come first"):
        first_exponent_float(1.0, 0.0, 8)
    with pytest.raises(ValueError, match="divisor"):
        first_exponent_int(0, 1, 0, 8, 0)
    with pytest.raises(ValueError, match="2 to 16"):
        first_exponent_int(0, 1, 0, 17)


@pytest.mark.clause("EXP-6")
@given(st.integers(0, 999), st.integers(-10, 10), gen.bit_widths)
def test_the_trace_of_counts_alone_gives_the_exponents(seed: int, start: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    exponent, trace, exponents = start, [], [start]
    for _ in range(25):
        x = rng.normal(0, 2.0 ** rng.integers(-12, 12), 20).astype(np.float32) * np.float32(rng.random() > 0.2)
        _, counts = quantize(x, Target(exponent, bits))
        trace.append(as_tuple(counts))
        exponent = next_exponent(counts, exponent)
        exponents.append(exponent)
    replayed = [start]
    for tallied in trace:
        replayed.append(oracle.next_exponent(tallied, replayed[-1]))
    assert replayed == exponents


@pytest.mark.clause("EXP-6")
@given(st.integers(0, 99), gen.rules)
def test_constant_data_settle_at_the_first_exponent(seed: int, rule: Rounding) -> None:
    x = np.random.default_rng(seed).normal(0, 3, 50).astype(np.float32)
    first = first_exponent_float(float(x.min()), float(x.max()), 8)
    assert first is not None
    for start in (first - 9, first, first + 9):
        exponent = start
        for _ in range(9):
            exponent = next_exponent(quantize(x, Target(exponent, 8, rule, gen.noise_for(x, 1)))[1], exponent)
        assert exponent == first


@pytest.mark.clause("EXP-7")
def test_the_rate_is_compared_exactly() -> None:
    third = 1 / 3  # a float64 just below one third
    assert next_exponent(Counts(3, 3, 1, 3), 0, third) == 1
    assert next_exponent(Counts(3, 3, 1, 3), 0, np.nextafter(third, 1)) == 0
    big = 10**17
    assert next_exponent(Counts(big, big, big // 4 + 1, big), 0, 0.25) == 1
    assert next_exponent(Counts(big, big, big // 4, big), 0, 0.25) == 0
    for bad in (-0.1, 1.0, 2.0, float("nan")):
        with pytest.raises(ValueError, match="r_max"):
            next_exponent(Counts(), 0, bad)
