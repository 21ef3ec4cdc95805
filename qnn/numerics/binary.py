"""Binary (+1, -1) vectors: signs, packed words, XNOR products, and bit planes for the first layer."""

from __future__ import annotations

import numpy as np

from .mac import Pair, conv_output_hw, patches

WORD_BITS = 64


def pack_bits(x: np.ndarray) -> np.ndarray:
    """Signs of a real array [..., K] as words [..., ceil(K/64)]: bit 1 for x >= 0, so sign(0) = +1 (and -0 too).

    Bit i of word j is element 64*j + i; bits past K are 0.

    Raises
    ------
    ValueError
        If an entry is NaN, which has no sign.

    Notes
    -----
    Bit-exactness: clauses BIN-1 and BIN-2; nothing may vary.
    """
    x = np.asarray(x)
    if x.dtype.kind == "f" and bool(np.isnan(x).any()):
        raise ValueError(f"got {int(np.isnan(x).sum())} NaN; a sign needs a number; find where they come from")
    k = x.shape[-1]
    bits = np.zeros((*x.shape[:-1], _words(k) * WORD_BITS), np.uint8)
    bits[..., :k] = x >= 0
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def unpack_bits(words: np.ndarray, k: int) -> np.ndarray:
    """Inverse of `pack_bits`: int8 array [..., k] of +1 and -1.

    Notes
    -----
    Bit-exactness: clause BIN-2; nothing may vary.
    """
    _check_words(words, k, "words")
    octets = np.ascontiguousarray(words.astype("<u8")).view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, count=k, bitorder="little")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def popcount(words: np.ndarray) -> np.ndarray:
    """Number of ones in each uint64 word (int32)."""
    v = words.astype(np.uint64)
    v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
    v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
    v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((v * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int32)


def valid_mask(k: int) -> np.ndarray:
    """Words with ones at the ``k`` real positions and zeros at the pad positions, uint64 [ceil(k/64)]."""
    return pack_bits(np.zeros(k, np.int8))


def xnor_gemm(a_words: np.ndarray, b_words: np.ndarray, k: int) -> np.ndarray:
    """Products of +-1 rows: ``y[i, j] = k - 2 * popcount(a[i] xor b[j])``; pad bits are ignored whatever they are.

    Parameters
    ----------
    a_words, b_words : uint64 arrays [M, ceil(k/64)] and [N, ceil(k/64)]
    k : true length

    Returns
    -------
    int32 array [M, N]

    Notes
    -----
    Bit-exactness: clause BIN-3; nothing may vary.
    """
    _check_words(a_words, k, "a_words")
    _check_words(b_words, k, "b_words")
    return _xnor_counts(a_words, b_words, valid_mask(k), k)


def xnor_conv2d(
    x_words: np.ndarray,
    w_words: np.ndarray,
    channels: int,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    pad_value: int = 1,
) -> np.ndarray:
    """Convolution of +-1 images with +-1 weights; a padded pixel is ``pad_value`` in every channel.

    Parameters
    ----------
    x_words : uint64 array [N, H, W, ceil(channels/64)]
    w_words : uint64 array [O, KH, KW, ceil(channels/64)]
    pad_value : +1 or -1 (a +-1 world has no zero)

    Returns
    -------
    int32 array [N, OH, OW, O]

    Notes
    -----
    Bit-exactness: clause BIN-4; nothing may vary.
    """
    if pad_value not in (1, -1):
        raise ValueError(f"got pad value {pad_value}; allowed are 1 and -1, since no bit means zero; choose one")
    _check_words(x_words, channels, "x_words")
    _check_words(w_words, channels, "w_words")
    n, h, w, words = x_words.shape
    o, kh, kw, _ = w_words.shape
    oh, ow = conv_output_hw((h, w), (kh, kw), stride, padding)
    fill = (1 << WORD_BITS) - 1 if pad_value == 1 else 0
    windows = patches(x_words, (kh, kw), stride, padding, (1, 1), fill=np.uint64(fill))
    mask = np.tile(valid_mask(channels), kh * kw)
    rows = windows.reshape(n * oh * ow, kh * kw * words)
    y = _xnor_counts(rows, w_words.reshape(o, kh * kw * words), mask, kh * kw * channels)
    return y.reshape(n, oh, ow, o)


def bitplane_gemm(x: np.ndarray, w_words: np.ndarray, k: int) -> np.ndarray:
    """Product of 8-bit unsigned activations with +-1 weights as a sum over bit planes.

    ``y = sum_{n=0..7} 2**n * (2 * popcount(plane_n & w) - popcount(plane_n))``: the integers of the direct product.

    Parameters
    ----------
    x : uint8 array [M, k]
    w_words : uint64 array [N, ceil(k/64)]

    Returns
    -------
    int32 array [M, N]

    Raises
    ------
    OverflowError
        If ``255 * k`` reaches 2**31.

    Notes
    -----
    Bit-exactness: clause BIN-5; nothing may vary.
    """
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != k:
        raise ValueError(f"got x {x.dtype} {x.shape}; a bit-plane product takes uint8 [M, {k}]; convert or reshape")
    if 255 * k >= 1 << 31:
        raise OverflowError(f"got {k} terms; the sum stays in int32 below {(1 << 31) // 255 + 1}; split it")
    _check_words(w_words, k, "w_words")
    y = np.zeros((x.shape[0], w_words.shape[0]), np.int32)
    for plane in range(8):
        ones = pack_bits(((x >> plane) & 1).astype(np.int8) - 1)  # bit set becomes 0, hence a one in the word
        both = np.zeros_like(y)
        for word in range(ones.shape[1]):
            both += popcount(ones[:, word, None] & w_words[None, :, word])
        y += (2 * both - popcount(ones).sum(axis=1, dtype=np.int32)[:, None]) << plane
    return y


def _xnor_counts(a: np.ndarray, b: np.ndarray, mask: np.ndarray, k: int) -> np.ndarray:
    differing = np.zeros((a.shape[0], b.shape[0]), np.int32)
    for word in range(a.shape[1]):
        differing += popcount((a[:, word, None] ^ b[None, :, word]) & mask[word])
    return np.int32(k) - 2 * differing


def _words(k: int) -> int:
    return (k + WORD_BITS - 1) // WORD_BITS


def _check_words(words: np.ndarray, k: int, name: str) -> None:
    if words.dtype != np.uint64:
        raise TypeError(f"got dtype {words.dtype} for {name}; packed bits are uint64; use pack_bits")
    if k < 0 or words.shape[-1] != _words(k):
        raise ValueError(f"got {words.shape[-1]} words a row in {name}; {k} bits take {_words(k)}; use pack_bits")
