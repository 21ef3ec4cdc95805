from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics.dfp import Target
from qnn.numerics.exponent import Counts

Ints = NDArray[Any]
Pair = tuple[int, int]
Sums = tuple[NDArray[np.int64], NDArray[np.int64]]

def set_threads(count: int) -> None: ...
def build_info() -> dict[str, Any]: ...
def paths() -> list[str]: ...
def self_check(path: str) -> bool: ...

class Kernels:
    def __init__(self, path: str) -> None: ...
    def gemm(self, a: Ints, b: Ints, trans_a: bool = ..., trans_b: bool = ...) -> Ints: ...
    def gemm_requantize(
        self, a: Ints, b: Ints, trans_b: bool, bias: NDArray[np.int64] | None, exponent: int, target: Target
    ) -> tuple[Ints, Counts]: ...
    def shift_gemm4(self, x: Ints, packed: NDArray[np.uint8], k: int) -> Ints: ...
    def conv2d(
        self, x: Ints, w: Ints, stride: Pair = ..., padding: Pair = ..., dilation: Pair = ..., groups: int = ...
    ) -> Ints: ...
    def conv2d_requantize(
        self,
        x: Ints,
        w: Ints,
        bias: NDArray[np.int64] | None,
        exponent: int,
        target: Target,
        stride: Pair = ...,
        padding: Pair = ...,
        dilation: Pair = ...,
        groups: int = ...,
        sums: bool = ...,
    ) -> tuple[Ints, Counts] | tuple[Ints, Counts, Sums]: ...
    def prepare_conv2d(
        self,
        w: Ints,
        bias: NDArray[np.int64] | None,
        exponent: int,
        target: Target,
        shape: tuple[int, int, int],
        table: NDArray[np.int8] | None = ...,
        stride: Pair = ...,
        padding: Pair = ...,
        dilation: Pair = ...,
        groups: int = ...,
    ) -> Callable[[NDArray[np.int8]], Ints]: ...
    def conv2d_input_grad(
        self,
        g: Ints,
        w: Ints,
        input_hw: Pair,
        stride: Pair = ...,
        padding: Pair = ...,
        dilation: Pair = ...,
        groups: int = ...,
    ) -> Ints: ...
    def conv2d_input_grad_requantize(
        self,
        g: Ints,
        w: Ints,
        input_hw: Pair,
        exponent: int,
        target: Target,
        stride: Pair = ...,
        padding: Pair = ...,
        dilation: Pair = ...,
        groups: int = ...,
    ) -> tuple[Ints, Counts]: ...
    def conv2d_weight_grad(
        self,
        x: Ints,
        g: Ints,
        kernel_hw: Pair,
        stride: Pair = ...,
        padding: Pair = ...,
        dilation: Pair = ...,
        groups: int = ...,
    ) -> Ints: ...
