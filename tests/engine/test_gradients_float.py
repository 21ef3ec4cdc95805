"""Gradients of the float mode against central differences, for every float operation and layer."""

from __future__ import annotations

import numpy as np
import pytest

from qnn import nn
from qnn.extend import check_gradients
from qnn.numerics import uniform
from qnn.ops.activation import HardtanhFloat
from qnn.tensor import Tensor, apply


def values(*shape: int, seed: int = 1, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


ELEMENTWISE = {
    "add broadcast": (lambda a, b: a + b, (values(3, 4), values(4, seed=2))),
    "subtract broadcast": (lambda a, b: a - b, (values(2, 1, 4), values(3, 1, seed=2))),
    "rsubtract": (lambda a: 1.5 - a, (values(3),)),
    "multiply broadcast": (lambda a, b: a * b, (values(3, 4), values(3, 1, seed=2))),
    "divide": (lambda a, b: a / b, (values(3, 4), values(3, 4, seed=2, low=1.0, high=2.0))),
    "rdivide": (lambda a: 2.0 / a, (values(3, low=1.0, high=2.0),)),
    "negate": (lambda a: -a, (values(3),)),
    "power": (lambda a: a**3, (values(3, low=0.5),)),
    "matmul": (lambda a, b: a @ b, (values(3, 4), values(4, 2, seed=2))),
    "matmul batched": (lambda a, b: a @ b, (values(2, 3, 4), values(4, 2, seed=2))),
    "sum": (lambda a: a.sum(), (values(3, 4),)),
    "sum axis": (lambda a: a.sum(axis=1) * a.sum(axis=1), (values(3, 4),)),
    "mean keepdims": (lambda a: a - a.mean(axis=0, keepdims=True), (values(3, 4),)),
    "reshape transpose": (lambda a: a.reshape(4, -1).transpose() * 2.0, (values(3, 4),)),
    "getitem repeated": (lambda a: a[np.array([0, 0, 2])] * a[1], (values(3, 4),)),
    "exp": (lambda a: a.exp(), (values(5),)),
    "log": (lambda a: a.log(), (values(5, low=0.5, high=2.0),)),
    "tanh": (lambda a: a.tanh(), (values(5),)),
    "sigmoid": (lambda a: a.sigmoid(), (values(5),)),
    "relu": (lambda a: a.relu(), (values(6, low=0.1) * np.float32([1, -1, 1, -1, 1, -1]),)),
    "hardtanh": (lambda a: apply(HardtanhFloat(), a), (np.float32([-1.5, -0.5, 0.5, 1.5]),)),
    "fan-out": (lambda a: a * a + a.exp() * a, (values(4),)),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_arithmetic(name: str) -> None:
    function, inputs = ELEMENTWISE[name]
    check_gradients(function, *inputs, step=2.0**-8)


def layer_gradients(layer: nn.Module, x: np.ndarray) -> None:
    """Check the gradient of the input and of each parameter of a layer."""
    nn.initialize(layer, seed=3)
    names = [name for name, _ in layer.named_parameters()]
    start = [p.numpy().copy() for p in layer.parameters()]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        for name, parameter in zip(names, parameters, strict=True):
            holder, _, key = name.rpartition(".")
            module = layer
            for part in filter(None, holder.split(".")):
                module = getattr(module, part)
            module.__dict__[key] = parameter
        return layer(x)

    check_gradients(function, x, *start, step=2.0**-7)


LAYERS = {
    "linear": (lambda: nn.Linear(3, 4), (2, 3)),
    "linear without bias": (lambda: nn.Linear(3, 4, bias=False), (2, 3)),
    "conv": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 4, 5, 2)),
    "conv stride 2": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), (1, 5, 6, 2)),
    "conv dilation": (lambda: nn.Conv2d(1, 2, 2, dilation=2, bias=False), (1, 5, 4, 1)),
    "conv groups": (lambda: nn.Conv2d(4, 2, 2, groups=2), (1, 3, 3, 4)),
    "conv depthwise stride": (lambda: nn.Conv2d(3, 3, (3, 2), stride=(2, 1), padding=(1, 0), groups=3), (1, 4, 4, 3)),
    "conv padding beyond kernel": (lambda: nn.Conv2d(1, 1, 2, padding=3), (1, 2, 2, 1)),
    "scale": (lambda: nn.Scale(3), (2, 2, 2, 3)),
    "batch norm": (lambda: nn.BatchNorm(2), (3, 2, 2, 2)),
    "average pool": (lambda: nn.AveragePool2d(2), (1, 4, 4, 2)),
    "average pool overlapping": (lambda: nn.AveragePool2d(3, 2, 1), (1, 5, 4, 1)),
    "average pool of real pixels": (lambda: nn.AveragePool2d(3, 1, 1, count_padding=False), (1, 3, 4, 2)),
    "global average pool": (lambda: nn.GlobalAveragePool(), (2, 3, 3, 2)),
    "flatten": (lambda: nn.Flatten(), (2, 2, 2, 1)),
    "shortcut": (lambda: nn.PadShortcut(2, 4), (1, 4, 3, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    make, shape = LAYERS[name]
    layer_gradients(make(), values(*shape))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 3, 0)])
def test_max_pool(kernel: int, stride: int, padding: int) -> None:
    x = np.random.default_rng(0).permutation(36).astype(np.float32).reshape(1, 6, 6, 1)  # all distinct: differentiable
    check_gradients(nn.MaxPool2d(kernel, stride, padding), x)


def test_add_and_concat() -> None:
    check_gradients(nn.Add(), values(2, 3), values(2, 3, seed=2))
    check_gradients(nn.Concat(), values(2, 1, 1, 3), values(2, 1, 1, 2, seed=2))


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss, nn.SquareHingeLoss])
def test_losses(criterion: type) -> None:
    labels = np.array([0, 2, 1, 2])
    check_gradients(lambda outputs: criterion()(outputs, labels), values(4, 3), step=2.0**-6, tolerance=1e-2)


def test_dropout_scales_by_the_kept_share() -> None:
    layer = nn.Dropout(0.25)
    nn.prepare(layer, seed=5)
    x = Tensor(np.ones((100, 100), np.float32), requires_grad=True)
    y = layer(x)
    y.backward(np.ones((100, 100), np.float32))
    kept = y.numpy() != 0
    assert 0.73 < kept.mean() < 0.77
    assert np.array_equal(np.unique(y.numpy()), np.float32([0, np.float32(65536) / np.float32(49152)]))
    assert np.array_equal(x.grad, y.numpy())
    layer.eval()
    assert layer(x) is x


def test_initial_values_depend_on_seed_and_place_only() -> None:
    first, second = nn.Linear(5, 4), nn.Linear(5, 4)
    net = nn.Sequential(first, second)
    nn.initialize(net, seed=9)
    assert not np.array_equal(first.weight.data, second.weight.data)
    again = nn.Sequential(nn.Linear(5, 4), nn.Linear(5, 4))
    nn.initialize(again, seed=9)
    assert np.array_equal(again[1].weight.data, second.weight.data)
    assert np.array_equal(second.weight.data, uniform(9, 0xFFFE0000 + 2, (4, 5), np.sqrt(np.float32(6 / 5))))
    kept = second.weight.data
    nn.initialize(net, seed=10)
    assert second.weight.data is kept, "weights that were drawn are not drawn again"
