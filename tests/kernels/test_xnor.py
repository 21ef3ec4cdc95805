"""Binary products by popcount: every path against the definition and against the product of the signs."""

from __future__ import annotations

import numpy as np
import pytest
from elem_cases import Array, run, same, same_error, thread_counts
from hypothesis import given
from hypothesis import strategies as st
from mac_cases import seeds, sizes

import qnn._kernels as kernels
from qnn.numerics import pack_bits, unpack_bits

compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])
every_path = pytest.mark.parametrize("path", kernels.available_kernels())
true_lengths = st.one_of(
    st.sampled_from([1, 63, 64, 65, 127, 128, 129, 191, 192, 255, 256, 257, 320, 1000]), st.integers(1, 300)
)


def bits(shape: tuple[int, ...], k: int, seed: int) -> tuple[Array, Array]:
    """Signs [*shape, k] and their words, in which the pad bits hold random rubbish."""
    rng = np.random.default_rng(seed)
    signs = rng.choice(np.array([-1, 1], np.int8), (*shape, k), p=[0.4, 0.6])
    words = pack_bits(signs)
    if k % 64:
        rubbish = rng.integers(0, 2**64, words.shape[:-1], dtype=np.uint64)
        words[..., -1] |= rubbish << np.uint64(k % 64)
    return signs, words


@pytest.mark.clause("BIN-3")
@compiled
@given(m=sizes, n=sizes, k=true_lengths, seed=seeds, threads=thread_counts)
def test_xnor_gemm(path: str, m: int, n: int, k: int, seed: int, threads: int) -> None:
    (a, a_words), (b, b_words) = bits((m,), k, seed), bits((n,), k, seed + 1)
    got = run(path, "xnor_gemm", a_words, b_words, k, threads=threads)
    same(got, run("reference", "xnor_gemm", a_words, b_words, k))
    np.testing.assert_array_equal(got, a.astype(np.int64) @ b.T.astype(np.int64))


@pytest.mark.clause("BIN-3")
@compiled
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        *[(0, 3, 64), (3, 0, 64), (1, 1, 1), (1, 3, 4000), (3, 67, 513), (4, 16, 64), (5, 17, 575), (25, 64, 512)],
        *[(33, 65, 1100), (70, 130, 247), (70, 129, 248), (9, 3, 249), (7, 20, 63489), (2, 5, 140000)],
    ],
)
def test_few_and_many_rows_and_long_ones(path: str, m: int, n: int, k: int) -> None:
    """Rows as they lie and panels, with lengths around what a byte and 16 bits can count; all bits alike count most."""
    (a, a_words), (b, b_words) = bits((m,), k, m), bits((n,), k, n)
    same(run(path, "xnor_gemm", a_words, b_words, k, threads=3), a.astype(np.int32) @ b.T.astype(np.int32))
    got = run(path, "xnor_gemm", np.zeros_like(a_words), np.full_like(b_words, 2**64 - 1), k, threads=2)
    assert (got == -k).all()


@pytest.mark.clause("BIN-4")
@compiled
@given(
    data=st.data(), channels=st.one_of(st.sampled_from([1, 63, 64, 65, 130]), st.integers(1, 70)), threads=thread_counts
)
def test_xnor_conv2d(path: str, data: st.DataObject, channels: int, threads: int) -> None:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride = data.draw(pair), data.draw(pair)
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    hw = (kernel[0] + data.draw(st.integers(0, 4)), kernel[1] + data.draw(st.integers(0, 4)))
    _, x = bits((data.draw(st.integers(0, 2)), *hw), channels, data.draw(seeds))
    _, w = bits((data.draw(st.integers(0, 9)), *kernel), channels, data.draw(seeds))
    args = (x, w, channels, stride, padding, data.draw(st.sampled_from([1, -1])))
    same(run(path, "xnor_conv2d", *args, threads=threads), run("reference", "xnor_conv2d", *args))


@pytest.mark.clause("BIN-5")
@compiled
@given(m=sizes, n=sizes, k=true_lengths, seed=seeds, threads=thread_counts)
def test_bitplane_gemm(path: str, m: int, n: int, k: int, seed: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (m, k))
    x = np.where(rng.random((m, k)) < 0.5, rng.integers(0, 256, (m, k)), x).astype(np.uint8)
    signs, words = bits((n,), k, seed + 1)
    got = run(path, "bitplane_gemm", x, words, k, threads=threads)
    same(got, run("reference", "bitplane_gemm", x, words, k))
    np.testing.assert_array_equal(got, x.astype(np.int64) @ signs.T.astype(np.int64))


@pytest.mark.clause("BIN-1", "BIN-2")
@compiled
@given(
    rows=st.integers(0, 5), k=true_lengths, seed=seeds, dtype=st.sampled_from([np.int8, np.int16, np.int32, np.float32])
)
def test_pack_bits(path: str, rows: int, k: int, seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    edges = [0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf, 1, -1]
    x = (
        rng.choice(np.array(edges), (rows, k)).astype(dtype)
        if dtype is np.float32
        else rng.integers(-2, 2, (rows, k)).astype(dtype)
    )
    got = run(path, "pack_bits", x)
    same(got, run("reference", "pack_bits", x))
    np.testing.assert_array_equal(unpack_bits(got, k), np.where(x >= 0, 1, -1))


@every_path
@pytest.mark.parametrize("place", [0, 63, 64, 129])
def test_nan_has_no_sign(path: str, place: int) -> None:
    x = np.ones((2, 130), np.float32)
    x[1, place] = -np.nan
    assert "1 NaN" in same_error(path, "pack_bits", x)


@compiled
def test_what_c_has_no_version_for(path: str) -> None:
    for x in (np.array([1.0, -2.0]), np.array([3, -1], np.int64), np.zeros((2, 0), np.int8)):
        same(run(path, "pack_bits", x), run("reference", "pack_bits", x))
    empty = np.zeros((2, 0), np.uint64)
    same(run(path, "xnor_gemm", empty, empty, 0), run("reference", "xnor_gemm", empty, empty, 0))


@compiled
def test_refused_alike(path: str) -> None:
    words = np.zeros((2, 2), np.uint64)
    same_error(path, "xnor_gemm", words.astype(np.int64), words, 128)
    same_error(path, "xnor_gemm", words, words, 129)
    image = np.zeros((1, 3, 3, 2), np.uint64)
    same_error(path, "xnor_conv2d", image, image, 128, (1, 1), (0, 0), 0)
    same_error(path, "xnor_conv2d", image, image, 128, (1, 0))
    same_error(path, "bitplane_gemm", np.zeros((2, 100), np.int8), words, 100)
    same_error(path, "bitplane_gemm", np.zeros((2, 100), np.uint8), words, 101)
