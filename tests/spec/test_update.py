"""Optimiser steps, bit by bit against exact fractions with binary32 rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from binary32 import Binary32 as ieee
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import adam, power64, sgd

NUMBERS = st.one_of(
    st.floats(-4, 4, width=32), st.sampled_from([0.0, 1.0, -1.0, 2.0**-24, -(2.0**-24), 2.0**-130, 1 / 3])
).map(np.float32)


def array(*numbers: np.float32) -> np.ndarray:
    return np.array(numbers, np.float32)


@pytest.mark.clause("UPD-1")
@given(
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.sampled_from([0.1, 0.05, 1.0]),
    st.sampled_from([0.0, 0.9, 0.5]),
    st.sampled_from([0.0, 1e-4, 0.01]),
    st.booleans(),
)
def test_sgd_follows_the_stated_steps(w, g, velocity, lr, momentum, decay, nesterov):
    new_w, new_v = sgd(array(w), array(g), array(velocity), lr, momentum, decay, nesterov)
    rate, mu, lam = (ieee.of(np.float32(v)) for v in (lr, momentum, decay))
    d = ieee.add(ieee.of(g), ieee.mul(lam, ieee.of(w)))
    v = ieee.add(ieee.mul(mu, ieee.of(velocity)), d)
    direction = ieee.add(d, ieee.mul(mu, v)) if nesterov else v
    assert ieee.of(new_v[0]) == v
    assert ieee.of(new_w[0]) == ieee.sub(ieee.of(w), ieee.mul(rate, direction))


@pytest.mark.clause("UPD-1")
def test_sgd_leaves_its_arguments_alone_and_shares_nothing():
    w, g, v = (np.full(3, n, np.float32) for n in (1, 2, 3))
    for momentum in (0.0, 0.9):
        new_w, new_v = sgd(w, g, v, 0.1, momentum)
        for new in (new_w, new_v):
            assert not any(np.shares_memory(new, old) for old in (w, g, v))
    assert (w[0], g[0], v[0]) == (1, 2, 3)


@pytest.mark.clause("UPD-1", "UPD-2")
def test_nothing_is_contracted():
    w, g = np.full(64, -1 - 2.0**-11, np.float32), np.full(64, -1 - 2.0**-12, np.float32)
    new_w, _ = sgd(w, g, np.zeros_like(w), 1 + 2.0**-12)
    assert not new_w.any()  # a fused multiply-add would keep 2**-24
    decayed, _ = sgd(w, g, np.zeros_like(w), 1.0, weight_decay=1 + 2.0**-12)
    d = np.float32(g[0]) + np.float32(np.float32(1 + 2.0**-12) * w[0])
    assert (decayed == w[0] - d).all()


@pytest.mark.clause("UPD-2")
@given(
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS.map(abs),
    st.integers(1, 5000),
    st.sampled_from([0.0, 1e-4]),
    st.sampled_from([(0.9, 0.999), (0.5, 0.75), (0.0, 0.0)]),
)
def test_adam_follows_the_stated_steps(w, g, m, v, step, decay, betas):
    new_w, new_m, new_v = adam(array(w), array(g), array(m), array(v), step, 1e-3, *betas, weight_decay=decay)
    b1, b2, rate, lam, tiny = (ieee.of(np.float32(b)) for b in (*betas, 1e-3, decay, 1e-8))
    take1, take2 = (ieee.of(np.float32(1.0 - b)) for b in betas)
    correct1, correct2 = (ieee.of(np.float32(1.0 - power64(b, step))) for b in betas)
    d = ieee.add(ieee.of(g), ieee.mul(lam, ieee.of(w)))
    first = ieee.add(ieee.mul(b1, ieee.of(m)), ieee.mul(take1, d))
    second = ieee.add(ieee.mul(b2, ieee.of(v)), ieee.mul(take2, ieee.mul(d, d)))
    assert ieee.of(new_m[0]) == first
    assert ieee.of(new_v[0]) == second
    below = ieee.add(ieee.sqrt(ieee.div(second, correct2)), tiny)
    move = ieee.div(ieee.mul(rate, ieee.div(first, correct1)), below)
    assert ieee.of(new_w[0]) == ieee.sub(ieee.of(w), move)


@pytest.mark.clause("UPD-2")
def test_the_first_step_of_adam_moves_by_the_learning_rate():
    zero = np.zeros(3, np.float32)
    w, _, _ = adam(zero, np.float32([5, -0.01, 0]), zero, zero, 1, 0.125)
    assert np.allclose(w, [-0.125, 0.125, 0], rtol=1e-5, atol=0)
    assert Fraction(float(w[2])) == 0


@pytest.mark.clause("UPD-1", "UPD-2")
def test_bad_input_is_refused():
    one = np.ones(2, np.float32)
    with pytest.raises(OverflowError, match="not finite after a step of sgd"):
        sgd(one, one * np.float32(3e38), one, 10.0)
    with pytest.raises(OverflowError, match="got 6 values"):
        adam(one, np.full(2, np.nan, np.float32), one, one, 1, 0.1)
    with pytest.raises(TypeError, match="float64"):
        sgd(one, one.astype(np.float64), one, 0.1)
    with pytest.raises(ValueError, match="all must be equal"):
        sgd(one, one[:1], one, 0.1)
    with pytest.raises(ValueError, match="count from 1"):
        adam(one, one, one, one, 0, 0.1)
    with pytest.raises(ValueError, match="betas"):
        adam(one, one, one, one, 1, 0.1, beta1=1.0)
