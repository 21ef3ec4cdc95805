"""Size of trained weights after pruning, quantising and Huffman coding, and what quantising does to their moments."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.nn import Conv2d, Linear, Module
from qnn.numerics import DFP, exact_sum, quantize

INDEX_BITS = 4
"""Bits of the distance to the next weight that is not 0, in sparse storage; longer gaps take entries of weight 0."""

_LENGTH_BITS = 8  # of one entry of a code table: a canonical Huffman code is its lengths


@dataclass(frozen=True)
class LayerSize:
    """Bits that the weights of one layer take, its biases and normalisation left out.

    Parameters
    ----------
    name : str
    weights, zeros : int
    full : int
        As float32.
    quantized : int
        As codes of the recipe's width: all of them, or only those that are not 0, each with :data:`INDEX_BITS` bits of
        distance; whichever is less.
    huffman : int
        The same entries under Huffman codes of the layer, tables included; whichever is less, and never more than
        ``quantized``.
    """

    name: str
    weights: int
    zeros: int
    full: int
    quantized: int
    huffman: int


@dataclass(frozen=True)
class Moments:
    """Mean and variance of a layer's master weights, and of the levels that they become."""

    name: str
    mean: float
    variance: float
    level_mean: float
    level_variance: float


def layer_sizes(model: Module) -> list[LayerSize]:
    """Sizes of all layers with weights, in order.

    Parameters
    ----------
    model : Module
        Of an integer recipe, trained.

    Raises
    ------
    ValueError
        If the model works in float32.

    Notes
    -----
    Source: n-BQ-NN paper, Table V, which does not print its storage format; this one is that of Deep Compression, with
    our table of lengths. Bit-exactness: exact counts; nothing may vary.
    """
    return [_size(name, integers, bits) for name, integers, bits in _integers(model)]


def total(sizes: list[LayerSize]) -> LayerSize:
    """The sum over layers, named "total"."""
    sums = {
        key: sum(getattr(size, key) for size in sizes) for key in ("weights", "zeros", "full", "quantized", "huffman")
    }
    return LayerSize("total", **sums)


def moments(model: Module) -> list[Moments]:
    """The posterior check of the n-BQ-NN paper: mean and variance before and after quantising, layer by layer.

    Parameters
    ----------
    model : Module
        Of any recipe; without a rule both are the masters'.

    Notes
    -----
    Source: n-BQ-NN paper, section III-C. Means are of exact sums; variances binary64.
    """
    found = []
    for name, layer in _weighted(model):
        master = np.asarray(layer.weight.data)
        levels = master if layer.rule is None else layer.rule.inference(master)
        found.append(Moments(name, *_mean_variance(master), *_mean_variance(levels)))
    return found


def huffman_lengths(counts: Mapping[int, int]) -> dict[int, int]:
    """Lengths of a Huffman code for symbols with these counts; one symbol alone takes 1 bit.

    Ties go to the subtree with the smaller symbol, so that the lengths are the same everywhere.
    """
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (count, symbol, (symbol,)) for symbol, count in counts.items() if count > 0
    ]
    heapq.heapify(heap)
    lengths = {symbol: int(len(heap) == 1) for _, symbol, _ in heap}
    while len(heap) > 1:
        (count, first, left), (other, second, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (count + other, min(first, second), left + right))
    return lengths


def _weighted(model: Module) -> Iterator[tuple[str, Any]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, (Conv2d, Linear)))


def _integers(model: Module) -> Iterator[tuple[str, NDArray[Any], int]]:
    """Name, integers in evaluation and bits of a code, of each layer with weights."""
    for name, layer in _weighted(model):
        if not layer.recipe.is_integer:
            raise ValueError(
                f"got layer {name!r} in float32; sizes are those of codes: build the model with an integer recipe"
            )
        if isinstance(layer.weight.data, DFP):  # trained without masters
            yield name, layer.weight.data.ints.ravel(), layer.weight.data.bits
            continue
        rule = None if layer.rule is None else layer.rule.rule
        master = np.asarray(layer.weight.data)
        values = master if rule is None else layer.rule.inference(master)
        site = layer.weight_site
        bits = site.bits if rule is None or rule.bits is None else rule.bits
        yield name, quantize(values, site.frozen_target())[0].ravel(), bits


def _size(name: str, integers: NDArray[Any], bits: int) -> LayerSize:
    places = np.flatnonzero(integers)
    gaps = np.diff(places, prepend=-1) - 1  # zeros before each weight that is not 0
    reach = 1 << INDEX_BITS
    fillers = int((gaps // reach).sum())  # entries of weight 0 that stand for 2**INDEX_BITS zeros each
    entries = len(places) + fillers
    codes = np.concatenate([integers[places], np.zeros(fillers, integers.dtype)])
    distances = np.concatenate([gaps % reach, np.full(fillers, reach - 1)])
    quantized = min(bits * integers.size, (bits + INDEX_BITS) * entries)
    coded = min(_coded(integers), _coded(codes) + _coded(distances))
    zeros = integers.size - len(places)
    return LayerSize(name, integers.size, zeros, 32 * integers.size, quantized, min(coded, quantized))


def _coded(symbols: NDArray[Any]) -> int:
    """Bits under a Huffman code of its own, table included."""
    values, counts = np.unique(symbols, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    lengths = huffman_lengths(found)
    return sum(found[s] * lengths[s] for s in found) + _LENGTH_BITS * len(found)


def _mean_variance(x: NDArray[np.float32]) -> tuple[float, float]:
    mean = exact_sum(x) / x.size
    return mean, math.fsum(((x.astype(np.float64) - mean) ** 2).ravel().tolist()) / x.size


__all__ = ["INDEX_BITS", "LayerSize", "Moments", "huffman_lengths", "layer_sizes", "moments", "total"]
