"""Clauses INT-14 to INT-16: range batch norm against loops, fractions and differences."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import (
    RANGE_READINGS,
    channel_dots,
    channel_extremes,
    channel_sums,
    range_factor,
    range_grad,
    range_statistics,
)


@pytest.mark.clause("INT-14")
@given(rows=st.integers(1, 70), chunks=st.integers(1, 17), seed=st.integers(0, 99))
def test_extremes_by_loops(rows: int, chunks: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-4, 4, (rows, 3)).astype(np.int8)
    found = channel_extremes(x, chunks)
    count = max(1, min(chunks, rows // 2))
    assert (found.chunks, found.chunk) == (count, rows // count)
    for channel in range(3):
        column = x[:, channel].tolist()
        parts = [range(k * rows // count, (k + 1) * rows // count) for k in range(count)]
        assert sum(map(len, parts)) == rows
        tops = [max(part, key=lambda i: (column[i], -i)) for part in parts]
        bottoms = [min(part, key=lambda i: (column[i], i)) for part in parts]
        assert found.row_max[:, channel].tolist() == tops
        assert found.row_min[:, channel].tolist() == bottoms
        assert int(found.sum_max[channel]) == sum(column[i] for i in tops)
        assert int(found.sum_min[channel]) == sum(column[i] for i in bottoms)
    with pytest.raises(ValueError, match="empty"):
        channel_extremes(np.zeros((0, 3), np.int8))


@pytest.mark.clause("INT-14")
def test_factor_is_the_codes() -> None:
    for chunk in (2, 3, 100, 5000):
        real = 0.5 * 0.35 * (1 + math.sqrt(math.pi * math.log(4))) / math.sqrt(2 * math.log(chunk))
        assert abs(range_factor(chunk) - real) <= real * 2.0**-24 * 1.001
    assert range_factor(1) == range_factor(2)
    with pytest.raises(ValueError, match="chunk of 0"):
        range_factor(0)


@pytest.mark.clause("INT-14")
def test_factor_is_the_papers() -> None:
    for count in (2, 3, 100, 5000):
        real = 1 / math.sqrt(2 * math.log(count))
        assert abs(range_factor(count, "paper") - real) <= real * 2.0**-24 * 1.001
    with pytest.raises(ValueError, match="code, paper"):
        range_factor(5, "book")


READINGS = st.sampled_from(list(RANGE_READINGS))


@pytest.mark.clause("INT-15")
@given(rows=st.integers(2, 40), exponent=st.integers(-12, 4), seed=st.integers(0, 99), reading=READINGS)
def test_statistics_step_by_step(rows: int, exponent: int, seed: int, reading: str) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (rows, 4)).astype(np.int8)
    found = channel_extremes(x, RANGE_READINGS[reading])
    if reading == "paper":
        assert (found.chunks, found.chunk) == (1, rows)
    s1, _ = channel_sums(x)
    mean_q, mean, inverse = range_statistics(found, s1, rows, exponent, 1e-5, reading)
    power = np.float32(2.0**exponent)
    for c in range(4):
        exact = np.float32(np.float32(int(s1[c])) / np.float32(rows))
        assert mean_q[c] == exact
        assert mean[c] == exact * power
        wide = np.float32(int(found.sum_max[c] - found.sum_min[c])) / np.float32(found.chunks) * power
        assert inverse[c] == np.float32(1) / (wide * np.float32(range_factor(found.chunk, reading)) + np.float32(1e-5))


@pytest.mark.clause("INT-16")
@given(rows=st.integers(4, 40), seed=st.integers(0, 200), reading=READINGS)
def test_gradient_against_the_derivative(rows: int, seed: int, reading: str) -> None:
    """In fractions, with the float32 inverse scale taken as exact: the derivative of sum g*(x - mean)*s."""
    rng = np.random.default_rng(seed)
    exponent, g_exponent = -5, -9
    x = rng.integers(-100, 101, (rows, 2)).astype(np.int8)
    g = rng.integers(-100, 101, (rows, 2)).astype(np.int8)
    found = channel_extremes(x, RANGE_READINGS[reading])
    s1, _ = channel_sums(x)
    sg, sgx = channel_dots(g, x)
    _, _, inverse = range_statistics(found, s1, rows, exponent, 1e-5, reading)
    got = range_grad(g, g_exponent, found, inverse, (s1, sg, sgx), rows, exponent, reading)
    factor = Fraction(range_factor(found.chunk, reading))
    for c in range(2):
        s = Fraction(float(inverse[c]))
        real = [Fraction(int(v)) * Fraction(2) ** exponent for v in x[:, c]]
        up = [Fraction(int(v)) * Fraction(2) ** g_exponent for v in g[:, c]]
        mean = sum(real) / rows
        pull = sum(a * (b - mean) for a, b in zip(up, real, strict=True)) * s * s * factor / found.chunks
        want = [s * (a - sum(up) / rows) for a in up]
        for k in range(found.chunks):
            want[found.row_max[k, c]] -= pull
            want[found.row_min[k, c]] += pull
        for value, exact in zip(got[:, c].tolist(), want, strict=True):
            assert (
                abs(Fraction(value) - exact)
                <= (abs(s) * 200 * Fraction(2) ** g_exponent + abs(pull)) * Fraction(2) ** -20
            )
