"""Chapter RND: the nine rules on ratios and on real input, their laws, and the traps of float implementations."""

from __future__ import annotations

import itertools
from fractions import Fraction

import generators as gen
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import Rounding, Target, quantize, round_ratio, round_real

NUMBERS = {
    "NEAREST_EVEN": 0,
    "NEAREST_AWAY": 1,
    "NEAREST_UP": 2,
    "NEAREST_DOWN": 3,
    "NEAREST_TO_ZERO": 4,
    "FLOOR": 5,
    "CEIL": 6,
    "TRUNCATE": 7,
    "STOCHASTIC": 8,
}


def all_ratios(rule: Rounding) -> None:
    """Every 8-bit numerator over every small denominator, and every tie of float32, against the oracle."""
    num = np.arange(-300, 301)
    for shift, divisor in itertools.product(range(-3, 11), (1, 2, 3, 6, 9)):
        wanted = [oracle.round_exact(int(n) / (divisor * oracle.power(shift)), int(rule)) for n in num]
        assert round_ratio(num, shift, rule, divisor=divisor).tolist() == wanted
    halves = (np.arange(-600, 601) / 4).astype(np.float32)
    near = np.concatenate([halves, np.nextafter(halves, np.float32(-np.inf)), np.nextafter(halves, np.float32(np.inf))])
    wanted = [oracle.round_exact(Fraction(float(v)), int(rule)) for v in near]
    assert round_real(near, 0, rule).tolist() == wanted
    for exponent in (-64, -7, 63):
        scaled = np.ldexp(near.astype(np.float64), exponent)
        exact = np.abs(scaled) >= 2.0**-126
        got = round_real(scaled[exact].astype(np.float32), exponent, rule)
        assert got.tolist() == [w for w, e in zip(wanted, exact, strict=True) if e]


@pytest.mark.clause("RND-3")
def test_nearest_down() -> None:
    all_ratios(Rounding.NEAREST_DOWN)


@pytest.mark.clause("RND-4")
def test_nearest_even() -> None:
    all_ratios(Rounding.NEAREST_EVEN)
    x = np.random.default_rng(1).normal(0, 30, 5000).astype(np.float32)
    x[::2] = np.rint(x[::2] * 2) / 2
    assert np.array_equal(round_real(x, 0, "nearest_even"), np.rint(x.astype(np.float64)).astype(np.int64))


@pytest.mark.clause("RND-5")
def test_nearest_away() -> None:
    all_ratios(Rounding.NEAREST_AWAY)


@pytest.mark.clause("RND-6")
def test_nearest_up() -> None:
    all_ratios(Rounding.NEAREST_UP)
    num = np.arange(-300, 301)
    half = np.full(num.shape, 0x8000, np.uint16)
    for shift in range(1, 12):
        assert np.array_equal(round_ratio(num, shift, "nearest_up"), round_ratio(num, shift, "stochastic", half))


@pytest.mark.clause("RND-7")
def test_nearest_to_zero() -> None:
    all_ratios(Rounding.NEAREST_TO_ZERO)


@pytest.mark.clause("RND-8")
def test_floor() -> None:
    all_ratios(Rounding.FLOOR)


@pytest.mark.clause("RND-9")
def test_ceil() -> None:
    all_ratios(Rounding.CEIL)


@pytest.mark.clause("RND-10")
def test_truncate() -> None:
    all_ratios(Rounding.TRUNCATE)


@pytest.mark.clause("RND-1")
def test_names_and_numbers_never_change() -> None:
    assert {rule.name: rule.value for rule in Rounding} == NUMBERS
    for name, number in NUMBERS.items():
        for form in (name, name.lower(), f" {name.title()} ", number, np.int64(number), Rounding(number)):
            assert Rounding.parse(form) is Rounding[name]


@pytest.mark.clause("RND-1")
@pytest.mark.parametrize("bad", ["nearest", "half_up", "", "3", -1, 9, 2**70])
def test_unknown_rules_are_errors_that_list_the_nine(bad: object) -> None:
    with pytest.raises(ValueError, match="got rounding") as caught:
        Rounding.parse(bad)  # type: ignore[arg-type]
    for name in NUMBERS:
        assert name.lower() in str(caught.value)


@pytest.mark.clause("RND-1")
@pytest.mark.parametrize("bad", [3.0, None, True, [3]])
def test_a_rule_of_the_wrong_type_is_an_error(bad: object) -> None:
    with pytest.raises(TypeError, match="got rounding"):
        Rounding.parse(bad)  # type: ignore[arg-type]


@pytest.mark.clause("RND-2")
@given(gen.floats(), gen.exponents, gen.rules, gen.words)
def test_real_input_equals_the_oracle(x: float, exponent: int, rule: Rounding, u: int) -> None:
    got = round_real(np.array([x], dtype=np.float32), exponent, rule, np.array([u], dtype=np.uint16))
    exact = max(Fraction(-(2**40)), min(Fraction(2**40), Fraction(x) / oracle.power(exponent)))
    assert got.dtype == np.int64
    assert got.tolist() == [oracle.round_exact(exact, int(rule), u)]


@pytest.mark.clause("RND-2")
def test_real_input_between_two_sixteenth_bits() -> None:
    """Values whose fraction needs more than 16 bits: a definition by truncated fraction bits alone would fail."""
    x = np.array(
        [0.5 - 2.0**-25, 0.5 + 2.0**-24, 2.0**-140, -(2.0**-140), 0.5 - 2.0**-18, -0.5 - 2.0**-18], dtype=np.float32
    )
    for rule in Rounding:
        u = np.full(x.shape, 0x8000, np.uint16)
        wanted = [oracle.round_exact(Fraction(float(v)), int(rule), 0x8000) for v in x]
        assert round_real(x, 0, rule, u).tolist() == wanted


@pytest.mark.clause("RND-2", "RND-3", "RND-11")
@given(gen.reals())
def test_the_two_definitions_of_the_spec_word_by_word(x: np.ndarray) -> None:
    x = np.clip(x, -30000, 30000)
    u = gen.noise_for(x, 5)
    exact = [Fraction(float(v)) * 65536 for v in x]
    down = [(-((-e).numerator // e.denominator) + 2**15 - 1) >> 16 for e in exact]
    noisy = [((e.numerator // e.denominator) + int(w)) >> 16 for e, w in zip(exact, u, strict=True)]
    assert round_real(x, 0, "nearest_down").tolist() == down
    assert round_real(x, 0, "stochastic", u).tolist() == noisy


@pytest.mark.clause("RND-3", "RND-4", "RND-5", "RND-6", "RND-7", "RND-8", "RND-9", "RND-10", "RND-11", "REQ-4")
@given(
    gen.accumulators(), st.one_of(st.integers(-80, 200), st.integers(0, 20)), gen.rules, gen.divisors, st.integers(0, 9)
)
def test_ratios_equal_the_oracle(num: np.ndarray, shift: int, rule: Rounding, divisor: int, seed: int) -> None:
    u = gen.noise_for(num, seed)
    got = round_ratio(num, shift, rule, u, divisor)
    denominator = divisor * oracle.power(shift)
    assert got.tolist() == [
        oracle.round_exact(n / denominator, int(rule), w) for n, w in zip(num.tolist(), u.tolist(), strict=True)
    ]


@pytest.mark.clause("RND-3", "REQ-4")
@given(st.lists(st.integers(-(2**200), 2**200), min_size=1, max_size=5), st.integers(-10, 210), gen.rules, gen.divisors)
def test_ratios_of_unbounded_integers(values: list[int], shift: int, rule: Rounding, divisor: int) -> None:
    num = np.array(values, dtype=object)
    u = gen.noise_for(num, 3)
    denominator = divisor * oracle.power(shift)
    wanted = [oracle.round_exact(n / denominator, int(rule), w) for n, w in zip(values, u.tolist(), strict=True)]
    assert round_ratio(num, shift, rule, u, divisor).tolist() == wanted


@pytest.mark.clause("RND-11")
@given(gen.accumulators(), st.integers(1, 62))
def test_the_shift_forms_of_stochastic_rounding(acc: np.ndarray, s: int) -> None:
    u = gen.noise_for(acc, s)
    pairs = list(zip(acc.tolist(), u.tolist(), strict=True))
    wanted = [(a + (w >> (16 - s) if s <= 16 else w << (s - 16))) >> s for a, w in pairs]
    assert round_ratio(acc, s, "stochastic", u).tolist() == wanted


@pytest.mark.clause("RND-11")
def test_missing_or_wrong_noise_is_an_error() -> None:
    x, acc = np.ones(3, np.float32), np.ones(3, np.int64)
    for call in (lambda u: round_real(x, 0, "stochastic", u), lambda u: round_ratio(acc, 1, "stochastic", u)):
        with pytest.raises(ValueError, match="no noise"):
            call(None)
        with pytest.raises(ValueError, match="one per element"):
            call(np.zeros(2, np.uint16))
        with pytest.raises(TypeError, match="uint16"):
            call(np.zeros(3, np.int64))


@pytest.mark.clause("RND-12")
@given(gen.reals(), gen.bit_widths, gen.rules)
def test_the_paper_s_clip_before_rounding_gives_the_same_integers(x: np.ndarray, bits: int, rule: Rounding) -> None:
    half = 2 ** (bits - 1)
    u = gen.noise_for(x, 7)
    first = np.clip(x, -half, half - 1).astype(np.float32)
    assert np.array_equal(quantize(x, Target(0, bits, rule, u))[0], quantize(first, Target(0, bits, rule, u))[0])


@pytest.mark.clause("RND-12")
@pytest.mark.parametrize("rule", gen.RULES)
def test_saturation_is_counted_after_rounding(rule: Rounding) -> None:
    x = np.array([127.0, 127.25, 127.5, 127.75, 128.0, -128.0, -128.25, -128.5, -128.75, -129.0], dtype=np.float32)
    u = np.full(x.shape, 0x8000, np.uint16)
    ints, counts = quantize(x, Target(0, 8, rule, u))
    rounded = [oracle.round_exact(Fraction(float(v)), int(rule), 0x8000) for v in x]
    assert ints.tolist() == [max(-128, min(127, q)) for q in rounded]
    assert counts.saturated == sum(not -128 <= q <= 127 for q in rounded)
    assert counts.overflow == 5


@pytest.mark.clause("RND-13")
@pytest.mark.parametrize("rule", gen.RULES)
def test_exact_integers_never_move(rule: Rounding) -> None:
    whole = np.arange(-1000, 1001)
    for word in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        u = np.full(whole.shape, word, np.uint16)
        assert np.array_equal(round_real(whole.astype(np.float32), 0, rule, u), whole)
        for shift in (-3, 0, 1, 7, 16, 17, 40):
            left = whole if shift < 0 else whole << shift
            right = whole << -shift if shift < 0 else whole
            assert np.array_equal(round_ratio(left, shift, rule, u), right)
            assert np.array_equal(round_ratio(left * 9, shift, rule, u, 9), right)


@pytest.mark.clause("RND-13")
@given(gen.reals(30), gen.exponents, gen.rules, gen.words)
def test_idempotent_bounded_and_monotone(x: np.ndarray, exponent: int, rule: Rounding, word: int) -> None:
    x = np.sort(x)
    u = np.full(x.shape, word, np.uint16)
    rounded = round_real(x, exponent, rule, u)
    assert np.all(np.diff(rounded) >= 0)
    for value, q in zip(x.tolist(), rounded.tolist(), strict=True):
        y = Fraction(value) / oracle.power(exponent)
        if abs(y) >= 2**40:
            continue
        assert abs(q - y) < 1
        if rule in gen.NEAREST:
            assert abs(q - y) <= Fraction(1, 2)
    small = np.abs(rounded) < 2**24
    again = round_real(rounded[small].astype(np.float32), 0, rule, u[small])
    assert np.array_equal(again, rounded[small])


@pytest.mark.clause("RND-13")
@given(gen.accumulators(), st.integers(1, 40), st.integers(-1000, 1000), gen.divisors)
def test_whole_steps_pass_through(num: np.ndarray, shift: int, steps: int, divisor: int) -> None:
    values = num.astype(object)
    moved = values + steps * divisor * 2**shift
    u = gen.noise_for(num, 11)
    for rule in (Rounding.NEAREST_UP, Rounding.NEAREST_DOWN, Rounding.FLOOR, Rounding.CEIL, Rounding.STOCHASTIC):
        first = round_ratio(values, shift, rule, u, divisor).astype(object)
        assert (round_ratio(moved, shift, rule, u, divisor).astype(object) == first + steps).all()


@pytest.mark.clause("RND-3", "RND-4", "RND-5", "RND-6", "RND-7", "RND-8", "RND-9", "RND-10")
@given(gen.accumulators(), st.integers(0, 70), gen.divisors)
def test_sign_symmetry_where_the_rule_has_it(num: np.ndarray, shift: int, divisor: int) -> None:
    plus, minus = num.astype(object), -num.astype(object)
    mirror = {
        Rounding.NEAREST_EVEN: Rounding.NEAREST_EVEN,
        Rounding.NEAREST_AWAY: Rounding.NEAREST_AWAY,
        Rounding.NEAREST_TO_ZERO: Rounding.NEAREST_TO_ZERO,
        Rounding.TRUNCATE: Rounding.TRUNCATE,
        Rounding.NEAREST_UP: Rounding.NEAREST_DOWN,
        Rounding.FLOOR: Rounding.CEIL,
    }
    for rule, other in mirror.items():
        one = round_ratio(plus, shift, rule, divisor=divisor).astype(object)
        two = round_ratio(minus, shift, other, divisor=divisor).astype(object)
        assert (one == -two).all()


@pytest.mark.clause("RND-13")
def test_trap_ceil_of_x_minus_half() -> None:
    x = np.float32(-0.49999997)
    assert np.ceil(x - np.float32(0.5)) == -1  # the shortcut
    assert round_real(np.array([x]), 0, "nearest_down").tolist() == [0]


@pytest.mark.clause("RND-13")
def test_trap_fraction_by_subtraction() -> None:
    x = np.float32(-0.49999997)
    shortcut = np.floor(x) + (x - np.floor(x) > np.float32(0.5))
    assert shortcut == -1
    assert round_real(np.array([x]), 0, "nearest_down").tolist() == [0]


@pytest.mark.clause("RND-13")
def test_trap_noise_added_in_float() -> None:
    u = np.arange(65536, dtype=np.uint16)
    x = np.full(u.shape, 1000, np.float32)
    shortcut = np.floor(x + u.astype(np.float32) / np.float32(65536))
    assert (shortcut != 1000).any()
    assert (round_real(x, 0, "stochastic", u) == 1000).all()


@pytest.mark.clause("RND-13", "RND-2")
def test_trap_half_added_in_float32() -> None:
    x = np.array([0.49999997, 8388609.0, -8388609.0], dtype=np.float32)
    assert np.floor(x + np.float32(0.5)).tolist() != [0, 8388609, -8388609]
    for rule in gen.NEAREST:
        assert round_real(x, 0, rule).tolist() == [0, 8388609, -8388609]


@pytest.mark.clause("REQ-8")
@pytest.mark.parametrize("divisor", [0, -1, -9])
def test_divisor_below_one_is_an_error(divisor: int) -> None:
    with pytest.raises(ValueError, match="divisor"):
        round_ratio(np.ones(1, np.int64), 0, "floor", divisor=divisor)


@pytest.mark.clause("RND-8")
@pytest.mark.parametrize("num", [np.ones(2, np.float32), np.ones(2, bool), np.ones(2, np.uint64)])
def test_only_integers_have_ratios(num: np.ndarray) -> None:
    with pytest.raises(TypeError, match="numerators"):
        round_ratio(num, 0, "floor")
