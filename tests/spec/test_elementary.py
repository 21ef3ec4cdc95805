"""exp, log, tanh, sigmoid and cos against 60 decimal digits: every exponent, special values, order, known bits."""

from __future__ import annotations

import decimal
import hashlib
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import cos_pi, elementary, exp32, exp64, log32, log64, power64, sigmoid32, tanh32

EXACT = decimal.Context(prec=60)


def exact_tanh(x: Decimal) -> Decimal:
    context = decimal.Context(prec=140)
    e = context.exp(context.multiply(x, Decimal(2)))
    return context.divide(context.subtract(e, Decimal(1)), context.add(e, Decimal(1)))


def exact_sigmoid(x: Decimal) -> Decimal:
    return EXACT.divide(Decimal(1), EXACT.add(Decimal(1), EXACT.exp(EXACT.minus(x))))


FUNCTIONS = {
    "exp": (exp32, EXACT.exp, -104.0, 88.7),
    "log": (log32, EXACT.ln, 2.0**-149, 3.4e38),
    "tanh": (tanh32, exact_tanh, -12.0, 12.0),
    "sigmoid": (sigmoid32, exact_sigmoid, -103.0, 20.0),
}


def every_exponent() -> np.ndarray:
    """Ten numbers of every binade, both signs: the ends of the binade, around the tables' steps, and between."""
    fields = np.array([0, 1, 0x010000, 0x333333, 0x3504F3, 0x400000, 0x5A5A5A, 0x7F0000, 0x7FFFFE, 0x7FFFFF], np.uint32)
    bits = (np.arange(0, 255, dtype=np.uint32)[:, None] << np.uint32(23) | fields).ravel()
    x = bits.view(np.float32)
    every = np.unique(np.concatenate([x, -x]))
    return np.where(every == 0, np.float32(-0.0), every)  # which zero unique() keeps is up to NumPy's sort


def error_in_ulps(results: np.ndarray, x: np.ndarray, exact) -> float:
    """Largest error in units in the last place of the exact value, subnormals included."""
    worst = Fraction(0)
    for y, value in zip(results, x, strict=True):
        true = Fraction(exact(Decimal(float(value))))
        unit = Fraction(float(np.spacing(np.abs(y)))) if y else Fraction(2) ** -149
        worst = max(worst, abs(Fraction(float(y)) - true) / unit)
    return float(worst)


@pytest.mark.clause("FLT-4", "FLT-5", "FLT-6", "FLT-7")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_result_is_the_nearest_number_in_every_binade(name):
    function, exact, low, high = FUNCTIONS[name]
    rng = np.random.default_rng(5)
    x = every_exponent()
    spread = rng.uniform(max(low, -90), min(high, 90), 500).astype(np.float32)
    x = np.concatenate([x, spread, rng.normal(1, 0.01, 100).astype(np.float32)])
    x = x[(x >= low) & (x <= high)]
    assert error_in_ulps(function(x), x, exact) < 0.5001


@pytest.mark.clause("FLT-4", "FLT-5", "FLT-6", "FLT-7")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_functions_never_fall(name):
    function, _, low, high = FUNCTIONS[name]
    x = every_exponent()
    x = x[(x >= low) & (x <= high)]
    assert (np.diff(function(x).astype(np.float64)) >= 0).all()
    rng = np.random.default_rng(3)
    for centre in rng.choice(x, 40):  # neighbours: 2000 numbers in a row
        bits = np.float32(centre).view(np.uint32) + np.arange(2000, dtype=np.uint32)
        run = np.sort(bits.view(np.float32))
        run = run[(run >= low) & (run <= high)]
        assert (np.diff(function(run).astype(np.float64)) >= 0).all()


@pytest.mark.clause("FLT-4")
def test_exp_at_its_ends():
    x = np.float32([0, -0.0, np.inf, -np.inf, 88.72283, 88.722839, -103.97207, -103.97209, 1e30, -1e30])
    expected = [1, 1, np.inf, 0, None, np.inf, 2.0**-149, 0, np.inf, 0]
    for got, want in zip(exp32(x), expected, strict=True):
        assert want is None or got == want
    assert np.isfinite(exp32(x)[4])
    assert np.isnan(exp32(np.float32([np.nan]))).all()


@pytest.mark.clause("FLT-5")
def test_log_at_its_ends():
    x = np.float32([1, np.inf, 0, -0.0])
    assert log32(x).tolist() == [0, np.inf, -np.inf, -np.inf]
    assert np.isnan(log32(np.float32([-1, -1e-45, -np.inf, np.nan]))).all()
    assert log32(np.float32([2.0**-149])).item() == np.float32(-149 * math.log(2))


@pytest.mark.clause("FLT-6")
def test_tanh_is_odd_and_ends_at_one():
    x = every_exponent()
    assert np.array_equal(tanh32(-x), -tanh32(x))
    assert tanh32(np.float32([np.inf, -np.inf, 9.02, -9.02, 20, 1e30])).tolist() == [1, -1, 1, -1, 1, 1]
    assert np.signbit(tanh32(np.float32([-0.0])))[0]
    assert np.isnan(tanh32(np.float32([np.nan])))[0]
    tiny = np.float32([2.0**-149, 2.0**-126, 2.0**-20])
    assert np.array_equal(tanh32(tiny), tiny)


@pytest.mark.clause("FLT-7")
def test_sigmoid_at_its_ends():
    assert sigmoid32(np.float32([0, -0.0, np.inf, -np.inf, 17.5, -110])).tolist() == [0.5, 0.5, 1, 0, 1, 0]
    assert np.isnan(sigmoid32(np.float32([np.nan])))[0]


@pytest.mark.clause("FLT-4", "FLT-5", "FLT-6", "FLT-7")
def test_the_bits_are_these():
    """Known bits of 5100 results a function: any change of a step, a table or an order shows here."""
    x = every_exponent()
    digests = {}
    for name, (function, *_) in FUNCTIONS.items():
        y = function(x)
        y = np.where(np.isnan(y), np.float32(7), y)
        digests[name] = hashlib.sha256(y.astype("<f4").tobytes()).hexdigest()[:16]
    assert digests == KNOWN


KNOWN = {
    "exp": "60b6349c562dd158",
    "log": "fd27194c5c155657",
    "tanh": "bfa15642c4b8ee9c",
    "sigmoid": "69165947867b0265",
}


@pytest.mark.clause("FLT-4", "FLT-5")
def test_tables_are_the_nearest_numbers():
    for j, entry in enumerate(elementary._EXP_TABLE):
        assert entry == float(EXACT.power(2, EXACT.divide(Decimal(j), Decimal(32))))
    assert elementary._EXP_TABLE[16] == math.sqrt(2)
    for j, (c, minus_log_c) in enumerate(elementary._log_table()):
        assert (c * 4096).is_integer()
        assert minus_log_c == float(-EXACT.ln(Decimal(c)))
        z = np.array([1 + j / 128, 1 + (j + 1) / 128 - 2.0**-23])
        z = z / 2 if j >= 64 else z
        assert (np.abs(z * c - 1) <= 2.0**-7).all()


@pytest.mark.clause("FLT-4", "FLT-5")
def test_constants_are_those_of_the_document():
    text = (Path(__file__).resolve().parents[2] / "docs" / "spec" / "10-float32.md").read_text(encoding="utf-8")
    assert (float.fromhex("0x1.71547652b82fep+5"), float.fromhex("0x1.62e42fefp-6")) == (
        elementary._STEPS_PER_UNIT,
        elementary._STEP_HIGH,
    )
    assert float.fromhex("0x1.473de6af278edp-39") == elementary._STEP_LOW
    assert float.fromhex("0x1.62e42fefa39efp-1") == elementary._LN2_FLOAT
    for constant in ("0x1.71547652b82fep+5", "0x1.62e42fefp-6", "0x1.473de6af278edp-39", "0x1.62e42fefa39efp-1"):
        assert constant in text
    high = Fraction(elementary._STEP_HIGH)
    assert high * 2**38 == int(EXACT.multiply(EXACT.ln(Decimal(2)), Decimal(2**33)))
    assert (high * 2**38).denominator == 1  # 33 bits, so that a product with a 15-bit n is exact


@pytest.mark.clause("FLT-4", "FLT-5")
@given(st.floats(-600, 600, width=32))
def test_the_inner_values_are_good_to_2_to_the_minus_50(x):
    inner = float(exp64(np.array([x]))[0])
    assert abs(float(EXACT.divide(Decimal(inner), EXACT.exp(Decimal(x))) - 1)) < 2.0**-50
    positive = abs(x) + 2.0**-100
    positive = float(np.float32(positive))
    if positive != 1:
        inner = float(log64(np.array([positive]))[0])
        assert abs(float(EXACT.divide(Decimal(inner), EXACT.ln(Decimal(positive))) - 1)) < 2.0**-50


@pytest.mark.clause("FLT-4", "FLT-5", "FLT-6", "FLT-7")
@pytest.mark.parametrize("function", [exp32, log32, tanh32, sigmoid32])
def test_each_element_is_on_its_own_and_float64_is_refused(function):
    x = np.random.default_rng(2).normal(0, 3, (7, 13)).astype(np.float32)
    whole = function(np.abs(x))
    assert whole.dtype == np.float32
    assert whole.shape == x.shape
    for index in np.ndindex(*x.shape):
        assert function(np.abs(x[index])) == whole[index]
    with pytest.raises(TypeError, match="float32"):
        function(x.astype(np.float64))


def exact_cos_pi(p: int, q: int) -> Decimal:
    """cos by its series on 60 digits, the angle brought near 0 by exact fractions."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534")
    context = decimal.Context(prec=70)
    turn = Fraction(p, q) % 2
    if turn > 1:
        turn = 2 - turn
    sign = 1
    if turn > Fraction(1, 2):
        turn, sign = 1 - turn, -1
    angle = context.multiply(pi, context.divide(Decimal(turn.numerator), Decimal(turn.denominator)))
    term, total = Decimal(1), Decimal(1)
    for n in range(1, 40):
        term = context.divide(context.multiply(term, -context.multiply(angle, angle)), Decimal((2 * n - 1) * 2 * n))
        total = context.add(total, term)
    return sign * total


@pytest.mark.clause("FLT-8")
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_cos_is_good_to_2_to_the_minus_52(p, q):
    got, exact = cos_pi(p, q), exact_cos_pi(p, q)
    assert abs(Decimal(got) - exact) <= Decimal(2) ** -52
    assert cos_pi(-p, q) == got == cos_pi(p + 2 * q, q) == -cos_pi(p + q, q)


@pytest.mark.clause("FLT-8")
def test_cos_is_exact_at_multiples_of_one_half():
    for q in (1, 2, 7, 1000):
        assert [cos_pi(p * q, 2 * q) for p in range(-4, 5)] == [1, 0, -1, 0, 1, 0, -1, 0, 1]
    falling = [cos_pi(p, 999) for p in range(1000)]
    assert falling == sorted(falling, reverse=True)
    with pytest.raises(ValueError, match="at least 1"):
        cos_pi(1, 0)


@pytest.mark.clause("FLT-9")
@given(st.floats(0.5, 1), st.integers(0, 2000))
def test_power_is_repeated_squaring(base, n):
    squares = [base]
    while len(squares) < 12:
        squares.append(squares[-1] * squares[-1])
    expected = 1.0
    for bit, square in enumerate(squares):
        if n >> bit & 1:
            expected *= square
    assert power64(base, n) == expected
    assert power64(0.5, n) == 0.5**n
    with pytest.raises(ValueError, match="0 or more"):
        power64(base, -1)
