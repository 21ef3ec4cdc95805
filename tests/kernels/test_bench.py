"""The probes and loops of the benchmark compute what they say: every instruction of a loop is needed for its sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

bench: Any = pytest.importorskip("qnn._kernels._bench", reason="the benchmark's extension is not built here")

LEVELS = np.array([0, 1, 2, 4, 8, 16, 32, 64, -1, -2, -4, -8, -16, -32, -64], np.int8)
THREADS = (1, 2, 7)
NAMES = [name for name, about in bench.probes().items() if about["available"]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", THREADS)
def test_a_probe_sums_what_its_instructions_give(name: str, threads: int) -> None:
    value = bench.probes()[name]["value"]
    for iterations in (0, 1, 2, 13):
        assert bench.run_probe(name, iterations, threads) == iterations * value * threads


def test_every_path_of_products_has_a_probe() -> None:
    assert {"mac c", "xnor c", "shift c"} <= set(NAMES)
    if bench.has_avx2():
        assert {"mac avx2", "xnor avx2", "shift avx2"} <= set(NAMES)


@pytest.mark.parametrize("avx2", [False, True])
@pytest.mark.parametrize("threads", THREADS)
@given(size=st.integers(0, 150), repeats=st.integers(0, 3), seed=st.integers(0, 99))
def test_reading_sums_every_word(avx2: bool, threads: int, size: int, repeats: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 2**64, size, np.uint64)
    assert bench.read(data, repeats, avx2, threads) == repeats * sum(map(int, data)) % 2**64


@pytest.mark.parametrize("avx2", [False, True])
@pytest.mark.parametrize("threads", THREADS)
@given(size=st.integers(0, 150), repeats=st.integers(0, 3))
def test_writing_fills_every_word(avx2: bool, threads: int, size: int, repeats: int) -> None:
    data = np.full(size + 2, 5, np.uint64)
    bench.write(data[1:-1], 7, repeats, avx2, threads)
    assert (data[1:-1] == (7 + repeats - 1 if repeats else 5)).all()
    assert data[0] == data[-1] == 5


@pytest.mark.parametrize("avx2", [False, True])
@pytest.mark.parametrize("threads", THREADS)
@given(size=st.integers(0, 150), seed=st.integers(0, 99), repeats=st.integers(0, 3))
def test_narrowing_keeps_the_low_byte(avx2: bool, threads: int, size: int, seed: int, repeats: int) -> None:
    data = np.random.default_rng(seed).integers(0, 2**32, size, np.uint32)
    out = np.full(size + 2, 9, np.uint8)
    bench.read4_write1(data, out[1:-1], repeats, avx2, threads)
    assert np.array_equal(out[1:-1], (data & 255).astype(np.uint8) if repeats else np.full(size, 9))
    assert out[0] == out[-1] == 9


@pytest.mark.parametrize("name", bench.loops())
@pytest.mark.parametrize("threads", THREADS)
@given(m=st.integers(1, 3), n=st.integers(1, 3), k=st.integers(1, 9), seed=st.integers(0, 99))
def test_loops_give_the_product(name: str, threads: int, m: int, n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.choice(np.array([-128, 127, 0, -1, 5], np.int8), (4 * m, 2 * k))
    weights = random.choice(LEVELS, (2 * k, 16 * n))
    found = bench.Product(x, weights).run(name, threads)
    assert np.array_equal(found, x.astype(np.int32) @ weights.astype(np.int32))


@pytest.mark.parametrize(
    ("x", "weights", "words"),
    [
        ((4, 2), (4, 16), "reshape"),
        ((3, 2), (2, 16), "multiple of 4"),
        ((4, 3), (3, 16), "K of 2"),
        ((4, 2), (2, 8), "N of 16"),
        ((0, 2), (2, 16), "multiple"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x: tuple[int, int], weights: tuple[int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bench.Product(np.zeros(x, np.int8), np.zeros(weights, np.int8))


@pytest.mark.parametrize("wrong", [3, -128, 127])
def test_weights_that_are_no_powers_of_two_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="powers of two"):
        bench.Product(np.zeros((4, 2), np.int8), np.full((2, 16), wrong, np.int8))


def test_names_and_numbers_that_do_not_exist_are_refused() -> None:
    product = bench.Product(np.zeros((4, 2), np.int8), np.zeros((2, 16), np.int8))
    with pytest.raises(ValueError, match="mac c"):
        bench.run_probe("mac z80", 1)
    with pytest.raises(ValueError, match="plain C scalar"):
        product.run("divide")
    with pytest.raises(ValueError, match="1 to 1024"):
        product.run(bench.loops()[0], 0)
    with pytest.raises(ValueError, match="iterations"):
        bench.run_probe("mac c", -1)
    with pytest.raises(TypeError, match="contiguous"):
        bench.read(np.zeros(8, np.int64))
    with pytest.raises(ValueError, match="equal"):
        bench.read4_write1(np.zeros(3, np.uint32), np.zeros(4, np.uint8))


@given(st.integers(0, 4), st.integers(0, 5), st.integers(0, 40), st.integers(0, 99))
def test_plain_float_loops_multiply(m: int, n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, w = (random.integers(-9, 10, (rows, k)).astype(np.float32) for rows in (m, n))
    np.testing.assert_array_equal(bench.float_product(x, w), x @ w.T)  # small integers: exact in any order


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((2, 3), np.float64), TypeError),
        (np.zeros((2, 4), np.float32), ValueError),
        (np.zeros(3, np.float32), ValueError),
    ],
)
def test_plain_float_loops_refuse_what_they_cannot_take(x: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        bench.float_product(x, np.zeros((2, 3), np.float32))
