from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics.batchnorm import Statistics, Sums
from qnn.numerics.dfp import Target
from qnn.numerics.exponent import Counts
from qnn.numerics.noise import Noise

Ints = NDArray[Any]
Float32 = NDArray[np.float32]
Pair = tuple[int, int]
Made = tuple[Ints, Counts]

OPERATIONS: tuple[str, ...]

def set_threads(count: int) -> None: ...
def set_reference(reference: dict[str, Callable[..., Any]]) -> None: ...
def has_avx2() -> bool: ...
def has_vbmi() -> bool: ...
def has_vpopcnt() -> bool: ...
def has_avx512() -> bool: ...
def quantize(path: int, x: Float32, target: Target) -> Made: ...
def requantize(
    path: int, acc: Ints, exponent: int, target: Target, divisor: int = ..., bias: NDArray[np.int64] | None = ...
) -> Made: ...
def add_requantize(
    path: int, terms: Sequence[tuple[Ints, int]], target: Target, rectify: bool = False, output: Ints | None = None
) -> Made: ...
def scale(
    path: int,
    x: Ints,
    gamma: Ints,
    bias: NDArray[np.int64] | None,
    exponent: int,
    target: Target,
    rectify: bool = False,
) -> Made: ...
def scale_grad(
    path: int,
    g: Ints,
    x: Ints,
    gamma: Ints,
    exponent: int,
    target: Target,
    behind: Ints | None = None,
    output: Ints | None = None,
) -> tuple[Ints, Counts, Sums, Sums | None]: ...
def normalize(path: int, x: Ints, mean_q: Float32, k: Float32, target: Target) -> Made: ...
def normalize_scale(
    path: int,
    x: Ints,
    mean_q: Float32,
    k: Float32,
    target: Target,
    gamma: Ints,
    bias: NDArray[np.int64] | None,
    exponent: int,
    scaled: Target,
    rectify: bool = False,
) -> tuple[Ints, Counts, Ints, Counts]: ...
def normalize_grad(path: int, g: Ints, x: Ints, a: Float32, b: Float32, c: Float32, target: Target) -> Made: ...
def channel_sums(path: int, x: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
def channel_dots(path: int, g: Ints, x: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
def bn_statistics(
    path: int, s1: NDArray[np.int64], s2: NDArray[np.int64], count: int, exponent: int, eps: float
) -> Statistics: ...
def running_update(path: int, running: Float32, new: Float32, momentum: float) -> Float32: ...
def softmax_cross_entropy(
    path: int, logits: Float32, labels: Ints, batch_size: int | None = ...
) -> tuple[NDArray[np.int64], Float32]: ...
def bn_grad_coefficients(
    path: int,
    stats: Statistics,
    s1: NDArray[np.int64],
    sg: NDArray[np.int64],
    sgx: NDArray[np.int64],
    count: int,
    g_exponent: int,
) -> tuple[Float32, Float32, Float32]: ...
def int_range(path: int, x: Ints) -> tuple[int, int]: ...
def float_range(path: int, x: Float32) -> tuple[float, float]: ...
def relu(path: int, x: Ints) -> Ints: ...
def clip_ints(path: int, x: Ints, lo: int, hi: int) -> Ints: ...
def relu_grad(path: int, g: Ints, y: Ints) -> Ints: ...
def subsample(path: int, x: Ints, stride: int, channels: int) -> Ints: ...
def subsample_grad(path: int, g: Ints, stride: int, shape: tuple[int, ...]) -> Ints: ...
def noise_u16(path: int, noise: Noise, count: int) -> NDArray[np.uint16]: ...
def ints_to_float32(path: int, ints: Ints, exponent: int) -> Float32: ...
def sgd(
    path: int,
    w: Float32,
    g: Float32 | Ints,
    velocity: Float32,
    lr: float,
    momentum: float = ...,
    weight_decay: float = ...,
    nesterov: bool = ...,
    exponent: int | None = ...,
) -> tuple[Float32, Float32]: ...
def adam(
    path: int,
    w: Float32,
    g: Float32,
    m: Float32,
    v: Float32,
    step: int,
    lr: float,
    beta1: float = ...,
    beta2: float = ...,
    eps: float = ...,
    weight_decay: float = ...,
) -> tuple[Float32, Float32, Float32]: ...
def shift_adamax(
    path: int,
    w: Float32,
    g: Float32,
    m: Float32,
    v: Float32,
    step: int,
    lr: float,
    beta1: float = ...,
    beta2: float = ...,
    eps: float = ...,
    weight_decay: float = ...,
    store: str = ...,
    reading: str = ...,
) -> tuple[Float32, Float32, Float32]: ...
def max_pool(path: int, x: Ints, kernel: Pair, stride: Pair, padding: Pair = ...) -> tuple[Ints, NDArray[np.int32]]: ...
def max_pool_grad(
    path: int,
    g: Ints,
    index: NDArray[np.int32],
    input_shape: tuple[int, int, int, int],
    kernel: Pair,
    stride: Pair,
    padding: Pair = ...,
) -> Ints: ...
def sum_pool(path: int, x: Ints, kernel: Pair, stride: Pair, padding: Pair = ...) -> NDArray[np.int32]: ...
def sum_pool_grad(
    path: int, g: Ints, input_shape: tuple[int, int, int, int], kernel: Pair, stride: Pair, padding: Pair = ...
) -> NDArray[np.int32]: ...
def prepare_add(
    path: int, exponents: Sequence[int], target: Target, table: NDArray[np.int8] | None = ...
) -> Callable[..., Ints]: ...
def look_up(path: int, codes: NDArray[Any], table: Ints) -> Ints: ...
def pow2_weights(packed: NDArray[np.uint8], bits: int, k: int) -> Ints | None: ...
def shift_gemm(path: int, x: Ints, packed: NDArray[np.uint8], bits: int, k: int, truncating: bool = ...) -> Ints: ...
def shift_conv2d(
    path: int,
    x: Ints,
    packed: NDArray[np.uint8],
    bits: int,
    kernel: Pair,
    stride: Pair = ...,
    padding: Pair = ...,
    dilation: Pair = ...,
    groups: int = ...,
    truncating: bool = ...,
) -> Ints: ...
def xnor_gemm(path: int, a_words: NDArray[np.uint64], b_words: NDArray[np.uint64], k: int) -> NDArray[np.int32]: ...
def xnor_conv2d(
    path: int,
    x_words: NDArray[np.uint64],
    w_words: NDArray[np.uint64],
    channels: int,
    stride: Pair = ...,
    padding: Pair = ...,
    pad_value: int = ...,
) -> NDArray[np.int32]: ...
def bitplane_gemm(path: int, x: NDArray[np.uint8], w_words: NDArray[np.uint64], k: int) -> NDArray[np.int32]: ...
def pack_bits(path: int, x: NDArray[Any]) -> NDArray[np.uint64]: ...
