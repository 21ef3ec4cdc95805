"""First weights and sample order from addressed words: the formula, the range, the addresses, stability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    AUGMENT_STREAM,
    DATA_STREAM,
    INIT_STREAM,
    glorot_bound,
    initial,
    kaiming_bound,
    permutation,
    philox32,
    uniform,
)


@pytest.mark.clause("INI-1")
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.1, 1 / 3, 0.0]))
def test_uniform_is_the_word_scaled_with_one_rounding(seed, stream, bound):
    x = uniform(seed, stream, (3, 5), bound)
    assert x.dtype == np.float32
    assert x.shape == (3, 5)
    for word, value in zip(philox32(seed, stream, 0, 15), x.ravel(), strict=True):
        signed = (int(word) >> 8) - 2**23
        assert ieee.of(value) == ieee.mul(ieee.round(signed) / 2**23, ieee.of(np.float32(bound)))


@pytest.mark.clause("INI-1")
def test_uniform_covers_the_half_open_range(monkeypatch):
    words = np.array([0, 255, 256, 2**31, 2**32 - 1], np.uint32)
    monkeypatch.setattr(initial, "philox32", lambda *a, **k: words)
    assert uniform(1, 1, (5,), 2.0).tolist() == [-2, -2, -2 + 2.0**-22, 0, 2 - 2.0**-22]


@pytest.mark.clause("INI-1")
def test_uniform_has_mean_and_variance_of_the_uniform_law():
    x = uniform(7, INIT_STREAM, (100_000,), 1.0).astype(np.float64)
    assert abs(x.mean()) < 5 * math.sqrt(1 / 3 / len(x))  # five standard errors
    assert abs((x * x).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / len(x))
    assert uniform(1, 1, (0, 3), 1.0).shape == (0, 3)
    for bound in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite and not negative"):
            uniform(1, 1, (1,), bound)


@pytest.mark.clause("INI-2")
def test_bounds_are_the_root_rounded_once():
    for fan in (1, 6, 9, 25, 800, 4096):
        assert kaiming_bound(fan) == float(np.float32(math.sqrt(6 / fan)))
        assert glorot_bound(fan, 7) == float(np.float32(math.sqrt(6 / (fan + 7))))
    assert kaiming_bound(6) == 1.0
    with pytest.raises(ValueError, match="at least 1"):
        kaiming_bound(0)


@pytest.mark.clause("INI-3")
@given(st.integers(0, 2**64 - 1), st.integers(0, 100), st.integers(0, 200))
def test_permutation_sorts_the_words(seed, step, n):
    order = permutation(seed, DATA_STREAM, step, n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
    words = philox32(seed, DATA_STREAM, 0, n, step=step)
    assert order.tolist() == sorted(range(n), key=lambda i: (int(words[i]), i))


@pytest.mark.clause("INI-3")
def test_equal_words_keep_their_order(monkeypatch):
    monkeypatch.setattr(initial, "philox32", lambda *a, **k: np.array([2, 1, 2, 1, 2] * 9, np.uint32))
    ones = [i for i in range(45) if i % 5 in (1, 3)]
    assert permutation(1, 2, 3, 45).tolist() == ones + [i for i in range(45) if i not in ones]


@pytest.mark.clause("INI-4")
def test_streams_are_apart_from_each_other_and_from_those_of_sites():
    assert (INIT_STREAM, DATA_STREAM, AUGMENT_STREAM) == (0xFFFE0000, 0xFFFF0000, 0xFFFF0001)
    orders = {tuple(permutation(5, stream, step, 50)) for stream in (0, DATA_STREAM, AUGMENT_STREAM) for step in (0, 1)}
    assert len(orders) == 6
