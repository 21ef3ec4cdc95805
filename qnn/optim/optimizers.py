"""Optimisers: they keep the state of each parameter and replace its array; the arithmetic is clauses UPD."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.errors import CheckpointError
from qnn.numerics import clip, keep
from qnn.numerics.arguments import number
from qnn.numerics.pow2 import ap2_carry
from qnn.numerics.update import stores_ap2
from qnn.operation import ExactSum
from qnn.tensor import Parameter

Float32 = NDArray[np.float32]
State = dict[str, NDArray[Any]]


class Optimizer:
    """Base of the optimisers: named parameters, one dict of arrays per slot of state.

    Parameters
    ----------
    parameters : iterable of (str, Parameter)
        As ``model.named_parameters()`` gives them.
    weight_decay : float
        Applied to parameters whose ``decay`` is true.

    Raises
    ------
    ValueError
        If there is no parameter, a name occurs twice, or a number is outside its range.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[tuple[str, Parameter]], weight_decay: float = 0.0) -> None:
        pairs = _named(parameters)
        self.parameters = dict(pairs)
        if not pairs or len(self.parameters) != len(pairs):
            what = "a parameter name twice" if pairs else "no parameters"
            raise ValueError(
                f"got {what} for an optimiser; it needs at least one, each named once; pass model.named_parameters()"
            )
        self.weight_decay = _in_range("weight_decay", weight_decay, 0.0, 1e6)
        self._takes_sums = False  # whether `_update` takes a gradient as the exact sum that it is, too
        self._state: dict[str, dict[str, Float32]] = {
            slot: {name: np.zeros_like(_master(p)) for name, p in self.parameters.items()} for slot in self.slots
        }

    def step(self, lr: float) -> None:
        """Move every parameter that has a gradient.

        Parameters
        ----------
        lr : float
            Learning rate of this step, finite and at least 0, rounded once to float32.

        Raises
        ------
        TypeError, ValueError
            If the learning rate is no number, or one out of range.
        OverflowError
            If a new weight or state is not finite; names the parameter. Then nothing has changed.
        """
        check_rate(lr)
        made: list[tuple[str, Float32, tuple[Float32, ...]]] = []
        for name, parameter in self.parameters.items():
            gradient = parameter.update_grad if self._takes_sums else parameter.grad
            if gradient is None:
                continue
            old = tuple([self._state[slot][name] for slot in self.slots])
            decay = self.weight_decay if parameter.decay else 0.0
            try:
                if not isinstance(gradient, ExactSum):
                    gradient = np.asarray(gradient)
                weight, *new = self._update(_master(parameter), gradient, old, lr * parameter.rate, decay)
            except (OverflowError, ValueError, TypeError) as error:
                raise type(error)(f"parameter '{name}': {error}") from error
            made.append((name, weight, tuple(new)))
        for name, weight, state in made:
            parameter = self.parameters[name]
            weight = weight if parameter.limit is None else clip(weight, parameter.limit)
            weight = np.asarray(weight if parameter.kept is None else keep(weight, parameter.kept))
            weight.flags.writeable = False  # nobody else has it, so the parameter needs no copy
            parameter.data = weight
            for slot, array in zip(self.slots, state, strict=True):
                self._state[slot][name] = array
        self._count()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state_dict(self) -> State:
        """The state arrays as ``<slot>.<parameter>``; they are never changed in place, so no copies are made."""
        return {f"{slot}.{name}": array for slot, arrays in self._state.items() for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what :meth:`state_dict` gave; nothing changes unless everything fits.

        Raises
        ------
        CheckpointError
            If a name is missing or unknown, or an array has another shape or dtype or is not finite.
        """
        own = self.state_dict()
        if own.keys() != state.keys():
            wrong = sorted(own.keys() ^ state.keys())
            raise CheckpointError(
                f"got an optimiser state that differs in {len(wrong)} names, '{wrong[0]}' first; it belongs to another "
                "optimiser or model; build the one it was saved with"
            )
        for key, mine in own.items():
            theirs = np.asarray(state[key])
            if theirs.shape != mine.shape or theirs.dtype != mine.dtype or not np.isfinite(theirs).all():
                raise CheckpointError(
                    f"got {theirs.dtype} {theirs.shape} for the optimiser's '{key}'; it must be {mine.dtype} "
                    f"{mine.shape} and finite; build the model it was saved with, or use another checkpoint"
                )
        self._load(state)

    def _load(self, state: Mapping[str, NDArray[Any]]) -> None:
        for slot, arrays in self._state.items():
            for name in arrays:
                arrays[name] = np.array(state[f"{slot}.{name}"], np.float32)

    def _count(self) -> None:
        """Called after each step."""

    def _update(
        self, weight: Float32, gradient: Any, state: tuple[Float32, ...], lr: float, weight_decay: float
    ) -> tuple[Float32, ...]:
        """New weight and new state."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, optionally Nesterov's (clause UPD-1).

    Parameters
    ----------
    parameters, weight_decay
        As for :class:`Optimizer`.
    momentum : float
        From 0 to below 1.
    nesterov : bool
        Nesterov's form; needs a momentum above 0.

    Notes
    -----
    Bit-exactness: clause UPD-1; nothing may vary.
    """

    slots = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, weight_decay)
        self.momentum = _in_range("momentum", momentum, 0.0, np.nextafter(1.0, 0.0))
        if nesterov and self.momentum == 0.0:
            raise ValueError("got nesterov with momentum 0; it needs a momentum above 0; pass momentum=0.9")
        self.nesterov = bool(nesterov)
        self._takes_sums = type(self)._update is SGD._update  # one of a subclass may compute with its gradient

    def _update(
        self, weight: Float32, gradient: Float32 | ExactSum, state: tuple[Float32, ...], lr: float, weight_decay: float
    ) -> tuple[Float32, ...]:
        values, exponent = (gradient.ints, gradient.exponent) if isinstance(gradient, ExactSum) else (gradient, None)
        return _kernels.call("sgd", weight, values, state[0], lr, self.momentum, weight_decay, self.nesterov, exponent)


class Adam(Optimizer):
    """Adam with bias correction (clause UPD-2).

    Parameters
    ----------
    parameters, weight_decay
        As for :class:`Optimizer`.
    beta1, beta2 : float
        Decay of the first and second moment, from 0 to below 1.
    epsilon : float
        Guard of the division, above 0.

    Notes
    -----
    Bit-exactness: clause UPD-2; nothing may vary.
    """

    slots = ("first", "second")
    kernel = "adam"
    readings: tuple[str, ...] = ()  # further arguments of the kernel

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, weight_decay)
        self.beta1 = _in_range("beta1", beta1, 0.0, np.nextafter(1.0, 0.0))
        self.beta2 = _in_range("beta2", beta2, 0.0, np.nextafter(1.0, 0.0))
        self.epsilon = _in_range("epsilon", epsilon, 2.0**-126, 1.0)
        self.steps = 0

    def state_dict(self) -> State:
        """The state arrays and the number of steps."""
        return {**super().state_dict(), "steps": np.array(self.steps, np.int64)}

    def _load(self, state: Mapping[str, NDArray[Any]]) -> None:
        super()._load(state)
        self.steps = int(state["steps"])

    def _count(self) -> None:
        self.steps += 1

    def _update(
        self, weight: Float32, gradient: Float32, state: tuple[Float32, ...], lr: float, weight_decay: float
    ) -> tuple[Float32, ...]:
        first, second = state
        return _kernels.call(
            self.kernel,
            weight,
            gradient,
            first,
            second,
            self.steps + 1,
            lr,
            self.beta1,
            self.beta2,
            self.epsilon,
            weight_decay,
            *self.readings,
        )


class ShiftAdaMax(Adam):
    """AdaMax whose step and divisor are powers of two (clause UPD-4).

    Parameters
    ----------
    parameters, weight_decay
        As for :class:`Optimizer`.
    beta1, beta2 : float
        Decay of the first moment and of the largest gradient, from 0 to below 1; the defaults are the paper's.
    epsilon : float
        Least divisor, above 0; with ``store="ap2"`` what is added to each.
    store : {"exact", "ap2"}
        What is kept of the largest gradient: as it is, or the rounded divisor, as in the authors' Torch code.
    ap2 : {"nearest", "top"}
        Reading of AP2 (clause POW-5).

    Notes
    -----
    Source: BNN paper, Algorithm 3, and its Torch code. Bit-exactness: clause UPD-4; nothing may vary.
    """

    slots = ("first", "largest")
    kernel = "shift_adamax"

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        beta1: float = 0.875,
        beta2: float = 1.0 - 2.0**-10,
        epsilon: float = 2.0**-27,
        weight_decay: float = 0.0,
        store: str = "exact",
        ap2: str = "nearest",
    ) -> None:
        super().__init__(parameters, beta1, beta2, epsilon, weight_decay)
        stores_ap2(store)
        ap2_carry(ap2)
        self.readings = (store, ap2)


def _named(parameters: Any) -> list[tuple[str, Parameter]]:
    """The pairs of a name and a parameter, or a TypeError that says where they come from."""
    pairs = list(parameters) if isinstance(parameters, Iterable) else [parameters]
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Parameter)):
            raise TypeError(
                f"got {type(pair).__name__} among the parameters of an optimiser; allowed are pairs (name, Parameter): "
                "pass model.named_parameters()"
            )
    return pairs


def check_rate(lr: float) -> None:
    """Refuse a learning rate that is no finite number from 0 on."""
    rate = number(lr)
    if rate is None or not 0 <= rate < math.inf:  # false for NaN, too
        raise (TypeError if rate is None else ValueError)(
            f"got the learning rate {lr!r}; it must be a finite number of at least 0; take a schedule's or a number"
        )


def _in_range(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:  # also false for NaN
        raise ValueError(f"got {name} {value} for an optimiser; it must be from {low:g} to {high:g}; correct it")
    return float(value)


def _master(parameter: Parameter) -> Float32:
    """The float32 array of a parameter."""
    array = parameter.data
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise TypeError(
            f"got a parameter of {getattr(array, 'dtype', type(array).__name__)}; an optimiser moves float32 arrays; "
            "give it master weights"
        )
    return array
