"""A second, slow implementation of IEEE binary32 in exact fractions, to judge the float32 parts bit by bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


class Binary32:
    """Binary32 operations on fractions: exact result, then one rounding to nearest, ties to even; no infinities."""

    @staticmethod
    def round(x: Fraction | int) -> Fraction:
        """Nearest binary32 number, subnormals included."""
        x = Fraction(x)
        if x == 0:
            return x
        size = abs(x)
        exponent = size.numerator.bit_length() - size.denominator.bit_length()
        if size < Fraction(2) ** exponent:
            exponent -= 1
        unit = Fraction(2) ** (max(exponent, -126) - 23)
        result = round(x / unit) * unit  # Python rounds fractions half to even
        assert abs(result) < 2**128
        return result

    @classmethod
    def add(cls, a: Fraction, b: Fraction) -> Fraction:
        return cls.round(a + b)

    @classmethod
    def sub(cls, a: Fraction, b: Fraction) -> Fraction:
        return cls.round(a - b)

    @classmethod
    def mul(cls, a: Fraction, b: Fraction) -> Fraction:
        return cls.round(a * b)

    @classmethod
    def div(cls, a: Fraction, b: Fraction) -> Fraction:
        return cls.round(a / b)

    @classmethod
    def sqrt(cls, a: Fraction) -> Fraction:
        """The root cut to some 200 bits, with half a unit added if something was cut: on the same side of every tie."""
        scaled = a * Fraction(4) ** 200
        root = math.isqrt(scaled.numerator // scaled.denominator)
        exact = Fraction(root * root) == scaled
        return cls.round((Fraction(root) if exact else Fraction(2 * root + 1, 2)) / Fraction(2) ** 200)

    @staticmethod
    def of(x: np.float32 | float) -> Fraction:
        """The number that a float is."""
        return Fraction(float(x))
