"""Products of +-1 vectors by counting bits, against our own int8 product of the same numbers and float32.

Then whole networks: the MLPs of the BNN papers, frozen, against float32 by BLAS and by plain loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels, kernels, nn, recipes
from qnn.bench import peers, peers_torch
from qnn.bench.plan import Plan
from qnn.bench.rows import Case, Row, Work, measure, our_cases
from qnn.bench.shapes import BINARY_NETS, QUICK_BINARY_NETS, QUICK_XNOR, XNOR, ints
from qnn.inference import FrozenModel, freeze
from qnn.models import BinaryMLP

TITLE = (
    "products of +-1 by xnor and popcount (1 bit = 2 operations), ratio to int8 gemm of the same numbers; networks of "
    "+-1, ratio to plain float32 loops"
)

LOOPS = "fp32, plain C loops"
BLAS = "fp32, NumPy"
FORMS = {"multiply": "frozen, int8 products", "auto": "frozen, xnor", "xnor": "frozen, xnor and bit planes"}
LONGEST_LOOP = 1 << 31  # multiply-accumulates of plain loops: seconds

Float = NDArray[np.float32]
Product = Callable[[Float, Float], Float]


def rows(plan: Plan) -> Iterator[Row]:
    """Yield the rows of all shapes, then those of the networks."""
    for shape in QUICK_XNOR if plan.quick else XNOR:
        for threads in plan.threads:
            with peers.limited_blas(threads, plan):
                yield from measure(plan, "xnor", work(plan, *shape, threads), threads)
    for images, width in QUICK_BINARY_NETS if plan.quick else BINARY_NETS:
        for threads in plan.threads:
            with peers.limited_blas(threads, plan):
                yield from measure(plan, "xnor", net_work(plan, images, width), threads)


def work(plan: Plan, m: int, n: int, k: int, threads: int) -> Work:
    """One shape: bits, int8 (the same integers), float32."""
    a, w = ints((m, k), 1), ints((n, k), 2)
    a_bits, w_bits = kernels.pack_bits(a), kernels.pack_bits(w)
    a_signs, w_signs = (np.where(x >= 0, 1, -1).astype(np.int8) for x in (a, w))
    cases = our_cases(plan, "xnor_gemm", a_bits, w_bits, k, kind="xnor", reference=m * n * k < 1 << 31)
    cases += our_cases(plan, "gemm", a_signs, w_signs, False, True, kind="mac", reference=False)
    a_float, w_float = a_signs.astype(np.float32), w_signs.astype(np.float32)
    for name, product in products(plan, m * n * k).items():
        cases.append(_float(name, lambda product=product: product(a_float, w_float)))  # type: ignore[misc]
    cases += peers.collect(plan, ("torch",), lambda: peers_torch.floats(m, n, k, threads))
    return Work(f"{m} x {n} x {k}", "bit", m * n * k, cases, base="gemm")


def products(plan: Plan, count: int) -> dict[str, Product]:
    """Ways to multiply float32 matrices that can run here; plain loops only where they end."""
    found: dict[str, Product] = {}
    if plan.peers:
        found[BLAS] = _multiply
    if count > LONGEST_LOOP:
        return found
    try:
        from qnn._kernels import _bench
    except ImportError:
        plan.note("the plain float32 loops are C code that was not compiled here: left out")
        return found
    return {**found, LOOPS: _bench.float_product}


def net_work(plan: Plan, images: int, width: int) -> Work:
    """The MLP of three hidden layers, frozen, and as much work in float32."""
    pictures = np.random.default_rng(1).integers(0, 256, (images, 28, 28, 1), np.uint8)
    model = _model(width, pictures)
    cases = []
    for form, name in FORMS.items():
        frozen = freeze(model, pictures[:1], products=form)
        cases += [Case(name, _on_path(frozen, pictures, path), path=path) for path in plan.paths]
    weights = [
        np.where(parameter.numpy() >= 0, 1, -1).astype(np.float32)
        for name, parameter in model.named_parameters()
        if name.endswith("weight")
    ]
    macs = images * sum(weight.size for weight in weights)
    flat = pictures.reshape(images, -1).astype(np.float32)
    for name, product in products(plan, macs).items():
        cases.append(_float(name, lambda product=product: float_net(product, flat, weights)))  # type: ignore[misc]
    base = LOOPS if any(case.variant == LOOPS for case in cases) else FORMS["multiply"]
    return Work(f"MLP 784-{width}-{width}-{width}-10, {images} images", "MAC", macs, cases, base=base)


def float_net(product: Product, x: Float, weights: list[Float]) -> Float:
    """Products, a factor and a shift per channel, signs: what the network does, in float32."""
    for place, weight in enumerate(weights):
        x = product(x, weight)
        x *= np.full(len(weight), 1 / 32, np.float32)
        x += np.zeros(len(weight), np.float32)
        if place < len(weights) - 1:
            x = np.copysign(np.float32(1), x)
    return x


def _model(width: int, pictures: NDArray[np.uint8]) -> nn.Module:
    """The network with its first weights, and exponents from the pictures."""
    recipe = recipes.bnn()
    model = BinaryMLP(28 * 28, 10, recipe, nn.ImageInput((0.13,), (0.31,), recipe), (width, width, width))
    run = nn.prepare(model, seed=1)
    model(pictures)
    run.advance()
    return model.eval()


def _on_path(frozen: FrozenModel, pictures: NDArray[np.uint8], path: str) -> Callable[[], Any]:
    def run() -> Any:
        with _kernels.use_kernels(path):
            return frozen(pictures).view(np.int32)  # the bits, for the checksum

    return run


def _float(name: str, run: Callable[[], Any]) -> Case:
    if name == LOOPS:
        return Case(name, run, "loop", "c", exact=False)
    return Case(name, run, "peer", "fp32", "fp32 fma", exact=False)


def _multiply(x: Float, weights: Float) -> Float:
    return np.asarray(x @ weights.T)
