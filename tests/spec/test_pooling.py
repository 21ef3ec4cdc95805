"""Pooling with any kernel, stride and padding, against plain loops over windows; ties, overlap and adjoints."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import max_pool, max_pool_grad, pool_output_shape, sum_pool, sum_pool_grad, window_weights


@st.composite
def pools(draw: st.DrawFn):
    """Input, output gradient and geometry; few distinct values, so that ties are common."""
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    size = tuple(max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding, strict=True))
    dtype = draw(st.sampled_from([np.int8, np.int16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    info = np.iinfo(dtype)
    values = np.array([info.min, info.min, -1, 0, 1, info.max], dtype)
    shape = (draw(st.integers(0, 2)), *size, draw(st.integers(1, 3)))
    x = rng.choice(values, shape)
    g = rng.choice(values, pool_output_shape(shape, kernel, stride, padding))
    return x, g, kernel, stride, padding


def windows(shape, kernel, stride, padding):
    """(output place, list of (position in the window, input place)) by the definition, padding left out."""
    n, h, w, c = shape
    oh, ow = (h + 2 * padding[0] - kernel[0]) // stride[0] + 1, (w + 2 * padding[1] - kernel[1]) // stride[1] + 1
    for b, r, s, ch in itertools.product(range(n), range(oh), range(ow), range(c)):
        inside = []
        for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
            row, col = r * stride[0] + i - padding[0], s * stride[1] + j - padding[1]
            if 0 <= row < h and 0 <= col < w:
                inside.append((i * kernel[1] + j, (b, row, col, ch)))
        yield (b, r, s, ch), inside


@pytest.mark.clause("POOL-1", "POOL-2")
@given(pools())
def test_the_first_of_the_largest_wins_and_padding_never(case):
    x, g, *geometry = case
    y, index = max_pool(x, *geometry)
    assert y.dtype == x.dtype
    assert index.dtype == np.int32
    assert y.shape == index.shape == g.shape
    for out, inside in windows(x.shape, *geometry):
        place, winner = max(inside, key=lambda entry: (int(x[entry[1]]), -entry[0]))
        assert y[out] == x[winner]
        assert index[out] == place


@pytest.mark.clause("POOL-3")
@given(pools())
def test_the_gradient_of_the_maximum_goes_to_its_place(case):
    x, g, *geometry = case
    _, index = max_pool(x, *geometry)
    expected = np.zeros(x.shape, np.int64)
    for out, inside in windows(x.shape, *geometry):
        expected[dict(inside)[int(index[out])]] += int(g[out])
    dx = max_pool_grad(g, index, x.shape, *geometry)
    (kh, kw), (sh, sw) = geometry[:2]
    assert dx.dtype == (np.int32 if sh < kh or sw < kw else g.dtype)
    assert np.array_equal(dx, expected)


@pytest.mark.clause("POOL-4")
@given(pools())
def test_sums_are_exact_and_padding_adds_nothing(case):
    x, _, *geometry = case
    y = sum_pool(x, *geometry)
    assert y.dtype == np.int32
    for out, inside in windows(x.shape, *geometry):
        assert y[out] == sum(int(x[place]) for _, place in inside)


@pytest.mark.clause("POOL-5")
@given(pools())
def test_the_sum_and_its_gradient_are_adjoint(case):
    x, g, *geometry = case
    dx = sum_pool_grad(g, x.shape, *geometry)
    assert dx.dtype == np.int32
    expected = np.zeros(x.shape, np.int64)
    for out, inside in windows(x.shape, *geometry):
        for _, place in inside:
            expected[place] += int(g[out])
    assert np.array_equal(dx, expected)
    forward = (sum_pool(x, *geometry).astype(np.int64) * g).sum()
    assert (dx.astype(np.int64) * x).sum() == forward


@pytest.mark.clause("POOL-6")
@given(pools())
def test_weights_bring_every_window_to_one_divisor(case):
    x, g, *geometry = case
    weights, whole = window_weights(x.shape, *geometry)
    assert weights.shape == (1, *g.shape[1:3], 1)
    assert weights.dtype == np.int64
    counts = {len(inside) for _, inside in windows((1, *x.shape[1:]), *geometry)}
    assert whole == math.lcm(*counts)
    scaled = sum_pool(x, *geometry) * weights
    for out, inside in windows(x.shape, *geometry):
        mean = Fraction(sum(int(x[place]) for _, place in inside), len(inside))
        assert Fraction(int(scaled[out]), whole) == mean


@pytest.mark.clause("POOL-5", "POOL-6")
@given(pools())
def test_the_mean_of_real_entries_and_its_gradient_are_adjoint(case):
    x, g, *geometry = case
    weights, whole = window_weights(x.shape, *geometry)
    dx = sum_pool_grad(g * weights, x.shape, *geometry)
    assert dx.dtype == np.int64
    expected = np.zeros(x.shape, object) + Fraction(0)
    for out, inside in windows(x.shape, *geometry):
        for _, place in inside:
            expected[place] += Fraction(int(g[out]), len(inside))
    assert all(Fraction(int(a), whole) == b for a, b in zip(dx.ravel(), expected.ravel(), strict=True))


@pytest.mark.clause("POOL-2")
def test_the_most_negative_entry_beats_padding():
    x = np.full((1, 2, 2, 1), -128, np.int8)
    y, index = max_pool(x, (3, 3), (2, 2), (1, 1))
    assert y.tolist() == [[[[-128]]]]
    assert index.tolist() == [[[[4]]]]  # the window starts in the padding; its first real place is (1, 1)


@pytest.mark.clause("POOL-3")
def test_overlapping_windows_add_up():
    x = np.zeros((1, 1, 3, 1), np.int8)
    x[0, 0, 1] = 5
    g = np.full((1, 1, 2, 1), -128, np.int8)
    _, index = max_pool(x, (1, 2), (1, 1))
    assert index.ravel().tolist() == [1, 0]
    assert max_pool_grad(g, index, x.shape, (1, 2), (1, 1)).ravel().tolist() == [0, -256, 0]


@pytest.mark.clause("POOL-1")
def test_windows_that_lie_in_the_padding_alone_are_refused():
    x = np.zeros((1, 4, 4, 1), np.int8)
    with pytest.raises(ValueError, match="smaller than the kernel"):
        max_pool(x, (2, 2), (1, 1), (2, 0))
    with pytest.raises(ValueError, match="smaller kernel or more padding"):
        sum_pool(x, (5, 5), (1, 1))
    with pytest.raises(ValueError, match="takes \\[N, H, W, C\\]"):
        sum_pool(x[0], (2, 2), (2, 2))
    with pytest.raises(ValueError, match="this pooling's output has"):
        sum_pool_grad(x, x.shape, (2, 2), (2, 2))
