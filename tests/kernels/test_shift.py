"""Shift-accumulate on packed power-of-two codes: every path against the definition and against plain multiplication."""

from __future__ import annotations

import numpy as np
import pytest
from elem_cases import run, same, same_error, small_ints, thread_counts
from hypothesis import given
from hypothesis import strategies as st
from mac_cases import ints, seeds, sizes
from numpy.typing import NDArray

import qnn._kernels as kernels
from qnn.numerics import decode_pow2, pack_pow2, shift_accumulator_dtype, unpack_pow2

compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])
every_path = pytest.mark.parametrize("path", kernels.available_kernels())


def codes(shape: tuple[int, ...], bits: int, seed: int) -> NDArray[np.uint8]:
    """Random codes, zero often among them, the unused one (minus zero) not."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << bits, shape).astype(np.uint8)
    values[(values == 1 << (bits - 1)) | (rng.random(shape) < 0.2)] = 0
    return values


@pytest.mark.clause("POW-1", "POW-2", "POW-3")
@compiled
@given(data=st.data(), m=sizes, n=sizes, k=sizes, bits=st.integers(2, 5), seed=seeds, threads=thread_counts)
def test_shift_gemm(path: str, data: st.DataObject, m: int, n: int, k: int, bits: int, seed: int, threads: int) -> None:
    x, weights = data.draw(small_ints((m, k))), codes((n, k), bits, seed)
    packed = pack_pow2(weights, bits)
    got = run(path, "shift_gemm", x, packed, bits, k, threads=threads)
    same(got, run("reference", "shift_gemm", x, packed, bits, k))
    np.testing.assert_array_equal(got, x.astype(np.int64) @ decode_pow2(weights, bits).astype(np.int64).T)


@pytest.mark.clause("POW-3")
@compiled
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 15, 32, 33, 97])
def test_four_bits_by_few_and_by_many_rows(path: str, m: int) -> None:
    """Codes decoded in registers, in the caches, and all at once: lengths around each block, extremes everywhere."""
    rng = np.random.default_rng(m)
    few, many = (
        [(1, 1), (4, 63), (5, 64), (3, 129)],
        [(64, 65), (67, 127), (130, 2049), (8, 4100), (16, 512), (35, 4163)],
    )
    for n, k in few + many:
        x = rng.choice(np.array([-128, -1, 0, 127], np.int8), (m, k))
        packed = pack_pow2(codes((n, k), 4, m), 4)
        same(run(path, "shift_gemm", x, packed, 4, k, threads=3), run("reference", "shift_gemm", x, packed, 4, k))


@pytest.mark.clause("POW-3")
@compiled
@pytest.mark.parametrize("value", [-128, 127])
@pytest.mark.parametrize("code", [0, 7, 8, 15])
def test_four_bits_with_extremes_everywhere(path: str, code: int, value: int) -> None:
    """No pair of products saturates and no sum is cut: all terms alike, as large as they get."""
    for m, n, k in [(1, 5, 66000), (3, 3, 4099), (9, 2, 257), (20, 17, 66001)]:
        x, packed = np.full((m, k), value, np.int8), np.full((n, (k + 1) // 2), code * 17, np.uint8)
        weight = {0: 0, 7: 64, 8: 0, 15: -64}[code]
        got = run(path, "shift_gemm", x, packed, 4, k)
        assert got.dtype == np.int32
        assert (got == k * weight * value).all()


@pytest.mark.clause("POW-3", "POW-4")
@compiled
@given(data=st.data(), bits=st.integers(2, 5), seed=seeds, threads=thread_counts)
def test_shift_conv2d(path: str, data: st.DataObject, bits: int, seed: int, threads: int) -> None:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = groups * data.draw(st.integers(1, 9)), groups * data.draw(st.integers(1, 9))
    kernel, stride, dilation = data.draw(pair), data.draw(pair), data.draw(pair)
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    hw = tuple(d * (k - 1) + 1 + data.draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True))
    x = data.draw(small_ints((data.draw(st.integers(0, 2)), *hw, channels)))
    packed = pack_pow2(codes((filters, kernel[0] * kernel[1] * (channels // groups)), bits, seed), bits)
    args = (x, packed, bits, kernel, stride, padding, dilation, groups, data.draw(st.booleans()))
    same(run(path, "shift_conv2d", *args, threads=threads), run("reference", "shift_conv2d", *args))


@pytest.mark.clause("POW-3")
@every_path
@pytest.mark.parametrize(
    ("dtype", "bits", "k"), [(np.int8, 5, 1023), (np.int8, 5, 1024), (np.int16, 5, 3), (np.int16, 5, 4)]
)
def test_largest_sums_do_not_wrap(path: str, dtype: type, bits: int, k: int) -> None:
    """The widest product at the bound where int32 ends: the type changes there and the sum stays exact."""
    lowest = np.iinfo(dtype).min
    packed = pack_pow2(np.full((3, k), 15, np.uint8), bits)
    y = run(path, "shift_gemm", np.full((2, k), lowest, dtype), packed, bits, k)
    assert y.dtype == shift_accumulator_dtype(k, 8 * np.dtype(dtype).itemsize, bits)
    assert y.tolist() == [[k * lowest * 2**14] * 3] * 2


@compiled
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_unused_code_counts_as_zero(path: str, bits: int) -> None:
    """Packed bytes from elsewhere may hold minus zero; every path reads it as zero, in every position of a byte."""
    packed = np.arange(256, dtype=np.uint8).reshape(32, 8)
    k = 64 // bits
    packed = packed[:, : (k * bits + 7) // 8]
    x = ints((5, k), np.int8, "random", 1)
    got = run(path, "shift_gemm", x, packed, bits, k)
    same(got, run("reference", "shift_gemm", x, packed, bits, k))
    weights = decode_pow2(unpack_pow2(packed, bits, k), bits)
    np.testing.assert_array_equal(got, x.astype(np.int64) @ weights.T.astype(np.int64))


@pytest.mark.clause("POW-4")
@compiled
@given(data=st.data(), m=sizes, n=sizes, k=sizes, bits=st.integers(2, 5), seed=seeds, threads=thread_counts)
def test_truncating(path: str, data: st.DataObject, m: int, n: int, k: int, bits: int, seed: int, threads: int) -> None:
    x, packed = data.draw(small_ints((m, k))), pack_pow2(codes((n, k), bits, seed), bits)
    got = run(path, "shift_gemm", x, packed, bits, k, True, threads=threads)
    same(got, run("reference", "shift_gemm", x, packed, bits, k, True))


@pytest.mark.clause("POW-4")
@every_path
@pytest.mark.parametrize("k", [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_truncating_against_loops(path: str, dtype: type, bits: int, k: int) -> None:
    """Each term of Python's integers: lengths around the vectors, extremes of both types."""
    rng, info, r = np.random.default_rng(k), np.iinfo(dtype), 2 ** (bits - 1) - 1
    edges = [info.min, info.min + 1, -(2**6) - 1, -2, -1, 0, 1, 2, 2**6 - 1, info.max]
    x, weights = rng.choice(np.array(edges, dtype), (3, k)), codes((4, k), bits, k)
    got = run(path, "shift_gemm", x, pack_pow2(weights, bits), bits, k, True)
    assert got.dtype == shift_accumulator_dtype(k, info.bits, bits)
    want = [
        [sum((-1) ** (int(c) > r) * (int(v) >> (r - (int(c) & r))) for v, c in zip(row, own, strict=True) if c & r)]
        for row in x
        for own in weights
    ]
    assert got.reshape(-1, 1).tolist() == want


@pytest.mark.clause("POW-4")
@every_path
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_every_byte_by_every_code_truncated(path: str, bits: int) -> None:
    x, all_codes = np.arange(-128, 128, dtype=np.int8)[:, None], np.arange(1 << bits, dtype=np.uint8)
    got = run(path, "shift_gemm", x, all_codes[:, None], bits, 1, True)  # bytes of one code; the unused one is 0
    real = decode_pow2(all_codes, bits) / 2.0 ** (2 ** (bits - 1) - 2)
    np.testing.assert_array_equal(got, np.sign(real) * np.floor(x * np.abs(real)))
    wide = x.astype(np.int16) * np.int16(255) + np.int16(-13)
    got = run(path, "shift_gemm", wide, all_codes[:, None], bits, 1, True)
    np.testing.assert_array_equal(got, np.sign(real) * np.floor(wide * np.abs(real)))


@pytest.mark.clause("POW-4")
@every_path
@pytest.mark.parametrize(
    ("dtype", "bits", "k"), [(np.int8, 5, 1023), (np.int8, 5, 1024), (np.int16, 2, 65535), (np.int16, 2, 65540)]
)
def test_largest_truncated_sums_do_not_wrap(path: str, dtype: type, bits: int, k: int) -> None:
    """The largest weight is not shifted; the type is that of the exact product."""
    lowest, largest = np.iinfo(dtype).min, 2 ** (bits - 1) - 1
    packed = pack_pow2(np.full((3, k), largest, np.uint8), bits)
    y = run(path, "shift_gemm", np.full((2, k), lowest, dtype), packed, bits, k, True)
    assert y.dtype == shift_accumulator_dtype(k, 8 * np.dtype(dtype).itemsize, bits)
    assert y.tolist() == [[k * lowest] * 3] * 2


@compiled
def test_refused_alike(path: str) -> None:
    x, packed = np.zeros((2, 10), np.int8), np.zeros((3, 5), np.uint8)
    same_error(path, "shift_gemm", x, packed, 6, 10)
    same_error(path, "shift_gemm", x, packed, 4, 9)
    same_error(path, "shift_gemm", x, packed[:, :4], 4, 10)
    same_error(path, "shift_gemm", x, packed.astype(np.int8), 4, 10)
    same_error(path, "shift_gemm", x.astype(np.float32), packed, 4, 10)
    image = np.zeros((1, 3, 3, 4), np.int8)
    same_error(path, "shift_gemm", x, packed, 4, 9, True)
    same_error(path, "shift_gemm", x.astype(np.float32), packed, 4, 10, True)
    same_error(path, "shift_conv2d", image, packed, 4, (2, 2))
    same_error(path, "shift_conv2d", image, np.zeros((3, 8), np.uint8), 4, (2, 2), (1, 1), (0, 0), (1, 1), 3, True)
    same_error(path, "shift_conv2d", image, np.zeros((3, 8), np.uint8), 4, (2, 2), (0, 1))
    same_error(path, "shift_conv2d", image, np.zeros((3, 8), np.uint8), 4, (2, 2), groups=3)
