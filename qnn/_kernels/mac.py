"""Multiply-accumulate operations of the dispatch table: the reference path, and registration of the compiled ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import mac as numerics
from qnn.numerics.batchnorm import Sums, channel_sums
from qnn.numerics.dfp import Target, requantize
from qnn.numerics.exponent import Counts
from qnn.numerics.layers import look_up
from qnn.numerics.mac import check_conv_shapes

from .prepared import check_prepared

Ints = NDArray[Any]
Pair = tuple[int, int]


def gemm_requantize(
    a: Ints, b: Ints, trans_b: bool, bias: NDArray[np.int64] | None, exponent: int, target: Target
) -> tuple[Ints, Counts]:
    """Matrix product with one rounding: ``(a @ b + bias) * 2**exponent`` as n-bit integers.

    Parameters
    ----------
    a : ndarray of int8 or int16 [M, K]
    b : ndarray of int8 or int16 [K, N], or [N, K] with `trans_b`
    bias : ndarray of int64 [N], optional
        On the accumulators' grid.
    exponent : int
        Exponent of the accumulators: the sum of the operands' exponents.
    target : Target
        Element (i, j) has noise address ``i * N + j``.

    Returns
    -------
    ints : ndarray of int8 or int16 [M, N]
    counts : Counts

    Raises
    ------
    TypeError, ValueError
        Wrong dtypes or shapes; noise missing.

    Notes
    -----
    Bit-exactness: clauses MAC-3 and REQ-1; nothing may vary.
    """
    return requantize(numerics.gemm(a, b, False, trans_b), exponent, target, bias=bias)


def conv2d_requantize(
    x: Ints,
    w: Ints,
    bias: NDArray[np.int64] | None,
    exponent: int,
    target: Target,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    sums: bool = False,
) -> tuple[Ints, Counts] | tuple[Ints, Counts, Sums]:
    """Convolution with one rounding of ``(conv2d(x, w) + bias) * 2**exponent``; x is NHWC, w is OHWI, bias int64 [O].

    Returns
    -------
    ints : ndarray of int8 or int16 [N, OH, OW, O]
    counts : Counts
    sums : two ndarrays of int64 [O]
        What :func:`qnn.numerics.channel_sums` gives for the integers; only if `sums`.

    Raises
    ------
    TypeError, ValueError
        As :func:`qnn.numerics.mac.conv2d` and :func:`qnn.numerics.dfp.requantize`.

    Notes
    -----
    Bit-exactness: clauses MAC-4, REQ-1 and BN-1; nothing may vary.
    """
    ints, counts = requantize(numerics.conv2d(x, w, stride, padding, dilation, groups), exponent, target, bias=bias)
    return (ints, counts, channel_sums(ints)) if sums else (ints, counts)


def prepare_conv2d(
    w: Ints,
    bias: NDArray[np.int64] | None,
    exponent: int,
    target: Target,
    shape: tuple[int, int, int],
    table: NDArray[np.int8] | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Callable[[NDArray[np.int8]], Ints]:
    """A convolution with one rounding as a function of its input, for networks whose weights stay as they are.

    Parameters
    ----------
    w : ndarray of int8 or int16 [O, KH, KW, C/groups]
        Copied.
    bias : ndarray of int64 [O], optional
        On the accumulators' grid; copied.
    exponent : int
        Exponent of the accumulators.
    target : Target
        Without noise.
    shape : tuple of int
        (H, W, C) of the images.
    table : ndarray of int8 [O, 256], optional
        What the integers of each channel are replaced with afterwards, as :func:`qnn.numerics.look_up` does; copied.

    Returns
    -------
    callable
        Takes int8 [N, H, W, C] with any N, gives int8 or int16 [N, OH, OW, O].

    Raises
    ------
    TypeError, ValueError
        As :func:`conv2d_requantize`; stochastic rounding; a table for results that are no bytes.

    Notes
    -----
    Bit-exactness: clauses MAC-4, REQ-1 and LAY-11; nothing may vary.
    """
    weights, offset = w.copy(), None if bias is None else bias.copy()
    entries = None if table is None else table.copy()
    check_prepared(target, entries, len(w))
    check_conv_shapes((1, *shape), w.shape, groups)
    numerics.conv_output_hw(shape[:2], w.shape[1:3], stride, padding, dilation)

    def run(x: NDArray[np.int8]) -> Ints:
        if x.dtype != np.int8 or x.shape[1:] != tuple(shape):
            raise ValueError(
                f"got {x.dtype} of shape {x.shape}; this convolution was prepared for int8 of "
                f"[N, {', '.join(map(str, shape))}]: pass such an array"
            )
        y = conv2d_requantize(x, weights, offset, exponent, target, stride, padding, dilation, groups)[0]
        return y if entries is None else look_up(y, entries)

    return run


def conv2d_input_grad_requantize(
    g: Ints,
    w: Ints,
    input_hw: Pair,
    exponent: int,
    target: Target,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[Ints, Counts]:
    """Input gradient of a convolution with one rounding; g is NHWC [N, OH, OW, O], the result [N, H, W, C].

    Returns
    -------
    ints : ndarray of int8 or int16 [N, H, W, C]
    counts : Counts

    Raises
    ------
    TypeError, ValueError
        As :func:`qnn.numerics.mac.conv2d_input_grad` and :func:`qnn.numerics.dfp.requantize`.

    Notes
    -----
    Bit-exactness: clauses MAC-5 and REQ-1; nothing may vary.
    """
    return requantize(numerics.conv2d_input_grad(g, w, input_hw, stride, padding, dilation, groups), exponent, target)


REFERENCE: dict[str, Callable[..., Any]] = {
    "gemm": numerics.gemm,
    "gemm_requantize": gemm_requantize,
    "conv2d": numerics.conv2d,
    "conv2d_requantize": conv2d_requantize,
    "prepare_conv2d": prepare_conv2d,
    "conv2d_input_grad": numerics.conv2d_input_grad,
    "conv2d_input_grad_requantize": conv2d_input_grad_requantize,
    "conv2d_weight_grad": numerics.conv2d_weight_grad,
}

COMPILED: dict[str, dict[str, Callable[..., Any]]] = {}
BUILD_INFO: dict[str, Any] = {}
SHIFT_GEMM4: dict[str, Callable[..., Any]] = {}
"""Per path, the product with 4-bit codes that decodes and multiplies; behind ``shift_gemm`` in elementwise.py."""
SELF_CHECKED = ("amx", "avx512vnni")
"""Paths that are compared with ``c`` before they are offered."""

try:
    from qnn._kernels import _mac
except ImportError:

    def set_threads(count: int) -> None:
        """Nothing to tell: the reference path leaves threads to NumPy."""
else:
    set_threads = _mac.set_threads
    BUILD_INFO.update(_mac.build_info())
    for _path in _mac.paths():
        _kernels = _mac.Kernels(_path)
        COMPILED[_path] = {_name: getattr(_kernels, _name) for _name in REFERENCE}
        SHIFT_GEMM4[_path] = _kernels.shift_gemm4


def refusal(path: str) -> str | None:
    """Return why a path of COMPILED must not be offered on this machine: None, or a reason to warn about.

    Looked at once, before the first choice. ``c`` is what the others are compared with, ``avx2`` the tests run
    everywhere; the paths that few machines have prove themselves on small fixed cases (some 100 microseconds).
    """
    if path not in SELF_CHECKED or _mac.self_check(path):
        return None
    return "its results differ from those of the c path on small fixed cases"
