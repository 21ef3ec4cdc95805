"""Layers of +1 and -1 in a frozen network: packed bits, XNOR products, and what follows them as a threshold.

Where only the weights are signs, as in the first layer, the bit planes of the input multiply with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.inference.frozen import Port, Step, Value
from qnn.inference.lower import Node, at_rest, is_per_channel
from qnn.numerics import align_bias, patches
from qnn.ops.activation import SignInteger
from qnn.ops.combine import ConcatInteger
from qnn.ops.conv import Conv2dInteger, Window
from qnn.ops.linear import LinearInteger
from qnn.ops.pooling import MaxPoolInteger
from qnn.ops.shape import PadInteger, ReshapeInteger

Ints = NDArray[Any]
Plan = dict[int, Step | None]
"""By the slot that a node gives: the step that takes its place, or None where another step does its work."""

_ROWS = 1 << 20  # accumulators that the layers' own operations are tried on at a time
_WORD = 64


@dataclass(frozen=True)
class Threshold:
    """One integer per channel: the sign is +1 where ``direction * value >= bound``.

    Parameters
    ----------
    bound : int32 array [C]
    direction : int32 array [C] of +1 and -1

    Notes
    -----
    Bit-exactness: clause BIT-12.
    """

    bound: NDArray[np.int32]
    direction: NDArray[np.int32]


@dataclass(frozen=True)
class _Product:
    """A product of signs: where they come from, and what is folded into it."""

    node: Node
    source: Port
    padding: tuple[int, int] = (0, 0)
    pad_value: int = 1
    swallowed: tuple[Node, ...] = ()

    @property
    def weight(self) -> Ints:
        found: Ints = self.node.operation.weight.ints
        return found

    @property
    def terms(self) -> int:
        """Length K of the sums."""
        return int(np.prod(self.weight.shape[1:]))


def plan(nodes: Sequence[Node], uses: Mapping[int, int], *, planes: bool = False) -> Plan:
    """Steps for the layers whose inputs and weights are all +1 or -1, and for the normalisation and signs after them.

    Parameters
    ----------
    nodes : sequence of Node
        In order of execution.
    uses : mapping of int to int
        How often each slot is taken.
    planes : bool
        Also steps for layers whose weights alone are signs, by the bit planes of their 8-bit inputs (clause BIN-6).

    Notes
    -----
    Bit-exactness: clauses BIN-2 to BIN-6 and BIT-12; the values between the steps are those of the nodes, as bits
    where only products of signs take them.
    """
    makers = {node.output.slot: node for node in nodes}
    takers = {port.slot: node for node in nodes for port in node.inputs if uses[port.slot] == 1}
    products = list(_products(nodes, makers, uses))
    ready: Plan = {}
    packed: set[int] = set()
    rest: list[tuple[_Product, Node | None, list[Node], Threshold | None]] = []
    for product in products:
        pool, chain = _after(product.node, takers)
        threshold = _fold(product, pool is not None, chain) if chain else None
        rest.append((product, pool, chain, threshold))
        if threshold is not None:
            packed.add(chain[-1].output.slot)
    sources = {slot for product in products if (slot := _packable(product, packed, makers, uses)) is not None}
    for product, pool, chain, threshold in rest:
        words = _packable(product, packed, makers, uses)
        if words is not None and words != product.source.slot:  # through a reshape that moves whole words
            reshape = makers[product.source.slot]
            product = replace(product, source=reshape.inputs[0], swallowed=(*product.swallowed, reshape))
        ready |= {node.output.slot: None for node in product.swallowed}
        ready |= _steps(product, words is not None, pool, chain, threshold, sources)
    if planes:
        signed = {product.node.output.slot for product in products}
        bytes_ = (node for node in nodes if _takes_planes(node) and node.output.slot not in signed)
        ready |= {node.output.slot: _by_planes(node) for node in bytes_}
    return ready


def _products(nodes: Sequence[Node], makers: Mapping[int, Node], uses: Mapping[int, int]) -> Iterator[_Product]:
    """Products whose two operands are known to be signs."""
    signs: set[int] = set()
    for node in nodes:
        operation, given = node.operation, node.inputs[0]
        if (
            isinstance(operation, SignInteger)
            or (given.slot in signs and isinstance(operation, (MaxPoolInteger, ReshapeInteger)))
            or (given.slot in signs and isinstance(operation, PadInteger) and operation.value in (1, -1))
            or (
                isinstance(operation, ConcatInteger)
                and operation.output is None
                and all(port.slot in signs for port in node.inputs)
            )
        ):
            signs.add(node.output.slot)
        elif given.slot in signs and isinstance(operation, (LinearInteger, Conv2dInteger)):
            found = _product(node, makers, uses)
            if found is not None:
                yield found


def _product(node: Node, makers: Mapping[int, Node], uses: Mapping[int, int]) -> _Product | None:
    operation, given = node.operation, node.inputs[0]
    if not _has_signs(operation):
        return None
    if isinstance(operation, LinearInteger):
        return _Product(node, given)
    window = operation.window
    if window.groups != 1 or window.dilation != (1, 1) or window.padding != (0, 0):
        return None
    maker = makers[given.slot]
    if isinstance(maker.operation, PadInteger) and uses[given.slot] == 1:
        return _Product(node, maker.inputs[0], maker.operation.padding, maker.operation.value, (maker,))
    return _Product(node, given)


def _has_signs(operation: LinearInteger | Conv2dInteger) -> bool:
    """Whether all weights are +1 or -1, and rounding to the site is all that follows the product."""
    return operation.output.frozen_target() is not None and bool((np.abs(operation.weight.ints) == 1).all())


def _takes_planes(node: Node) -> bool:
    """Whether the node is a product of bytes with signs."""
    operation = node.operation
    if not isinstance(operation, (LinearInteger, Conv2dInteger)) or node.inputs[0].dtype != np.int8:
        return False
    return (isinstance(operation, LinearInteger) or operation.window.groups == 1) and _has_signs(operation)


def _after(node: Node, takers: Mapping[int, Node]) -> tuple[Node | None, list[Node]]:
    """A pooling layer behind the product, or None; and the layers per channel behind it that end in a sign."""
    following = takers.get(node.output.slot)
    pool = following if following is not None and isinstance(following.operation, MaxPoolInteger) else None
    if pool is not None:
        following = takers.get(pool.output.slot)
    chain: list[Node] = []
    while following is not None and is_per_channel(following):
        chain.append(following)
        if isinstance(following.operation, SignInteger):
            return pool, chain
        following = takers.get(following.output.slot)
    return pool, []


def _packable(product: _Product, packed: set[int], makers: Mapping[int, Node], uses: Mapping[int, int]) -> int | None:
    """The slot whose signs can come to the product as words, or None."""
    slot = product.source.slot
    if slot in packed and uses[slot] == 1:
        return slot
    maker = makers[slot]
    if not isinstance(maker.operation, ReshapeInteger) or uses[slot] != 1 or product.padding != (0, 0):
        return None
    given = maker.inputs[0]
    whole = isinstance(product.node.operation, LinearInteger) and given.shape[-1] % _WORD == 0
    same_batch = given.shape[0] == maker.output.shape[0]
    return given.slot if whole and same_batch and given.slot in packed and uses[given.slot] == 1 else None


# --- the threshold (clause BIT-12) ---
def _fold(product: _Product, pooled: bool, chain: Sequence[Node]) -> Threshold | None:
    """The threshold that gives the chain's signs for every accumulator there can be; None where no single one does."""
    terms, channels = product.terms, product.weight.shape[0]
    operations = [at_rest(node.operation) for node in chain]
    finish = _rounding(product, exact=False)
    values, signs = [], []
    step = max(1, _ROWS // max(1, channels))
    for begin in range(0, terms + 1, step):
        sums = (2 * np.arange(begin, min(terms + 1, begin + step)) - terms).astype(np.int32)
        sums = np.ascontiguousarray(np.broadcast_to(sums[:, None], (len(sums), channels)))
        rounded = finish(sums)
        data: Any = product.node.output.wrap(rounded)
        for operation in operations:
            data = operation.forward(data)
        values.append(rounded if pooled else sums)
        signs.append(data.ints > 0)
    return threshold_of(np.concatenate(values), np.concatenate(signs))


def threshold_of(values: Ints, positive: NDArray[np.bool_]) -> Threshold | None:
    """The threshold that separates the values whose sign is positive from the others.

    Parameters
    ----------
    values : integer array [R, C]
        Not falling along the first axis.
    positive : bool array [R, C]

    Returns
    -------
    Threshold or None
        None if some channel changes its sign more than once, or equal values have both signs.
    """
    changes = positive[1:] != positive[:-1]
    if bool((changes.sum(axis=0) > 1).any()) or bool((changes & (values[1:] == values[:-1])).any()):
        return None
    direction = np.where(positive[0] & ~positive[-1], np.int32(-1), np.int32(1))
    ordered = values.astype(np.int64) * direction
    # The smallest directed value with a positive sign; one more than the largest where none has it.
    bound = np.where(positive, ordered, ordered.max(axis=0) + 1).min(axis=0)
    return Threshold(bound.astype(np.int32), direction.astype(np.int32))


# --- steps ---
def _steps(
    product: _Product,
    words: bool,
    pool: Node | None,
    chain: Sequence[Node],
    threshold: Threshold | None,
    sources: set[int],
) -> Plan:
    """What replaces a product and, where there is a threshold, the layers after it."""
    node = product.node
    name, before = f"xnor {node.name}", tuple(member.name for member in product.swallowed)
    if threshold is None or pool is not None:
        run = _chained(_multiply(product, product.weight, words), _rounding(product, exact=True))
        ready: Plan = {node.output.slot: Step((*before, name), node.module, (product.source,), node.output, run)}
    else:
        ready = {}
    if threshold is None:
        return ready
    end = chain[-1]
    as_words = end.output.slot in sources
    output = _words_port(end.output) if as_words else end.output
    names = tuple(member.name for member in chain)
    ready |= {member.output.slot: None for member in chain}
    emit = _emit(threshold.bound, as_words)
    if pool is None:
        # A channel whose direction is negative multiplies with the opposite weights, so all compare in one direction.
        turned = product.weight * threshold.direction.reshape(-1, *[1] * (product.weight.ndim - 1))
        run = _chained(_multiply(product, turned, words), emit)
        ready[node.output.slot] = Step((*before, name, *names), end.module, (product.source,), output, run)
        return ready
    direction = threshold.direction
    run = _chained(lambda x: x.astype(np.int32) * direction, emit)
    ready[chain[0].output.slot] = Step(names, end.module, chain[0].inputs[:1], output, run)
    return ready


def _chained(first: Callable[[Value], Value], second: Callable[[Value], Value]) -> Callable[..., Value]:
    return lambda x, *_: second(first(x))


def _words_port(port: Port) -> Port:
    shape = (*port.shape[:-1], -(-port.shape[-1] // _WORD))
    return Port(port.slot, shape, np.dtype(np.uint64))


def _multiply(product: _Product, weight: Ints, words: bool) -> Callable[[Value], Value]:
    """Exact sums of a product of signs, its weights packed once."""
    packed = _kernels.call("pack_bits", np.ascontiguousarray(weight, np.int8))
    if isinstance(product.node.operation, LinearInteger):
        terms = product.terms

        def multiply(x: Value) -> Value:
            bits = x.reshape(len(x), -1) if words else _kernels.call("pack_bits", x)
            return np.asarray(_kernels.call("xnor_gemm", bits, packed, terms))

        return multiply
    channels, stride = weight.shape[-1], product.node.operation.window.stride
    padding, value = product.padding, product.pad_value

    def convolve(x: Value) -> Value:
        bits = x if words else _kernels.call("pack_bits", x)
        return np.asarray(_kernels.call("xnor_conv2d", bits, packed, channels, stride, padding, value))

    return convolve


def _by_planes(node: Node) -> Step:
    """A product of bytes with signs by bit planes: the bytes plus 128 have no sign; 128 times the weights goes off."""
    operation = node.operation
    weight = operation.weight.ints.reshape(len(operation.weight.ints), -1)
    packed = _kernels.call("pack_bits", np.ascontiguousarray(weight, np.int8))
    terms, offset = weight.shape[1], 128 * weight.sum(axis=1, dtype=np.int32)
    finish = _rounding(_Product(node, node.inputs[0]), exact=False)

    def multiply(rows: NDArray[np.uint8]) -> Ints:
        sums = _kernels.call("bitplane_gemm", rows, packed, terms)
        return np.asarray(np.subtract(sums, offset, out=sums))

    if isinstance(operation, LinearInteger):
        run = lambda x, *_: finish(multiply(x.view(np.uint8) ^ np.uint8(128)))  # noqa: E731
    else:
        run = _convolution_of_planes(operation.weight.shape[1:3], operation.window, multiply, finish)
    return Step((f"bit-plane {node.name}",), node.module, node.inputs[:1], node.output, run)


def _convolution_of_planes(
    kernel: tuple[int, int],
    window: Window,
    multiply: Callable[[NDArray[np.uint8]], Ints],
    finish: Callable[[Ints], Ints],
) -> Callable[..., Value]:
    stride, padding, dilation, _ = window.args()

    def run(x: Value, *_: Value) -> Value:
        windows = patches(x.view(np.uint8) ^ np.uint8(128), kernel, stride, padding, dilation, fill=128)
        sums = multiply(np.ascontiguousarray(windows).reshape(-1, windows[0, 0, 0].size))
        return finish(sums.reshape(*windows.shape[:3], -1))

    return run


def _rounding(product: _Product, *, exact: bool) -> Callable[[Ints], Ints]:
    """From exact sums to the integers of the product's site, ``exact``: by a mere change of type where that is one."""
    node = product.node
    operation, target = node.operation, node.operation.output.frozen_target()
    assert target is not None  # else it were no product of this kind
    exponent = (node.inputs[0].exponent or 0) + operation.weight.exponent
    bias = None if operation.bias is None else align_bias(operation.bias, exponent)
    if exact and bias is None and target.exponent == exponent and product.terms < 1 << (target.bits - 1):
        dtype = node.output.dtype
        return lambda sums: sums.astype(dtype)
    return lambda sums: _kernels.call("requantize", sums, exponent, target, 1, bias)[0]


def _emit(bound: NDArray[np.int32], as_words: bool) -> Callable[[Value], Value]:
    """Signs of ``sums >= bound``: as words, or as +1 and -1."""
    if as_words:
        return lambda sums: _kernels.call("pack_bits", np.subtract(sums, bound, out=sums))
    return lambda sums: ((sums >= bound).view(np.int8) << 1) - np.int8(1)


__all__ = ["Plan", "Threshold", "plan", "threshold_of"]
