"""A frozen network: constants, steps in order, and the loop that runs them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.nn.module import refuse_empty
from qnn.numerics import DFP
from qnn.tensor import Tensor

Value = NDArray[Any]
"""What passes between steps: float32, or the integers of a DFP tensor, whose width and exponent never change."""

_CACHED = 1 << 18  # bytes of the largest activation of a part: it and its successor stay in a second-level cache


@dataclass(frozen=True)
class Port:
    """Where a value lies, and what it is.

    Parameters
    ----------
    slot : int
        Place in the list of values.
    shape : tuple of int
        As seen when the network was frozen; the first axis is the batch.
    dtype : dtype
        Of the array: the integers of a DFP tensor, float32, or the uint8 of images.
    bits, exponent : int or None
        Format of a DFP tensor; None for another array.
    """

    slot: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bits: int | None = None
    exponent: int | None = None

    @staticmethod
    def of(slot: int, data: Any) -> Port:
        """The port of a tensor's data."""
        if isinstance(data, DFP):
            return Port(slot, data.shape, data.ints.dtype, data.bits, data.exponent)
        return Port(slot, data.shape, data.dtype)

    def unwrap(self, data: Any) -> Value:
        """The array of a tensor that must have this port's format."""
        found = Port.of(self.slot, data)
        if (found.dtype, found.bits, found.exponent) != (self.dtype, self.bits, self.exponent):
            raise TypeError(f"got {found} where the frozen network has {self}; its formats do not change: freeze again")
        return data.ints if isinstance(data, DFP) else data

    def wrap(self, value: Value) -> Any:
        """The tensor that an operation takes: DFP, or the array itself."""
        if self.bits is None or self.exponent is None:
            return value
        return DFP(value, self.exponent, self.bits)

    def __str__(self) -> str:
        return str(self.dtype) if self.bits is None else f"int{self.bits}·2^{self.exponent}"


@dataclass(frozen=True)
class Step:
    """One call: what runs, which values it takes, which it gives, and which nobody needs afterwards.

    Parameters
    ----------
    names : tuple of str
        Operations that it does, in order; several where layers became one table.
    module : str
        Dotted name of the layer, of the last one where there are several.
    inputs : tuple of Port
    output : Port
    run : callable
        Takes the arrays of the inputs, gives the array of the output.
    dead : tuple of int
        Slots to empty after the step.
    """

    names: tuple[str, ...]
    module: str
    inputs: tuple[Port, ...]
    output: Port
    run: Callable[..., Value]
    dead: tuple[int, ...] = ()

    def __str__(self) -> str:
        shape = "x".join(map(str, ("N", *self.output.shape[1:])))
        return f"{self.module or '-'}: {' + '.join(self.names)} -> {shape} {self.output}"


class FrozenModel:
    """A network in evaluation mode as a list of steps; made by :func:`qnn.inference.freeze`.

    Parameters
    ----------
    steps : list of Step
    constants : dict of int to array
        Values that do not depend on the input, by slot.
    source : Port
        Where the input goes.
    result : Port
    slots : int
        How many values there are.

    Notes
    -----
    It holds copies of all it needs: training the network further does not change it. A batch is worked through in parts
    whose activations stay in the cache, which changes no bit, because nothing here depends on the batch.

    Bit-exactness: clause LAY-11 and those of the operations; the outputs are the network's in evaluation mode, but for
    steps named "truncating shift" (clause POW-4).
    """

    def __init__(self, steps: list[Step], constants: dict[int, Value], source: Port, result: Port, slots: int) -> None:
        self.steps, self.source, self.result = steps, source, result
        self._calls = [(s.run, [port.slot for port in s.inputs], s.output.slot, s.dead) for s in steps]
        self._values: list[Value | None] = [constants.get(slot) for slot in range(slots)]
        largest = max((math.prod(step.output.shape[1:]) * (step.output.bits or 32) // 8 for step in steps), default=1)
        self._part = max(1, _CACHED // max(1, largest))

    def __call__(self, x: Any) -> NDArray[np.float32]:
        """Outputs of the network.

        Parameters
        ----------
        x : array or Tensor [N, ...]
            What the network takes: uint8 images, or a float32 array or Tensor where it starts with ``nn.Quantize``.

        Returns
        -------
        float32 array [N, classes]

        Raises
        ------
        ValueError
            If x has another shape than the network takes, or is an empty batch.
        TypeError
            If x has another type.
        """
        data = self.source.unwrap(x.data if isinstance(x, Tensor) else np.asarray(x))
        if data.shape[1:] != self.source.shape[1:] or data.ndim != len(self.source.shape):
            want = ", ".join(map(str, ("N", *self.source.shape[1:])))
            raise ValueError(f"got input of shape {data.shape}; this network was frozen for [{want}]: reshape it")
        refuse_empty("the frozen network", data)
        parts = [self._run(data[begin : begin + self._part]) for begin in range(0, len(data), self._part)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, data: Value) -> NDArray[np.float32]:
        values = self._values.copy()
        values[self.source.slot] = data
        for run, inputs, output, dead in self._calls:
            values[output] = run(*[values[slot] for slot in inputs])
            for slot in dead:
                values[slot] = None
        out = self.result.wrap(values[self.result.slot])  # type: ignore[arg-type]
        return np.asarray(out.to_float() if isinstance(out, DFP) else out, np.float32)

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


__all__ = ["FrozenModel", "Port", "Step", "Value"]
