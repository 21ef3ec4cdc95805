"""Losses step by step against exact fractions with binary32 rounding; fixed point, batch splits, bad input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import exp32, log32, predict, softmax_cross_entropy, square_hinge


@st.composite
def outputs(draw: st.DrawFn):
    """Outputs [N, C] with labels: ordinary, far apart, all equal."""
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.0, 1e-3, 1.0, 10.0, 300.0]))
    return rng.normal(0, spread, (n, c)).astype(np.float32), rng.integers(0, c, n)


def apply(function, value: Fraction) -> Fraction:
    return ieee.of(function(np.array([float(value)], np.float32))[0])


def fixed(value: Fraction) -> int:
    return round(value * 2**20)  # half to even


@pytest.mark.clause("LOSS-1", "LOSS-2", "LOSS-3")
@given(outputs(), st.sampled_from([None, 1, 3, 128, 1000]))
def test_cross_entropy_follows_the_stated_steps(case, batch_size):
    x, labels = case
    losses, grad = softmax_cross_entropy(x, labels, batch_size)
    assert losses.dtype == np.int64
    assert grad.dtype == np.float32
    inverse = ieee.div(Fraction(1), Fraction(batch_size or len(x)))
    for i, label in enumerate(labels):
        row = [ieee.of(v) for v in x[i]]
        z = [ieee.sub(v, max(row)) for v in row]
        e = [apply(exp32, v) for v in z]
        total = e[0]
        for term in e[1:]:
            total = ieee.add(total, term)
        assert losses[i] == fixed(ieee.sub(apply(log32, total), z[label]))
        for c in range(len(row)):
            p = ieee.div(e[c], total)
            assert ieee.of(grad[i, c]) == ieee.mul(ieee.sub(p, Fraction(int(c == label))), inverse)


@pytest.mark.clause("LOSS-3", "LOSS-4")
@given(outputs(), st.sampled_from([None, 1, 3, 128, 1000]))
def test_square_hinge_follows_the_stated_steps(case, batch_size):
    y, labels = case
    losses, grad = square_hinge(y, labels, batch_size)
    inverse = ieee.div(Fraction(1), Fraction(batch_size or len(y)))
    for i, label in enumerate(labels):
        total = None
        for c in range(y.shape[1]):
            t = 1 if c == label else -1
            h = max(Fraction(0), ieee.sub(Fraction(1), t * ieee.of(y[i, c])))
            term = ieee.mul(h, h)
            total = term if total is None else ieee.add(total, term)
            assert ieee.of(grad[i, c]) == ieee.mul(ieee.mul(Fraction(-2 * t), h), inverse)
        assert losses[i] == fixed(total)


@pytest.mark.clause("LOSS-3")
@pytest.mark.parametrize("loss", [softmax_cross_entropy, square_hinge])
def test_any_split_of_the_batch_gives_the_same_bits(loss):
    rng = np.random.default_rng(1)
    x, labels = rng.normal(0, 3, (11, 10)).astype(np.float32), rng.integers(0, 10, 11)
    losses, grad = loss(x, labels)
    parts = [loss(x[p], labels[p], 11) for p in (slice(0, 0), slice(0, 4), slice(4, 5), slice(5, 11))]
    assert np.array_equal(np.concatenate([p[0] for p in parts]), losses)
    assert np.array_equal(np.concatenate([p[1] for p in parts]), grad)


@pytest.mark.clause("LOSS-2", "LOSS-4")
@pytest.mark.parametrize("loss", [softmax_cross_entropy, square_hinge])
def test_the_gradient_is_the_slope_of_the_mean_loss(loss):
    """A real-valued comparison: central differences of the fixed-point loss, within 2**-9."""
    rng = np.random.default_rng(2)
    x, labels = rng.normal(0, 1, (2, 4)).astype(np.float32), np.array([1, 3])
    _, grad = loss(x, labels)
    step = 2.0**-7
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += np.float32(step)
        down[place] -= np.float32(step)
        slope = int(loss(up, labels)[0].sum() - loss(down, labels)[0].sum()) / 2**20 / (2 * step) / 2
        assert abs(slope - grad[place]) < 2.0**-9


@pytest.mark.clause("LOSS-1", "LOSS-2")
def test_examples_of_the_cross_entropy():
    losses, grad = softmax_cross_entropy(np.zeros((1, 2), np.float32), np.array([0]))
    assert losses.tolist() == [726818]  # f32(log 2) is 726817.5 units: a tie, to even
    assert grad.tolist() == [[-0.5, 0.5]]
    losses, grad = softmax_cross_entropy(np.float32([[1000, 0]]), np.array([1]))
    assert losses.tolist() == [1000 * 2**20]
    assert grad.tolist() == [[1, -1]]
    losses, grad = softmax_cross_entropy(np.float32([[5]]), np.array([0]))
    assert losses.tolist() == [0]
    assert grad.tolist() == [[0]]


@pytest.mark.clause("LOSS-1", "LOSS-3")
@pytest.mark.parametrize("loss", [softmax_cross_entropy, square_hinge])
def test_bad_input_is_refused(loss):
    x, labels = np.zeros((2, 3), np.float32), np.array([0, 2])
    for bad in (np.nan, np.inf, -np.inf):
        broken = x.copy()
        broken[1, 1] = bad
        with pytest.raises(ValueError, match="got 1 outputs that are NaN or infinite"):
            loss(broken, labels)
    with pytest.raises(ValueError, match="allowed are 0 to 2"):
        loss(x, np.array([0, 3]))
    with pytest.raises(ValueError, match="from -1 to 0"):
        loss(x, np.array([0, -1]))
    with pytest.raises(ValueError, match="reshape"):
        loss(x, labels[:1])
    with pytest.raises(ValueError, match="reshape"):
        loss(x[0], labels)
    with pytest.raises(TypeError, match="float32 and integers"):
        loss(x.astype(np.float64), labels)
    with pytest.raises(TypeError, match="float32 and integers"):
        loss(x, labels.astype(np.float32))
    with pytest.raises(ValueError, match="at least 1 sample"):
        loss(x, labels, 0)
    far = np.float32([[0, 0, 0], [3e38, -3e38, 0]])
    with pytest.raises(OverflowError, match=r"sample 1; a loss must stay below 2\*\*22"):
        loss(far, np.array([0, 1]))


@pytest.mark.clause("LOSS-3")
def test_a_loss_just_below_the_limit_is_exact():
    losses, _ = softmax_cross_entropy(np.float32([[2.0**22 - 0.25, 0]]), np.array([1]))
    assert losses.tolist() == [2**42 - 2**18]
    with pytest.raises(OverflowError, match="diverged"):
        softmax_cross_entropy(np.float32([[2.0**22, 0]]), np.array([1]))


@pytest.mark.clause("LOSS-5")
def test_the_first_of_equal_outputs_is_predicted():
    assert predict(np.float32([[0, 1, 1], [2, 2, 2], [-1, -3, -1]])).tolist() == [1, 0, 0]
    assert predict(np.array([[3, 5, 5]], np.int8)).dtype == np.int64
