"""How to add an operation of your own.

Write a subclass of :class:`Operation` with ``forward`` and ``backward`` side by side, and run it with :func:`apply`.
In float32:

>>> import numpy as np
>>> from qnn import Tensor
>>> from qnn.extend import Operation, apply
>>> class Square(Operation):
...     name = "square"
...     def forward(self, x):
...         self.x = x
...         return x * x
...     def backward(self, gradient):
...         return (gradient * 2 * self.x,)
>>> x = Tensor([1.0, -3.0], requires_grad=True)
>>> apply(Square(), x).sum().backward()
>>> x.grad
array([ 2., -6.], dtype=float32)

In integers, ``forward`` gets :class:`DFP` arrays and hands exact accumulators to a :class:`Quantizer`, which rounds
once, counts
overflows and moves its exponent; ``backward`` gets a DFP gradient and does the same at a gradient site:

>>> from qnn import DFP
>>> from qnn.extend import Quantizer, Format
>>> class SquareInteger(Operation):
...     name = "square"
...     def __init__(self, output, gradient):
...         self.output, self.gradient = output, gradient
...     def forward(self, x):
...         self.x = x
...         return self.output.requantize(x.ints.astype(np.int32) ** 2, 2 * x.exponent)
...     def backward(self, gradient):
...         exact = 2 * gradient.ints.astype(np.int32) * self.x.ints
...         return (self.gradient.requantize(exact, gradient.exponent + self.x.exponent),)
>>> x = Tensor(DFP(np.array([3, -5, 100], np.int8), -4, 8))
>>> y = apply(SquareInteger(Quantizer("activation", Format(8)), Quantizer("gradient", Format(8))), x)
>>> y.data.ints.tolist(), y.data.exponent
([0, 0, 78], -1)

:func:`check_gradients` compares ``backward`` of a float operation with differences of ``forward``. A kernel path for
an operation is added to
``qnn._kernels`` (see CONTRIBUTING).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qnn.numerics import DFP
from qnn.operation import ExactSum, Operation, register
from qnn.quantizer import Format, Quantizer
from qnn.tensor import Tensor, apply


def check_gradients(
    function: Callable[..., Tensor],
    *inputs: np.ndarray,
    step: float = 2.0**-6,
    tolerance: float = 2e-2,
    seed: int = 0,
) -> None:
    """Compare the tape's gradients of a float function with central differences.

    Parameters
    ----------
    function : callable
        Takes tensors, returns a tensor; smooth near the inputs.
    inputs : float32 arrays
        Where to check.
    step : float
        Half the width of the difference.
    tolerance : float
        Largest allowed |difference| / (1 + |gradient|).

    Raises
    ------
    ValueError
        Names the input, the entry, the tape's gradient and the difference quotient.
    """
    tensors = [Tensor(np.asarray(x, np.float32), requires_grad=True) for x in inputs]
    out = function(*tensors)
    weights = np.random.default_rng(seed).standard_normal(out.shape).astype(np.float32)
    out.backward(weights)
    for position, tensor in enumerate(tensors):
        base = tensor.numpy()
        gradient = np.zeros(base.shape, np.float32) if tensor.grad is None else np.asarray(tensor.grad)
        for entry in np.ndindex(*base.shape):
            values = []
            for sign in (1.0, -1.0):
                moved = base.copy()
                moved[entry] += np.float32(sign * step)
                probe = [Tensor(moved if i == position else t.numpy()) for i, t in enumerate(tensors)]
                values.append(float((function(*probe).numpy().astype(np.float64) * weights).sum()))
            quotient = (values[0] - values[1]) / (2 * step)
            if abs(quotient - float(gradient[entry])) > tolerance * (1 + abs(quotient)):
                raise ValueError(
                    f"got gradient {float(gradient[entry]):.6g} for input {position} at {entry}; differences say "
                    f"{quotient:.6g}: check backward()"
                )


__all__ = ["DFP", "ExactSum", "Format", "Operation", "Quantizer", "Tensor", "apply", "check_gradients", "register"]
