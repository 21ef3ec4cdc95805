"""Optimisers and schedules: state, order of the arithmetic, and refusal of what is not allowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qnn import optim
from qnn.errors import CheckpointError
from qnn.numerics import schedule, update
from qnn.operation import ExactSum
from qnn.tensor import Parameter

Float32 = NDArray[np.float32]
f32 = np.float32


def make(seed: int, *shapes: tuple[int, ...], decay: bool = True) -> list[tuple[str, Parameter]]:
    rng = np.random.default_rng(seed)
    return [(f"p{i}", Parameter(rng.standard_normal(shape).astype(f32), decay=decay)) for i, shape in enumerate(shapes)]


def give_gradients(parameters: list[tuple[str, Parameter]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _, parameter in parameters:
        parameter.grad = rng.standard_normal(parameter.data.shape).astype(f32)


def sgd_by_hand(
    w: Float32, g: Float32, v: Float32, lr: float, mu: float, wd: float, nesterov: bool
) -> tuple[Float32, Float32]:
    """Element by element, so that nothing can be fused or reordered."""
    new_w, new_v = np.empty_like(w), np.empty_like(v)
    for i in np.ndindex(w.shape):
        d = f32(g[i] + f32(f32(wd) * w[i])) if wd else g[i]
        new_v[i] = f32(f32(f32(mu) * v[i]) + d) if mu else d
        direction = f32(d + f32(f32(mu) * new_v[i])) if nesterov else new_v[i]
        new_w[i] = f32(w[i] - f32(f32(lr) * direction))
    return new_w, new_v


@pytest.mark.clause("UPD-1")
@pytest.mark.parametrize(
    ("mu", "wd", "nesterov"), [(0.0, 0.0, False), (0.9, 0.0, False), (0.9, 1e-2, False), (0.5, 1e-4, True)]
)
def test_sgd_follows_the_stated_order_over_steps(mu: float, wd: float, nesterov: bool) -> None:
    parameters = make(1, (3, 4), (5,))
    optimizer = optim.SGD(parameters, momentum=mu, weight_decay=wd, nesterov=nesterov)
    state = {name: (p.data.copy(), np.zeros_like(p.data)) for name, p in parameters}
    for step in range(4):
        give_gradients(parameters, step)
        gradients = {name: p.grad for name, p in parameters}
        optimizer.step(0.1)
        for name, parameter in parameters:
            w, v = state[name]
            state[name] = sgd_by_hand(w, gradients[name], v, 0.1, mu, wd, nesterov)
            np.testing.assert_array_equal(parameter.data, state[name][0], strict=True)
            np.testing.assert_array_equal(optimizer.state_dict()[f"velocity.{name}"], state[name][1], strict=True)


@pytest.mark.clause("UPD-2")
def test_adam_counts_steps_and_keeps_both_moments() -> None:
    parameters = make(2, (4, 3))
    optimizer = optim.Adam(parameters, weight_decay=1e-3)
    w, m, v = parameters[0][1].data, np.zeros((4, 3), f32), np.zeros((4, 3), f32)
    for step in range(1, 5):
        give_gradients(parameters, step)
        w, m, v = update.adam(w, parameters[0][1].grad, m, v, step, 1e-2, 0.9, 0.999, 1e-8, 1e-3)
        optimizer.step(1e-2)
        np.testing.assert_array_equal(parameters[0][1].data, w, strict=True)
    state = optimizer.state_dict()
    np.testing.assert_array_equal(state["first.p0"], m, strict=True)
    np.testing.assert_array_equal(state["second.p0"], v, strict=True)
    assert state["steps"] == 4


def test_adam_moves_each_weight_by_the_rate_at_first() -> None:
    # m/(1-b1) = g and v/(1-b2) = g*g after one step, so the step is lr * g/|g| up to rounding.
    parameters = make(3, (50,))
    before = parameters[0][1].data.copy()
    give_gradients(parameters, 9)
    optim.Adam(parameters).step(0.01)
    moved = before - parameters[0][1].data
    assert np.all(np.abs(np.abs(moved) - 0.01) < 1e-5)
    assert np.all(np.sign(moved) == np.sign(parameters[0][1].grad))


@pytest.mark.parametrize(
    "make_optimizer", [lambda p: optim.SGD(p, 0.9, 0.1), lambda p: optim.Adam(p, weight_decay=0.1)]
)
def test_decay_spares_parameters_that_want_none(make_optimizer) -> None:
    spared, decayed = make(4, (6,), decay=False), make(4, (6,), decay=True)
    plain = make(4, (6,))
    for parameters in (spared, decayed, plain):
        give_gradients(parameters, 5)
    make_optimizer(spared).step(0.1)
    make_optimizer(decayed).step(0.1)
    type(make_optimizer(plain))(
        plain, **({"momentum": 0.9} if isinstance(make_optimizer(plain), optim.SGD) else {})
    ).step(0.1)
    np.testing.assert_array_equal(spared[0][1].data, plain[0][1].data, strict=True)
    assert not np.array_equal(decayed[0][1].data, plain[0][1].data)


class Clipped(optim.SGD):
    """A step that computes with its gradient."""

    def _update(self, weight, gradient, state, lr, weight_decay):  # type: ignore[no-untyped-def]
        return super()._update(weight, np.clip(gradient, -1, 1), state, lr, weight_decay)


class Doubled(Parameter):
    """A parameter whose gradient is not what was summed."""

    @property
    def grad(self):  # type: ignore[no-untyped-def]
        return self.exact_grad and 2 * self.exact_grad.to_float32()

    @grad.setter
    def grad(self, value) -> None:  # type: ignore[no-untyped-def]
        self._total = value


@pytest.mark.clause("UPD-1", "FLT-2")
@pytest.mark.parametrize(
    ("optimizer", "parameter", "factor"), [(optim.SGD, Parameter, 1), (optim.SGD, Doubled, 2), (Clipped, Parameter, 0)]
)
def test_an_exact_gradient_moves_as_its_float32_does(
    optimizer: type[optim.SGD], parameter: type[Parameter], factor: int
) -> None:
    w, sums = np.array([1, -2, 0.5], np.float32), np.array([2**24 + 1, -3, 0], np.int64)
    weight = parameter(w)
    weight.grad = ExactSum(sums, -1)
    gradient = ExactSum(sums, -1).to_float32()
    gradient = factor * gradient if factor else np.clip(gradient, -1, 1)
    optimizer([("w", weight)], momentum=0.5).step(0.25)
    wanted, _ = update.sgd(w, gradient.astype(np.float32), np.zeros_like(w), 0.25, 0.5)
    assert np.array_equal(weight.data, wanted)


def test_parameter_without_gradient_stays() -> None:
    parameters = make(5, (3,), (3,))
    before = [p.data.copy() for _, p in parameters]
    parameters[0][1].grad = np.ones(3, f32)
    optimizer = optim.SGD(parameters, momentum=0.9)
    optimizer.step(0.1)
    assert not np.array_equal(parameters[0][1].data, before[0])
    np.testing.assert_array_equal(parameters[1][1].data, before[1], strict=True)
    optimizer.zero_grad()
    assert parameters[0][1].grad is None


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_step_that_overflows_changes_nothing_and_names_the_parameter(kind) -> None:
    parameters = make(6, (3,), (3,))
    before = [p.data.copy() for _, p in parameters]
    optimizer = kind(parameters)
    state = {name: array.copy() for name, array in optimizer.state_dict().items()}
    parameters[0][1].grad = np.ones(3, f32)
    parameters[1][1].grad = np.array([1, np.inf, 1], f32)
    with pytest.raises(OverflowError, match="parameter 'p1'"):
        optimizer.step(0.1)
    for (_, parameter), old in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.data, old, strict=True)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, state[name], strict=True)


@pytest.mark.parametrize("kind", [lambda p: optim.SGD(p, momentum=0.9), optim.Adam])
def test_state_is_restored_exactly(kind) -> None:
    straight, stopped = make(7, (4, 2), (3,)), make(7, (4, 2), (3,))
    one, two = kind(straight), kind(stopped)
    for step in range(6):
        give_gradients(straight, step)
        one.step(0.05)
        if step == 3:
            kept, weights = two.state_dict(), [p.data for _, p in stopped]
            stopped = make(99, (4, 2), (3,))
            for (_, parameter), weight in zip(stopped, weights, strict=True):
                parameter.data = weight
            two = kind(stopped)
            two.load_state_dict(kept)
        give_gradients(stopped, step)
        two.step(0.05)
    for (_, a), (_, b) in zip(straight, stopped, strict=True):
        np.testing.assert_array_equal(a.data, b.data, strict=True)


def test_state_that_does_not_fit_is_refused_and_nothing_changes() -> None:
    optimizer = optim.SGD(make(8, (2, 2), (3,)), momentum=0.9)
    good = {name: array + 1 for name, array in optimizer.state_dict().items()}
    damaged = {**good, "velocity.p1": np.full(3, np.nan, f32)}
    for bad in (
        {},
        {**good, "velocity.p9": good["velocity.p0"]},
        {**good, "velocity.p1": np.ones(4, f32)},
        damaged,
        {**good, "velocity.p1": np.ones(3)},
    ):
        with pytest.raises(CheckpointError):
            optimizer.load_state_dict(bad)
        assert all(not array.any() for array in optimizer.state_dict().values())
    optimizer.load_state_dict(good)
    assert all((array == 1).all() for array in optimizer.state_dict().values())


@pytest.mark.parametrize(
    "build",
    [
        lambda: optim.SGD([]),
        lambda: optim.SGD([*make(1, (2,)), *make(1, (2,))]),
        lambda: optim.SGD(make(1, (2,)), momentum=1.0),
        lambda: optim.SGD(make(1, (2,)), momentum=float("nan")),
        lambda: optim.SGD(make(1, (2,)), weight_decay=-1.0),
        lambda: optim.SGD(make(1, (2,)), nesterov=True),
        lambda: optim.Adam(make(1, (2,)), beta2=1.0),
        lambda: optim.Adam(make(1, (2,)), epsilon=0.0),
        lambda: optim.Constant(0.0),
        lambda: optim.Constant(float("nan")),
        lambda: optim.Cosine(0.1, total=0),
        lambda: optim.Cosine(0.1, total=5, final=-1.0),
        lambda: optim.Step(0.1, total=5, gamma=0.0),
        lambda: optim.Step(0.1, total=5, gamma=1.5),
        lambda: optim.Exponential(0.1, total=5, final=0.0),
        lambda: optim.Constant(0.1)(-1),
    ],
)
def test_bad_parameters_are_refused(build) -> None:
    with pytest.raises(ValueError):
        build()


@given(lr=st.floats(1e-6, 10.0), total=st.integers(2, 500), step=st.integers(0, 1000))
def test_schedules_are_float32_fall_and_end_where_stated(lr: float, total: int, step: int) -> None:
    final = lr / 8
    cosine, exponential = optim.Cosine(lr, total, final), optim.Exponential(lr, total, final)
    for made in (optim.Constant(lr), optim.Step(lr, total), cosine, exponential):
        rate = made(step)
        assert rate == f32(rate)
        assert made(0) == f32(lr)
        assert made(step + 1) <= rate
    assert cosine(total) == cosine(total + step) == f32(final)
    assert abs(exponential(total) / final - 1) < 1e-6
    assert optim.Constant(lr)(step) == f32(lr)


@pytest.mark.clause("SCH-2")
def test_step_schedule_drops_at_its_milestones() -> None:
    made = optim.Step(1.0, total=100, milestones=[10, 20], gamma=0.5)
    assert [made(step) for step in (0, 9, 10, 19, 20, 99)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    usual = optim.Step(1.0, total=100)
    assert [usual(step) for step in (49, 50, 74, 75)] == [1.0, f32(0.1), f32(0.1), schedule.lr("step", 1.0, 80, 100)]
