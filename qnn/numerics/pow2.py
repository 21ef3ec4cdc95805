"""Power-of-two weights: codes, packing, and products made of shifts and additions only; AP2."""

from __future__ import annotations

import numpy as np

from .mac import Pair, accumulator_dtype, check_conv_shapes, conv_output_hw, gemm, patches, storage_bits

_SQRT2_FIELD = 0x3504F3  # mantissa field of the largest binary32 number below sqrt(2)
_CARRIES = {"nearest": 0x7FFFFF - _SQRT2_FIELD, "top": 0}
_SMALLEST_NORMAL, _LIFT = np.float32(2.0**-126), np.float32(2.0**64)


def pow2_levels(bits: int) -> int:
    """Number r = 2**(bits-1) - 1 of magnitudes that ``bits``-bit codes can say; ValueError outside 2..5."""
    if not 2 <= bits <= 5:
        raise ValueError(f"got {bits} bits for power-of-two codes; allowed are 2, 3, 4 and 5; choose one of them")
    return (1 << (bits - 1)) - 1


def encode_pow2(weights: np.ndarray, bits: int) -> np.ndarray:
    """Codes (uint8) of integer weights that are 0 or plus or minus 2**t with t in 0..r-1.

    Raises
    ------
    ValueError
        If an entry is none of these; nothing is rounded here.

    Notes
    -----
    Bit-exactness: clause POW-1; nothing may vary.
    """
    r = pow2_levels(bits)
    weights = np.asarray(weights)
    codes = np.zeros(weights.shape, np.uint8)
    known = weights == 0
    for m in range(1, r + 1):
        for sign_bit, value in ((0, 1 << (m - 1)), (1 << (bits - 1), -(1 << (m - 1)))):
            hit = weights == value
            codes[hit] = sign_bit | m
            known |= hit
    if not known.all():
        bad = weights[~known].flat[0]
        raise ValueError(
            f"got the weight {bad}; allowed with {bits} bits are 0 and +-1, +-2, ... +-{1 << (r - 1)}; round it first"
        )
    return codes


def decode_pow2(codes: np.ndarray, bits: int) -> np.ndarray:
    """Integer weights (int32) of codes: 0 if the magnitude field m is 0, else sign * 2**(m-1).

    The real weight is the result times 2**-(r-1), so the largest level is 1.

    Notes
    -----
    Bit-exactness: clause POW-1; nothing may vary.
    """
    r = pow2_levels(bits)
    m = (codes & r).astype(np.int32)
    magnitude = np.where(m == 0, 0, np.left_shift(np.int32(1), np.maximum(m - 1, 0)))
    negative = (codes >> (bits - 1)) & 1
    return np.where(negative == 1, -magnitude, magnitude).astype(np.int32)


def pack_pow2(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack codes [..., K] into bytes [..., ceil(K*bits/8)], little-endian: code i fills bits i*bits .. i*bits+bits-1.

    Raises
    ------
    TypeError
        If the codes are not uint8.
    ValueError
        If a code does not fit, or is the unused one (sign bit set, magnitude field 0).

    Notes
    -----
    Bit-exactness: clause POW-2; nothing may vary.
    """
    r = pow2_levels(bits)
    if codes.dtype != np.uint8:
        raise TypeError(f"got codes of dtype {codes.dtype}; allowed is uint8; use encode_pow2")
    if codes.size and (int(codes.max()) >= 1 << bits or bool((codes == r + 1).any())):
        raise ValueError(
            f"got a code above {(1 << bits) - 1} or the unused code {r + 1}; a {bits}-bit code is 0, or a sign and a "
            f"magnitude 1..{r}; use encode_pow2"
        )
    fields = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little")
    stream = fields.reshape(*codes.shape[:-1], codes.shape[-1] * bits)
    return np.packbits(stream, axis=-1, bitorder="little")


def unpack_pow2(packed: np.ndarray, bits: int, k: int) -> np.ndarray:
    """Inverse of `pack_pow2`: the first ``k`` codes of each row, uint8 [..., k].

    Notes
    -----
    Bit-exactness: clause POW-2; nothing may vary.
    """
    pow2_levels(bits)
    if packed.dtype != np.uint8 or packed.shape[-1] != (k * bits + 7) // 8:
        raise ValueError(
            f"got packed codes {packed.dtype} {packed.shape}; {k} codes of {bits} bits take uint8 rows of "
            f"{(k * bits + 7) // 8} bytes; use pack_pow2"
        )
    stream = np.unpackbits(packed, axis=-1, count=k * bits, bitorder="little")
    fields = stream.reshape(*packed.shape[:-1], k, bits)
    return np.packbits(fields, axis=-1, bitorder="little")[..., 0]


def shift_gemm(x: np.ndarray, packed: np.ndarray, bits: int, k: int, truncating: bool = False) -> np.ndarray:
    """Product of activations [M, K] with packed power-of-two weights [N, *], by widened left shifts.

    ``y[i, j] = sum_k sign * (x[i, k] << (m - 1))``: the same integers as the multiply with the decoded weights, at
    exponent ``e_x - (r - 1)``.

    Parameters
    ----------
    x : int8 or int16 array [M, K]
    packed : uint8 array [N, ceil(K*bits/8)]
    truncating : the cheap shifter: each term is ``sign * (x >> (r - m))`` at exponent e_x, and loses up to one unit

    Returns
    -------
    array [M, N], int32 iff ``K * 2**(nx-1) * 2**(r-1) < 2**31``, else int64.

    Notes
    -----
    Bit-exactness: clause POW-3 (POW-4 with ``truncating``); nothing may vary.
    """
    r = pow2_levels(bits)
    nx = storage_bits(x, "x")
    if x.ndim != 2 or packed.ndim != 2 or x.shape[1] != k:
        raise ValueError(f"got x {x.shape}, packed {packed.shape}, k = {k}; allowed are [M, k] and [N, *]; reshape")
    codes = unpack_pow2(packed, bits, k)
    magnitude, negative = codes & r, (codes >> (bits - 1)) == 1
    y = np.zeros((x.shape[0], packed.shape[0]), shift_accumulator_dtype(k, nx, bits))
    for m in np.unique(magnitude[magnitude > 0]):
        selected = np.where(magnitude == m, np.where(negative, -1, 1), 0).astype(np.int8)
        if truncating:
            y += gemm(x >> (r - int(m)), selected, trans_b=True).astype(y.dtype)
        else:  # all terms with the same shift are added first and shifted together
            y += np.left_shift(gemm(x, selected, trans_b=True).astype(y.dtype), int(m) - 1)
    return y


def shift_accumulator_dtype(k: int, nx: int, bits: int) -> np.dtype:
    """int32 iff ``k * 2**(nx-1) * 2**(r-1) < 2**31``, else int64 (clause POW-3)."""
    return accumulator_dtype(k, nx, pow2_levels(bits))


def shift_conv2d(
    x: np.ndarray,
    packed: np.ndarray,
    bits: int,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    truncating: bool = False,
) -> np.ndarray:
    """Convolution with packed power-of-two weights; row o of ``packed`` is the flattened [KH, KW, C // groups].

    ``truncating`` is as in `shift_gemm`.

    Returns
    -------
    array [N, OH, OW, O] of the type of `shift_gemm` with K = KH*KW*C//groups.

    Notes
    -----
    Bit-exactness: clause POW-3 (POW-4 with ``truncating``); nothing may vary.
    """
    kh, kw = kernel
    o = packed.shape[0]
    check_conv_shapes(x.shape, (o, kh, kw, x.shape[-1] // max(groups, 1)), groups)
    n, h, w, c = x.shape
    cg = c // groups
    k = kh * kw * cg
    oh, ow = conv_output_hw((h, w), kernel, stride, padding, dilation)
    windows = patches(x, kernel, stride, padding, dilation)
    y = np.empty((n * oh * ow, o), shift_accumulator_dtype(k, storage_bits(x, "x"), bits))
    for group in range(groups):
        columns = windows[..., group * cg : (group + 1) * cg].reshape(n * oh * ow, k)
        rows = slice(group * (o // groups), (group + 1) * (o // groups))
        y[:, rows] = shift_gemm(columns, packed[rows], bits, k, truncating)
    return y.reshape(n, oh, ow, o)


def ap2(x: np.ndarray, reading: str = "nearest") -> np.ndarray:
    """Nearest power of two in the logarithm: ``sign(x) * 2**round(log2 |x|)``, and 0 for 0 (float32 in and out).

    Exact: ``|x| = f * 2**k`` with 1 <= f < 2 goes to k+1 iff the 23-bit field of f is greater than 0x3504F3.

    Parameters
    ----------
    x : float32 array
    reading : {"nearest", "top"}
        "top" takes the top bit, ``sign(x) * 2**floor(log2 |x|)``, as a summary of the QNN paper describes AP2.

    Raises
    ------
    ValueError
        For NaN or infinity, or another reading.
    OverflowError
        If the result would be 2**128, which binary32 does not have.

    Notes
    -----
    Source: QNN paper (AP2). Bit-exactness: clause POW-5; nothing may vary.
    """
    carry = ap2_carry(reading)
    x = np.asarray(x)
    if x.dtype != np.float32:
        raise TypeError(f"got dtype {x.dtype}; ap2 takes float32; convert knowingly")
    finite = np.isfinite(x)
    if not finite.all():
        raise ValueError(
            f"got {int((~finite).sum())} values that are NaN or infinite; ap2 takes finite ones; find them"
        )
    power = _next_power(x, carry)
    if bool(np.isinf(power).any()):
        raise OverflowError(
            "got a value whose nearest power of two is 2**128; the largest in float32 is 2**127; scale it"
        )
    small = np.abs(x) < _SMALLEST_NORMAL
    if small.any():  # without a leading one in the field: exact multiples of them have it; adding 0 takes -0 to 0
        power[small] = _next_power(x[small] * _LIFT, carry) / _LIFT + np.float32(0)
    return power


def ap2_carry(reading: str) -> int:
    """What a normal float32 number's bits are raised by, so that a field that AP2 rounds up carries into the exponent.

    Raises
    ------
    ValueError
        For a reading that is not "nearest" or "top".

    Notes
    -----
    Bit-exactness: clause POW-5.
    """
    if reading not in _CARRIES:
        raise ValueError(
            f"got ap2={reading!r}; allowed are 'nearest', the nearest power of two in the logarithm, and 'top', the "
            "power of two of the top bit"
        )
    return _CARRIES[reading]


def _next_power(x: np.ndarray, carry: int) -> np.ndarray:
    """AP2 of normal float32 numbers."""
    carried = x.view(np.uint32) + np.uint32(carry)
    return np.asarray(carried & np.uint32(0xFF800000)).view(np.float32)
