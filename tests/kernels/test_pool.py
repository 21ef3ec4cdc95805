"""Pooling: every path against the definition over any geometry, ties and padding included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from elem_cases import Array, examples, run, same, same_error, small_ints, thread_counts
from hypothesis import given
from hypothesis import strategies as st

import qnn._kernels as kernels
from qnn.numerics import pool_output_shape

every_path = pytest.mark.parametrize("path", kernels.available_kernels())
compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])
Pair = tuple[int, int]


@dataclass(frozen=True)
class Pooling:
    """An input, a gradient of the output, and the geometry."""

    x: Array
    g: Array
    kernel: Pair
    stride: Pair
    padding: Pair


@st.composite
def poolings(draw: st.DrawFn) -> Pooling:
    """Kernels from 1x1 to the whole padded input, any stride and padding, channels at the vectors' edges."""
    if draw(st.integers(0, 2)) == 0:  # windows that touch: the common case has a way of its own
        kernel = draw(st.sampled_from([(2, 2), (2, 3), (1, 2), (3, 1)]))
        shape = (draw(st.integers(1, 3)), draw(st.integers(3, 9)), draw(st.integers(3, 40)), draw(st.integers(1, 35)))
        out = pool_output_shape(shape, kernel, kernel, (0, 0))
        return Pooling(draw(small_ints(shape)), draw(small_ints(out)), kernel, kernel, (0, 0))
    kernel = draw(st.one_of(st.just((2, 2)), st.just((3, 3)), st.tuples(st.integers(1, 6), st.integers(1, 6))))
    padding = draw(st.tuples(st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)))
    stride = draw(st.one_of(st.just((2, 2)), st.tuples(st.integers(1, 7), st.integers(1, 7))))
    height = draw(st.integers(max(1, kernel[0] - 2 * padding[0]), 12))
    width = draw(st.integers(max(1, kernel[1] - 2 * padding[1]), 12))
    channels = draw(st.one_of(st.sampled_from([0, 1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130]), st.integers(1, 40)))
    shape = (draw(st.integers(0, 3)), height, width, channels)
    x = draw(small_ints(shape))
    g = draw(small_ints(pool_output_shape(shape, kernel, stride, padding)))
    return Pooling(x, g, kernel, stride, padding)


@pytest.mark.clause("POOL-1", "POOL-2", "POOL-3", "POOL-4", "POOL-5")
@compiled
@examples(120)
@given(case=poolings(), threads=thread_counts)
def test_pooling_and_gradients(path: str, case: Pooling, threads: int) -> None:
    geometry = (case.kernel, case.stride, case.padding)
    y, index = run("reference", "max_pool", case.x, *geometry)
    same(run(path, "max_pool", case.x, *geometry, threads=threads), (y, index))
    wanted = run("reference", "max_pool_grad", case.g, index, case.x.shape, *geometry)
    same(run(path, "max_pool_grad", case.g, index, case.x.shape, *geometry, threads=threads), wanted)
    same(run(path, "sum_pool", case.x, *geometry, threads=threads), run("reference", "sum_pool", case.x, *geometry))
    wanted = run("reference", "sum_pool_grad", case.g, case.x.shape, *geometry)
    same(run(path, "sum_pool_grad", case.g, case.x.shape, *geometry, threads=threads), wanted)


@pytest.mark.clause("POOL-2")
@every_path
def test_first_maximum_wins_and_padding_never(path: str) -> None:
    x = np.full((1, 3, 3, 2), -128, np.int8)
    y, index = run(path, "max_pool", x, (3, 3), (2, 2), (1, 1))
    assert y.tolist() == np.full((1, 2, 2, 2), -128).tolist()
    assert index[0, :, :, 0].tolist() == [[4, 3], [1, 0]]  # the first place of the window that is inside


@pytest.mark.clause("POOL-3")
@compiled
def test_nonsense_places_touch_nothing(path: str) -> None:
    """A place that is not one of the window's is ignored, as in the definition, and never written outside."""
    rng = np.random.default_rng(0)
    shape, geometry = (2, 6, 7, 5), ((3, 2), (2, 1), (1, 1))
    out = pool_output_shape(shape, *geometry)
    g = rng.integers(-128, 128, out).astype(np.int8)
    index = rng.choice(np.array([-1, 0, 1, 5, 6, 77, 2**31 - 1, -(2**31)], np.int32), out)
    wanted = run("reference", "max_pool_grad", g, index, shape, *geometry)
    same(run(path, "max_pool_grad", g, index, shape, *geometry), wanted)
    shape, geometry = (2, 4, 40, 3), ((2, 2), (2, 2), (0, 0))
    out = pool_output_shape(shape, *geometry)
    g, index = rng.integers(-128, 128, out).astype(np.int8), rng.choice(index.ravel(), out)
    wanted = run("reference", "max_pool_grad", g, index, shape, *geometry)
    same(run(path, "max_pool_grad", g, index, shape, *geometry), wanted)


@compiled
def test_what_c_has_no_version_for(path: str) -> None:
    """float32 pooling and windows of more than 255 places give the definition's results."""
    x = np.random.default_rng(1).integers(-9, 9, (1, 20, 20, 3)).astype(np.int8)
    for values in (x.astype(np.float32), x):
        for operation in ("max_pool", "sum_pool"):
            args = (values, (17, 16), (1, 2), (0, 0))
            same(run(path, operation, *args), run("reference", operation, *args))
    args = (x, (2, 2), (2**40, 2**40), (0, 0))
    same(run(path, "sum_pool", *args), run("reference", "sum_pool", *args))


@compiled
def test_refused_alike(path: str) -> None:
    x = np.zeros((1, 4, 4, 2), np.int8)
    same_error(path, "max_pool", x[0], (2, 2), (2, 2))
    same_error(path, "max_pool", x, (5, 5), (1, 1))
    same_error(path, "max_pool", x, (2, 2), (0, 1))
    same_error(path, "sum_pool", x, (2, 2), (1, 1), (2, 0))
    same_error(path, "sum_pool_grad", x, (1, 4, 4, 2), (2, 2), (2, 2))
    same_error(path, "max_pool_grad", x, np.zeros(x.shape, np.int32), (1, 4, 4, 2), (2, 2), (2, 2))
