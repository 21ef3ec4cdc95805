"""The public arithmetic: qnn.quantize, requantize, next_exponent, qnn.noise and qnn.kernels, as a user calls them."""

from __future__ import annotations

import doctest
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
import pytest
from generators import exponents, int64s, reals
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import _kernels, arithmetic, kernels, noise, numerics
from qnn.numerics import Noise, Rounding

every_path = pytest.mark.parametrize("path", _kernels.available_kernels())


# --- quantize, requantize, next_exponent ---


@pytest.mark.clause("FMT-6", "RND-3")
@given(x=reals(), exponent=exponents, bits=st.integers(2, 16))
def test_quantize_is_the_rounded_fraction(x: Any, exponent: int, bits: int) -> None:
    """NEAREST_DOWN by fractions: ceil(x - 1/2), then the clip."""
    got = arithmetic.quantize(x, exponent, bits)
    half = 2 ** (bits - 1)
    wanted = [min(max(ceil(Fraction(float(v)) / Fraction(2) ** exponent - Fraction(1, 2)), -half), half - 1) for v in x]
    assert got.ints.tolist() == wanted
    assert got.ints.dtype == (np.int8 if bits <= 8 else np.int16)
    assert (got.exponent, got.bits) == (exponent, bits)


@pytest.mark.clause("REQ-1", "REQ-2", "REQ-3", "RND-11")
@given(acc=int64s(), shift=st.integers(-70, 70), word=st.integers(0, 65535), bits=st.integers(2, 16))
def test_requantize_stochastic_by_fractions(acc: int, shift: int, word: int, bits: int) -> None:
    value = Fraction(acc) / Fraction(2) ** shift
    half = 2 ** (bits - 1)
    wanted = min(max(floor((floor(value * 2**16) + word) / Fraction(2**16)), -half), half - 1)
    got = arithmetic.requantize(np.array([acc]), shift, bits, "stochastic", np.array([word], np.uint16))
    assert got.tolist() == [wanted]


@pytest.mark.clause("EXP-2")
@given(x=reals(), exponent=exponents, bits=st.integers(2, 16))
def test_next_exponent_is_algorithm_1(x: Any, exponent: int, bits: int) -> None:
    half = Fraction(2) ** (bits - 1 + exponent)
    over = any(not -half <= Fraction(float(v)) < half for v in x)
    over_double = any(not -half <= 2 * Fraction(float(v)) < half for v in x)
    step = 0 if not x.any() else 1 if over else 0 if over_double else -1
    assert arithmetic.next_exponent(x, exponent, bits) == min(max(exponent + step, -64), 63)


@pytest.mark.parametrize("noise_of", [lambda n: Noise(seed=7, bits=16), lambda n: Noise(seed=7).u16(n)])
def test_noise_as_address_or_as_words(noise_of: Any) -> None:
    x = np.linspace(-3, 3, 101).astype(np.float32)
    got = arithmetic.quantize(x, -3, 8, Rounding.STOCHASTIC, noise_of(101))
    wanted, _ = numerics.quantize(x, numerics.Target(-3, 8, Rounding.STOCHASTIC, Noise(seed=7)))
    np.testing.assert_array_equal(got.ints, wanted)


@every_path
def test_accumulators_of_any_integer_type(path: str) -> None:
    values = [3, 100, 7, 0]
    with _kernels.use_kernels(path):
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", "O"):
            assert arithmetic.requantize(np.array(values, kind), 1).tolist() == [1, 50, 3, 0]
        assert arithmetic.requantize([10, -10], 2).tolist() == [2, -3]  # type: ignore[arg-type]
        assert arithmetic.requantize(np.array([2**64 - 1], np.uint64), 60).tolist() == [16]
        assert arithmetic.requantize(np.array(-12), 3).shape == ()
        assert arithmetic.quantize(np.float32(1.5), -1).ints == 3  # type: ignore[arg-type]


@every_path
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: arithmetic.quantize(np.zeros(3), 0), TypeError, "float64"),
        (lambda: arithmetic.quantize([1.0], 0), TypeError, "float32"),
        (lambda: arithmetic.quantize(np.float32([1, np.nan, np.inf]), 0), ValueError, "1 NaN and 1 infinite"),
        (lambda: arithmetic.quantize(np.float32([1]), 64), ValueError, "exponent 64"),
        (lambda: arithmetic.quantize(np.float32([1]), 0, 17), ValueError, "17 bits"),
        (lambda: arithmetic.quantize(np.float32([1]), 0, 1), ValueError, "1 bits"),
        (lambda: arithmetic.quantize(np.float32([1]), 0, 8, "nearest"), ValueError, "nearest_down"),
        (lambda: arithmetic.quantize(np.float32([1]), 0, 8, "stochastic"), ValueError, "noise"),
        (
            lambda: arithmetic.quantize(np.float32([1]), 0, 8, "stochastic", np.zeros(2, np.uint16)),
            ValueError,
            "2 noise",
        ),
        (lambda: arithmetic.quantize(np.float32([1]), 0, 8, "stochastic", np.zeros(1)), TypeError, "uint16"),
        (lambda: arithmetic.quantize(np.float32([1]), 0, 8, "stochastic", 5), TypeError, "Noise"),
        (lambda: arithmetic.requantize(np.float32([1]), 0), TypeError, "float32"),
        (lambda: arithmetic.requantize(np.array([True]), 0), TypeError, "bool"),
        (lambda: arithmetic.requantize(np.array([1]), 0.5), TypeError, "whole number"),
        (lambda: arithmetic.next_exponent(np.zeros(3), 0), TypeError, "float64"),
        (lambda: arithmetic.next_exponent(np.float32([np.nan]), 0), ValueError, "1 NaN"),
    ],
)
def test_bad_input_is_refused(path: str, call: Any, kind: type[Exception], words: str) -> None:
    with _kernels.use_kernels(path), pytest.raises(kind, match=words):
        call()


# --- qnn.noise ---


@pytest.mark.clause("NOI-2", "NOI-5")
@every_path
def test_known_answers_of_the_generators(path: str) -> None:
    with _kernels.use_kernels(path):
        words = noise.philox(seed=0, stream=0, start=0, count=8)
        assert words.astype(">u2").tobytes().hex() == "e8d56627c58de169ac4cbc57dbd89b00"
        assert noise.lfsr16(0xACE1, 0, 6).tolist() == [0x5670, 0xAB38, 0x559C, 0x2ACE, 0x1567, 0x8AB3]
        np.testing.assert_array_equal(noise.philox(5, 6, 11, 40, step=7), numerics.philox(5, 6, 11, 40, 7))
        for bad in (-1, 2**64):
            with pytest.raises(ValueError, match="seed"):
                noise.philox(bad, 0, 0, 1)
        with pytest.raises(ValueError, match="LFSR seed 0"):
            noise.lfsr16(0, 0, 1)


# --- qnn.kernels ---


def frozen(x: Any) -> Any:
    """The same array, read-only."""
    x.flags.writeable = False
    return x


@pytest.mark.clause("MAC-3", "MAC-4", "MAC-5", "MAC-6", "POW-3", "BIN-3", "BIN-4", "BIN-5")
@every_path
def test_every_kernel_with_awkward_arrays(path: str) -> None:
    """Transposed, strided and read-only arrays; results against NumPy's own product where there is one."""
    rng = np.random.default_rng(0)
    a = frozen(rng.integers(-128, 128, (14, 10)).astype(np.int8)[::2])
    b = frozen(rng.integers(-128, 128, (5, 10)).astype(np.int8)).T
    x = frozen(rng.integers(-128, 128, (2, 7, 8, 6)).astype(np.int8)).transpose(0, 2, 1, 3)
    w = frozen(rng.integers(-128, 128, (4, 3, 2, 3)).astype(np.int8))
    with _kernels.use_kernels(path):
        product = kernels.gemm(a, b)
        np.testing.assert_array_equal(product, a.astype(np.int64) @ b.astype(np.int64))
        assert product.dtype == np.int32
        y = kernels.conv2d(x, w, stride=(2, 1), padding=1, groups=2)
        np.testing.assert_array_equal(y, numerics.conv2d(x, w, (2, 1), (1, 1), (1, 1), 2))
        g = y.astype(np.int8)
        dx = kernels.conv2d_input_grad(g, w, (8, 7), (2, 1), 1, 1, 2)
        np.testing.assert_array_equal(dx, numerics.conv2d_input_grad(g, w, (8, 7), (2, 1), (1, 1), (1, 1), 2))
        dw = kernels.conv2d_weight_grad(x, g, (3, 2), (2, 1), 1, 1, 2)
        np.testing.assert_array_equal(dw, numerics.conv2d_weight_grad(x, g, (3, 2), (2, 1), (1, 1), (1, 1), 2))
        powers = rng.choice([0, 1, -2, 4, -8, 64], (5, 10))
        codes = kernels.encode_pow2(powers, 4)
        wanted = a.astype(np.int64) @ powers.T
        np.testing.assert_array_equal(kernels.shift_gemm(a, frozen(codes), 4), wanted)
        np.testing.assert_array_equal(kernels.shift_gemm(a, kernels.pack_pow2(codes, 4), 4, packed=True), wanted)
        filters = kernels.encode_pow2(rng.choice([0, 1, -4], (4, 3 * 2 * 3)), 3)
        packed = kernels.pack_pow2(filters, 3)
        got = kernels.shift_conv2d(x, packed, 3, (3, 2), (2, 1), 1, 1, 2)
        np.testing.assert_array_equal(got, numerics.shift_conv2d(x, packed, 3, (3, 2), (2, 1), (1, 1), (1, 1), 2))
        signs_a, signs_b = np.where(a >= 0, 1, -1), np.where(b.T >= 0, 1, -1)
        got = kernels.xnor_gemm(kernels.pack_bits(a), kernels.pack_bits(b.T), 10)
        np.testing.assert_array_equal(got, signs_a @ signs_b.T)
        pixels, taps = kernels.pack_bits(x), kernels.pack_bits(rng.integers(-1, 1, (4, 3, 2, 6)).astype(np.int8))
        got = kernels.xnor_conv2d(pixels, taps, 6, 2, 1, pad_value=-1)
        np.testing.assert_array_equal(got, numerics.xnor_conv2d(pixels, taps, 6, (2, 2), (1, 1), -1))
        unsigned = frozen(rng.integers(0, 256, (7, 10)).astype(np.uint8))
        got = kernels.bitplane_gemm(unsigned, kernels.pack_bits(b.T))
        np.testing.assert_array_equal(got, unsigned.astype(np.int64) @ signs_b.T)


I8 = np.zeros((2, 3), np.int8)
IMAGE, FILTER = np.zeros((1, 4, 4, 2), np.int8), np.zeros((3, 2, 2, 2), np.int8)
BITS = np.zeros((2, 1), np.uint64)


@every_path
@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: kernels.gemm(I8.astype(np.int32), I8), TypeError, "int32"),
        (lambda: kernels.gemm([[1]], I8), TypeError, "list"),
        (lambda: kernels.gemm(I8[0], I8), ValueError, "2 axes"),
        (lambda: kernels.gemm(I8, I8), ValueError, "3"),
        (lambda: kernels.conv2d(IMAGE, FILTER, stride=0), ValueError, "stride 0"),
        (lambda: kernels.conv2d(IMAGE, FILTER, stride=(1, 2, 3)), ValueError, "pair"),
        (lambda: kernels.conv2d(IMAGE, FILTER, padding=-1), ValueError, "padding -1"),
        (lambda: kernels.conv2d(IMAGE, FILTER, stride=1.5), TypeError, "whole number"),
        (lambda: kernels.conv2d(IMAGE, FILTER, groups=2), ValueError, "groups"),
        (lambda: kernels.conv2d(IMAGE, FILTER, dilation=9), ValueError, "kernel"),
        (lambda: kernels.shift_gemm(I8, np.zeros((2, 2), np.uint8), 4), ValueError, "packed=True"),
        (lambda: kernels.shift_gemm(I8, np.full((2, 3), 8, np.uint8), 4), ValueError, "unused code"),
        (lambda: kernels.shift_gemm(I8, np.zeros((2, 3), np.uint8), 6), ValueError, "6 bits"),
        (lambda: kernels.xnor_gemm(BITS, BITS, 65), ValueError, "65"),
        (lambda: kernels.xnor_gemm(BITS.astype(np.int64), BITS, 3), TypeError, "int64"),
        (lambda: kernels.pack_bits(np.array([np.nan])), ValueError, "1 NaN"),
        (lambda: kernels.pack_bits(np.array([True])), TypeError, "bool"),
        (lambda: kernels.bitplane_gemm(I8, BITS), TypeError, "uint8"),
    ],
)
def test_bad_arguments_of_kernels_are_refused(path: str, call: Any, kind: type[Exception], words: str) -> None:
    with _kernels.use_kernels(path), pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize("module", [arithmetic, kernels, noise])
def test_examples_of_the_docstrings(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted >= 2
    assert found.failed == 0


@pytest.mark.parametrize("name", ["quantize", "requantize", "next_exponent", "noise", "kernels"])
def test_promised_names(name: str) -> None:
    """The names that others may rely on from the first release."""
    assert hasattr(qnn, name)
