"""Products by shifts: layers whose frozen weights are 0 or plus or minus powers of two run on packed codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import align_bias, encode_pow2, pack_pow2, pow2_levels
from qnn.ops.conv import Conv2dInteger
from qnn.ops.linear import LinearInteger

Product = Callable[..., NDArray[Any]]


def codes_of(weights: NDArray[Any], one: int | None = None) -> tuple[NDArray[np.uint8], int, int] | None:
    """Power-of-two codes of integer weights, if they have some.

    Parameters
    ----------
    weights : int8 or int16 array
        Of any shape.
    one : int, optional
        The power of two that the largest code says; without, the smallest code says the smallest power that there is.

    Returns
    -------
    (codes, bits, shift) or None
        ``weights = decode_pow2(codes, bits) * 2**shift`` with the fewest bits, 2 to 5; None where an entry is no power
        of two, the powers lie too far apart or above ``one``, or all are 0.

    Notes
    -----
    Bit-exactness: clauses WGT-11 and POW-1.
    """
    magnitudes = np.unique(np.abs(weights[weights != 0].astype(np.int64)))
    if not magnitudes.size or (magnitudes & (magnitudes - 1)).any():
        return None
    powers = [int(m).bit_length() - 1 for m in magnitudes]
    low, high = powers[0], powers[-1] if one is None else one
    if high < powers[-1]:
        return None
    for bits in (2, 3, 4, 5):
        r = pow2_levels(bits)
        if high - low < r:
            shift = low if one is None else one - (r - 1)
            wide = weights.astype(np.int64)
            return encode_pow2(wide >> shift if shift >= 0 else wide << -shift, bits), bits, shift
    return None


def shift_product(operation: Any, input_exponent: int, truncating: bool = False) -> Product | None:
    """The product of a layer with weights as a shift-accumulate kernel and one requantising; None if it has none.

    Parameters
    ----------
    operation : Operation
        As it was recorded in evaluation.
    input_exponent : int
        Exponent of the layer's input.
    truncating : bool
        Shift right, each term rounded down: for weights of 0 and plus or minus 2**-i, with sums on the input's grid.

    Returns
    -------
    callable or None
        Takes the integers of the input, and masters that it does not look at.

    Notes
    -----
    Bit-exactness: clauses WGT-11, POW-3 and REQ-1; the integers of the multiply. With ``truncating`` clause POW-4 in
    place of POW-3, and other integers.
    """
    if not isinstance(operation, (Conv2dInteger, LinearInteger)):
        return None
    weights, grid = operation.weight.ints, input_exponent + operation.weight.exponent  # grid: of the multiply
    found = codes_of(weights, -operation.weight.exponent if truncating else None)
    if found is None:
        return None
    codes, bits, shift = found
    packed = pack_pow2(codes.reshape(len(codes), -1), bits)
    exponent = input_exponent if truncating else grid + shift
    target = operation.output.frozen_target()
    if target is None:
        return None
    up = 0
    if operation.bias is not None and operation.bias.exponent < exponent:
        exponent, up = grid, exponent - grid  # the bias is finer than the sums, which go to the grid of the multiply
    bias = None if operation.bias is None else align_bias(operation.bias, exponent)

    def rounded(sums: NDArray[Any]) -> NDArray[Any]:
        moved = np.left_shift(sums.astype(np.int64), up) if up else sums
        ints: NDArray[Any] = _kernels.call("requantize", moved, exponent, target, 1, bias)[0]
        return ints

    if isinstance(operation, LinearInteger):
        k = weights.shape[1]
        return lambda x, *_: rounded(_kernels.call("shift_gemm", x, packed, bits, k, truncating))
    size, window = weights.shape[1:3], operation.window.args()
    return lambda x, *_: rounded(_kernels.call("shift_conv2d", x, packed, bits, size, *window, truncating))


__all__ = ["codes_of", "shift_product"]
