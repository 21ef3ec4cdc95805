"""What "float32" means: IEEE operations one at a time, exact integers converted once, exact scaling."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import scale_by_power, to_float32_once

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
BIG = st.integers(-(2**127), 2**127)
NEAR_TIES = st.builds(
    lambda mantissa, shift, offset, sign: sign * ((mantissa << shift) + (1 << shift >> 1) + offset),
    st.integers(2**23, 2**24 - 1),
    st.integers(1, 100),
    st.integers(-1, 1),
    st.sampled_from([1, -1]),
)


@pytest.mark.clause("FLT-1")
@given(FINITE, FINITE)
def test_every_operation_is_the_exact_one_rounded_once(a, b):
    x, y = np.array([a, 0], np.float32), np.array([b, 1], np.float32)
    p, q = ieee.of(x[0]), ieee.of(y[0])
    limit = Fraction(2) ** 127
    with np.errstate(all="ignore"):
        results = {"add": (x + y, p + q), "sub": (x - y, p - q), "mul": (x * y, p * q)}
        if q:
            results["div"] = (x / y, p / q)
        for got, exact in results.values():
            if abs(exact) < limit:
                assert ieee.of(got[0]) == ieee.round(exact)
        assert ieee.of(np.sqrt(np.abs(x))[0]) == ieee.sqrt(abs(p))


@pytest.mark.clause("FLT-1")
def test_subnormal_numbers_are_kept():
    tiny = np.array([2.0**-149, 2.0**-126], np.float32)
    assert (tiny * np.float32(1)).tolist() == [2.0**-149, 2.0**-126]
    assert (tiny[1:] * np.float32(0.5)).tolist() == [2.0**-127]


@pytest.mark.clause("FLT-1")
def test_products_are_rounded_before_they_are_added():
    a = np.full(64, 1 + 2.0**-12, np.float32)
    c = np.full(64, -1, np.float32)
    assert set(((a * a) + c).tolist()) == {2.0**-11}  # a fused operation would keep 2**-24 more


@pytest.mark.clause("FLT-2")
@given(st.one_of(BIG, NEAR_TIES, st.integers(-(2**63), 2**63 - 1)))
def test_integers_are_converted_with_one_rounding(value):
    expected = ieee.round(value)
    assert ieee.of(to_float32_once(value)) == expected
    if -(2**63) <= value < 2**63:
        assert ieee.of(to_float32_once(np.array([value], np.int64))[0]) == expected
    boxed = np.empty((1, 1), object)
    boxed[0, 0] = value
    converted = to_float32_once(boxed)
    assert converted.dtype == np.float32
    assert converted.shape == (1, 1)
    assert ieee.of(converted[0, 0]) == expected


@pytest.mark.clause("FLT-2")
def test_a_detour_through_binary64_would_round_twice():
    value = 2**60 + 2**36 + 1  # just above a tie of binary32; binary64 drops the 1 and leaves the tie
    assert np.float32(float(value)) == 2.0**60
    assert to_float32_once(value) == to_float32_once(np.array(value)) == 2.0**60 + 2.0**37


@pytest.mark.clause("FLT-2")
def test_what_is_no_integer_or_too_large_is_refused():
    assert to_float32_once(2**128 - 2**103 - 1) == np.finfo(np.float32).max
    with pytest.raises(OverflowError, match="ends at 2\\*\\*128"):
        to_float32_once(2**128 - 2**103)
    with pytest.raises(TypeError, match="exact integers"):
        to_float32_once(np.array([1.0]))


@pytest.mark.clause("FLT-3")
@given(FINITE, st.integers(-300, 300))
def test_scaling_is_exact_or_rounded_once(x, exponent):
    exact = ieee.of(np.float32(x)) * Fraction(2) ** exponent
    got = scale_by_power(np.array([x], np.float32), exponent)
    assert got.dtype == np.float32
    if abs(exact) < Fraction(2) ** 127:
        assert ieee.of(got[0]) == ieee.round(exact)
        if abs(exact) >= Fraction(2) ** -126:
            assert ieee.of(got[0]) == exact


@pytest.mark.clause("FLT-3")
def test_scaling_beyond_the_ends():
    assert scale_by_power(np.float32(1), 128) == np.inf
    assert scale_by_power(np.float32(-1), -200) == 0
    assert scale_by_power(np.float32(3), -150).item() == 2.0**-148  # 1.5 units round to even
    with pytest.raises(ValueError, match="two steps"):
        scale_by_power(np.float32(1), 401)
