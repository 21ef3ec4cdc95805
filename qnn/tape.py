"""The tape: what operations leave behind for the way back, and the way back itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from qnn.lazy import make_waiting, plain
from qnn.numerics import DFP
from qnn.operation import HERE, Array, ExactSum, Gradient, GradientSum, Operation

Hook = Callable[[Array], Array | None]


class Place(Protocol):
    """Where gradients arrive: a leaf, or what made any other tensor."""

    grad_site: GradientSum | None
    hooks: list[Hook]

    @property
    def requires_grad(self) -> bool:
        """Whether it takes gradients; a leaf may have been frozen since the operation ran."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""

    @property
    def is_integer(self) -> bool:
        """Whether the tensor is one of integers."""

    @property
    def rounds_gradients(self) -> bool:
        """Whether several gradients become one DFP tensor here; else they stay the exact or float32 sum they are."""


class Leaf(Place, Protocol):
    """A tensor that no operation made, as gradients need it."""

    def accumulate(self, gradient: Gradient) -> None:
        """Add a gradient to what is there."""


class Node:
    """An executed operation: the way from its result back to its inputs.

    It has not the result's array: what no operation keeps for the way back is freed with its last tensor.
    """

    __slots__ = ("grad_site", "hooks", "is_integer", "module", "operation", "parents", "retained", "shape")
    requires_grad = True

    def __init__(self, operation: Operation, parents: Sequence[Leaf | Node | None], module: str, result: Place) -> None:
        self.operation: Operation | None = operation
        self.parents = tuple(parents)
        self.module = module
        self.shape, self.is_integer = result.shape, result.is_integer
        self.grad_site, self.hooks = result.grad_site, result.hooks
        self.retained: Leaf | None = None  # the result, where it is to have its gradient

    @property
    def rounds_gradients(self) -> bool:
        """Results of integers have integer gradients."""
        return self.is_integer

    def __repr__(self) -> str:
        made = f", made by {self.operation.name}" if self.operation else ""
        shape = "x".join(map(str, self.shape)) or "scalar"
        return f"Tensor({shape} {'integers' if self.is_integer else 'float32'}{made})"


def run_backward(start: Leaf | Node, gradient: Gradient) -> None:
    """Send a gradient back from where it arrives to the leaves.

    Bit-exactness: DFP gradients of several consumers are summed exactly and rounded once (clause REQ-7); float32
    gradients are added in the order in which the consumers are visited, the reverse of execution.
    """
    pending: dict[int, list[Gradient]] = {id(start): [gradient]}
    order = _order(start)
    while order:  # whose turn has come goes, and with it the arrays that nobody else has
        place = order.pop()
        parts = pending.pop(id(place), None)
        if parts is None:
            continue
        total = _total(place, parts)
        if not isinstance(place, Node):
            place.accumulate(total)
            continue
        if place.retained is not None:
            place.retained.accumulate(total)
            place.retained = None  # which has this node
        _step_back(place, total, pending)
    make_waiting()


def _order(start: Leaf | Node) -> list[Leaf | Node]:
    """What it depends on, each after its inputs; iterative, so depth is no limit."""
    order: list[Leaf | Node] = []
    seen: set[int] = set()
    stack: list[Leaf | Node | None] = [start]  # above None lie the inputs of what is below it
    while stack:
        place = stack.pop()
        if place is None:
            done = stack.pop()
            assert done is not None
            order.append(done)
        elif id(place) not in seen:
            seen.add(id(place))
            if isinstance(place, Node):
                stack += (place, None)
                stack += [p for p in place.parents if p is not None]
            else:
                order.append(place)
    return order


def _total(place: Leaf | Node, parts: list[Gradient]) -> Gradient:
    """The gradient of a place, when all parts have come and the hooks have had their word."""
    HERE.modules.append(place.module if isinstance(place, Node) else "")  # in a module a sum waits for what takes it
    try:
        total = combine(place, parts)
    finally:
        HERE.modules.pop()
    if place.hooks:  # which may write
        make_waiting()
        if isinstance(total, DFP):  # others may have these integers
            total = DFP(total.ints.copy(), total.exponent, total.bits)
    for hook in place.hooks:
        # A hook that only looks leaves the exact sum exact; one that replaces it has its word.
        replaced = hook(total.to_float32() if isinstance(total, ExactSum) else total)
        total = total if replaced is None else _replacement(place, replaced)
    return total


def combine(place: Place, parts: list[Gradient]) -> Gradient:
    """One gradient from the parts that several consumers sent."""
    if len(parts) == 1 and (isinstance(parts[0], DFP) or not place.rounds_gradients):
        return parts[0]
    kinds = {DFP if isinstance(part, DFP) else type(part) for part in parts}
    if len(kinds) > 1:
        raise ValueError(
            f"got gradients of several kinds ({', '.join(sorted(k.__name__ for k in kinds))}) for {place!r}; one "
            f"kind is allowed: "
            "use nn.Dequantize so that the float branch sends integers"
        )
    integers = [p for p in parts if isinstance(p, DFP)]
    if integers:
        return _site(place, parts).add(integers)
    total = parts[0]
    for part in parts[1:]:
        total = total + part  # type: ignore[operator]
    if not place.rounds_gradients:
        return total
    return _site(place, parts).quantize(total.to_float32() if isinstance(total, ExactSum) else total)  # type: ignore[arg-type]


def _replacement(place: Place, value: object) -> Gradient:
    """What a hook returned, as a gradient that the tensor can have."""
    gradient: Gradient = value if isinstance(value, (DFP, ExactSum)) else np.asarray(value, np.float32)
    if tuple(gradient.shape) != place.shape or (isinstance(gradient, DFP) and not place.is_integer):
        got = "integers" if isinstance(gradient, DFP) else "numbers"
        raise ValueError(
            f"got {got} of shape {tuple(gradient.shape)} from a hook of {place!r}; allowed is the tensor's own shape, "
            "float32, or a DFP where the tensor has integers: return None to leave the gradient as it is"
        )
    return combine(place, [gradient])


def _site(place: Place, parts: Sequence[Gradient]) -> GradientSum:
    if place.grad_site is None:
        raise ValueError(
            f"got {len(parts)} gradient part(s) to round for the integer tensor {place!r}, which has no site to do "
            f"it; tensors made by modules "
            "of an integer recipe have one: pass the value through such a module"
        )
    return place.grad_site


def _step_back(node: Node, gradient: Gradient, pending: dict[int, list[Gradient]]) -> None:
    """Send a finished gradient through an operation to its inputs; what it kept is free then."""
    operation = node.operation
    if operation is None:
        raise RuntimeError(
            f"got a second backward() through {node!r}; its saved arrays are freed after the first: run the "
            f"forward pass again"
        )
    HERE.modules.append(node.module)
    try:
        gradients = operation.backward(gradient if operation.takes_lazy else plain(gradient))
    finally:
        HERE.modules.pop()
    parents = node.parents
    if not isinstance(gradients, (tuple, list)):
        raise TypeError(
            f"got {type(gradients).__name__} from `{operation.name}`.backward; allowed is a tuple with one gradient "
            "for each input, None where there is none: return (gradient,) for one"
        )
    if len(gradients) != len(parents):
        raise ValueError(
            f"got {len(gradients)} gradients from `{operation.name}`.backward; it has {len(parents)} inputs: "
            f"return one each (None where there is none)"
        )
    for parent, part in zip(parents, gradients, strict=True):
        if part is None or parent is None or not parent.requires_grad:
            continue
        if part.shape != parent.shape:
            raise ValueError(
                f"got a gradient of shape {tuple(part.shape)} from `{operation.name}` for an input of shape "
                f"{parent.shape}; the shapes must agree"
            )
        pending.setdefault(id(parent), []).append(part)
    node.operation, node.parents = None, ()


__all__ = ["Leaf", "Node", "Place", "combine", "run_backward"]
