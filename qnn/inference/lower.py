"""Which kernel calls the operations of a frozen network become; what has no rule here runs as it is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.inference.frozen import Port, Step, Value
from qnn.inference.shift import shift_product
from qnn.nn import ImageInput
from qnn.numerics import align_bias, int_limits
from qnn.ops.activation import ClippedInteger, HardtanhInteger, LogInteger, ReluInteger, SignInteger, UnitInteger
from qnn.ops.batchnorm import NormalizeInteger
from qnn.ops.combine import AddInteger
from qnn.ops.conv import Conv2dInteger
from qnn.ops.linear import LinearInteger
from qnn.ops.pooling import AveragePoolInteger
from qnn.ops.scale import ScaleInteger
from qnn.ops.shape import ReshapeInteger, Shortcut
from qnn.ops.shift_norm import ShiftNormalizeInteger, ShiftScaleInteger
from qnn.quantizer import Quantizer

Run = Callable[..., Value]


@dataclass(frozen=True)
class Node:
    """One recorded operation (or the image table) and the values it takes and gives."""

    operation: Any
    name: str
    module: str
    inputs: tuple[Port, ...]
    output: Port


def lower(
    nodes: Sequence[Node],
    uses: Mapping[int, int],
    products: str = "auto",
    ready: Mapping[int, Step | None] | None = None,
) -> list[Step]:
    """Steps that compute what the nodes compute, in the same order.

    Parameters
    ----------
    nodes : sequence of Node
        In order of execution.
    uses : mapping of int to int
        How often each slot is taken; what is taken once may vanish inside of a step.
    products : str
        Which kernels multiply, where they can: one of :data:`PRODUCTS`.
    ready : mapping of int to Step or None, optional
        By the slot that a node gives: steps made elsewhere; None where another step does the node's work.
    """
    follower = {port.slot: node for node in nodes for port in node.inputs if uses[port.slot] == 1}
    steps: list[Step] = []
    inside: set[int] = set()
    for node in nodes:
        if node.output.slot in inside:
            continue
        if ready and node.output.slot in ready:
            steps += [step] if (step := ready[node.output.slot]) is not None else []
            continue
        chain = _chain(node, follower)
        inputs = node.inputs
        if _fits_a_table(node) and not all(isinstance(member.operation, ReluInteger) for member in chain):
            run, inputs = _through_table(chain), node.inputs[:1]
        elif products in SHIFTS and (shifted := _shifted(node, products == TRUNCATING)):
            chain = [replace(node, name=f"{SHIFTS[products]} {node.name}")]
            run = shifted
        elif (prepare := _PREPARED.get(type(node.operation))) and (prepared := prepare(node, chain[1:])):
            run = prepared
        else:
            chain = [node]
            run = _run(node)
        inside.update(member.output.slot for member in chain)
        steps.append(Step(tuple(member.name for member in chain), chain[-1].module, inputs, chain[-1].output, run))
    return steps


_PER_CHANNEL = (
    ReluInteger,
    HardtanhInteger,
    NormalizeInteger,
    ScaleInteger,
    ShiftNormalizeInteger,
    ShiftScaleInteger,
    SignInteger,
    ClippedInteger,
    LogInteger,
    UnitInteger,
)
"""Operations whose result depends on the input's integer and its channel alone (normalisation: in evaluation)."""


def is_per_channel(node: Node) -> bool:
    """Whether the result's integer depends on the input's integer and channel alone."""
    return isinstance(node.operation, _PER_CHANNEL) and getattr(node.operation, "frozen", ()) is not None


# --- element by element with constants per channel: one table (clause LAY-11) ---
def _fits_a_table(node: Node | None) -> bool:
    """Whether the result's byte depends on the input's byte and channel alone."""
    if node is None or any(port.dtype != np.int8 for port in (node.inputs[0], node.output)):
        return False
    return is_per_channel(node)


def _chain(node: Node, follower: Mapping[int, Node]) -> list[Node]:
    """The node and, where its result is a byte, all behind it that fits one table."""
    chain = [node]
    if _fits_a_table(node) or type(node.operation) in _PREPARED:
        while _fits_a_table(after := follower.get(chain[-1].output.slot)):
            chain.append(after)  # type: ignore[arg-type]
    return chain


def _through_table(chain: Sequence[Node]) -> Run:
    table = _table(chain)
    return lambda x: _kernels.call("look_up", x, table)


def _table(chain: Sequence[Node]) -> NDArray[np.int8]:
    """What the chain's own operations make of every code of every channel."""
    port = chain[0].inputs[0]
    low, high = int_limits(port.bits or 8)
    codes = np.arange(low, high + 1, dtype=np.int8)
    channels = port.shape[-1]
    data: Any = port.wrap(np.ascontiguousarray(np.broadcast_to(codes[:, None], (len(codes), channels))))
    for node in chain:
        data = at_rest(node.operation).forward(data)
    table = np.zeros((channels, 256), np.int8)
    table[:, codes.astype(np.uint8)] = chain[-1].output.unwrap(data).T
    return table


# --- one operation ---
def _run(node: Node) -> Run:
    """The rule for the operation's class, or the operation itself."""
    rule = _RULES.get(type(node.operation))
    found = rule(node.operation, node) if rule else None
    return found or _as_it_is(node)


def _as_it_is(node: Node) -> Run:
    operation = at_rest(node.operation)

    def run(*values: Value) -> Value:
        data = (port.wrap(value) for port, value in zip(node.inputs, values, strict=True))
        return node.output.unwrap(copy.copy(operation).forward(*data))  # a copy: it keeps what its backward would need

    return run


def at_rest(operation: Any) -> Any:
    """A copy that shares nothing with the network and whose sites do not count."""
    own = copy.deepcopy(operation)
    for value in vars(own).values():
        if isinstance(value, Quantizer):
            value.training = False
    return own


def _product(operation: Any, node: Node) -> tuple[NDArray[Any], NDArray[np.int64] | None, int, Any]:
    """Weights, bias on the accumulator's grid, the accumulator's exponent, and where to round to."""
    exponent = (node.inputs[0].exponent or 0) + operation.weight.exponent
    bias = None if operation.bias is None else align_bias(operation.bias, exponent)
    return operation.weight.ints.copy(), bias, exponent, operation.output.frozen_target()


def _shifted(node: Node, truncating: bool) -> Run | None:
    return shift_product(node.operation, node.inputs[0].exponent or 0, truncating)


def _prepared(operation: str, *arguments: Any) -> Run:
    """A kernel made ready once for each path that it runs on."""
    made: dict[Callable[..., Any], Run] = {}

    def run(*values: Value) -> Value:
        prepare = _kernels.get(operation)
        kernel = made.get(prepare)
        if kernel is None:
            kernel = made[prepare] = prepare(*arguments)
        return kernel(*values)

    return run


def _prepared_conv(node: Node, after: Sequence[Node]) -> Run | None:
    """A convolution and what fits a table behind it."""
    weight, bias, exponent, target = _product(node.operation, node)
    if target is None or node.inputs[0].dtype != np.int8:
        return None
    table, shape = _table(after) if after else None, node.inputs[0].shape[1:]
    run = _prepared("prepare_conv2d", weight, bias, exponent, target, shape, table, *node.operation.window.args())
    return lambda x, *_: run(x)


def _prepared_add(node: Node, after: Sequence[Node]) -> Run | None:
    """A sum and what fits a table behind it."""
    target = node.operation.output.frozen_target()
    if target is None or any(port.dtype != np.int8 for port in node.inputs):
        return None
    return _prepared("prepare_add", [port.exponent for port in node.inputs], target, _table(after) if after else None)


_PREPARED: dict[type, Callable[[Node, Sequence[Node]], Run | None]] = {
    Conv2dInteger: _prepared_conv,
    AddInteger: _prepared_add,
}
"""Operations on bytes that take a table behind them into their kernel."""


def _conv(operation: Conv2dInteger, node: Node) -> Run | None:
    weight, bias, exponent, target = _product(operation, node)
    if target is None:
        return None
    window = operation.window.args()
    return lambda x, *_: _kernels.call("conv2d_requantize", x, weight, bias, exponent, target, *window)[0]


def _linear(operation: LinearInteger, node: Node) -> Run | None:
    weight, bias, exponent, target = _product(operation, node)
    if target is None:
        return None
    return lambda x, *_: _kernels.call("gemm_requantize", x, weight, True, bias, exponent, target)[0]


def _add(operation: AddInteger, node: Node) -> Run | None:
    exponents, target = [port.exponent for port in node.inputs], operation.output.frozen_target()
    if target is None:
        return None
    return lambda *parts: _kernels.call("add_requantize", list(zip(parts, exponents, strict=True)), target)[0]


def _relu(operation: ReluInteger, node: Node) -> Run:
    return lambda x: _kernels.call("relu", x)


def _reshape(operation: ReshapeInteger, node: Node) -> Run | None:
    if node.inputs[0].shape[0] != node.output.shape[0]:
        return None  # the batch is folded into another axis: only the operation itself knows how
    rest = node.output.shape[1:]
    return lambda x: x.reshape((len(x), *rest))


def _average_pool(operation: AveragePoolInteger, node: Node) -> Run | None:
    exponent, target = node.inputs[0].exponent, operation.output.frozen_target()
    if target is None:
        return None
    window, divisor = (operation.kernel, operation.stride, operation.padding), math.prod(operation.kernel)

    def run(x: Value) -> Value:
        sums = _kernels.call("sum_pool", x, *window)
        return _kernels.call("requantize", sums, exponent, target, divisor)[0]

    return run


def _shortcut(operation: Shortcut, node: Node) -> Run:
    return operation.pick


def _image_table(front: ImageInput, node: Node) -> Run:
    table = np.ascontiguousarray(front.integers.ints.T)
    return lambda images: _kernels.call("look_up", images, table)


_RULES: dict[type, Callable[[Any, Node], Run | None]] = {
    Conv2dInteger: _conv,
    LinearInteger: _linear,
    AddInteger: _add,
    ReluInteger: _relu,
    ReshapeInteger: _reshape,
    AveragePoolInteger: _average_pool,
    Shortcut: _shortcut,
    ImageInput: _image_table,
}


TRUNCATING = "shift-truncating"
"""The one way to multiply whose outputs are not those of the network."""
SHIFTS = {"shift": "shift", TRUNCATING: "truncating shift"}
"""{products on codes: what goes before the names of such steps}."""
PRODUCTS = ("auto", "multiply", "xnor", *SHIFTS)
"""What :func:`qnn.inference.freeze` may be asked for."""


__all__ = ["PRODUCTS", "SHIFTS", "TRUNCATING", "Node", "at_rest", "is_per_channel", "lower"]
