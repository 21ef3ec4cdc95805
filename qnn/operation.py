"""What runs on the tape: operations, exact gradient sums, and who watches (``trace``, ``no_grad``)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP

Array = NDArray[np.float32] | DFP


class ExactSum:
    """A parameter's gradient before its one conversion to float32: exact integers and their exponent.

    Parts of a batch and uses of a shared weight add up here as integers, at any exponents, so no split can change a
    bit.

    Bit-exactness: clauses MAC-6, LAY-5, FLT-2 and FLT-3; exact sums, one rounding to nearest even, exact scaling.
    """

    __slots__ = ("exponent", "ints")

    def __init__(self, ints: NDArray[Any], exponent: int) -> None:
        self.ints = ints
        self.exponent = exponent

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        return tuple(self.ints.shape)

    def __add__(self, other: ExactSum) -> ExactSum:
        lowest = min(self.exponent, other.exponent)
        parts = [(p.ints, p.exponent - lowest, _largest(p.ints)) for p in (self, other)]
        fits = sum(largest << shift for _, shift, largest in parts) < 2**63
        dtype = np.int64 if fits else object  # beyond int64 the sum is made of Python integers
        a, b = (ints.astype(dtype) * (1 << shift if largest else 1) for ints, shift, largest in parts)
        return ExactSum(np.asarray(a + b, dtype), lowest)

    def to_float32(self) -> NDArray[np.float32]:
        """The gradient as float32."""
        return np.asarray(_kernels.call("ints_to_float32", self.ints, self.exponent))


def _largest(ints: NDArray[Any]) -> int:
    """The largest magnitude as a Python integer."""
    return max(abs(int(ints.min())), abs(int(ints.max()))) if ints.size else 0


Gradient = NDArray[np.float32] | DFP | ExactSum


class GradientSum(Protocol):
    """Where a DFP gradient that arrives in several parts, or in float32, becomes one DFP tensor (a quantisation
    site)."""

    def add(self, parts: Sequence[DFP]) -> DFP:
        """Exact sum of the parts, rounded once."""

    def quantize(self, values: NDArray[np.float32]) -> DFP:
        """Quantise real values."""


class _Here(threading.local):
    """What goes on in this thread; others may train nets of their own.

    Attributes
    ----------
    recording : bool
        Whether operations are recorded for ``backward()``.
    modules : list of str
        Names of the modules that are running, the innermost last.
    traces : list
        What each open :func:`trace` has collected.
    """

    def __init__(self) -> None:
        self.recording = True
        self.modules: list[str] = []
        self.traces: list[list[TraceEntry]] = []


HERE = _Here()


class TraceEntry:
    """One executed operation: its name, the module it ran in, and the formats that went in and came out."""

    def __init__(self, operation: Operation, module: str, inputs: Sequence[Array], output: Array) -> None:
        self.operation = operation
        self.inputs, self.output = tuple(inputs), output
        self.name = operation.name
        self.module = module
        self.input_formats = [describe(a) for a in operation.operands(inputs)]
        self.output_format = describe(output)
        self.output_shape = output.shape
        self.exponents = [a.exponent if isinstance(a, DFP) else None for a in (*operation.operands(inputs), output)]
        self.cost = operation.cost()

    def __repr__(self) -> str:
        return f"{self.module or '-'}: {self.name}({', '.join(self.input_formats)}) -> {self.output_format}"


def describe(data: Array) -> str:
    """Shape and format in a few characters, such as ``128x32x32x16 int8·2^-5`` or ``10 float32``."""
    shape = "x".join(map(str, data.shape)) or "scalar"
    return f"{shape} int{data.bits}·2^{data.exponent}" if isinstance(data, DFP) else f"{shape} float32"


@contextlib.contextmanager
def trace() -> Iterator[list[TraceEntry]]:
    """Collect every operation that this thread runs inside the block, in order: the tape as a list."""
    entries: list[TraceEntry] = []
    HERE.traces.append(entries)
    try:
        yield entries
    finally:
        HERE.traces = [other for other in HERE.traces if other is not entries]  # equal ones may be open, too


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Run operations of this thread without recording them for ``backward()``."""
    before, HERE.recording = HERE.recording, False
    try:
        yield
    finally:
        HERE.recording = before


def is_recording() -> bool:
    """True where operations are recorded for ``backward()``."""
    return HERE.recording


def current_module() -> str:
    """Dotted name of the module that is running now, or an empty string."""
    modules = HERE.modules
    return modules[-1] if modules else ""


class Operation:
    """One differentiable operation: ``forward`` and ``backward`` side by side.

    A subclass sets ``name``, keeps what it needs for the way back in ``self``, and is run by :func:`apply`.
    ``forward`` gets
    and returns arrays (float32 or DFP); ``backward`` gets the gradient of the output and returns one gradient per
    input (``None`` where there is none). ``self.needs[i]`` says whether input i wants a gradient.
    """

    name: str = "operation"
    needs: tuple[bool, ...] = ()
    takes_lazy: ClassVar[bool] = False  # whether inputs and gradients may be a ``qnn.lazy.Lazy``

    def forward(self, *inputs: Any) -> Any:
        """Compute the output array."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def backward(self, gradient: Any) -> tuple[Any, ...]:
        """Compute the gradients of the inputs from the gradient of the output."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward()")

    def operands(self, inputs: Sequence[Array]) -> Sequence[Array]:
        """Operands as the arithmetic sees them (an integer operation replaces a master weight by its integers)."""
        return inputs

    def cost(self) -> dict[str, int]:
        """Size of the work done, for tables: ``macs`` and ``accumulator`` widths where they apply."""
        return {}


REGISTRY: dict[str, Callable[..., Operation]] = {}


def register(cls: type[Operation]) -> type[Operation]:
    """Class decorator: make an operation known by its name (the arithmetic of ``Tensor`` looks here)."""
    if cls.name in REGISTRY and REGISTRY[cls.name] is not cls:
        raise ValueError(f"got a second operation named {cls.name!r}; names are unique: choose another `name`")
    REGISTRY[cls.name] = cls
    return cls


def record(operation: Operation, inputs: Sequence[Array], output: Array) -> None:
    """Tell every open :func:`trace` of an operation that ran."""
    for entries in HERE.traces:
        entries.append(TraceEntry(operation, current_module(), inputs, output))


__all__ = [
    "HERE",
    "REGISTRY",
    "Array",
    "ExactSum",
    "Gradient",
    "GradientSum",
    "Operation",
    "TraceEntry",
    "current_module",
    "describe",
    "is_recording",
    "no_grad",
    "record",
    "register",
    "trace",
]
