"""Registers every operation that is not an int8/int16 product: its definition, and its compiled twins where they exist.

The definitions call :mod:`qnn.numerics`; the few that are one NumPy expression stand here. The compiled twins take the
same arguments and give the same bits; whatever they cannot take (Python integers, float32 pooling) or must refuse
(wrong types, shapes, NaN) they hand to the definition, so results and messages are the same on every path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import numerics

from . import TABLE
from .mac import SELF_CHECKED, SHIFT_GEMM4
from .prepared import check_prepared

Ints = NDArray[Any]
Pair = tuple[int, int]

__all__ = ["COMPILED", "REFERENCE", "set_threads"]


def _extension() -> Any:
    """The compiled part, or None when there was no compiler at installation: the definitions do everything then."""
    try:
        from . import _elem
    except ImportError:
        return None
    return _elem


_elem = _extension()


def noise_u16(noise: numerics.Noise, count: int) -> NDArray[np.uint16]:
    """Noise words ``noise.start`` to ``noise.start + count`` in u16 form (clauses NOI-3 to NOI-6)."""
    return noise.u16(count)


def int_range(x: Ints) -> tuple[int, int]:
    """Smallest and largest integer of an array, (0, 0) for an empty one.

    Raises
    ------
    TypeError
        If the array holds no integers.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iuO":
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"got {got} for int_range; it takes arrays of integers; use float_range for float32")
    return (int(x.min()), int(x.max())) if x.size else (0, 0)


def float_range(x: NDArray[np.float32]) -> tuple[float, float]:
    """Smallest and largest value of a float32 array, (0.0, 0.0) for an empty one.

    Raises
    ------
    TypeError
        If the array is not float32.
    ValueError
        On NaN or infinity; the message has their number.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"got {got} for float_range; it takes float32 arrays; convert with x.astype(np.float32)")
    bad = x.size - int(np.count_nonzero(np.isfinite(x)))
    if bad:
        nans = int(np.count_nonzero(np.isnan(x)))
        raise ValueError(
            f"got {nans} NaN and {bad - nans} infinite values among {x.size}; only finite values have a range; "
            "find where they arise (a too high learning rate is the usual cause)"
        )
    return (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)


def relu(x: Ints) -> Ints:
    """``max(x, 0)`` element by element, of the type of x."""
    return np.maximum(x, x.dtype.type(0))


def relu_grad(g: Ints, y: Ints) -> Ints:
    """``g`` where the ReLU's output ``y`` is positive, else 0."""
    if g.shape != y.shape:
        raise ValueError(
            f"got a gradient {g.shape} for an output {y.shape}; they must be equal; check the layer's input"
        )
    return np.where(y > 0, g, g.dtype.type(0))


def clip_ints(x: Ints, lo: int, hi: int) -> Ints:
    """``min(max(x, lo), hi)`` element by element, of the type of x; ``lo <= hi``, both may lie outside the type."""
    if x.dtype.kind != "i":
        raise TypeError(f"got {x.dtype} for clip_ints; it takes signed integers; quantise first")
    if lo > hi:
        raise ValueError(f"got limits {lo} to {hi}; the lower one must not be larger; swap them")
    info = np.iinfo(x.dtype)
    if lo > info.max or hi < info.min:
        raise ValueError(f"got limits {lo} to {hi}, outside of {x.dtype}; the result would not fit; use a wider type")
    return np.clip(x, x.dtype.type(max(lo, info.min)), x.dtype.type(min(hi, info.max)))


def ints_to_float32(ints: Ints, exponent: int) -> NDArray[np.float32]:
    """Exact integers times ``2**exponent`` as float32, rounded once (clauses FLT-2 and FLT-3)."""
    return numerics.scale_by_power(numerics.to_float32_once(ints), exponent)


def sgd(
    w: NDArray[np.float32],
    g: Ints,
    velocity: NDArray[np.float32],
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    exponent: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A step of SGD (clause UPD-1); with an exponent the gradient comes as exact integers (clauses FLT-2 and FLT-3)."""
    gradient = g if exponent is None else ints_to_float32(g, exponent)
    return numerics.sgd(w, gradient, velocity, lr, momentum, weight_decay, nesterov)


def prepare_add(
    exponents: Sequence[int], target: numerics.Target, table: NDArray[np.int8] | None = None
) -> Callable[..., Ints]:
    """``add_requantize`` of terms with these exponents as a function of their integers, then through a table.

    Parameters
    ----------
    exponents : sequence of int
        One per term, at least one.
    target : Target
        Without noise.
    table : ndarray of int8 [C, 256], optional
        What the integers of each channel (the last axis) are replaced with afterwards; copied.

    Returns
    -------
    callable
        Takes as many integer arrays of one shape, gives int8 or int16 of that shape.

    Raises
    ------
    ValueError
        No exponents; stochastic rounding; a table for results that are no bytes.

    Notes
    -----
    Bit-exactness: clauses REQ-7 and LAY-11; nothing may vary.
    """
    own, entries = tuple(exponents), None if table is None else table.copy()
    if not own:
        raise ValueError("got no exponents; a sum has one or more terms: pass the exponent of each")
    check_prepared(target, entries)

    def run(*terms: Ints) -> Ints:
        if len(terms) != len(own):
            raise ValueError(
                f"got {len(terms)} terms for a sum that was prepared for {len(own)}: pass one per exponent"
            )
        y, _ = numerics.add_requantize(list(zip(terms, own, strict=True)), target)
        return y if entries is None else numerics.look_up(y, entries)

    return run


REFERENCE: dict[str, Callable[..., Any]] = {
    "quantize": numerics.quantize,
    "requantize": numerics.requantize,
    "add_requantize": numerics.add_requantize,
    "prepare_add": prepare_add,
    "noise_u16": noise_u16,
    "int_range": int_range,
    "float_range": float_range,
    "channel_sums": numerics.channel_sums,
    "channel_dots": numerics.channel_dots,
    "bn_statistics": numerics.bn_statistics,
    "running_update": numerics.running_update,
    "bn_grad_coefficients": numerics.bn_grad_coefficients,
    "softmax_cross_entropy": numerics.softmax_cross_entropy,
    "normalize": numerics.normalize,
    "normalize_grad": numerics.normalize_grad,
    "normalize_scale": numerics.normalize_scale,
    "scale": numerics.scale,
    "scale_grad": numerics.scale_grad,
    "max_pool": numerics.max_pool,
    "max_pool_grad": numerics.max_pool_grad,
    "sum_pool": numerics.sum_pool,
    "sum_pool_grad": numerics.sum_pool_grad,
    "relu": relu,
    "relu_grad": relu_grad,
    "clip_ints": clip_ints,
    "subsample": numerics.subsample,
    "subsample_grad": numerics.subsample_grad,
    "look_up": numerics.look_up,
    "sgd": sgd,
    "adam": numerics.adam,
    "shift_adamax": numerics.shift_adamax,
    "ints_to_float32": ints_to_float32,
    "shift_gemm": numerics.shift_gemm,
    "shift_conv2d": numerics.shift_conv2d,
    "xnor_gemm": numerics.xnor_gemm,
    "xnor_conv2d": numerics.xnor_conv2d,
    "pack_bits": numerics.pack_bits,
    "bitplane_gemm": numerics.bitplane_gemm,
}
"""{operation: its definition}."""


def _shift_gemm_multiplied(
    path: str, x: Ints, packed: NDArray[np.uint8], bits: int, k: int, truncating: bool = False
) -> Ints:
    """shift_gemm by decoding the codes and multiplying: the same integers, and the processor multiplies faster."""
    if truncating:
        return _shifting("shift_gemm")(x, packed, bits, k, truncating)
    gemm, quick = TABLE["gemm"].get(path), SHIFT_GEMM4.get(path)
    if quick is not None and bits == 4 and _are_bytes(x, packed, k):
        dtype = numerics.shift_accumulator_dtype(k, 8, 4)
        return quick(x, packed, k).astype(dtype, copy=False)
    weights = _elem.pow2_weights(packed, bits, k)
    if gemm is None or weights is None or not _is_small(x) or x.ndim != 2 or x.shape[1] != k:
        return COMPILED["c"]["shift_gemm"](x, packed, bits, k)
    dtype = numerics.shift_accumulator_dtype(k, 8 * x.itemsize, bits)
    return gemm(x, weights, False, True).astype(dtype, copy=False)


def _shift_conv2d_multiplied(
    path: str,
    x: Ints,
    packed: NDArray[np.uint8],
    bits: int,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    truncating: bool = False,
) -> Ints:
    """shift_conv2d by decoding the codes and multiplying."""
    if truncating:
        return _shifting("shift_conv2d")(x, packed, bits, kernel, stride, padding, dilation, groups, truncating)
    conv2d = TABLE["conv2d"].get(path)
    weights = None
    if (
        conv2d is not None
        and _is_small(x)
        and x.ndim == 4
        and groups >= 1
        and x.shape[3] % groups == 0
        and min(kernel) >= 1
    ):
        channels = x.shape[3] // groups
        k = kernel[0] * kernel[1] * channels
        weights = _elem.pow2_weights(packed, bits, k)
    if conv2d is None or weights is None:
        return COMPILED["c"]["shift_conv2d"](x, packed, bits, kernel, stride, padding, dilation, groups)
    dtype = numerics.shift_accumulator_dtype(k, 8 * x.itemsize, bits)
    filters = weights.reshape(packed.shape[0], kernel[0], kernel[1], channels)
    return conv2d(x, filters, stride, padding, dilation, groups).astype(dtype, copy=False)


def _shifting(operation: str) -> Callable[..., Ints]:
    """The form of an operation that shifts, with the widest vectors it has: what truncates is no multiplication."""
    return partial(getattr(_elem, operation), int(_elem.has_avx2()))


def _are_bytes(x: object, packed: object, k: int) -> bool:
    """Whether these are int8 rows of k and as many packed 4-bit codes, whose sums stay far within int32."""
    return (
        isinstance(x, np.ndarray)
        and isinstance(packed, np.ndarray)
        and (x.dtype, packed.dtype) == (np.int8, np.uint8)
        and x.ndim == packed.ndim == 2
        and x.shape[1] == k < 2**17
        and packed.shape[1] == (k + 1) // 2
    )


def _is_small(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.dtype in (np.int8, np.int16)


WITH_AVX512 = (
    "quantize",
    "requantize",
    "add_requantize",
    "prepare_add",
    "noise_u16",
    "channel_sums",
    "channel_dots",
    "normalize",
    "normalize_grad",
    "normalize_scale",
    "scale",
    "scale_grad",
)
"""Operations whose form for AVX-512 is clearly faster than that for AVX2; the others fall through to it."""

TABLES = ("look_up",)
"""What has a version for ``avx512vnni`` on processors that permute bytes of two registers (AVX512_VBMI)."""
BIT_PRODUCTS = ("xnor_gemm", "xnor_conv2d", "bitplane_gemm")
"""What has a version for ``avx512vnni`` on processors that count bits in vectors (AVX512_VPOPCNTDQ)."""


def refusal(path: str) -> str | None:
    """Return why a path of COMPILED must not be offered: its tables or products of bits differ from the definition's.

    The cases are fixed: lengths with and without tails, rows for each way to go through them, set pad bits.
    """
    own = COMPILED[path]
    if path not in SELF_CHECKED:
        return None
    if "look_up" in own:
        codes = (np.arange(65 * 32) * 157 % 256).astype(np.uint8).reshape(65, 32)
        table = (np.arange(32 * 256) * 101 % 251 - 125).astype(np.int8).reshape(32, 256)
        if not np.array_equal(own["look_up"](codes, table), numerics.look_up(codes, table)):
            return "its tables of bytes differ from the definition on small fixed cases"
    if "xnor_gemm" not in own:
        return None
    for rows, columns, k in ((1, 5, 70), (5, 17, 64), (13, 33, 1100)):
        words = np.arange(1, (rows + columns) * ((k + 63) // 64) + 1, dtype=np.uint64)
        words = (words * np.uint64(0x9E3779B97F4A7C15)).reshape(rows + columns, -1)
        a, b = words[:rows], words[rows:]
        if not np.array_equal(own["xnor_gemm"](a, b, k), numerics.xnor_gemm(a, b, k)):
            return "its products of bits differ from those of the definition on small fixed cases"
    return None


def _compiled() -> dict[str, dict[str, Callable[..., Any]]]:
    """The compiled twins per path; ``avx2`` only on a processor that has it."""
    if _elem is None:
        return {}
    _elem.set_reference(REFERENCE)
    paths = {"c": 0, "avx2": 1} if _elem.has_avx2() else {"c": 0}
    table: dict[str, dict[str, Callable[..., Any]]] = {
        path: {op: partial(getattr(_elem, op), number) for op in _elem.OPERATIONS} for path, number in paths.items()
    }
    # Three parts of the path avx512vnni, each for processors that have its instructions.
    parts = ((_elem.has_avx512(), WITH_AVX512), (_elem.has_vbmi(), TABLES), (_elem.has_vpopcnt(), BIT_PRODUCTS))
    for there, operations in parts:
        if there:
            table.setdefault("avx512vnni", {}).update({op: partial(getattr(_elem, op), 2) for op in operations})
    for path in SHIFT_GEMM4:
        if path != "c":  # which really shifts
            table.setdefault(path, {}).update(
                shift_gemm=partial(_shift_gemm_multiplied, path), shift_conv2d=partial(_shift_conv2d_multiplied, path)
            )
    return table


COMPILED: dict[str, dict[str, Callable[..., Any]]] = _compiled()
"""{path: {operation: function}}; empty when the extension was not built."""


def set_threads(number: int) -> None:
    """Tell the extension how many threads it may use."""
    if _elem is not None:
        _elem.set_threads(number)
