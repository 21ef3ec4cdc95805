"""The second, independent implementation: rounding, requantising, exponent rule and noise, one element at a time.

Written from docs/spec alone, with Python fractions and unbounded integers, sharing no code with qnn. Slow on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

RULES = (
    "NEAREST_EVEN",
    "NEAREST_AWAY",
    "NEAREST_UP",
    "NEAREST_DOWN",
    "NEAREST_TO_ZERO",
    "FLOOR",
    "CEIL",
    "TRUNCATE",
    "STOCHASTIC",
)


def round_exact(x: Fraction, rule: int, u: int = 0) -> int:
    """Round an exact number by the rule's words: nearest by distance, ties by name."""
    low, high = math.floor(x), math.ceil(x)
    name = RULES[rule]
    if name == "FLOOR":
        return low
    if name == "CEIL":
        return high
    if name == "TRUNCATE":
        return low if x >= 0 else high
    if name == "STOCHASTIC":
        return math.floor(x + Fraction(u, 65536))
    below, above = x - low, high - x
    if below != above or low == high:
        return low if below <= above else high
    return {
        "NEAREST_EVEN": low if low % 2 == 0 else high,
        "NEAREST_AWAY": high if x > 0 else low,
        "NEAREST_UP": high,
        "NEAREST_DOWN": low,
        "NEAREST_TO_ZERO": low if x > 0 else high,
    }[name]


def power(exponent: int) -> Fraction:
    """Two to any integer power, exact."""
    return Fraction(2**exponent) if exponent >= 0 else Fraction(1, 2**-exponent)


def to_bits(
    values: Sequence[Fraction], exponent: int, bits: int, rule: int, words: Sequence[int] | None = None
) -> tuple[list[int], tuple[int, int, int, int, int]]:
    """Integers and (total, nonzero, overflow, overflow_double, saturated) of exact values at an exponent."""
    half = 2 ** (bits - 1)
    result, nonzero, over, over2, saturated = [], 0, 0, 0, 0
    for i, value in enumerate(values):
        y = value / power(exponent)
        q = round_exact(y, rule, words[i] if words is not None else 0)
        clipped = max(-half, min(half - 1, q))
        result.append(clipped)
        nonzero += value != 0
        over += not (-half <= y < half)
        over2 += not (-half <= 2 * y < half)
        saturated += clipped != q
    return result, (len(result), nonzero, over, over2, saturated)


def next_exponent(counts: Sequence[int], exponent: int, r_max: Fraction = Fraction(0)) -> int:
    """Algorithm 1 on (total, nonzero, overflow, overflow_double, ...)."""
    total, nonzero, over, over2 = counts[:4]
    if nonzero == 0:
        return exponent
    if Fraction(over, total) > r_max:
        exponent += 1
    elif Fraction(over2, total) <= r_max:
        exponent -= 1
    return max(-64, min(63, exponent))


def first_exponent(values: Sequence[Fraction], bits: int) -> int | None:
    """The smallest exponent at which none of the values overflows, by trying all."""
    if all(v == 0 for v in values):
        return None
    half = 2 ** (bits - 1)
    for exponent in range(-64, 63):
        if all(-half <= v / power(exponent) < half for v in values):
            return exponent
    return 63


def philox4x32(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Ten rounds of Philox4x32 on four counter words and two key words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % (1 << 32), (k[1] + 0xBB67AE85) % (1 << 32)]
    return c


def philox_bytes(seed: int, stream: int, step: int, first_block: int, blocks: int) -> bytes:
    """The little-endian bytes of consecutive blocks."""
    out = b""
    for block in range(first_block, first_block + blocks):
        words = philox4x32((block % 2**32, block >> 32, step, stream), (seed % 2**32, seed >> 32))
        out += b"".join(word.to_bytes(4, "little") for word in words)
    return out


def noise_word(seed: int, stream: int, step: int, index: int, bits: int) -> int:
    """Word ``index`` of a Philox stream with ``bits`` random bits, in u16 form."""
    size = 1 if bits <= 8 else 2
    block, place = divmod(index * size, 16)
    data = philox_bytes(seed, stream, step, block, 1)[place : place + size]
    word = int.from_bytes(data, "little") << (16 - 8 * size)
    return word - word % 2 ** (16 - bits)


def lfsr_words(seed: int, count: int, taps: Sequence[int] = (0, 2, 3, 5)) -> list[int]:
    """The states after 1 to ``count`` shifts."""
    state, words = seed, []
    for _ in range(count):
        bit = sum((state >> tap) & 1 for tap in taps) % 2
        state = (state // 2) + 32768 * bit
        words.append(state)
    return words
