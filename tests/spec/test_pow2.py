"""Power-of-two weights: every code, packing with tails, shifts against multiplies, AP2 at the mantissa of sqrt(2)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    ap2,
    conv2d,
    decode_pow2,
    encode_pow2,
    pack_pow2,
    pow2_levels,
    shift_accumulator_dtype,
    shift_conv2d,
    shift_gemm,
    unpack_pow2,
)

BITS = st.integers(2, 5)
DTYPES = st.sampled_from([np.int8, np.int16])
SEEDS = st.integers(0, 2**32 - 1)


def random_codes(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    codes = rng.integers(0, 1 << bits, shape, np.uint8)
    return np.where(codes == 1 << (bits - 1), 0, codes).astype(np.uint8)


def random_ints(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    info = np.iinfo(dtype)
    random = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    edges = rng.choice(np.array([info.min, -1, 0, 1, info.max], dtype), shape)
    return np.where(rng.random(shape) < 0.5, random, edges)


@pytest.mark.clause("POW-1")
@pytest.mark.parametrize(("bits", "r"), [(2, 1), (3, 3), (4, 7), (5, 15)])
def test_every_code_means_what_the_table_says(bits, r):
    assert pow2_levels(bits) == r
    assert decode_pow2(np.array([0], np.uint8), bits).tolist() == [0]
    for m in range(1, r + 1):
        plus, minus = m, m + (1 << (bits - 1))
        pair = np.array([plus, minus], np.uint8)
        assert decode_pow2(pair, bits).tolist() == [2 ** (m - 1), -(2 ** (m - 1))]
        assert encode_pow2(decode_pow2(pair, bits), bits).tolist() == [plus, minus]
        real = [Fraction(int(w), 2 ** (r - 1)) for w in decode_pow2(pair, bits)]
        assert real == [Fraction(1, 2 ** (r - m)), -Fraction(1, 2 ** (r - m))]


@pytest.mark.clause("POW-1")
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_the_unused_code_is_zero_to_a_decoder_and_refused_by_the_packer(bits):
    unused = np.array([[1 << (bits - 1)]], np.uint8)
    assert decode_pow2(unused, bits).tolist() == [[0]]
    with pytest.raises(ValueError, match="unused code"):
        pack_pow2(unused, bits)


@pytest.mark.clause("POW-1")
def test_only_levels_can_be_encoded():
    with pytest.raises(ValueError, match="got the weight 3; allowed with 3 bits are"):
        encode_pow2(np.array([1, 3]), 3)
    with pytest.raises(ValueError, match="got the weight 8"):
        encode_pow2(np.array([8]), 3)
    for bits in (1, 6):
        with pytest.raises(ValueError, match="allowed are 2, 3, 4 and 5"):
            encode_pow2(np.array([0]), bits)


@pytest.mark.clause("POW-2")
@given(BITS, st.integers(0, 40), st.lists(st.integers(0, 3), max_size=2), SEEDS)
def test_packing_round_trips_with_any_tail(bits, k, lead, seed):
    codes = random_codes(np.random.default_rng(seed), (*lead, k), bits)
    packed = pack_pow2(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (*lead, -(-k * bits // 8))
    assert np.array_equal(unpack_pow2(packed, bits, k), codes)
    for row, octets in zip(
        codes.reshape(math.prod(lead), k), packed.reshape(math.prod(lead), packed.shape[-1]), strict=True
    ):
        number = sum(int(code) << (bits * i) for i, code in enumerate(row))  # the row is one little-endian number
        assert number == int.from_bytes(octets.tobytes(), "little")


@pytest.mark.clause("POW-2")
def test_packed_bytes_of_an_example():
    codes = np.array([[0, 1, 7, 2, 1]], np.uint8)
    assert pack_pow2(codes, 3).tolist() == [[0b11001000, 0b00010101]]


@pytest.mark.clause("POW-2")
def test_packing_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="above 7"):
        pack_pow2(np.array([[8]], np.uint8), 3)
    with pytest.raises(TypeError, match="uint8"):
        pack_pow2(np.array([[1]]), 3)
    with pytest.raises(ValueError, match="rows of 2 bytes"):
        unpack_pow2(np.zeros((1, 1), np.uint8), 3, 3)


@pytest.mark.clause("POW-3")
@given(BITS, DTYPES, st.integers(0, 4), st.integers(0, 20), st.integers(0, 4), SEEDS)
def test_shifting_gives_the_integers_of_the_multiply(bits, dtype, m, k, n, seed):
    rng = np.random.default_rng(seed)
    x, codes = random_ints(rng, (m, k), dtype), random_codes(rng, (n, k), bits)
    y = shift_gemm(x, pack_pow2(codes, bits), bits, k)
    weights = decode_pow2(codes, bits)
    expected = [[sum(int(x[i, p]) * int(weights[j, p]) for p in range(k)) for j in range(n)] for i in range(m)]
    assert y.tolist() == expected
    assert y.dtype == shift_accumulator_dtype(k, np.iinfo(dtype).bits, bits)


@pytest.mark.clause("POW-3")
@pytest.mark.parametrize(("dtype", "bits", "k"), [(np.int8, 5, 2**10), (np.int16, 5, 4), (np.int16, 3, 2**14)])
def test_the_shift_accumulator_at_two_to_the_31(dtype, bits, k):
    r = pow2_levels(bits)
    lowest = int(np.iinfo(dtype).min)
    for length, expected in ((k - 1, np.int32), (k, np.int64)):
        packed = pack_pow2(encode_pow2(np.full((1, length), -(2 ** (r - 1))), bits), bits)
        y = shift_gemm(np.full((1, length), lowest, dtype), packed, bits, length)
        assert y.dtype == expected
        assert y.item() == length * -lowest * 2 ** (r - 1)


@pytest.mark.clause("POW-3")
@given(BITS, DTYPES, st.sampled_from([1, 2]), SEEDS, st.data())
def test_shift_convolution_is_the_convolution_with_decoded_weights(bits, dtype, groups, seed, data):
    rng = np.random.default_rng(seed)
    kernel, stride = (data.draw(st.integers(1, 3)), 2), (1, data.draw(st.integers(1, 3)))
    padding, dilation = (data.draw(st.integers(0, 3)), 1), (data.draw(st.integers(1, 2)), 1)
    x = random_ints(rng, (2, 5, 4, 2 * groups), dtype)
    codes = random_codes(rng, (3 * groups, kernel[0], kernel[1], 2), bits)
    packed = pack_pow2(codes.reshape(3 * groups, -1), bits)
    weights = decode_pow2(codes, bits).astype(np.int16)  # at most 2**14
    expected = conv2d(x, weights, stride, padding, dilation, groups)
    assert np.array_equal(shift_conv2d(x, packed, bits, kernel, stride, padding, dilation, groups), expected)


@pytest.mark.clause("POW-4")
@given(BITS, DTYPES, st.integers(0, 20), SEEDS)
def test_the_truncating_shifter_loses_up_to_a_unit_a_term(bits, dtype, k, seed):
    rng = np.random.default_rng(seed)
    r = pow2_levels(bits)
    x, codes = random_ints(rng, (2, k), dtype), random_codes(rng, (3, k), bits)
    packed, weights = pack_pow2(codes, bits), decode_pow2(codes, bits)
    y = shift_gemm(x, packed, bits, k, truncating=True)
    for i in range(2):
        for j in range(3):
            terms = []
            for p in range(k):
                w = int(weights[j, p])
                down = r - abs(w).bit_length()  # weight 2**(m-1) at exponent -(r-1): shift by r - m
                terms.append((1 if w > 0 else -1) * (int(x[i, p]) >> down) if w else 0)
            assert y[i, j] == sum(terms)
            exact = Fraction(sum(int(a) * int(b) for a, b in zip(x[i], weights[j], strict=True)), 2 ** (r - 1))
            assert abs(exact - int(y[i, j])) < max(1, np.count_nonzero(weights[j]))


@pytest.mark.clause("POW-4")
def test_with_two_bits_nothing_is_truncated():
    rng = np.random.default_rng(4)
    x, packed = random_ints(rng, (3, 9), np.int8), pack_pow2(random_codes(rng, (2, 9), 2), 2)
    assert np.array_equal(shift_gemm(x, packed, 2, 9, truncating=True), shift_gemm(x, packed, 2, 9))


def nearest_power(x: Fraction) -> Fraction:
    """2**k or 2**(k+1) by comparing the square with 2, which is exact."""
    k = 0
    while Fraction(2) ** (k + 1) <= x:
        k += 1
    while Fraction(2) ** k > x:
        k -= 1
    f = x / Fraction(2) ** k
    return Fraction(2) ** (k + (f * f > 2))


@pytest.mark.clause("POW-5")
def test_ap2_rounds_at_the_mantissa_of_sqrt_two_in_every_binade():
    fields = np.array([0, 1, 0x3504F2, 0x3504F3, 0x3504F4, 0x400000, 0x7FFFFF], np.uint32)
    exponents = np.arange(0, 254, dtype=np.uint32)[:, None]  # 0: subnormal; the last binade is looked at below
    x = ((exponents << np.uint32(23)) | fields).view(np.float32)
    result = ap2(x)
    assert result.dtype == np.float32
    for value, got in zip(x.ravel(), result.ravel(), strict=True):
        assert Fraction(float(got)) == (nearest_power(Fraction(float(value))) if value else 0)
    assert np.array_equal(ap2(-x), -result)


@pytest.mark.clause("POW-5")
def test_ap2_is_exact_around_its_boundary():
    fields = np.arange(0x3504F3 - 2000, 0x3504F3 + 2001, dtype=np.uint32)
    x = (np.uint32(127 << 23) | fields).view(np.float32)
    assert np.array_equal(ap2(x), np.where(fields > 0x3504F3, 2, 1))


@pytest.mark.clause("POW-5")
def test_the_top_bit_of_every_binade():
    fields = np.array([0, 1, 0x3504F3, 0x3504F4, 0x400000, 0x7FFFFF], np.uint32)
    exponents = np.arange(0, 255, dtype=np.uint32)[:, None]  # 0: subnormal; nothing is rounded up, so to the last
    x = ((exponents << np.uint32(23)) | fields).view(np.float32)
    want = [2.0 ** (np.frexp(np.float64(v))[1] - 1) if v else 0.0 for v in x.ravel()]
    assert ap2(x, "top").ravel().tolist() == want
    assert np.array_equal(ap2(-x, "top"), -ap2(x, "top"))
    assert not np.signbit(ap2(np.float32([-0.0]), "top"))[0]
    with pytest.raises(ValueError, match=r"'nearest', .* and 'top'"):
        ap2(x, "floor")


@pytest.mark.clause("POW-5")
def test_ap2_at_the_ends_of_float32():
    assert ap2(np.float32([0.0, -0.0])).tolist() == [0.0, 0.0]
    assert not np.signbit(ap2(np.float32([-0.0])))[0]
    last = np.uint32([0x7F000000, 0x7F3504F3]).view(np.float32)
    assert ap2(last).tolist() == [2.0**127, 2.0**127]
    with pytest.raises(OverflowError, match="2\\*\\*128"):
        ap2(np.uint32([0x7F3504F4]).view(np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="got 1 values"):
            ap2(np.float32([1, bad]))
    with pytest.raises(TypeError, match="float32"):
        ap2(np.array([1.0]))


@pytest.mark.clause("POW-5")
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30))
def test_ap2_is_idempotent_and_within_a_factor_of_sqrt_two(numbers):
    x = np.array([n for n in numbers if abs(n) < 2.0**127], np.float32)
    y = ap2(x)
    assert np.array_equal(ap2(y), y)
    for a, b in zip(x, y, strict=True):
        if a:
            ratio = Fraction(float(a)) / Fraction(float(b))
            assert Fraction(1, 2) <= ratio * ratio <= 2
