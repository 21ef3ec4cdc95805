"""The kernels for users: exact integers out on any path and number of threads; arguments checked, any memory layout.

All arrays may be read-only, transposed or strided. Images are ``[N, H, W, C]``, convolution weights ``[O, KH, KW, C]``.
Every function gives the same bits on every path (:func:`qnn.available_kernels`) and any number of threads.
"""

from __future__ import annotations

import operator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels, numerics

__all__ = [
    "accumulator_bits",
    "bitplane_gemm",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "encode_pow2",
    "gemm",
    "pack_bits",
    "pack_pow2",
    "release_memory",
    "shift_conv2d",
    "shift_gemm",
    "xnor_conv2d",
    "xnor_gemm",
]

Ints = NDArray[Any]
Words = NDArray[np.uint64]
Pair = tuple[int, int]
Size = int | Pair

accumulator_bits = numerics.accumulator_bits
encode_pow2 = numerics.encode_pow2
pack_pow2 = numerics.pack_pow2


def gemm(a: Ints, b: Ints) -> Ints:
    """Exact matrix product of int8 or int16 matrices.

    Parameters
    ----------
    a : int8 or int16 array [M, K]
    b : int8 or int16 array [K, N]; pass ``w.T`` for weights [N, K]

    Returns
    -------
    int32 array [M, N] while ``K * 2**(na-1) * 2**(nb-1) < 2**31`` (na, nb: 8 or 16), else int64

    Raises
    ------
    TypeError
        Another type than int8 or int16.
    ValueError
        No matrices, or inner sizes that differ.

    Notes
    -----
    Bit-exactness: clauses MAC-1 and MAC-3; nothing may vary.

    Examples
    --------
    >>> import numpy as np
    >>> gemm(np.array([[100, -128]], np.int8), np.array([[127], [-128]], np.int8))
    array([[29084]], dtype=int32)
    """
    _check(a, "a", 2, np.int8, np.int16)
    _check(b, "b", 2, np.int8, np.int16)
    return cast(Ints, _kernels.call("gemm", a, b, False, False))


def conv2d(x: Ints, w: Ints, stride: Size = 1, padding: Size = 0, dilation: Size = 1, groups: int = 1) -> Ints:
    """Exact convolution (cross-correlation, zero padding) of int8 or int16 images.

    Parameters
    ----------
    x : int8 or int16 array [N, H, W, C]
    w : int8 or int16 array [O, KH, KW, C // groups]
    stride, padding, dilation : int or (vertical, horizontal)
    groups : int
        Divides C and O; ``groups = C`` is a depthwise convolution.

    Returns
    -------
    int32 or int64 array [N, OH, OW, O]; the rule of `gemm` with ``K = KH * KW * C // groups``

    Raises
    ------
    TypeError, ValueError
        Wrong types, shapes or geometry.

    Notes
    -----
    Bit-exactness: clauses MAC-1 and MAC-4; nothing may vary.
    """
    _check(x, "x", 4, np.int8, np.int16)
    _check(w, "w", 4, np.int8, np.int16)
    return cast(Ints, _kernels.call("conv2d", x, w, *_geometry(stride, padding, dilation), _count(groups, "groups")))


def conv2d_input_grad(
    g: Ints, w: Ints, input_hw: Pair, stride: Size = 1, padding: Size = 0, dilation: Size = 1, groups: int = 1
) -> Ints:
    """Exact gradient of `conv2d` with respect to its input.

    Parameters
    ----------
    g : int8 or int16 array [N, OH, OW, O]
    w : int8 or int16 array [O, KH, KW, C // groups]
    input_hw : (H, W) of the input
    stride, padding, dilation, groups
        As for `conv2d`.

    Returns
    -------
    int32 or int64 array [N, H, W, C]

    Notes
    -----
    Bit-exactness: clauses MAC-1 and MAC-5; nothing may vary.
    """
    _check(g, "g", 4, np.int8, np.int16)
    _check(w, "w", 4, np.int8, np.int16)
    geometry = _geometry(stride, padding, dilation)
    hw = _pair(input_hw, "input_hw", 1)
    return cast(Ints, _kernels.call("conv2d_input_grad", g, w, hw, *geometry, _count(groups, "groups")))


def conv2d_weight_grad(
    x: Ints, g: Ints, kernel_hw: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1, groups: int = 1
) -> Ints:
    """Exact gradient of `conv2d` with respect to its weights.

    Parameters
    ----------
    x : int8 or int16 array [N, H, W, C]
    g : int8 or int16 array [N, OH, OW, O]
    kernel_hw : (KH, KW)
    stride, padding, dilation, groups
        As for `conv2d`.

    Returns
    -------
    int32 or int64 array [O, KH, KW, C // groups]; the rule of `gemm` with ``K = N * OH * OW``

    Notes
    -----
    Bit-exactness: clauses MAC-1 and MAC-6; nothing may vary.
    """
    _check(x, "x", 4, np.int8, np.int16)
    _check(g, "g", 4, np.int8, np.int16)
    geometry = _geometry(stride, padding, dilation)
    kernel = _pair(kernel_hw, "kernel_hw", 1)
    return cast(Ints, _kernels.call("conv2d_weight_grad", x, g, kernel, *geometry, _count(groups, "groups")))


def shift_gemm(x: Ints, codes: NDArray[np.uint8], bits: int, packed: bool = False, truncating: bool = False) -> Ints:
    """Product of activations with power-of-two weights by shifts and additions; exact, unless ``truncating``.

    Parameters
    ----------
    x : int8 or int16 array [M, K]
    codes : uint8 array [N, K]
        One code per byte, as `encode_pow2` makes them; or [N, ceil(K*bits/8)] from `pack_pow2` with ``packed=True``.
    bits : int
        Width of a code, 2 to 5.
    packed : bool, default False
    truncating : bool, default False
        Shift right instead, each term rounded down: ``sign * (x >> i)`` for the weight ``sign * 2**-i``.

    Returns
    -------
    int32 or int64 array [M, N] at exponent ``e_x - (r - 1)`` with ``r = 2**(bits-1) - 1``, or e_x if ``truncating``:
    int32 while ``K * 2**(nx-1) * 2**(r-1) < 2**31``

    Raises
    ------
    TypeError, ValueError
        Wrong types or shapes, or bytes that are no codes.

    Notes
    -----
    The integers of the product with the decoded weights, unless ``truncating``. Bit-exactness: clauses POW-1 to POW-4;
    nothing may vary.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([[4, -1, 0], [2, 2, -4]])
    >>> shift_gemm(np.array([[10, 20, 30]], np.int8), encode_pow2(weights, bits=3), bits=3)
    array([[ 20, -60]], dtype=int32)
    >>> shift_gemm(np.array([[11, 21, 30]], np.int8), encode_pow2(weights, bits=3), bits=3, truncating=True)
    array([[  6, -15]], dtype=int32)
    """
    _check(x, "x", 2, np.int8, np.int16)
    _check(codes, "codes", 2, np.uint8)
    if not packed:
        if codes.shape[1] != x.shape[1]:
            raise ValueError(
                f"got {codes.shape[1]} codes a row for activations of {x.shape[1]} entries; they must be equal; "
                "pass packed=True for the bytes of pack_pow2"
            )
        codes = numerics.pack_pow2(codes, bits)
    return cast(Ints, _kernels.call("shift_gemm", x, codes, bits, x.shape[1], bool(truncating)))


def shift_conv2d(
    x: Ints,
    packed: NDArray[np.uint8],
    bits: int,
    kernel: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    truncating: bool = False,
) -> Ints:
    """Convolution with packed power-of-two weights by shifts and additions; exact, unless ``truncating``.

    Parameters
    ----------
    x : int8 or int16 array [N, H, W, C]
    packed : uint8 array [O, ceil(KH*KW*(C//groups)*bits/8)]
        `pack_pow2` of the codes of the flattened filters [KH, KW, C // groups].
    bits : int
        Width of a code, 2 to 5.
    kernel : int or (KH, KW)
    stride, padding, dilation, groups
        As for `conv2d`.
    truncating : bool, default False
        As for `shift_gemm`.

    Returns
    -------
    int32 or int64 array [N, OH, OW, O]

    Notes
    -----
    Bit-exactness: clauses POW-3 and POW-4; nothing may vary.
    """
    _check(x, "x", 4, np.int8, np.int16)
    _check(packed, "packed", 2, np.uint8)
    args = (_pair(kernel, "kernel", 1), *_geometry(stride, padding, dilation), _count(groups, "groups"))
    return cast(Ints, _kernels.call("shift_conv2d", x, packed, bits, *args, bool(truncating)))


def pack_bits(x: NDArray[Any]) -> Words:
    """Pack the signs of numbers into words: bit 1 for ``x >= 0`` (so sign(0) = +1), 0 for negative ones.

    Parameters
    ----------
    x : array of integers or floats [..., K]

    Returns
    -------
    uint64 array [..., ceil(K/64)]; bit i of word j is element 64*j + i, bits past K are 0

    Raises
    ------
    ValueError
        NaN has no sign.

    Notes
    -----
    Bit-exactness: clauses BIN-1 and BIN-2; nothing may vary.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "if" or x.ndim < 1:
        raise TypeError(
            f"got {_described(x)} for x; signs are those of arrays of signed integers or floats; convert it"
        )
    return cast(Words, _kernels.call("pack_bits", x))


def xnor_gemm(a_bits: Words, b_bits: Words, k: int) -> NDArray[np.int32]:
    """Product of rows of +1 and -1 by counting bits: ``k - 2 * popcount(a xor b)``.

    Parameters
    ----------
    a_bits : uint64 array [M, ceil(k/64)] from `pack_bits`
    b_bits : uint64 array [N, ceil(k/64)]
    k : int
        True length of a row; what lies past it in the last word never counts.

    Returns
    -------
    int32 array [M, N]

    Notes
    -----
    Source: QNN paper (XNOR and popcount). Bit-exactness: clause BIN-3; nothing may vary.

    Examples
    --------
    >>> import numpy as np
    >>> xnor_gemm(pack_bits(np.array([[1, -1, 1]])), pack_bits(np.array([[1, 1, 1], [-1, 1, -1]])), k=3)
    array([[ 1, -3]], dtype=int32)
    """
    _check(a_bits, "a_bits", 2, np.uint64)
    _check(b_bits, "b_bits", 2, np.uint64)
    return cast("NDArray[np.int32]", _kernels.call("xnor_gemm", a_bits, b_bits, _count(k, "k", 0)))


def xnor_conv2d(
    x_bits: Words, w_bits: Words, channels: int, stride: Size = 1, padding: Size = 0, pad_value: int = 1
) -> NDArray[np.int32]:
    """Convolution of +-1 images with +-1 weights by counting bits.

    Parameters
    ----------
    x_bits : uint64 array [N, H, W, ceil(channels/64)]
    w_bits : uint64 array [O, KH, KW, ceil(channels/64)]
    channels : int
        True number of channels.
    stride, padding : int or (vertical, horizontal)
    pad_value : 1 or -1
        What a padded pixel is in every channel; a world of +-1 has no zero.

    Returns
    -------
    int32 array [N, OH, OW, O]

    Notes
    -----
    Bit-exactness: clause BIN-4; nothing may vary.
    """
    _check(x_bits, "x_bits", 4, np.uint64)
    _check(w_bits, "w_bits", 4, np.uint64)
    args = (_count(channels, "channels"), _pair(stride, "stride", 1), _pair(padding, "padding", 0), pad_value)
    return cast("NDArray[np.int32]", _kernels.call("xnor_conv2d", x_bits, w_bits, *args))


def bitplane_gemm(x: NDArray[np.uint8], w_bits: Words) -> NDArray[np.int32]:
    """Product of 8-bit unsigned activations with +-1 weights as a sum over bit planes (first layer of a binary net).

    Parameters
    ----------
    x : uint8 array [M, K]
    w_bits : uint64 array [N, ceil(K/64)] from `pack_bits`

    Returns
    -------
    int32 array [M, N]

    Notes
    -----
    Bit-exactness: clause BIN-5; nothing may vary.
    """
    _check(x, "x", 2, np.uint8)
    _check(w_bits, "w_bits", 2, np.uint64)
    return cast("NDArray[np.int32]", _kernels.call("bitplane_gemm", x, w_bits, x.shape[1]))


def _described(x: object) -> str:
    return f"an array of {x.dtype} with shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__


def _check(x: object, name: str, ndim: int, *allowed: type) -> None:
    """TypeError for another type of array, ValueError for another number of axes."""
    names = " or ".join(np.dtype(t).name for t in allowed)
    if not isinstance(x, np.ndarray) or x.dtype not in allowed:
        raise TypeError(
            f"got {_described(x)} for {name}; it must be a NumPy array of {names}; convert or quantise it first"
        )
    if x.ndim != ndim:
        raise ValueError(f"got {_described(x)} for {name}; it must have {ndim} axes; reshape it")


def _count(value: int, name: str, lowest: int = 1) -> int:
    """A whole number that is not below `lowest`."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"got {name} of type {type(value).__name__}; it must be a whole number; pass an int")
    number = operator.index(value)
    if number < lowest:
        raise ValueError(f"got {name} {number}; allowed is {lowest} or more; correct it")
    return number


def _pair(value: Size, name: str, lowest: int) -> Pair:
    """One number for both directions, or (vertical, horizontal)."""
    if not isinstance(value, (tuple, list)):
        number = _count(value, name, lowest)
        return number, number
    if len(value) != 2:
        raise ValueError(f"got {name} {value!r}; allowed are one number or a pair (vertical, horizontal); pass a pair")
    return _count(value[0], name, lowest), _count(value[1], name, lowest)


def _geometry(stride: Size, padding: Size, dilation: Size) -> tuple[Pair, Pair, Pair]:
    return _pair(stride, "stride", 1), _pair(padding, "padding", 0), _pair(dilation, "dilation", 1)


def release_memory() -> None:
    """Give the freed memory that the kernels keep for later back to the system.

    Results of kernels come from blocks that are used again, since fresh memory costs a page fault per 4 KiB, more than
    the kernel that fills it. At most 512 MiB of freed blocks are kept; arrays that are alive are not touched.
    """
    _kernels.release_memory()
