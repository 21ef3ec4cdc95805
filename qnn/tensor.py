"""Tensors: float32 arrays or integers, with the operations that a tape records (``tape.py``), and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qnn.errors import StrictError
from qnn.lazy import Lazy, plain
from qnn.numerics import DFP
from qnn.operation import (
    HERE,
    REGISTRY,
    Array,
    ExactSum,
    Gradient,
    GradientSum,
    Operation,
    current_module,
    describe,
    is_recording,
    record,
)
from qnn.tape import Hook, Node, combine, run_backward

_set = object.__setattr__


class Tensor:
    """An array on the tape: float32 values, or integers with one exponent (DFP).

    Parameters
    ----------
    data : float32 array, DFP, or anything NumPy turns into a float array
        Float64 and integer input is converted to float32; DFP stays as it is.
    requires_grad : bool
        Whether ``backward()`` leaves a gradient in ``grad``.
    grad_site : quantisation site or None
        Where gradients that reach this tensor in several parts (or in float32) are made one DFP gradient. The
        modules of an integer recipe set it.
    strict : bool
        Raise :class:`qnn.errors.StrictError` at an operation that would turn these integers into floats.

    Bit-exactness: the tape adds nothing of its own. DFP gradients of several consumers are summed exactly and
    rounded once (clause REQ-7);
    float32 gradients are added in the order in which the consumers are visited, the reverse of execution.
    """

    __array_priority__ = 1000.0

    def __init__(
        self,
        data: Any,
        requires_grad: bool = False,
        *,
        grad_site: GradientSum | None = None,
        strict: bool = False,
        name: str = "",
    ) -> None:
        self.data: Array
        if isinstance(data, Tensor):
            data = data.data
        if isinstance(data, DFP):
            self.data = data
        else:
            array = np.asarray(data)
            if array.dtype == object or array.dtype.kind not in "fiub":
                raise TypeError(
                    f"got data of dtype {array.dtype} for a Tensor; allowed are numbers (they become float32) or a "
                    f"DFP: "
                    "convert the data first"
                )
            self.data = np.asarray(array, dtype=np.float32)
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.grad_site = grad_site
        self.strict = strict
        self.name = name
        self._node: Node | None = None
        self.hooks: list[Hook] = []

    @property
    def maker(self) -> Operation | None:
        """The operation on the tape that made this tensor; None for a leaf, and after ``backward()`` has passed."""
        return None if self._node is None else self._node.operation

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_integer(self) -> bool:
        """True for integers with an exponent, False for float32."""
        return isinstance(self.data, DFP)

    @property
    def rounds_gradients(self) -> bool:
        """Whether gradients of several consumers become one DFP tensor at ``grad_site``."""
        return self.is_integer

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        made = f", made by {self._node.operation.name}" if self._node and self._node.operation else ""
        return f"Tensor{label}({describe(self.data)}{made})"

    def numpy(self) -> NDArray[np.float32]:
        """Values as a float32 array (exact for DFP of up to 16 bits); never part of the tape."""
        return self.data.to_float() if isinstance(self.data, DFP) else self.data

    def item(self) -> float:
        """The one value of a tensor with one element."""
        if self.size != 1:
            raise ValueError(
                f"got a tensor of shape {self.shape} for item(); allowed is one element: index or reduce it first"
            )
        return float(self.numpy().reshape(-1)[0])

    def detach(self) -> Tensor:
        """The same data, off the tape."""
        return Tensor(plain(self.data), grad_site=self.grad_site, strict=self.strict, name=self.name)

    def retain_grad(self) -> Tensor:
        """Keep the gradient of this tensor although it is not a leaf."""
        if self._node is not None:
            self._node.retained = self
        return self

    def register_hook(self, hook: Callable[[Array], Array | None]) -> Callable[[], None]:
        """Call ``hook(gradient)`` when the gradient of this tensor is complete; a returned array replaces it.

        Integer tensors hand over a DFP gradient, parameters float32. A float32 array returned for an integer tensor is
        quantised at its gradient site. A hook that returns None changes no bit.

        Returns
        -------
        callable
            Removes the hook.
        """
        self.hooks.append(hook)
        return lambda: self.hooks.remove(hook)

    def backward(self, gradient: Any = None) -> None:
        """Run the tape backwards from this tensor and leave gradients in the leaves.

        Parameters
        ----------
        gradient : float32 array or DFP, optional
            Gradient of the final result with respect to this tensor; 1 for a tensor with one element.
        """
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"got backward() on shape {self.shape} without a gradient; it is implied only for one element: "
                    "pass gradient= of the same shape"
                )
            gradient = DFP(np.ones(self.shape, np.int8), 0) if self.is_integer else np.ones(self.shape, np.float32)
        if isinstance(gradient, Tensor):
            gradient = gradient.data
        if not isinstance(gradient, DFP):
            gradient = np.asarray(gradient, np.float32)
        if tuple(gradient.shape) != self.shape:
            raise ValueError(
                f"got a gradient of shape {gradient.shape}; it must have the tensor's shape {self.shape}: reshape it"
            )
        if self._node is None and not self.requires_grad:
            raise RuntimeError(
                "got backward() on a tensor that no recorded operation made; run the forward pass outside no_grad()"
            )
        run_backward(self._place(), gradient)

    def _place(self) -> Tensor | Node:
        """Where gradients of this tensor arrive."""
        return self if self._node is None else self._node

    def accumulate(self, gradient: Gradient) -> None:
        """Add a gradient to ``grad``; the tape calls it."""
        total = gradient if self.grad is None else combine(self, [self.grad, gradient])
        self.grad = total.to_float32() if isinstance(total, ExactSum) else plain(total)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    # The usual arithmetic; the operations register themselves by name in ``qnn.ops``.
    def __add__(self, other: Any) -> Tensor:
        return _call("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return _call("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _call("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _call("multiply", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return _call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _call("divide", other, self)

    def __neg__(self) -> Tensor:
        return _call("subtract", 0.0, self)

    def __pow__(self, exponent: float) -> Tensor:
        return _call("power", self, exponent=exponent)

    def __matmul__(self, other: Any) -> Tensor:
        return _call("matmul", self, other)

    def __getitem__(self, key: Any) -> Tensor:
        return _call("getitem", self, key=key)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Sum over axes."""
        return _call("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Mean over axes."""
        total = self.sum(axis, keepdims)
        return total * (float(total.size) / float(self.size))

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one entry may be -1."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return _call("reshape", self, shape=tuple(wanted))

    def transpose(self, *axes: int) -> Tensor:
        """Permute the axes; reversed without arguments."""
        return _call("transpose", self, axes=axes or tuple(reversed(range(self.ndim))))

    def exp(self) -> Tensor:
        """Element-wise exponential (specified float32, clause FLT-4)."""
        return _call("exp", self)

    def log(self) -> Tensor:
        """Element-wise natural logarithm (specified float32, clause FLT-5)."""
        return _call("log", self)

    def tanh(self) -> Tensor:
        """Element-wise hyperbolic tangent (specified float32, clause FLT-6)."""
        return _call("tanh", self)

    def sigmoid(self) -> Tensor:
        """Element-wise logistic function (specified float32, clause FLT-7)."""
        return _call("sigmoid", self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return _call("relu", self)


class GradientRule(Protocol):
    """What turns the gradient of the weights that multiplied into that of the master (see :mod:`qnn.weights`)."""

    def gradient(self, gradient: NDArray[np.float32], master: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gradient of the master."""


class Update(Protocol):
    """How a parameter starts and moves where no optimiser does it (see :mod:`qnn.updates`)."""

    def first(self, values: NDArray[np.float32]) -> Array:
        """Values from the uniform draw."""

    def step(self, weight: Array, gradient: Gradient, lr: float) -> Array:
        """Values after a step."""


class Parameter(Tensor):
    """A trained array: master weights, biases, scale factors in float32; or integers (DFP) that have no masters.

    ``decay`` says whether weight decay applies. ``version`` counts replacements of ``data``, so that quantised
    copies know when they are stale: replace the array; it is read-only, so that nobody writes into it.
    ``initial`` is the bound of uniform values while they wait to be drawn by :func:`qnn.nn.initialize`; setting
    ``data`` clears it.
    ``rule`` turns the gradient of the weights that multiplied into that of this array, where they differ; ``limit`` is
    where optimisers clip the array after each step, and ``rate`` a factor of its learning rate. ``kept`` says by
    element what is not pruned: optimisers set the others to 0 (clause UPD-5). ``update`` is the rule that moves it
    instead of an optimiser; ``exact_grad`` is the gradient that it gets, never converted to float32.
    """

    def __init__(self, data: Any, *, decay: bool = True, name: str = "", initial: float | None = None) -> None:
        self.version = 0
        self._total: Gradient | None = None
        super().__init__(data, requires_grad=True, name=name)
        self.decay = decay
        self.initial = initial
        self.rule: GradientRule | None = None
        self.limit: float | None = None
        self.rate = 1.0
        self.kept: NDArray[np.bool_] | None = None
        self.update: Update | None = None

    @property
    def exact_grad(self) -> Gradient | None:
        """The gradient as it was summed: exact integers where the layer is one of integers."""
        return self._total

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The values by name, as state and digests hold them; integers have their exponent beside them, pruned values
        what is kept of them."""
        if isinstance(self.data, DFP):
            return {name: self.data.ints, f"{name}.exponent": np.array([self.data.exponent], np.int64)}
        return {name: self.data} if self.kept is None else {name: self.data, f"{name}.kept": self.kept}

    def load(self, name: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what :meth:`arrays` gave."""
        self.data, self.kept = self.read(name, state)

    def read(self, name: str, state: Mapping[str, NDArray[Any]]) -> tuple[Array, NDArray[np.bool_] | None]:
        """The values and what is kept of them, as :meth:`arrays` gave them; nothing changes.

        Raises
        ------
        ValueError
            Integers or an exponent that the format does not hold, or a pruned value that is not 0.
        """
        if isinstance(self.data, DFP):
            return DFP(np.array(state[name]), int(state[f"{name}.exponent"][0]), self.data.bits), None
        values, kept = np.array(state[name], np.float32), state.get(f"{name}.kept")
        if kept is None:
            return values, None
        if values[~np.asarray(kept, bool)].any():
            raise ValueError(f"got pruned values that are not 0 in {name}; what {name}.kept leaves out must be")
        return values, np.array(kept, bool)

    @property
    def update_grad(self) -> Gradient | None:
        """The gradient as an optimiser takes it: the exact sum where only its conversion to float32 is left to do, else
        :attr:`grad`."""
        total, as_it_is = self._total, self.rule is None and type(self).grad is Parameter.grad
        return total if isinstance(total, ExactSum) and as_it_is else self.grad

    @property
    def grad(self) -> Array | None:
        """Gradient as float32, or None; exact partial sums are converted here, once, and pass the weight rule."""
        total = self._total.to_float32() if isinstance(self._total, ExactSum) else self._total
        if self.rule is None or not isinstance(total, np.ndarray):
            return total
        return self.rule.gradient(total, np.asarray(self.data))

    @grad.setter
    def grad(self, value: Gradient | None) -> None:
        _set(self, "_total", value)

    @property
    def rounds_gradients(self) -> bool:
        """False: a parameter has the exact sum of its gradients, whatever it holds."""
        return False

    def accumulate(self, gradient: Gradient) -> None:
        _set(self, "_total", plain(gradient) if self._total is None else combine(self, [self._total, gradient]))

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "data":
            value = self._checked(value)
            _set(self, "version", self.version + 1)
            _set(self, "initial", None)
        _set(self, key, value)

    def _checked(self, value: Any) -> Array:
        """What replaces ``data``: a copy that nobody writes into, as integers made of it would not follow; an array
        that is read-only already is taken as it is."""
        before: Array | None = vars(self).get("data")
        if isinstance(value, (np.ndarray, np.float32)) and value.dtype == np.float32:
            value = np.asarray(value)
            if value.flags.writeable:
                value = value.copy()
                value.flags.writeable = False
        elif not isinstance(value, DFP):
            raise TypeError(
                f"got {type(value).__name__}{f' of {value.dtype}' if isinstance(value, np.ndarray) else ''} as data of "
                f"a Parameter; allowed are a float32 array and a DFP: convert it with np.float32(...)"
            )
        if before is None:
            return value
        if (isinstance(value, DFP) or isinstance(before, DFP)) and _kind(value) != _kind(before):
            raise TypeError(f"got {_kind(value)} as data of a Parameter of {_kind(before)}; the kind stays")
        if value.shape != before.shape:
            raise ValueError(
                f"got data of shape {value.shape} for a Parameter of shape {before.shape}; the shape stays"
            )
        return value

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(self.data, np.ndarray):  # which copies and pickles make writeable
            self.data.flags.writeable = False


def _kind(data: Array) -> str:
    return f"integers of {data.bits} bits" if isinstance(data, DFP) else "float32"


class SecondParameter(Parameter):
    """A second trained array behind the same weights, as a sign beside its shift; its gradient is that of the weights.

    Replacing ``data`` makes copies of the weights stale too.
    """

    def __init__(self, first: Parameter, initial: float) -> None:
        self.first = first
        super().__init__(np.zeros(first.shape, np.float32), decay=first.decay, initial=initial)

    @property
    def grad(self) -> Array | None:
        """Gradient of the weights that multiplied, as float32, or None."""
        total = self.first.exact_grad
        return total.to_float32() if isinstance(total, ExactSum) else total

    @grad.setter
    def grad(self, value: Gradient | None) -> None:
        """The first parameter holds it: forget it there."""

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(key, value)
        if key == "data":
            self.first.version += 1


def apply(operation: Operation, *inputs: Tensor, grad_site: GradientSum | None = None, strict: bool = False) -> Tensor:
    """Run an operation on tensors and put it on the tape.

    Parameters
    ----------
    operation : Operation
        A fresh instance; it keeps what its ``backward`` needs.
    inputs : Tensor
        Passed to ``forward`` as arrays.
    grad_site, strict
        Given to the output tensor, see :class:`Tensor`; integers made from strict integers are strict anyway.
    """
    needs = [t.requires_grad for t in inputs]
    recorded = is_recording() and any(needs)
    operation.needs = tuple(needs) if recorded else (False,) * len(needs)
    arrays = [t.data for t in inputs]
    if not operation.takes_lazy:
        for array in arrays:
            if isinstance(array, Lazy):
                plain(array)
    data = operation.forward(*arrays)
    if not strict and isinstance(data, DFP):
        # A layer without a recipe (Flatten) does not end the strictness of what it passes on.
        strict = any(t.strict and t.is_integer for t in inputs)
    out = Tensor(data, requires_grad=recorded, grad_site=grad_site, strict=strict)
    if recorded:
        parents = [t._place() if t.requires_grad else None for t in inputs]
        out._node = Node(operation, parents, current_module(), out)
    if HERE.traces:
        record(operation, arrays, out.data)
    return out


def _call(name: str, *inputs: Any, **options: Any) -> Tensor:
    """Run a registered float operation on tensors or numbers."""
    tensors = [leave_integers(t, name) for t in inputs]
    return apply(REGISTRY[name](**options), *tensors)


def leave_integers(value: Any, operation: str) -> Tensor:
    """Turn a tensor into float32 for an operation that has no integer form; refuse under ``strict``."""
    tensor = value if isinstance(value, Tensor) else Tensor(value)
    if not tensor.is_integer:
        return tensor
    if tensor.strict:
        raise StrictError(
            f"got {describe(tensor.data)} for `{operation}`"
            f"{' in ' + current_module() if current_module() else ''}, which works in float32; under strict integers "
            f"stay integers: "
            "use a module of qnn.nn with the recipe, convert on purpose with nn.Dequantize, or build the recipe "
            "with strict=False"
        )
    return apply(REGISTRY["dequantize"](site=tensor.grad_site), tensor)


__all__ = ["Parameter", "Tensor", "apply", "leave_integers"]
