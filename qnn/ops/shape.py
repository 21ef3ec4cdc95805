"""Moving values without changing them: reshape of integers, and the parameter-free shortcut of CIFAR ResNets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, int_limits
from qnn.operation import Array, Operation


class ReshapeInteger(Operation):
    """The same integers in another shape."""

    name = "reshape"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.wanted = shape

    def forward(self, x: DFP) -> DFP:
        self.shape = x.shape
        return DFP(x.ints.reshape(self.wanted), x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (DFP(gradient.ints.reshape(self.shape), gradient.exponent, gradient.bits),)


class PadInteger(Operation):
    """Pixels of a whole number added on all sides (clause LAY-12); the gradient loses them again.

    Parameters
    ----------
    padding : (vertical, horizontal)
    value : int
        In real units, so it must lie on the tensor's grid.
    """

    name = "pad"

    def __init__(self, padding: tuple[int, int], value: int) -> None:
        self.padding, self.value = padding, value

    def forward(self, x: DFP) -> DFP:
        low, high = int_limits(x.bits)
        if x.exponent > 0 or not low <= self.value << -x.exponent <= high:
            raise ValueError(
                f"got int{x.bits} at exponent {x.exponent} to pad with {self.value}, which that format does not hold; "
                "a recipe that pads with 1 needs activations that reach 1"
            )
        v, h = self.padding
        n, rows, columns, channels = x.shape
        out = np.full((n, rows + 2 * v, columns + 2 * h, channels), self.value << -x.exponent, x.ints.dtype)
        out[:, v : v + rows, h : h + columns] = x.ints
        return DFP(out, x.exponent, x.bits)

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        v, h = self.padding
        inside = gradient.ints[:, v : gradient.shape[1] - v, h : gradient.shape[2] - h]
        return (DFP(np.ascontiguousarray(inside), gradient.exponent, gradient.bits),)


class Shortcut(Operation):
    """Every ``stride``-th pixel, channels padded with zeros at the end (option A of the ResNet paper); float32 or DFP.

    Bit-exactness: clause LAY-10.

    Parameters
    ----------
    stride : int
    channels : int
        Of the output, at least those of the input.
    """

    name = "shortcut"

    def __init__(self, stride: int, channels: int) -> None:
        self.stride, self.channels = stride, channels

    def forward(self, x: Array) -> Array:
        self.shape = tuple(x.shape)
        return _map(x, self.pick)

    def backward(self, gradient: Array) -> tuple[Any, ...]:
        return (_map(gradient, self._up),)

    def pick(self, values: NDArray[Any]) -> NDArray[Any]:
        """What it makes of an array."""
        picked: NDArray[Any] = _kernels.call("subsample", values, self.stride, self.channels)
        return picked

    def _up(self, values: NDArray[Any]) -> NDArray[Any]:
        back: NDArray[Any] = _kernels.call("subsample_grad", values, self.stride, self.shape)
        return back


def _map(data: Array, function: Any) -> Array:
    return DFP(function(data.ints), data.exponent, data.bits) if isinstance(data, DFP) else function(data)
