"""Products and convolutions on every path."""

from __future__ import annotations

from typing import Any

from qnn import kernels
from qnn.bench.shapes import GEMM, LAYERS

from .common import PATHS, Kernel, codes, ints

SHAPES = [shape for shape in GEMM if shape[0] * shape[1] * shape[2] <= 1 << 30]
SMALL = {f"{layer.name}, batch 8": layer for layer in LAYERS if layer.net == "ResNet-20"}


class Gemm(Kernel):
    """int8 products, exact."""

    params = (PATHS, SHAPES)
    operation = "gemm"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Weights stand as in a layer."""
        m, n, k = shape
        return ints((m, k), 1), ints((n, k), 2), False, True

    def time_gemm(self, path: str, shape: Any) -> None:
        """One product."""
        self.run()


class Shift(Kernel):
    """Products with 4-bit power-of-two codes."""

    params = (PATHS, [(1, 4096, 4096), (64, 1024, 1024)])
    operation = "shift_gemm"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Packed codes."""
        m, n, k = shape
        return ints((m, k), 1), codes((n, k), 2)[0], 4, k

    def time_shift_gemm(self, path: str, shape: Any) -> None:
        """One product."""
        self.run()


class Xnor(Kernel):
    """Products of bits."""

    params = (PATHS, [(1, 4096, 4096), (1024, 1024, 1024)])
    operation = "xnor_gemm"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Packed signs."""
        m, n, k = shape
        return kernels.pack_bits(ints((m, k), 1)), kernels.pack_bits(ints((n, k), 2)), k

    def time_xnor_gemm(self, path: str, shape: Any) -> None:
        """One product."""
        self.run()


class Conv(Kernel):
    """The layers of ResNet-20, forward."""

    params = (PATHS, list(SMALL))
    operation = "conv2d"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Images and filters."""
        layer = SMALL[shape]
        x = ints((8, layer.size, layer.size, layer.inputs), 1)
        return x, ints((layer.outputs, 3, 3, layer.inputs), 2), (1, 1), (1, 1)

    def time_conv2d(self, path: str, shape: Any) -> None:
        """One layer."""
        self.run()


class ConvWeightGrad(Conv):
    """The layers of ResNet-20, gradient of the weights."""

    operation = "conv2d_weight_grad"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Images and gradients."""
        layer = SMALL[shape]
        x = ints((8, layer.size, layer.size, layer.inputs), 1)
        return x, ints((8, layer.size, layer.size, layer.outputs), 3), (3, 3), (1, 1), (1, 1)
