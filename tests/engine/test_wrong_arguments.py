"""What beginners hand to layers, sites, optimisers and operations by mistake: the message says what would be right."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import qnn
import qnn.numerics
from qnn import nn


class Bare(qnn.Operation):
    """An operation whose backward forgets the tuple."""

    name = "bare"

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, gradient: Any) -> Any:
        return gradient


def _net() -> nn.Linear:
    return nn.Linear(3, 2)


CASES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: nn.Linear(3, 2, recipe="dfp8"), TypeError, r"'dfp8' of type str as recipe of Linear; .*parse"),  # type: ignore[arg-type]
    (lambda: nn.CrossEntropyLoss("dfp8"), TypeError, "CrossEntropyLoss; allowed is a Recipe"),  # type: ignore[arg-type]
    (lambda: nn.Linear(3, -1), ValueError, r"shape \(-1, 3\) for Linear; each size"),
    (lambda: nn.Linear(3.0, 2), ValueError, "whole number of at least 1"),  # type: ignore[arg-type]
    (lambda: nn.Conv2d(3, 0, kernel=3), ValueError, "at least 1"),
    (lambda: qnn.Quantizer("weight", "int8"), TypeError, r"format 'int8'; allowed is a Format"),  # type: ignore[arg-type]
    (lambda: qnn.quantize(np.ones(1, np.float32), exponent=-3.0), TypeError, "got exponent -3.0 of type float"),  # type: ignore[arg-type]
    (lambda: qnn.quantize(np.ones(1, np.float32), 0, bits="8"), TypeError, "width of '8' of type str"),  # type: ignore[arg-type]
    (lambda: qnn.Noise(seed=1.5), TypeError, "noise seed 1.5 of type float"),  # type: ignore[arg-type]
    (lambda: qnn.optim.SGD(_net()), TypeError, r"got Linear among .*named_parameters\(\)"),  # type: ignore[arg-type]
    (lambda: qnn.optim.SGD(_net().parameters()), TypeError, r"got Parameter among .*named_parameters\(\)"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "error", "message"), CASES)
def test_messages(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), "x", None, True])
def test_a_learning_rate_is_a_finite_number_from_0_on(rate: Any) -> None:
    net = _net()
    net(qnn.Tensor(np.ones((1, 3), np.float32))).sum().backward()
    before = net.weight.data.copy()
    with pytest.raises((TypeError, ValueError), match=r"learning rate .* at least 0"):
        qnn.optim.SGD(net.named_parameters()).step(rate)
    assert np.array_equal(net.weight.data, before)
    own = nn.Linear(3, 2, recipe=qnn.recipes.wage())
    with pytest.raises((TypeError, ValueError), match=r"learning rate .* at least 0"):
        qnn.optim.RecipeUpdate(own.named_parameters()).step(rate)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((2, 3)), TypeError, "got ndarray of float64 as data of a Parameter; allowed are a float32 array"),
        ([[0.0] * 3] * 2, TypeError, "got list as data"),
        (np.zeros((3, 2), np.float32), ValueError, r"shape \(3, 2\) for a Parameter of shape \(2, 3\)"),
        (qnn.DFP(np.zeros((2, 3), np.int8), 0), TypeError, "integers of 8 bits as data of a Parameter of float32"),
    ],
)
def test_what_replaces_a_parameter_fits_it(data: Any, error: type[Exception], message: str) -> None:
    weight = _net().weight
    before, version = weight.data, weight.version
    with pytest.raises(error, match=message):
        weight.data = data
    assert weight.data is before
    assert weight.version == version


def test_nobody_writes_into_a_parameter() -> None:
    weight, mine = _net().weight, np.ones((2, 3), np.float32)
    weight.data = mine
    with pytest.raises(ValueError, match="read-only"):
        weight.data[...] = 0
    mine[0, 0] = 5  # the caller's own array stays the caller's
    assert weight.data[0, 0] == 1
    for same in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):
        with pytest.raises(ValueError, match="read-only"):
            same.data[...] = 0
    scalar = qnn.Parameter(np.float32(3))
    scalar.data = scalar.data - np.float32(1)
    assert scalar.data == 2


@pytest.mark.parametrize("width", [qnn.kernels.accumulator_bits, qnn.numerics.accumulator_bits_needed])
def test_accumulators_are_of_products_that_can_be(width: Callable[[int, int, int], int]) -> None:
    for wrong in ((-1, 8, 8), (4, 0, 8), (4, 8, -3)):
        with pytest.raises(ValueError, match="allowed are 0 products or more"):
            width(*wrong)


def test_backward_returns_a_tuple() -> None:
    x = qnn.Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"got ndarray from `bare`.backward; .*return \(gradient,\)"):
        qnn.extend.apply(Bare(), x).sum().backward()


def test_a_second_backward_names_the_shape() -> None:
    loss = qnn.Tensor([1.0], requires_grad=True).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"Tensor\(scalar float32"):
        loss.backward()
