"""From a network to its frozen form: record one evaluation, keep what depends on the input, check the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from qnn.errors import FreezeError, NoProductsError
from qnn.inference import xnor
from qnn.inference.frozen import FrozenModel, Port, Step, Value
from qnn.inference.lower import PRODUCTS, SHIFTS, TRUNCATING, Node, lower
from qnn.nn import ImageInput, Module
from qnn.numerics import Rounding
from qnn.operation import no_grad, trace
from qnn.ops.convert import Dequantize
from qnn.tensor import Tensor

_FORWARD = ("input", "activation")  # roles whose sites round what depends on the input


def freeze(model: Module, example: Any, *, products: str = "auto") -> FrozenModel:
    """Turn a network of an integer recipe into a list of kernel calls with the same bits as its evaluation mode.

    One evaluation is recorded. Exponents, weights and statistics become constants; runs of layers that work element by
    element with constants per channel (batch normalisation, scale, relu) become one table of 256 entries per channel;
    operations that have no faster form, your own included, run as they are.

    Parameters
    ----------
    model : Module
        Left as it is, in the mode it was in.
    example : uint8 array, float32 array or Tensor [N, ...]
        One input or more, of the kind and shape that the network takes; N at least 1.
    products : {"auto", "multiply", "xnor", "shift", "shift-truncating"}
        How layers with weights multiply; the outputs are the same but for the last. "multiply" takes integer products.
        "xnor" counts bits of packed words where the weights are all +1 or -1: XNOR products where the inputs are signs
        too, else the bit planes of 8-bit inputs, as in a first layer; "shift" takes codes, shifts and additions where
        all weights are 0 or plus or minus powers of two that some code of 2 to 5 bits can say, as those of
        :func:`qnn.recipes.nbq` are. "auto" takes XNOR products wherever it can and multiplies elsewhere.
        "shift-truncating" is a cheaper datapath and **not** the network that was trained: where all weights are 0 or
        plus or minus ``2**-i``, i at most 14, a term is the input shifted right by i and rounded down, and the sum
        stays on the input's grid; other layers multiply exactly. Products on bits or codes are an error where no layer
        has such weights.

    Returns
    -------
    FrozenModel
        Takes any number of such inputs, gives float32 outputs.

    Raises
    ------
    qnn.errors.FreezeError
        If the bits of the network depend on the batch: layers in float32, noise on the way forward, or sites that have
        seen no data and would take their exponent from it; or if the frozen form does not repeat the network's outputs
        (a layer that takes decisions of its own in Python); or if no layer can take the products asked for.
    ValueError
        If the example is empty or ``products`` unknown.

    Notes
    -----
    Bit-exactness: clauses LAY-11, WGT-11 and those of the operations; compared with the network on the example before
    it is returned (for "shift-truncating" the form that multiplies is compared).

    Examples
    --------
    >>> import numpy as np, qnn
    >>> from qnn import nn
    >>> recipe = qnn.recipes.dfp8()
    >>> model = nn.Sequential(nn.Quantize(recipe), nn.Linear(4, 2, recipe=recipe), nn.Relu(recipe))
    >>> run = nn.prepare(model, seed=1)
    >>> x = np.array([[1, -1, 0.5, 2]], np.float32)
    >>> trained = model(qnn.Tensor(x))  # the first data fixes the exponents
    >>> frozen = qnn.inference.freeze(model, x)
    >>> print(frozen)
    layers.0: quantize -> Nx4 int8·2^-5
    layers.1: linear -> Nx2 int8·2^-6
    layers.2: relu -> Nx2 int8·2^-6
    """
    given = example if isinstance(example, Tensor) else np.asarray(example)
    if given.ndim < 1 or len(given) < 1:
        raise ValueError(
            f"got an example of shape {given.shape}; it must be [N, ...] with N at least 1: pass one input"
        )
    if products not in PRODUCTS:
        raise ValueError(f"got products={products!r}; allowed are {', '.join(PRODUCTS)}")
    _check_sites(model)
    was_training = model.training
    model.eval()
    try:
        with no_grad():
            frozen = _freeze(model, given, products)
            # What truncates has other outputs; that the steps are those of the network, exact products show.
            _compare(model, _freeze(model, given, "multiply") if products == TRUNCATING else frozen, given)
    finally:
        model.train(was_training)
    return frozen


def _check_sites(model: Module) -> None:
    """Refuse a network whose exponents would come from the batch."""
    sites = list(model.named_sites())
    if not sites:
        raise FreezeError(
            "got a network without integers to freeze; its bits depend on BLAS and on the batch: build it with an "
            "integer recipe such as qnn.recipes.dfp8()"
        )
    noisy = [name for name, site in sites if site.role in _FORWARD and site.rounding == Rounding.STOCHASTIC]
    if noisy:
        raise FreezeError(
            f"got a network with stochastic rounding on its way forward, first at {noisy[0]!r}; its outputs depend on "
            "the place in the batch: evaluate it as it is, or train with noise in the gradients alone, as dfp8 does"
        )
    fresh = [name for name, site in sites if site.role in _FORWARD and not site.initialised]
    if fresh:
        raise FreezeError(
            f"got a network with {len(fresh)} sites that have seen no data, first {fresh[0]!r}; their exponents would "
            "depend on the batch: train it, or run one batch in training mode"
        )


def _freeze(model: Module, example: Any, products: str) -> FrozenModel:
    nodes, constants, source, result, slots = _record(model, example)
    uses = Counter(port.slot for node in nodes for port in node.inputs)
    uses[result.slot] += 1
    ready = xnor.plan(nodes, uses, planes=products == "xnor") if products in ("auto", "xnor") else {}
    if products == "xnor" and not ready:
        raise NoProductsError(
            "got products='xnor' for a network without a layer whose weights are all +1 or -1; take 'auto' or "
            "'multiply', or a binary recipe such as qnn.recipes.bnn()"
        )
    steps = lower(nodes, uses, products, ready)
    if products in SHIFTS and not any(step.names[0].startswith(f"{SHIFTS[products]} ") for step in steps):
        small = " of at most 1" if products == TRUNCATING else ""
        raise NoProductsError(
            f"got products={products!r} for a network none of whose layers has power-of-two weights{small}; train it "
            "with a recipe such as nbq, or leave products out"
        )
    return FrozenModel(
        _with_ends(steps, {source.slot, result.slot} | constants.keys()), constants, source, result, slots
    )


def _record(model: Module, example: Any) -> tuple[list[Node], dict[int, Value], Port, Port, int]:
    """Run the network once: its operations as nodes that name the values they take and give."""
    seen: dict[int, Any] = {}  # id of the image table's output -> its module
    fronts = [module for module in model.modules() if isinstance(module, ImageInput)]
    removers = [
        module.register_forward_hook(lambda m, inputs, out: seen.update({id(out.data): m})) for module in fronts
    ]
    given = example if isinstance(example, Tensor) or fronts else Tensor(np.asarray(example, np.float32))
    try:
        with trace() as entries:
            out = model(given)
    finally:
        for remove in removers:
            remove()
    data = given.data if isinstance(given, Tensor) else given
    ports = {id(data): Port.of(0, data)}
    source = ports[id(data)]
    constants: dict[int, Value] = {}
    nodes: list[Node] = []

    def constant(value: Any) -> Port:
        port = ports[id(value)] = Port.of(len(ports), value)
        constants[port.slot] = port.unwrap(value)
        return port

    moving = {source.slot}  # slots whose values depend on the input
    for entry in entries:
        for value in entry.inputs:
            if id(value) in seen and id(value) not in ports:
                port = ports[id(value)] = Port.of(len(ports), value)
                nodes.append(Node(seen[id(value)], "image_table", seen[id(value)].name, (source,), port))
                moving.add(port.slot)
        inputs = tuple(ports[id(value)] if id(value) in ports else constant(value) for value in entry.inputs)
        if not moving.intersection(port.slot for port in inputs):
            constant(entry.output)
            continue
        port = ports[id(entry.output)] = Port.of(len(ports), entry.output)
        moving.add(port.slot)
        nodes.append(Node(entry.operation, entry.name, entry.module, inputs, port))
        if port.bits is None and not isinstance(entry.operation, Dequantize):
            raise FreezeError(
                f"got `{entry.name}` in {entry.module or 'the network'}, which works in float32, so its bits depend on "
                "the batch; only networks that stay in integers can be frozen: give the layer an integer recipe"
            )
    result = ports.get(id(out.data))
    if result is None or result.slot not in moving:
        raise FreezeError(
            "got a network whose output does not come from its input through operations: nothing to freeze"
        )
    return nodes, constants, source, result, len(ports)


def _with_ends(steps: list[Step], kept: set[int]) -> list[Step]:
    """Tell every step which values nobody needs after it."""
    last: dict[int, int] = {}
    for index, step in enumerate(steps):
        for port in step.inputs:
            last[port.slot] = index
    ends: dict[int, list[int]] = {}
    for slot, index in last.items():
        if slot not in kept:
            ends.setdefault(index, []).append(slot)
    return [replace(step, dead=tuple(ends.get(index, ()))) for index, step in enumerate(steps)]


def _compare(model: Module, frozen: FrozenModel, example: Any) -> None:
    """Let the frozen form prove itself on the example, and on twice as many inputs."""
    data = example.numpy() if isinstance(example, Tensor) else example
    for batch in (data, np.concatenate([data, data])):
        given = batch if frozen.source.dtype == np.uint8 else Tensor(np.asarray(batch, np.float32))
        want, got = model(given).numpy(), frozen(batch)
        if got.shape != want.shape or not np.array_equal(got, want):
            raise FreezeError(
                "got a network whose frozen form gives other outputs; a layer takes decisions in Python that depend on "
                "the data or on the batch: let it work through operations only, or evaluate the network as it is"
            )


__all__ = ["freeze"]
