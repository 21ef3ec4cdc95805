"""Chapter REQ: accumulators to n bits, bias, sums of different exponents, divisors; against the oracle."""

from __future__ import annotations

from fractions import Fraction

import generators as gen
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import DFP, Counts, Rounding, Target, add_requantize, align_bias, relu, relu_grad, requantize

INT64 = np.iinfo(np.int64)


def compare(got: tuple[np.ndarray, Counts], exact: list[Fraction], target: Target) -> None:
    """A result of numerics against the oracle's for the same exact values."""
    noise = target.noise.tolist() if isinstance(target.noise, np.ndarray) else None
    wanted, counts = oracle.to_bits(exact, target.exponent, target.bits, int(target.rounding), noise)
    assert got[0].reshape(-1).tolist() == wanted
    assert got[1] == Counts(*counts)


@pytest.mark.clause("REQ-1", "REQ-2", "REQ-3", "REQ-4", "REQ-5", "REQ-8")
@given(
    gen.accumulators(),
    st.one_of(st.integers(-190, 190), st.integers(-20, 20)),
    gen.exponents,
    gen.bit_widths,
    gen.rules,
    gen.divisors,
)
def test_requantise_equals_the_oracle(
    acc: np.ndarray, source: int, exponent: int, bits: int, rule: Rounding, divisor: int
) -> None:
    target = Target(exponent, bits, rule, gen.noise_for(acc, 1))
    exact = [a * oracle.power(source) / divisor for a in acc.tolist()]
    compare(requantize(acc, source, target, divisor), exact, target)


@pytest.mark.clause("REQ-1", "REQ-2", "REQ-5")
@pytest.mark.parametrize("rule", gen.RULES)
def test_all_16_bit_accumulators_to_8_bits(rule: Rounding) -> None:
    acc = np.arange(-(2**15), 2**15, dtype=np.int32)
    for s, word in ((1, 0x4000), (4, 0x9000), (8, 0x8000)):
        ints, counts = requantize(acc, 0, Target(s, 8, rule, np.full(acc.shape, word, np.uint16)))
        d, a = 1 << s, acc.astype(np.int64)
        quotient, twice = a // d, 2 * (a % d) - d
        tie = {
            Rounding.NEAREST_UP: True,
            Rounding.NEAREST_DOWN: False,
            Rounding.NEAREST_AWAY: a > 0,
            Rounding.NEAREST_TO_ZERO: a < 0,
            Rounding.NEAREST_EVEN: quotient % 2 == 1,
        }
        if rule in tie:
            rounded = quotient + ((twice > 0) | ((twice == 0) & tie[rule]))
        elif rule is Rounding.STOCHASTIC:
            rounded = (a + (word >> (16 - s))) // d
        else:
            rounded = {5: quotient, 6: -(-a // d), 7: np.sign(a) * (np.abs(a) // d)}[int(rule)]
        assert np.array_equal(ints, np.clip(rounded, -128, 127))
        assert counts.overflow == int(((a < -128 * d) | (a >= 128 * d)).sum())
        assert counts.overflow_double == int(((2 * a < -128 * d) | (2 * a >= 128 * d)).sum())
        assert counts.saturated == int(((rounded < -128) | (rounded > 127)).sum())
        assert (counts.total, counts.nonzero) == (65536, 65535)


@pytest.mark.clause("REQ-2")
@given(gen.accumulators(), st.integers(1, 62))
def test_the_formulas_of_the_clause_word_by_word(acc: np.ndarray, s: int) -> None:
    u = gen.noise_for(acc, 2)
    values, noise = acc.tolist(), u.tolist()
    forms = {
        Rounding.NEAREST_DOWN: [(a + 2 ** (s - 1) - 1) >> s for a in values],
        Rounding.NEAREST_UP: [(a + 2 ** (s - 1)) >> s for a in values],
        Rounding.FLOOR: [a >> s for a in values],
        Rounding.CEIL: [(a + 2**s - 1) >> s for a in values],
        Rounding.STOCHASTIC: [
            (a + (w >> (16 - s) if s <= 16 else w << (s - 16))) >> s for a, w in zip(values, noise, strict=True)
        ],
    }
    for rule, rounded in forms.items():
        ints, _ = requantize(acc, 0, Target(s, 16, rule, u))
        assert ints.tolist() == [max(-32768, min(32767, r)) for r in rounded]


@pytest.mark.clause("REQ-3")
@given(gen.accumulators(), st.integers(0, 127), gen.rules, gen.bit_widths)
def test_left_shift_is_exact_under_every_rule(acc: np.ndarray, left: int, rule: Rounding, bits: int) -> None:
    half = 2 ** (bits - 1)
    ints, counts = requantize(acc, 63, Target(63 - left, bits, rule, np.full(acc.shape, 0xFFFF, np.uint16)))
    shifted = [a << left for a in acc.tolist()]
    assert ints.tolist() == [max(-half, min(half - 1, v)) for v in shifted]
    assert counts.saturated == counts.overflow == sum(not -half <= v < half for v in shifted)


@pytest.mark.clause("REQ-4")
@pytest.mark.parametrize("rule", gen.RULES)
@pytest.mark.parametrize("s", [61, 62, 63, 64, 65, 79, 80, 81, 127, 128, 191, 1000])
def test_far_right_shifts(rule: Rounding, s: int) -> None:
    acc = np.array([INT64.min, INT64.min + 1, -(2**62), -1, 0, 1, 2**62, INT64.max], dtype=np.int64)
    u = np.array([0xFFFF, 0x8000, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0x8000, 0xFFFF], dtype=np.uint16)
    target = Target(63, 8, rule, u)
    compare(requantize(acc, 63 - s, target), [a * oracle.power(63 - s) for a in acc.tolist()], target)


@pytest.mark.clause("REQ-4")
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, object])
def test_every_accumulator_type(dtype: type) -> None:
    acc = np.array([[-128, -3, -1], [0, 2, 127]]).astype(dtype)
    ints, counts = requantize(acc, -3, Target(-2))
    assert ints.tolist() == [[-64, -2, -1], [0, 1, 63]]
    assert ints.dtype == np.int8
    assert counts.total == 6


@pytest.mark.clause("REQ-1")
@pytest.mark.parametrize("acc", [np.ones(2), np.ones(2, np.uint8), np.ones(2, bool), [1, 2], np.ones(2, np.uint64)])
def test_only_signed_integers_are_accumulators(acc: object) -> None:
    with pytest.raises(TypeError, match="int8, int16, int32, int64"):
        requantize(acc, 0, Target(0))  # type: ignore[arg-type]


@pytest.mark.clause("REQ-1")
def test_one_rounding_differs_from_two() -> None:
    acc = np.array([119], dtype=np.int64)  # 119/16 = 7.44 -> 7; by way of 119/8 = 14.9 -> 15 -> 7.5 it would be 8
    once, _ = requantize(acc, 0, Target(4, 8, Rounding.NEAREST_UP))
    halfway, _ = requantize(acc, 0, Target(3, 8, Rounding.NEAREST_UP))
    twice, _ = requantize(halfway, 3, Target(4, 8, Rounding.NEAREST_UP))
    assert (once[0], twice[0]) == (7, 8)


@pytest.mark.clause("REQ-6")
@given(st.integers(0, 999), st.integers(-20, 20), gen.rules)
def test_bias_is_added_exactly_before_the_rounding(seed: int, shift: int, rule: Rounding) -> None:
    rng = np.random.default_rng(seed)
    acc = rng.integers(-(2**20), 2**20, (4, 3, 5)).astype(np.int32)
    bias = rng.integers(-(2**22), 2**22, 5)
    u = gen.noise_for(acc, seed)
    one = requantize(acc, -shift, Target(0, 8, rule, u), bias=bias)
    two = requantize(acc.astype(np.int64) + bias, -shift, Target(0, 8, rule, u))
    assert np.array_equal(one[0], two[0])
    assert one[1] == two[1]


@pytest.mark.clause("REQ-6", "REQ-4")
@given(gen.accumulators(6), st.data(), st.integers(-5, 70), gen.rules)
def test_bias_beyond_int64(acc: np.ndarray, data: st.DataObject, s: int, rule: Rounding) -> None:
    bias = np.array([data.draw(gen.int64s()) for _ in acc], dtype=np.int64)
    target = Target(0, 8, rule, gen.noise_for(acc, 4))
    exact = [(a + b) * oracle.power(-s) for a, b in zip(acc.tolist(), bias.tolist(), strict=True)]
    compare(requantize(acc, -s, target, bias=bias), exact, target)


@pytest.mark.clause("REQ-6", "REQ-4")
@pytest.mark.parametrize(
    ("acc", "bias"), [(2**62, 2**62), (-(2**62), -(2**62)), (2**63 - 1, 1), (-(2**63), -1), (-(2**63), 0)]
)
def test_bias_at_the_edge_of_int64(acc: int, bias: int) -> None:
    target = Target(56, 16)
    got = requantize(np.array([acc]), 0, target, bias=np.array([bias]))
    compare(got, [Fraction(acc + bias)], target)


@pytest.mark.clause("REQ-3", "REQ-8")
@pytest.mark.parametrize("divisor", [2**62 - 1, 2**62, 2**62 + 1, 2**63, 2**70])
@pytest.mark.parametrize("left", [1, 15, 16, 17, 62, 79, 80, 127])
def test_left_shift_with_huge_divisors(divisor: int, left: int) -> None:
    acc = np.array([-(2**63), -1, 0, 1, 12345, 2**62, 2**63 - 1])
    target = Target(63 - left, 8)
    compare(requantize(acc, 63, target, divisor), [a * oracle.power(63) / divisor for a in acc.tolist()], target)


@pytest.mark.clause("REQ-6")
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=5), gen.exponents, st.integers(-128, 126))
def test_bias_on_the_grid(values: list[int], own: int, acc_exponent: int) -> None:
    exponent = max(own, acc_exponent)
    if exponent > 63:
        return
    bias = DFP(np.array(values, dtype=np.int8), exponent)
    if max(abs(v) for v in values) << (exponent - acc_exponent) >= 2**63:
        with pytest.raises(OverflowError, match="int64 is the bound"):
            align_bias(bias, acc_exponent)
        return
    aligned = align_bias(bias, acc_exponent)
    assert aligned.dtype == np.int64
    for q, a in zip(values, aligned.tolist(), strict=True):
        assert q * oracle.power(exponent) == a * oracle.power(acc_exponent)


@pytest.mark.clause("REQ-6")
def test_wrong_biases_are_errors() -> None:
    acc = np.zeros((2, 3), np.int32)
    for bad in (np.zeros(2, np.int64), np.zeros((2, 3), np.int64), np.zeros((), np.int64)):
        with pytest.raises(ValueError, match="bias of shape"):
            requantize(acc, 0, Target(0), bias=bad)
    for wrong in (np.zeros(3, np.int32), np.zeros(3), [0, 0, 0]):
        with pytest.raises(TypeError, match="int64 array"):
            requantize(acc, 0, Target(0), bias=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bias of shape"):
        requantize(np.zeros((), np.int32), 0, Target(0), bias=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="quantise the bias at max"):
        align_bias(DFP(np.zeros(1, np.int8), -9), -8)


@pytest.mark.clause("REQ-7")
@given(st.data(), st.integers(1, 4), gen.exponents, gen.bit_widths, gen.rules)
def test_sums_of_different_exponents(data: st.DataObject, terms: int, exponent: int, bits: int, rule: Rounding) -> None:
    size = data.draw(st.integers(1, 4))
    value = st.one_of(st.integers(-128, 127), gen.int64s())
    parts = []
    for _ in range(terms):
        ints = np.array([data.draw(value) for _ in range(size)], dtype=np.int64)
        parts.append((ints, data.draw(st.one_of(st.integers(-10, 10), st.integers(-128, 126)))))
    target = Target(exponent, bits, rule, gen.noise_for(parts[0][0], 6))
    exact = [sum(int(ints[i]) * oracle.power(e) for ints, e in parts) for i in range(size)]
    compare(add_requantize(parts, target), [Fraction(v) for v in exact], target)


@pytest.mark.clause("REQ-7")
def test_order_of_the_terms_and_zero_terms_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(-128, 128, (2, 5, 7)).astype(np.int8)
    target = Target(-4, 8, Rounding.STOCHASTIC, gen.noise_for(a, 1))
    first = add_requantize([(a, -5), (b, -3)], target)
    for terms in (
        [(b, -3), (a, -5)],
        [(a, -5), (b, -3), (np.zeros_like(a), -64)],
        [(np.zeros_like(a), 63), (a, -5), (b, -3)],
    ):
        again = add_requantize(terms, target)
        assert np.array_equal(first[0], again[0])
        assert first[1] == again[1]
    alone = add_requantize([(a, -5)], target)
    assert np.array_equal(alone[0], requantize(a, -5, target)[0])


@pytest.mark.clause("REQ-7", "LAY-2")
def test_what_follows_a_sum_is_what_would_follow_it_separately() -> None:
    terms = [(np.arange(-128, 128).astype(np.int8), -1), (np.full(256, 3, np.int8), 0)]
    outputs = [np.arange(256).astype(np.int16) - k for k in (0, 1, 100, 256)]
    target = Target(0, 8, Rounding.NEAREST_EVEN)
    ints, counts = add_requantize(terms, target)
    for output in outputs:
        masked, same_counts = add_requantize(terms, target, output=output)
        assert np.array_equal(masked, relu_grad(ints, output))
        assert same_counts == counts
        both, _ = add_requantize(terms, target, True, output)
        assert np.array_equal(both, relu_grad(relu(ints), output))


@pytest.mark.clause("REQ-7")
def test_wrong_terms_are_errors() -> None:
    with pytest.raises(ValueError, match="no terms"):
        add_requantize([], Target(0))
    with pytest.raises(ValueError, match="all must be equal"):
        add_requantize([(np.zeros(3, np.int8), 0), (np.zeros(1, np.int8), 0)], Target(0))
    with pytest.raises(ValueError, match="all must be equal"):
        add_requantize([(np.zeros(3, np.int8), 0)], Target(0), output=np.zeros(1, np.int8))
    with pytest.raises(TypeError, match="int8, int16, int32, int64"):
        add_requantize([(np.zeros(3, np.float32), 0)], Target(0))


@pytest.mark.clause("REQ-8")
@pytest.mark.parametrize("divisor", [2, 3, 4, 9, 49, 64])
@pytest.mark.parametrize("rule", gen.RULES)
def test_averages_exhaustively(divisor: int, rule: Rounding) -> None:
    acc = np.arange(-128 * divisor, 127 * divisor + 1, max(1, divisor // 5), dtype=np.int32)
    target = Target(0, 8, rule, gen.noise_for(acc, divisor))
    compare(requantize(acc, 0, target, divisor), [Fraction(a, divisor) for a in acc.tolist()], target)


@pytest.mark.clause("REQ-8")
def test_a_power_of_two_divisor_is_a_shift() -> None:
    acc = np.arange(-3000, 3000)
    for rule in Rounding:
        u = gen.noise_for(acc, 9)
        one = requantize(acc, -8, Target(-2, 8, rule, u), divisor=16)
        two = requantize(acc, -12, Target(-2, 8, rule, u))
        assert np.array_equal(one[0], two[0])
        assert one[1] == two[1]


@pytest.mark.clause("REQ-8")
def test_divisor_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="divisor"):
        requantize(np.ones(1, np.int32), 0, Target(0), divisor=0)


@pytest.mark.clause("REQ-1", "RND-11")
def test_stochastic_without_noise_is_an_error() -> None:
    with pytest.raises(ValueError, match="no noise"):
        requantize(np.ones(3, np.int32), 0, Target(1, 8, Rounding.STOCHASTIC))
    with pytest.raises(ValueError, match="one per element"):
        requantize(np.ones(3, np.int32), 0, Target(1, 8, Rounding.STOCHASTIC, np.zeros(4, np.uint16)))
    with pytest.raises(TypeError, match="got noise of type"):
        Target(1, 8, Rounding.STOCHASTIC, [1, 2, 3])  # type: ignore[arg-type]


@pytest.mark.clause("REQ-5")
@given(st.integers(0, 999), st.integers(-8, 16), gen.bit_widths)
def test_counts_add_up_and_do_not_depend_on_rule_or_noise(seed: int, s: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    acc = rng.integers(-(2**14), 2**14, 100) * rng.integers(0, 2, 100)
    seen = set()
    for rule in Rounding:
        u = gen.noise_for(acc, seed)
        _, whole = requantize(acc, 0, Target(s, bits, rule, u))
        cut = int(rng.integers(0, 101))
        parts = [requantize(acc[p], 0, Target(s, bits, rule, u[p]))[1] for p in (slice(0, cut), slice(cut, None))]
        assert parts[0] + parts[1] == whole
        assert whole.nonzero == np.count_nonzero(acc)
        seen.add((whole.total, whole.nonzero, whole.overflow, whole.overflow_double))
    assert len(seen) == 1
