"""Strategies for products and convolutions: sizes at the edges of the blocks, values at the edges of the types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from qnn.numerics import Noise, Rounding, Target
from qnn.numerics.mac import conv_output_hw

Ints = NDArray[Any]
Pair = tuple[int, int]

# A tile is 6 rows by 16 columns, a panel of int16 x int16 has 8 columns, a block 96 rows, a vector 8, 16 or 32 members.
EDGES = [0, 1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65]
sizes = st.one_of(st.sampled_from(EDGES), st.integers(1, 40))
row_counts = st.one_of(st.sampled_from([*EDGES, 95, 96, 97, 193]), st.integers(1, 40))
dtypes = st.sampled_from([np.int8, np.int16])
patterns = st.sampled_from(["random", "random", "extremes", "lowest", "highest", "sparse", "powers"])
seeds = st.integers(0, 2**32 - 1)


def ints(shape: tuple[int, ...], dtype: type, pattern: str, seed: int) -> Ints:
    """An operand with boundary values: extremes, powers of two and their neighbours, mostly zeros, or random ones."""
    rng, info = np.random.default_rng(seed), np.iinfo(dtype)
    if pattern == "lowest":
        return np.full(shape, info.min, dtype)
    if pattern == "highest":
        return np.full(shape, info.max, dtype)
    if pattern == "extremes":
        return rng.choice(np.array([info.min, info.min + 1, -1, 0, 1, info.max], dtype), shape)
    if pattern == "powers":
        power = np.left_shift(1, rng.integers(0, info.bits - 1, shape)) + rng.integers(-1, 2, shape)
        return (power * rng.choice([-1, 1], shape)).astype(dtype)
    values = rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)
    if pattern == "sparse":
        values[rng.random(shape) < 0.8] = 0
    return values


def operands(shape: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[Ints]:
    """Arrays of one of the shapes with any type and pattern."""
    return st.builds(ints, shape, dtypes, patterns, seeds)


@dataclass(frozen=True)
class Product:
    """Operands of a matrix product."""

    a: Ints
    b: Ints
    trans_a: bool
    trans_b: bool


@st.composite
def products(draw: st.DrawFn, trans_a: bool | None = None) -> Product:
    """Two matrices that fit together, each plain or transposed."""
    m, n, k = draw(row_counts), draw(sizes), draw(sizes)
    left = draw(st.booleans()) if trans_a is None else trans_a
    right = draw(st.booleans())
    a = draw(operands(st.just((k, m) if left else (m, k))))
    b = draw(operands(st.just((n, k) if right else (k, n))))
    return Product(a, b, left, right)


@dataclass(frozen=True)
class Convolution:
    """Operands and geometry of a convolution and of both its gradients."""

    x: Ints
    w: Ints
    g: Ints
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def geometry(self) -> tuple[Pair, Pair, Pair, int]:
        """The arguments that follow the operands."""
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def input_hw(self) -> Pair:
        """Height and width of the input."""
        return self.x.shape[1], self.x.shape[2]

    @property
    def kernel_hw(self) -> Pair:
        """Height and width of the kernel."""
        return self.w.shape[1], self.w.shape[2]


def pairs(strategy: st.SearchStrategy[int]) -> st.SearchStrategy[Pair]:
    """Two of them."""
    return st.tuples(strategy, strategy)


def fits(input_hw: Pair, kernel_hw: Pair, padding: Pair, dilation: Pair) -> bool:
    """Whether the kernel is no larger than the padded input."""
    return all(h + 2 * p >= d * (k - 1) + 1 for h, k, p, d in zip(input_hw, kernel_hw, padding, dilation, strict=True))


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """Any geometry up to 12 by 12 pixels, kernels up to the size of the padded input, groups up to depthwise."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels = (
        draw(st.sampled_from([1, 2, 3, 4, 7, 8, 15, 16, 17])) if groups == 1 else draw(st.sampled_from([1, 2, 5, 8]))
    )
    filters = (
        draw(st.sampled_from([1, 2, 7, 8, 9, 15, 16, 17, 33])) if groups == 1 else draw(st.sampled_from([1, 2, 8, 17]))
    )
    padding, dilation, stride = (
        draw(pairs(st.integers(0, 3))),
        draw(pairs(st.integers(1, 2))),
        draw(pairs(st.integers(1, 4))),
    )
    kernel = draw(pairs(st.integers(1, 4)))
    input_hw = draw(pairs(st.integers(1, 12)).filter(lambda hw: fits(hw, kernel, padding, dilation)))
    images = draw(st.sampled_from([0, 1, 1, 2, 3]))
    oh, ow = conv_output_hw(input_hw, kernel, stride, padding, dilation)
    x = draw(operands(st.just((images, *input_hw, groups * channels))))
    w = draw(operands(st.just((groups * filters, *kernel, channels))))
    g = draw(operands(st.just((images, oh, ow, groups * filters))))
    return Convolution(x, w, g, stride, padding, dilation, groups)


@st.composite
def tiled_convolutions(draw: st.DrawFn) -> Convolution:
    """3 x 3 kernels of stride 1 over int8 with enough positions for the tiles of 2 x 2 outputs, and just too few."""
    channels, filters = draw(st.sampled_from([1, 12, 15, 16, 17, 33])), draw(st.sampled_from([1, 8, 15, 16, 17, 33]))
    padding = draw(pairs(st.integers(0, 3)))
    input_hw = draw(pairs(st.sampled_from([1, 2, 3, 4, 5, 8, 11])).filter(lambda hw: fits(hw, (3, 3), padding, (1, 1))))
    oh, ow = conv_output_hw(input_hw, (3, 3), (1, 1), padding, (1, 1))
    tiles = ((oh + 1) // 2) * ((ow + 1) // 2)
    images = -(-draw(st.sampled_from([31, 32, 65, 192, 200])) // tiles)
    shapes = (images, *input_hw, channels), (filters, 3, 3, channels), (images, oh, ow, filters)
    x, w, g = (ints(shape, np.int8, draw(patterns), draw(seeds)) for shape in shapes)
    return Convolution(x, w, g, (1, 1), padding, (1, 1), 1)


def targets(shape: tuple[int, ...]) -> st.SearchStrategy[Target]:
    """Targets for a result of this shape: every rule, every kind of noise (an array of words too), any width."""
    count = int(np.prod(shape, dtype=np.int64))
    words = seeds.map(
        lambda seed: np.random.default_rng(seed).integers(0, 65536, count).astype(np.uint16).reshape(shape)
    )
    addressed = st.builds(
        Noise,
        kind=st.sampled_from(["philox", "philox", "lfsr16"]),
        seed=st.integers(0, 2**64 - 1),
        stream=st.integers(0, 2**32 - 1),
        step=st.integers(0, 2**32 - 1),
        start=st.sampled_from([0, 1, 7, 8, 15, 65534, 2**32 - 3, 2**40]),
        bits=st.sampled_from([1, 7, 8, 9, 15, 16]),
    )
    return st.builds(
        Target,
        exponent=st.integers(-30, 30),
        bits=st.sampled_from([2, 7, 8, 8, 9, 16]),
        rounding=st.sampled_from([*Rounding, Rounding.STOCHASTIC]),
        noise=st.one_of(addressed, words),
    )


def biases(length: int) -> st.SearchStrategy[NDArray[np.int64] | None]:
    """No bias, a usual one, or one at the ends of int64."""
    far = np.array([2**63 - 1, -(2**63), 2**31, -(2**31), 0], dtype=np.int64)
    usual = seeds.map(lambda seed: np.random.default_rng(seed).integers(-(2**20), 2**20, length))
    extreme = seeds.map(lambda seed: np.random.default_rng(seed).choice(far, length))
    return st.one_of(st.none(), usual, usual, extreme)
