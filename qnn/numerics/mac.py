"""Multiply-accumulate: exact integer matrix products and convolutions, and the width that they need.

Every result here is the mathematical sum, never a wrapped or saturated one, so the order of summation cannot matter.
The code uses that: where all sums stay inside the integers that a binary32 or binary64 number holds exactly, the
product runs through NumPy's floating-point matrix product (exact in any order), otherwise through int64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]

_PATCH_ELEMENTS = 1 << 22  # patches are made for a few images at a time; sums are exact, so the split cannot matter


def accumulator_dtype(k: int, na: int, nb: int) -> np.dtype:
    """Type of the exact sum of ``k`` products of an ``na``-bit and an ``nb``-bit storage integer.

    int32 if and only if ``k * 2**(na-1) * 2**(nb-1) < 2**31``, otherwise int64.

    Raises
    ------
    OverflowError
        If even int64 could overflow (``k * 2**(na+nb-2) >= 2**63``).

    Notes
    -----
    Bit-exactness: clause MAC-1; nothing may vary.
    """
    if k < 0:
        raise ValueError(f"got {k} products in a sum; allowed is 0 or more; check the shapes")
    bound = k << (na + nb - 2)
    if bound >= 1 << 63:
        raise OverflowError(f"got {k} products of {na} and {nb} bits; their sum must stay below 2**63; split the sum")
    return np.dtype(np.int32 if bound < 1 << 31 else np.int64)


def accumulator_bits(k: int, na: int, nb: int) -> int:
    """Accumulator width reported for hardware: ``na + nb - 1 + ceil(log2 k)`` (an empty sum counts as k = 1).

    This width holds every sum with one exception: when k is a power of two and every factor is the most negative
    integer, the sum is exactly ``2**(width-1)``, one above the largest number of that width.  Hardware that cannot
    exclude this case builds `accumulator_bits_needed` bits.

    Notes
    -----
    Bit-exactness: clause MAC-2; nothing may vary.
    """
    _check_widths(k, na, nb)
    return na + nb - 1 + (max(k, 1) - 1).bit_length()


def accumulator_bits_needed(k: int, na: int, nb: int) -> int:
    """Smallest signed width that holds every possible sum: ``na + nb + floor(log2 k)`` (an empty sum counts as k = 1).

    Notes
    -----
    Bit-exactness: clause MAC-2; nothing may vary.
    """
    _check_widths(k, na, nb)
    return na + nb - 1 + max(k, 1).bit_length()


def _check_widths(k: int, na: int, nb: int) -> None:
    if k < 0 or min(na, nb) < 1:
        raise ValueError(
            f"got {k} products of {na} and {nb} bits; allowed are 0 products or more and widths of at least 1"
        )


def storage_bits(array: np.ndarray, name: str = "operand") -> int:
    """8 for an int8 array, 16 for int16; anything else is a TypeError."""
    if array.dtype == np.int8:
        return 8
    if array.dtype == np.int16:
        return 16
    raise TypeError(f"got dtype {array.dtype} for {name}; allowed are int8 and int16; quantise first")


def conv_output_hw(
    input_hw: Pair, kernel_hw: Pair, stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Pair:
    """Height and width of a convolution's (or pooling's) output: ``(H + 2p - d*(k-1) - 1) // s + 1`` per axis.

    Raises
    ------
    ValueError
        If a size is not positive, a padding negative, or the kernel larger than the padded input.

    Notes
    -----
    Bit-exactness: clause MAC-4; nothing may vary.
    """
    sizes = []
    for axis, (size, kernel, step, pad, dil) in enumerate(
        zip(input_hw, kernel_hw, stride, padding, dilation, strict=True)
    ):
        if min(size, kernel, step, dil) < 1 or pad < 0:
            raise ValueError(
                f"got size {size}, kernel {kernel}, stride {step}, padding {pad}, dilation {dil} on axis {'HW'[axis]}; "
                "size, kernel, stride and dilation must be at least 1, padding at least 0; correct the one that is not"
            )
        room = size + 2 * pad - dil * (kernel - 1) - 1
        if room < 0:
            raise ValueError(
                f"got a kernel that spans {dil * (kernel - 1) + 1} on axis {'HW'[axis]}; the padded input has only "
                f"{size + 2 * pad}; use a smaller kernel or more padding"
            )
        sizes.append(room // step + 1)
    return sizes[0], sizes[1]


def _exact_dtype(k: int, na: int, nb: int) -> type:
    """Type in which a sum of k products is exact in any order of summation, fastest first."""
    bound = k << (na + nb - 2)
    if bound <= 1 << 24:
        return np.float32
    return np.float64 if bound < 1 << 53 else np.int64


def gemm(a: np.ndarray, b: np.ndarray, trans_a: bool = False, trans_b: bool = False) -> np.ndarray:
    """Exact matrix product ``C[i, j] = sum_k A[i, k] * B[k, j]`` of int8 or int16 matrices.

    Parameters
    ----------
    a : int8 or int16 array [M, K], or [K, M] with ``trans_a``
    b : int8 or int16 array [K, N], or [N, K] with ``trans_b``

    Returns
    -------
    int32 or int64 array [M, N]; the type is ``accumulator_dtype(K, na, nb)``.

    Raises
    ------
    TypeError
        For another dtype.
    ValueError
        For arrays that are not matrices or do not fit together.

    Notes
    -----
    Bit-exactness: clause MAC-3; nothing may vary.
    """
    na, nb = storage_bits(a, "a"), storage_bits(b, "b")
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"got arrays of shape {a.shape} and {b.shape}; gemm takes two matrices; reshape them")
    left = a.T if trans_a else a
    right = b.T if trans_b else b
    if left.shape[1] != right.shape[0]:
        raise ValueError(
            f"got inner sizes {left.shape[1]} (a) and {right.shape[0]} (b); they must be equal; "
            "check the shapes and the trans_a/trans_b flags"
        )
    k = left.shape[1]
    out = accumulator_dtype(k, na, nb)
    exact = _exact_dtype(k, na, nb)
    return np.ascontiguousarray((left.astype(exact) @ right.astype(exact)).astype(out))


def patches(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, fill: int = 0) -> np.ndarray:
    """All windows of an NHWC array as a read-only view [N, OH, OW, KH, KW, C] of the padded array."""
    oh, ow = conv_output_hw((x.shape[1], x.shape[2]), kernel, stride, padding, dilation)
    (ph, pw), (sh, sw), (dh, dw) = padding, stride, dilation
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=fill) if ph or pw else x
    n, _, _, c = x.shape
    step_n, step_h, step_w, step_c = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        (n, oh, ow, kernel[0], kernel[1], c),
        (step_n, step_h * sh, step_w * sw, step_h * dh, step_w * dw, step_c),
        writeable=False,
    )


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Exact two-dimensional convolution (cross-correlation) with symmetric zero padding.

    ``y[n, oh, ow, o] = sum_{i, j, c} x[n, oh*sh + i*dh - ph, ow*sw + j*dw - pw, base + c] * w[o, i, j, c]`` where
    ``base = (o // (O // groups)) * (C // groups)`` and x is 0 outside.

    Parameters
    ----------
    x : int8 or int16 array [N, H, W, C]
    w : int8 or int16 array [O, KH, KW, C // groups]

    Returns
    -------
    array [N, OH, OW, O] of ``accumulator_dtype(KH*KW*C//groups, nx, nw)``.

    Raises
    ------
    TypeError, ValueError
        For wrong dtypes and for shapes that do not fit.

    Notes
    -----
    Bit-exactness: clause MAC-4; nothing may vary.
    """
    na, nb = storage_bits(x, "x"), storage_bits(w, "w")
    check_conv_shapes(x.shape, w.shape, groups)
    o, kh, kw, cg = w.shape
    k = kh * kw * cg
    exact = _exact_dtype(k, na, nb)
    oh, ow = conv_output_hw((x.shape[1], x.shape[2]), (kh, kw), stride, padding, dilation)
    weights = w.astype(exact).reshape(groups, o // groups, k).transpose(0, 2, 1)  # [G, K, O/G]
    y = np.empty((x.shape[0], oh, ow, o), accumulator_dtype(k, na, nb))
    for images in _chunks(x.shape[0], oh * ow * k * groups):
        columns: np.ndarray = _columns(x[images], (kh, kw), stride, padding, dilation, groups).astype(exact)
        y[images] = (columns @ weights).transpose(1, 0, 2).reshape(y[images].shape)
    return y


def conv2d_input_grad(
    g: np.ndarray,
    w: np.ndarray,
    input_hw: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Exact gradient of `conv2d` with respect to its input: the sum of g * w over all outputs that used the input.

    Parameters
    ----------
    g : int8 or int16 array [N, OH, OW, O]
    w : int8 or int16 array [O, KH, KW, C // groups]
    input_hw : height and width of the convolution's input

    Returns
    -------
    array [N, H, W, C] of ``accumulator_dtype(KH*KW*O//groups, ng, nw)``; inputs that no window reached get 0.

    Notes
    -----
    Bit-exactness: clause MAC-5; nothing may vary.
    """
    na, nb = storage_bits(g, "g"), storage_bits(w, "w")
    o, kh, kw, cg = w.shape
    n = g.shape[0]
    check_conv_shapes((n, *input_hw, cg * groups), w.shape, groups)
    oh, ow = conv_output_hw(input_hw, (kh, kw), stride, padding, dilation)
    _check_output_shape(g.shape, (n, oh, ow, o))
    k = kh * kw * (o // groups)
    out, exact = accumulator_dtype(k, na, nb), _exact_dtype(k, na, nb)
    (h, wid), (ph, pw), (sh, sw), (dh, dw) = input_hw, padding, stride, dilation
    grads = g.astype(exact).reshape(n * oh * ow, groups, o // groups).transpose(1, 0, 2)  # [G, P, O/G]
    weights: np.ndarray = w.astype(exact).reshape(groups, o // groups, kh, kw, cg)
    padded = np.zeros((n, h + 2 * ph, wid + 2 * pw, groups * cg), exact)
    for i in range(kh):
        for j in range(kw):
            share = (grads @ weights[:, :, i, j]).transpose(1, 0, 2).reshape(n, oh, ow, groups * cg)
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            cols = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
            padded[:, rows, cols] += share
    return np.ascontiguousarray(padded[:, ph : ph + h, pw : pw + wid].astype(out))


def conv2d_weight_grad(
    x: np.ndarray,
    g: np.ndarray,
    kernel_hw: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Exact gradient of `conv2d` with respect to its weights: sums over batch and positions.

    Parameters
    ----------
    x : int8 or int16 array [N, H, W, C]
    g : int8 or int16 array [N, OH, OW, O]

    Returns
    -------
    array [O, KH, KW, C // groups] of ``accumulator_dtype(N*OH*OW, nx, ng)``.

    Notes
    -----
    Bit-exactness: clause MAC-6; nothing may vary.
    """
    na, nb = storage_bits(x, "x"), storage_bits(g, "g")
    n, h, wid, c = x.shape
    o, (kh, kw) = g.shape[-1], kernel_hw
    check_conv_shapes(x.shape, (o, kh, kw, c // max(groups, 1)), groups)
    oh, ow = conv_output_hw((h, wid), kernel_hw, stride, padding, dilation)
    _check_output_shape(g.shape, (n, oh, ow, o))
    cg, k = c // groups, n * oh * ow
    out, exact = accumulator_dtype(k, na, nb), _exact_dtype(k, na, nb)
    total = np.zeros((groups, o // groups, kh * kw * cg), exact)
    for images in _chunks(n, oh * ow * kh * kw * c):
        columns: np.ndarray = _columns(x[images], kernel_hw, stride, padding, dilation, groups).astype(
            exact
        )  # [G, P, K]
        part: np.ndarray = g[images].astype(exact)
        positions = part.shape[0] * part.shape[1] * part.shape[2]
        grads = part.reshape(positions, groups, o // groups).transpose(1, 2, 0)  # [G, O/G, P]
        total += grads @ columns
    return np.ascontiguousarray(total.reshape(o, kh, kw, cg).astype(out))


def check_conv_shapes(x_shape: tuple[int, ...], w_shape: tuple[int, ...], groups: int) -> None:
    """Raise ValueError unless an NHWC input and OHWI weights fit together with this number of groups."""
    if len(x_shape) != 4 or len(w_shape) != 4:
        raise ValueError(
            f"got shapes {x_shape} and {w_shape}; a convolution takes [N, H, W, C] and [O, KH, KW, C//groups]; reshape"
        )
    if groups < 1 or x_shape[3] % groups or w_shape[0] % groups or w_shape[3] * groups != x_shape[3]:
        raise ValueError(
            f"got {x_shape[3]} input channels, weights {w_shape} and {groups} groups; groups must divide both channel "
            "counts, and the weights' last axis must be C // groups; correct groups or the weights"
        )


def _check_output_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise ValueError(
            f"got an output gradient of shape {got}; the convolution's output has {expected}; "
            "check stride, padding and dilation"
        )


def _columns(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> np.ndarray:
    """The windows of x as [groups, positions, KH*KW*C//groups], in the order of a weight row."""
    view = patches(x, kernel, stride, padding, dilation)
    n, oh, ow, kh, kw, c = view.shape
    split = view.reshape(n * oh * ow, kh * kw, groups, c // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, n * oh * ow, kh * kw * (c // groups))


def _chunks(images: int, elements_per_image: int) -> Iterator[slice]:
    step = max(1, _PATCH_ELEMENTS // max(1, elements_per_image))
    for start in range(0, images, step):
        yield slice(start, min(start + step, images))
