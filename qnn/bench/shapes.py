"""The shapes that are measured, for ``qnn bench`` and for the suites in ``benchmarks/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BATCHES", "CONV", "GEMM", "LAYERS", "NETS", "QUICK_CONV", "QUICK_GEMM", "Layer", "Net", "codes", "ints"]

Shape = tuple[int, int, int]

GEMM: tuple[Shape, ...] = (
    (128, 4096, 784),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (4096, 4096, 4096),
    (1, 4096, 4096),
    (16, 4096, 4096),
    (131072, 16, 144),
    (32768, 32, 288),
    (8192, 64, 576),
)
"""M, N, K: a dense layer, three squares, two with few rows, and ResNet-20's layers as products."""

QUICK_GEMM: tuple[Shape, ...] = ((128, 256, 256), (1, 512, 512), (1024, 16, 144))

XNOR: tuple[Shape, ...] = (
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (4096, 4096, 4096),
    (16, 4096, 4096),
    (1, 4096, 4096),
)
QUICK_XNOR: tuple[Shape, ...] = ((64, 128, 256), (1, 512, 512))

BINARY_NETS: tuple[tuple[int, int], ...] = ((128, 2048), (32, 4096))
"""Images and width of the BNN papers' MLPs."""

QUICK_BINARY_NETS: tuple[tuple[int, int], ...] = ((8, 64),)


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution with padding 1: channels in and out, height and width."""

    net: str
    inputs: int
    outputs: int
    size: int

    @property
    def name(self) -> str:
        """Such as ``16x16 at 32x32``."""
        return f"{self.inputs}x{self.outputs} at {self.size}x{self.size}"


LAYERS: tuple[Layer, ...] = (
    Layer("ResNet-20", 3, 16, 32),
    Layer("ResNet-20", 16, 16, 32),
    Layer("ResNet-20", 32, 32, 16),
    Layer("ResNet-20", 64, 64, 8),
    Layer("ResNet-50", 64, 64, 56),
    Layer("ResNet-50", 128, 128, 28),
    Layer("ResNet-50", 256, 256, 14),
)
BATCHES = (1, 32, 128)

CONV: tuple[tuple[Layer, int], ...] = tuple(
    (layer, batch) for layer in LAYERS for batch in BATCHES if layer.net == "ResNet-20" or batch < 128
)
QUICK_CONV: tuple[tuple[Layer, int], ...] = ((Layer("ResNet-20", 16, 16, 32), 1), (Layer("ResNet-20", 64, 64, 8), 1))


@dataclass(frozen=True)
class Net:
    """A network that is trained: its input, its batch, multiply-accumulates of one image's forward pass."""

    name: str
    shape: Shape
    batch: int
    macs: int


NETS = {
    net.name: net
    for net in (
        Net("mlp", (28, 28, 1), 100, 784 * 512 + 512 * 512 + 512 * 10),
        Net("lenet5", (28, 28, 1), 128, 416_520),
        Net("resnet20", (32, 32, 3), 128, 40_551_040),
    )
}


def ints(shape: tuple[int, ...], seed: int) -> NDArray[np.int8]:
    """All of int8, evenly."""
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def codes(shape: tuple[int, ...], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Packed 4-bit power-of-two codes of weights [N, K], and the weights (0 and +-1 to +-64)."""
    from qnn import kernels

    random = np.random.default_rng(seed)
    levels = np.array([0, 1, 2, 4, 8, 16, 32, 64], np.int8)
    weights: Any = levels[random.integers(0, 8, shape)] * random.choice(np.array([-1, 1], np.int8), shape)
    return kernels.pack_pow2(kernels.encode_pow2(weights.astype(np.int64), 4), 4), weights
