"""A slow, independent version of an integer training step in Python integers and fractions, from the spec only.

Nothing of the engine or of qnn.numerics' arithmetic is used, except the noise words (their own tests hold them). It
knows one
small net: linear, relu, linear, softmax cross-entropy, with the exponents and masters it is given.
"""

from __future__ import annotations

from fractions import Fraction

from qnn.numerics import philox


def floor(x: Fraction) -> int:
    return x.numerator // x.denominator


def nearest_down(x: Fraction) -> int:
    """Nearest, ties toward minus infinity."""
    low = floor(x)
    return low + 1 if x - low > Fraction(1, 2) else low


def stochastic(x: Fraction, word: int) -> int:
    """floor of x in units of 2^-16, plus the word, floored."""
    return (floor(x * 65536) + word) // 65536


def clip(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return max(-half, min(half - 1, value))


def first_exponent(values: list[Fraction], bits: int) -> int:
    """Smallest e with all values in [-2^(n-1), 2^(n-1)) * 2^e; 3 - bits for all zeros."""
    if not any(values):
        return 3 - bits
    half = 1 << (bits - 1)
    e = -64
    while any(not (-half * Fraction(2) ** e <= v < half * Fraction(2) ** e) for v in values):
        e += 1
    return e


class Site:
    """One quantisation site: exponent, stream, and the rule."""

    def __init__(self, stream: int, seed: int, random: bool, bits: int = 8) -> None:
        self.stream, self.seed, self.random, self.bits = stream, seed, random, bits
        self.exponent: int | None = None
        self.seen: list[Fraction] = []

    def quantize(self, values: list[Fraction], step: int, at_least: int | None = None) -> tuple[list[int], int]:
        if self.exponent is None and any(values):
            self.exponent = first_exponent(values, self.bits)
        own = 3 - self.bits if self.exponent is None else self.exponent
        e = own if at_least is None else max(own, at_least)
        self.seen = values
        scaled = [v / Fraction(2) ** e for v in values]
        if self.random:
            words = philox(self.seed, self.stream, 0, len(values), step)
            return [clip(stochastic(s, int(w)), self.bits) for s, w in zip(scaled, words, strict=True)], e
        return [clip(nearest_down(s), self.bits) for s in scaled], e

    def advance(self) -> None:
        """Algorithm 1 with r_max = 0."""
        if self.exponent is None or not any(self.seen):
            return
        half = 1 << (self.bits - 1)

        def over(factor: int) -> bool:
            unit = Fraction(2) ** self.exponent
            return any(not (-half <= factor * v / unit < half) for v in self.seen)

        if over(1):
            self.exponent += 1
        elif not over(2):
            self.exponent -= 1


def matmul(a: list[list[int]], b: list[list[int]]) -> list[list[int]]:
    """a [M, K] times b [K, N]."""
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]
