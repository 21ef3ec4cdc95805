"""Binary vectors: signs, packing, XNOR products, what padding means, and bit planes, against products of signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import bitplane_gemm, pack_bits, popcount, unpack_bits, xnor_conv2d, xnor_gemm

LENGTHS = st.sampled_from([0, 1, 2, 7, 8, 63, 64, 65, 127, 128, 129, 200])
SEEDS = st.integers(0, 2**32 - 1)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


@pytest.mark.clause("BIN-1")
def test_the_sign_of_zero_is_plus():
    tiny = np.float32(1e-45)
    x = np.array([0.0, -0.0, tiny, -tiny, 1, -1, np.inf, -np.inf], np.float32)
    assert unpack_bits(pack_bits(x), 8).tolist() == [1, 1, 1, -1, 1, -1, 1, -1]
    assert unpack_bits(pack_bits(np.array([0, -128, 127], np.int8)), 3).tolist() == [1, -1, 1]
    with pytest.raises(ValueError, match="1 NaN"):
        pack_bits(np.array([np.nan, 1], np.float32))


@pytest.mark.clause("BIN-2")
@given(LENGTHS, st.lists(st.integers(0, 3), max_size=2), SEEDS)
def test_packing_round_trips_and_pads_with_zeros(k, lead, seed):
    x = signs(np.random.default_rng(seed), (*lead, k))
    words = pack_bits(x)
    assert words.dtype == np.uint64
    assert words.shape == (*lead, -(-k // 64))
    assert np.array_equal(unpack_bits(words, k), x)
    for row, packed in zip(x.reshape(math.prod(lead), k), words.reshape(math.prod(lead), words.shape[-1]), strict=True):
        number = sum(1 << i for i, value in enumerate(row) if value == 1)  # element i is bit i of one long number
        assert number == sum(int(word) << (64 * j) for j, word in enumerate(packed))


@pytest.mark.clause("BIN-2")
def test_words_of_the_wrong_kind_are_refused():
    words = pack_bits(np.ones((2, 65), np.int8))
    with pytest.raises(TypeError, match="uint64"):
        xnor_gemm(words.view(np.int64), words, 65)
    with pytest.raises(ValueError, match="129 bits take 3"):
        xnor_gemm(words, words, 129)


@pytest.mark.clause("BIN-3")
def test_popcount():
    words = np.array([0, 1, 2**63, 2**64 - 1, 0x5555555555555555, 0xF0F0], np.uint64)
    assert popcount(words).tolist() == [0, 1, 1, 64, 32, 8]
    random = np.random.default_rng(3).integers(0, 2**64 - 1, 500, np.uint64)
    assert popcount(random).tolist() == [bin(int(w)).count("1") for w in random]


@pytest.mark.clause("BIN-3")
@given(st.integers(0, 4), st.integers(0, 4), LENGTHS, SEEDS)
def test_xnor_products_are_products_of_signs(m, n, k, seed):
    rng = np.random.default_rng(seed)
    a, b = signs(rng, (m, k)), signs(rng, (n, k))
    y = xnor_gemm(pack_bits(a), pack_bits(b), k)
    assert y.dtype == np.int32
    assert np.array_equal(y, a.astype(np.int64) @ b.T.astype(np.int64))


@pytest.mark.clause("BIN-3")
@pytest.mark.parametrize("k", [1, 63, 65, 100])
def test_pad_bits_never_count(k):
    rng = np.random.default_rng(k)
    a, b = pack_bits(signs(rng, (3, k))), pack_bits(signs(rng, (2, k)))
    expected = xnor_gemm(a, b, k)
    dirty = a.copy()
    dirty[:, -1] |= np.uint64((2**64 - 1) ^ (2 ** (k % 64) - 1))
    assert np.array_equal(xnor_gemm(dirty, b, k), expected)


@pytest.mark.clause("BIN-4")
@given(
    st.sampled_from([1, 3, 64, 65]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([1, -1]),
    SEEDS,
)
def test_xnor_convolution_is_the_convolution_of_signs_in_a_padded_frame(channels, kernel, stride, padding, pad, seed):
    rng = np.random.default_rng(seed)
    x, w = signs(rng, (2, 4, 3, channels)), signs(rng, (2, *kernel, channels))
    (ph, pw), (kh, kw), (sh, sw) = padding, kernel, stride
    framed = np.full((2, 4 + 2 * ph, 3 + 2 * pw, channels), pad, np.int64)
    framed[:, ph : ph + 4, pw : pw + 3] = x
    oh, ow = (4 + 2 * ph - kh) // sh + 1, (3 + 2 * pw - kw) // sw + 1
    y = xnor_conv2d(pack_bits(x), pack_bits(w), channels, stride, padding, pad)
    assert y.dtype == np.int32
    assert y.shape == (2, oh, ow, 2)
    for r in range(oh):
        for s in range(ow):
            window = framed[:, r * sh : r * sh + kh, s * sw : s * sw + kw]
            expected = np.einsum("nijc,oijc->no", window, w.astype(np.int64))
            assert np.array_equal(y[:, r, s], expected)


@pytest.mark.clause("BIN-4")
def test_zero_is_no_pad_value():
    words = pack_bits(np.ones((1, 2, 2, 1), np.int8))
    with pytest.raises(ValueError, match="allowed are 1 and -1"):
        xnor_conv2d(words, words, 1, (1, 1), (1, 1), 0)
    corner = [xnor_conv2d(words, words, 1, (1, 1), (1, 1), pad)[0, 0, 0, 0] for pad in (1, -1)]
    assert corner == [4, -2]  # one real pixel and three of the padding


@pytest.mark.clause("BIN-5")
@given(st.integers(0, 4), st.integers(0, 4), LENGTHS, SEEDS)
def test_bit_planes_give_the_direct_product(m, n, k, seed):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((m, k)) < 0.3, 255, rng.integers(0, 256, (m, k))).astype(np.uint8)
    w = signs(rng, (n, k))
    y = bitplane_gemm(x, pack_bits(w), k)
    assert y.dtype == np.int32
    assert np.array_equal(y, x.astype(np.int64) @ w.T.astype(np.int64))


@pytest.mark.clause("BIN-5")
def test_bit_planes_at_the_extremes():
    x, w = np.full((1, 100), 255, np.uint8), np.ones((1, 100), np.int8)
    assert bitplane_gemm(x, pack_bits(w), 100).item() == 25500
    assert bitplane_gemm(x, pack_bits(-w), 100).item() == -25500
    with pytest.raises(ValueError, match="uint8"):
        bitplane_gemm(x.astype(np.int8), pack_bits(w), 100)
    k = -(-(2**31) // 255)
    with pytest.raises(OverflowError, match="split it"):
        bitplane_gemm(np.broadcast_to(np.uint8(0), (1, k)), np.zeros((1, 1), np.uint64), k)
