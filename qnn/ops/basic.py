"""Float32 arithmetic with broadcasting: the operators and methods of ``Tensor``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import exp32, log32, sigmoid32, tanh32
from qnn.operation import Operation, register

Float = NDArray[np.float32]


def unbroadcast(gradient: Float, shape: tuple[int, ...]) -> Float:
    """Sum a gradient over the axes that broadcasting added or stretched."""
    extra = gradient.ndim - len(shape)
    if extra:
        gradient = gradient.sum(axis=tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=stretched, keepdims=True) if stretched else gradient


class _Binary(Operation):
    """An operation on two arrays that broadcast."""

    def forward(self, a: Float, b: Float) -> Float:
        self.shapes = a.shape, b.shape
        try:
            return self.compute(a, b)
        except ValueError as error:
            raise ValueError(
                f"got shapes {a.shape} and {b.shape} for `{self.name}`; they must broadcast: {error}"
            ) from error

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        parts = self.partial(gradient)
        return tuple(
            unbroadcast(part(), shape) if needed else None
            for part, shape, needed in zip(parts, self.shapes, self.needs, strict=True)
        )

    def compute(self, a: Float, b: Float) -> Float:
        raise NotImplementedError

    def partial(self, gradient: Float) -> tuple[Any, Any]:
        raise NotImplementedError


@register
class Add(_Binary):
    """a + b."""

    name = "add"

    def compute(self, a: Float, b: Float) -> Float:
        return a + b

    def partial(self, gradient: Float) -> tuple[Any, Any]:
        return (lambda: gradient), (lambda: gradient)


@register
class Subtract(_Binary):
    """a - b."""

    name = "subtract"

    def compute(self, a: Float, b: Float) -> Float:
        return a - b

    def partial(self, gradient: Float) -> tuple[Any, Any]:
        return (lambda: gradient), (lambda: -gradient)


@register
class Multiply(_Binary):
    """a * b."""

    name = "multiply"

    def compute(self, a: Float, b: Float) -> Float:
        self.a, self.b = a, b
        return a * b

    def partial(self, gradient: Float) -> tuple[Any, Any]:
        return (lambda: gradient * self.b), (lambda: gradient * self.a)


@register
class Divide(_Binary):
    """a / b."""

    name = "divide"

    def compute(self, a: Float, b: Float) -> Float:
        self.a, self.b = a, b
        return a / b

    def partial(self, gradient: Float) -> tuple[Any, Any]:
        return (lambda: gradient / self.b), (lambda: -gradient * self.a / (self.b * self.b))


@register
class Power(Operation):
    """x to a constant power."""

    name = "power"

    def __init__(self, exponent: float) -> None:
        self.exponent = np.float32(exponent)

    def forward(self, x: Float) -> Float:
        self.x = x
        return np.asarray(np.power(x, self.exponent), np.float32)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * self.exponent * np.power(self.x, self.exponent - np.float32(1)),)


@register
class MatMul(Operation):
    """Matrix product of the last two axes."""

    name = "matmul"

    def forward(self, a: Float, b: Float) -> Float:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"got shapes {a.shape} and {b.shape} for `matmul`; allowed are (..., m, k) and (..., k, n)"
            )
        self.a, self.b = a, b
        return np.asarray(np.matmul(a, b), np.float32)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        da = np.matmul(gradient, np.swapaxes(self.b, -1, -2)) if self.needs[0] else None
        db = np.matmul(np.swapaxes(self.a, -1, -2), gradient) if self.needs[1] else None
        return (
            None if da is None else unbroadcast(da, self.a.shape),
            None if db is None else unbroadcast(db, self.b.shape),
        )


@register
class Sum(Operation):
    """Sum over axes."""

    name = "sum"

    def __init__(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Float) -> Float:
        self.shape = x.shape
        return np.asarray(x.sum(axis=self.axis, keepdims=self.keepdims), np.float32)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        if self.axis is not None and not self.keepdims:
            gradient = np.expand_dims(gradient, self.axis)
        return (np.broadcast_to(gradient, self.shape).astype(np.float32),)


@register
class Reshape(Operation):
    """The same elements in another shape."""

    name = "reshape"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.wanted = shape

    def forward(self, x: Float) -> Float:
        self.shape = x.shape
        return x.reshape(self.wanted)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient.reshape(self.shape),)


@register
class Transpose(Operation):
    """Permuted axes."""

    name = "transpose"

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Float) -> Float:
        return x.transpose(self.axes)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient.transpose(np.argsort(self.axes)),)


@register
class GetItem(Operation):
    """Indexing; a repeated index adds its gradients."""

    name = "getitem"

    def __init__(self, key: Any) -> None:
        self.key = key

    def forward(self, x: Float) -> Float:
        self.shape = x.shape
        return np.asarray(x[self.key], np.float32)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        full = np.zeros(self.shape, np.float32)
        np.add.at(full, self.key, gradient)
        return (full,)


@register
class Exp(Operation):
    """Specified exponential (clause FLT-4)."""

    name = "exp"

    def forward(self, x: Float) -> Float:
        self.y = exp32(x)
        return self.y

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * self.y,)


@register
class Log(Operation):
    """Specified natural logarithm (clause FLT-5)."""

    name = "log"

    def forward(self, x: Float) -> Float:
        self.x = x
        return log32(x)

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient / self.x,)


@register
class Tanh(Operation):
    """Specified hyperbolic tangent (clause FLT-6)."""

    name = "tanh"

    def forward(self, x: Float) -> Float:
        self.y = tanh32(x)
        return self.y

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * (np.float32(1) - self.y * self.y),)


@register
class Sigmoid(Operation):
    """Specified logistic function (clause FLT-7)."""

    name = "sigmoid"

    def forward(self, x: Float) -> Float:
        self.y = sigmoid32(x)
        return self.y

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        return (gradient * self.y * (np.float32(1) - self.y),)
