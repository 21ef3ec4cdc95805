"""Chapter FMT: ranges, storage, values, exact scaling, bad input."""

from __future__ import annotations

from fractions import Fraction

import generators as gen
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import DFP, EXP_MAX, EXP_MIN, Counts, Rounding, Target, int_limits, quantize, storage_dtype
from qnn.numerics.rounding import scale_exact


@pytest.mark.clause("FMT-1")
@pytest.mark.parametrize("bits", range(2, 17))
def test_range_is_two_s_complement(bits: int) -> None:
    lo, hi = int_limits(bits)
    assert (lo, hi) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert hi - lo + 1 == 2**bits
    far = quantize(np.array([-1e30, 1e30], dtype=np.float32), Target(0, bits))[0]
    assert far.tolist() == [lo, hi]


@pytest.mark.clause("FMT-1")
@pytest.mark.parametrize("bits", [-8, 0, 1, 17, 32])
def test_width_out_of_range_is_an_error(bits: int) -> None:
    for make in (int_limits, storage_dtype, lambda b: Target(0, b), lambda b: DFP(np.zeros(1, np.int8), 0, b)):
        with pytest.raises(ValueError, match=r"2 to 16"):
            make(bits)


@pytest.mark.clause("FMT-2")
@pytest.mark.parametrize("bits", range(2, 17))
def test_storage_type(bits: int) -> None:
    wanted = np.int8 if bits <= 8 else np.int16
    other = np.int16 if bits <= 8 else np.int8
    assert storage_dtype(bits) == wanted
    assert DFP(np.zeros(3, wanted), 0, bits).ints.dtype == wanted
    assert quantize(np.ones(3, np.float32), Target(0, bits))[0].dtype == wanted
    for wrong in (np.zeros(3, other), np.zeros(3, np.int64), np.zeros(3, np.float32), [0, 0, 0]):
        with pytest.raises(TypeError, match="stored as"):
            DFP(wrong, 0, bits)  # type: ignore[arg-type]


@pytest.mark.clause("FMT-1", "FMT-2")
@pytest.mark.parametrize("bits", [2, 4, 7, 9, 12, 15])
def test_integers_outside_the_width_are_an_error(bits: int) -> None:
    lo, hi = int_limits(bits)
    dtype = storage_dtype(bits)
    assert DFP(np.array([lo, hi], dtype), 0, bits).shape == (2,)
    for bad in (lo - 1, hi + 1):
        with pytest.raises(ValueError, match=f"{bits} bits hold {lo} to {hi}"):
            DFP(np.array([0, bad], dtype), 0, bits)


@pytest.mark.clause("FMT-3")
@pytest.mark.parametrize("bits", [8, 16])
def test_value_is_exact_for_all_integers_and_exponents(bits: int) -> None:
    lo, hi = int_limits(bits)
    ints = np.arange(lo, hi + 1, dtype=storage_dtype(bits))
    some = np.unique(np.concatenate([ints[:3], ints[-3:], ints[:: max(1, len(ints) // 97)], [0, 1, -1]])).astype(
        ints.dtype
    )
    for exponent in range(EXP_MIN, EXP_MAX + 1):
        values = DFP(ints, exponent, bits).to_float()
        assert values.dtype == np.float32
        assert np.array_equal(values.astype(np.float64), np.ldexp(ints.astype(np.float64), exponent))
        for q, v in zip(some.tolist(), DFP(some, exponent, bits).to_float().tolist(), strict=True):
            assert Fraction(v) == q * oracle.power(exponent)
    assert not np.signbit(DFP(np.zeros(1, np.int8), -3).to_float())[0]


@pytest.mark.clause("FMT-3", "EXP-4")
@pytest.mark.parametrize("exponent", [-65, 64, 1000])
def test_exponent_out_of_range_is_an_error(exponent: int) -> None:
    with pytest.raises(ValueError, match="-64 to 63"):
        DFP(np.zeros(1, np.int8), exponent)
    with pytest.raises(ValueError, match="-64 to 63"):
        Target(exponent)


@pytest.mark.clause("FMT-4")
@given(gen.floats(), gen.exponents)
def test_scaling_is_exact(x: float, exponent: int) -> None:
    steps = scale_exact(np.array([x], dtype=np.float32), exponent)
    assert Fraction(float(steps[0])) == Fraction(x) / oracle.power(exponent)


@pytest.mark.clause("FMT-4")
def test_scaling_is_exact_for_every_kind_of_float32() -> None:
    bits = np.concatenate([np.arange(0, 1 << 31, 65521, dtype=np.uint32), np.arange(0, 4096, dtype=np.uint32)])
    x = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    x = x[np.isfinite(x)]
    for exponent in (EXP_MIN, -1, 0, EXP_MAX):
        back = scale_exact(x, exponent) * 2.0**exponent
        assert np.array_equal(back.astype(np.float32).view(np.uint32), x.view(np.uint32))
        assert np.array_equal(back, x.astype(np.float64))


@pytest.mark.clause("FMT-5")
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 20), gen.rules)
def test_nan_and_infinity_are_counted_errors(nans: int, infinities: int, good: int, rule: Rounding) -> None:
    x = np.array(
        [np.nan] * nans + [np.inf, -np.inf, np.inf, -np.inf, np.inf][:infinities] + [1.0] * good, dtype=np.float32
    )
    target = Target(0, 8, rule, np.zeros(x.size, np.uint16))
    if nans + infinities == 0:
        assert quantize(x, target)[0].tolist() == [1] * good
        return
    with pytest.raises(ValueError, match=f"got {nans} NaN and {infinities} infinite values among {x.size}"):
        quantize(x, target)


@pytest.mark.clause("FMT-6")
@pytest.mark.parametrize("x", [np.ones(2), np.ones(2, np.float16), np.ones(2, np.int8), [1.0], np.ones(2, ">f8")])
def test_only_float32_is_quantised(x: object) -> None:
    with pytest.raises(TypeError, match="only float32"):
        quantize(x, Target(0))  # type: ignore[arg-type]


@pytest.mark.clause("FMT-6")
@given(gen.reals(24), gen.exponents, gen.bit_widths, gen.rules, st.integers(0, 99))
def test_quantise_equals_the_oracle(x: np.ndarray, exponent: int, bits: int, rule: Rounding, seed: int) -> None:
    u = gen.noise_for(x, seed)
    ints, counts = quantize(x, Target(exponent, bits, rule, u))
    wanted, tallied = oracle.to_bits([Fraction(float(v)) for v in x], exponent, bits, int(rule), u.tolist())
    assert ints.tolist() == wanted
    assert counts == Counts(*tallied)


@pytest.mark.clause("FMT-6")
@given(st.integers(0, 99), gen.rules)
def test_element_by_element_in_any_memory_layout(seed: int, rule: Rounding) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 40, (3, 4, 5)).astype(np.float32)
    u = gen.noise_for(x, seed)
    ints, counts = quantize(x, Target(-1, 8, rule, u))
    order = rng.permutation(x.size)
    moved, same = quantize(x.reshape(-1)[order], Target(-1, 8, rule, u.reshape(-1)[order]))
    assert np.array_equal(moved, ints.reshape(-1)[order])
    assert same == counts
    for layout in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[::-1][::-1]):
        again, same = quantize(layout, Target(-1, 8, rule, u))
        assert np.array_equal(again, ints)
        assert same == counts
    parts = [quantize(x[i], Target(-1, 8, rule, u[i])) for i in range(3)]
    assert np.array_equal(np.stack([p[0] for p in parts]), ints)
    assert parts[0][1] + parts[1][1] + parts[2][1] == counts


@pytest.mark.clause("FMT-6")
def test_empty_scalar_and_readonly_input() -> None:
    for shape in ((0,), (3, 0, 2)):
        ints, counts = quantize(np.zeros(shape, np.float32), Target(0))
        assert ints.shape == shape
        assert counts == Counts()
    ints, counts = quantize(np.array(2.5, dtype=np.float32), Target(0))
    assert ints.shape == ()
    assert ints == 2
    x = np.ones(4, np.float32)
    x.flags.writeable = False
    assert quantize(x, Target(-6))[0].tolist() == [64] * 4


@pytest.mark.clause("FMT-6")
def test_integers_of_a_dfp_tensor_are_fixed_points() -> None:
    for bits in (2, 5, 8):
        lo, hi = int_limits(bits)
        ints = np.arange(lo, hi + 1, dtype=np.int8)
        u = np.full(ints.shape, 0xFFFF, np.uint16)
        for exponent in (EXP_MIN, -7, 0, EXP_MAX):
            for rule in Rounding:
                x = DFP(ints, exponent, bits).to_float()
                assert np.array_equal(quantize(x, Target(exponent, bits, rule, u))[0], ints)
