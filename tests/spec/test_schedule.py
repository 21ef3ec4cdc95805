"""Learning-rate schedules: the stated arithmetic, ends, order, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import cos_pi, exp64, log64, lr


@pytest.mark.clause("SCH-1")
def test_a_constant_rate_is_the_nearest_float32():
    for step in (0, 1, 99, 1000):
        rate = lr("constant", 0.1, step, 100)
        assert rate == np.float32(0.1)
        assert isinstance(rate, np.float32)


@pytest.mark.clause("SCH-2")
def test_steps_multiply_once_for_each_milestone_passed():
    rates = [lr("step", 0.1, step, 8) for step in range(10)]
    assert rates == [np.float32(v) for v in [0.1] * 4 + [0.1 * 0.1] * 2 + [0.1 * (0.1 * 0.1)] * 4]
    custom = [lr("step", 1.0, step, 10, milestones=[2, 2, 5], gamma=0.5) for step in range(7)]
    assert custom == [1, 1, 0.25, 0.25, 0.25, 0.125, 0.125]


@pytest.mark.clause("SCH-3")
@given(st.integers(1, 10**6), st.data())
def test_cosine_follows_its_formula(total, data):
    step = data.draw(st.integers(0, total + 5))
    final = data.draw(st.sampled_from([0.0, 0.001]))
    shape = 0.5 * (1.0 + cos_pi(min(step, total), total))
    assert lr("cosine", 0.1, step, total, final_lr=final) == np.float32(final + (0.1 - final) * shape)


@pytest.mark.clause("SCH-3")
def test_cosine_starts_at_the_base_and_ends_at_the_final_rate():
    assert lr("cosine", 0.1, 0, 77) == np.float32(0.1)
    assert lr("cosine", 0.1, 77, 77) == lr("cosine", 0.1, 1000, 77) == 0
    assert lr("cosine", 0.5, 1, 2, final_lr=0.25) == np.float32(0.375)
    rates = [lr("cosine", 0.1, step, 500) for step in range(501)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.clause("SCH-4")
@given(st.integers(1, 10**6), st.data())
def test_exponential_follows_its_formula(total, data):
    step = data.draw(st.integers(0, total))
    ratio = np.array([np.float32(3e-7 / 3e-3)], np.float64)
    factor = exp64(log64(ratio) * (step / total))[0]
    assert lr("exponential", 3e-3, step, total, final_lr=3e-7) == np.float32(3e-3 * float(factor))


@pytest.mark.clause("SCH-4")
def test_exponential_has_its_ends_and_its_middle():
    assert lr("exponential", 3e-3, 0, 10, final_lr=3e-7) == np.float32(3e-3)
    assert abs(lr("exponential", 3e-3, 10, 10, final_lr=3e-7) / 3e-7 - 1) < 1e-6
    assert abs(lr("exponential", 1.0, 5, 10, final_lr=1e-4) / 1e-2 - 1) < 1e-6
    rates = [lr("exponential", 0.1, step, 300, final_lr=1e-5) for step in range(301)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.clause("SCH-1", "SCH-4")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linear", 0.1, 0, 10), "allowed are constant, step, cosine, exponential"),
        (("cosine", 0.0, 0, 10), "positive and finite"),
        (("cosine", float("nan"), 0, 10), "positive and finite"),
        (("cosine", 0.1, -1, 10), "count from 0"),
        (("cosine", 0.1, 0, 0), "at least 1"),
        (("exponential", 0.1, 0, 10), "never reaches 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        lr(*arguments)
    with pytest.raises(ValueError, match="final learning rate -1"):
        lr("cosine", 0.1, 0, 10, final_lr=-1.0)
