"""PyTorch on the same shapes: float32 and bfloat16, its integer product, its quantised layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from qnn.bench.rows import Case
from qnn.bench.shapes import Layer

__all__ = ["convolutions", "floats", "noises", "products", "quantizers"]

# Said once for every process, on the way to results; the operations are there as long as they can be called.
warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")


def _peer(variant: str, path: str, run: Callable[[], Any], peak: str = "", traffic: int = 0) -> Case:
    return Case(variant, run, "peer", path, peak, exact=False, bytes=traffic)


def floats(m: int, n: int, k: int, threads: int) -> Iterator[Case]:
    """The product in float32."""
    import torch

    torch.set_num_threads(threads)
    a, b, out = torch.randn(m, k), torch.randn(n, k).t(), torch.empty(m, n)
    yield _peer("torch fp32 mm", "fp32", lambda: torch.mm(a, b, out=out), "fp32 fma")


def products(m: int, n: int, k: int, threads: int) -> Iterator[Case]:
    """Products of int8 and float32 matrices; weights stand column by column, as in a layer."""
    import torch

    yield from floats(m, n, k, threads)
    a = torch.randint(-127, 128, (m, k), dtype=torch.int8)
    b = torch.randint(-127, 128, (n, k), dtype=torch.int8)
    out = torch.empty(m, n, dtype=torch.int32)
    yield _peer("torch _int_mm", "s8 s8 s32", lambda: torch._int_mm(a, b.t(), out=out))
    x = torch.quantize_per_tensor(a.float().abs(), 1.0, 0, torch.quint8)
    w = torch.quantize_per_tensor(b.float() * 0.01, 0.01, 0, torch.qint8)
    for engine in ("fbgemm", "onednn"):
        if engine in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = engine
            packed = torch.ops.quantized.linear_prepack(w, None)
            yield _peer(f"torch quantized.linear {engine}", "u8 s8 u8", _linear(engine, x, packed))


def _linear(engine: str, x: Any, packed: Any) -> Callable[[], Any]:
    import torch

    def run() -> Any:
        torch.backends.quantized.engine = engine
        return torch.ops.quantized.linear(x, packed, 100.0, 128)

    return run


def convolutions(layer: Layer, batch: int, direction: str, threads: int) -> Iterator[Case]:
    """A 3x3 convolution, its input gradient or its weight gradient, channels last."""
    import torch

    torch.set_num_threads(threads)
    last = torch.channels_last
    x = torch.randn(batch, layer.inputs, layer.size, layer.size).contiguous(memory_format=last)
    w = torch.randn(layer.outputs, layer.inputs, 3, 3).contiguous(memory_format=last)
    g = torch.randn(batch, layer.outputs, layer.size, layer.size).contiguous(memory_format=last)
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        run = _convolution(direction, x.to(kind), w.to(kind), g.to(kind))
        yield _peer(f"torch {name} channels_last", name, run, "fp32 fma" if name == "fp32" else "")


def _convolution(direction: str, x: Any, w: Any, g: Any) -> Callable[[], Any]:
    import torch

    def forward() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(x, w, padding=1)

    def backward() -> Any:
        wanted = [direction == "input gradient", direction == "weight gradient", False]
        return torch.ops.aten.convolution_backward(g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted)

    return forward if direction == "forward" else backward


def quantizers(n: int, threads: int) -> Iterator[Case]:
    """Rounding of float32 to int8: its own operation, and a stochastic one written with its operations."""
    import torch

    torch.set_num_threads(threads)
    x, buffer = torch.randn(n), torch.empty(n)

    def stochastic() -> Any:
        return torch.rand(n, out=buffer).add_(x, alpha=32.0).floor_().clamp_(-128, 127).to(torch.int8)

    yield _peer(
        "torch quantize_per_tensor",
        "nearest",
        lambda: torch.quantize_per_tensor(x, 1 / 32, 0, torch.qint8),
        traffic=5 * n,
    )
    yield _peer("torch rand, add, floor, clamp", "SR", stochastic, traffic=5 * n)


def noises(n: int, threads: int) -> Iterator[Case]:
    """Random words."""
    import torch

    torch.set_num_threads(threads)
    out = torch.empty(n, dtype=torch.int16)
    yield _peer("torch random_ int16", "mt19937", lambda: out.random_(), traffic=2 * n)
