"""Hypothesis strategies with the awkward numbers in front: near powers of two, runs of ones, extremes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from qnn.numerics import Rounding

RULES = list(Rounding)
NEAREST = [rule for rule in Rounding if rule.name.startswith("NEAREST")]

rules = st.sampled_from(RULES)
bit_widths = st.one_of(st.sampled_from([2, 8, 16]), st.integers(2, 16))
exponents = st.one_of(st.sampled_from([-64, -7, 0, 63]), st.integers(-64, 63))
words = st.one_of(st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF]), st.integers(0, 65535))
divisors = st.one_of(st.sampled_from([1, 1, 2, 3, 4, 9, 49, 2**31 - 1, 2**46, 2**62 + 1]), st.integers(1, 1 << 20))


def int64s() -> st.SearchStrategy[int]:
    """All of int64, weighted to boundary patterns."""
    near_power = st.builds(
        lambda k, d, s: s * (2**k + d), st.integers(0, 62), st.integers(-2, 2), st.sampled_from([1, -1])
    )
    run = st.builds(lambda a, b: (2**a - 1) & ~(2**b - 1), st.integers(0, 63), st.integers(0, 63))
    edges = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), -(2**63) + 1, 2**31, -(2**31)])
    return st.one_of(edges, near_power, run, st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1))


def accumulators(max_size: int = 12) -> st.SearchStrategy[NDArray[np.int64]]:
    """Arrays of int64."""
    return st.lists(int64s(), min_size=1, max_size=max_size).map(lambda v: np.array(v, dtype=np.int64))


def floats() -> st.SearchStrategy[float]:
    """All finite float32, weighted to ties, halves, subnormals and neighbours of integers."""
    quarter = st.integers(-2000, 2000).map(lambda k: k / 4)
    beside = st.builds(
        lambda k, up: float(np.nextafter(np.float32(k / 2), np.float32(np.inf if up else -np.inf))),
        st.integers(-600, 600),
        st.booleans(),
    )
    return st.one_of(quarter, beside, st.floats(allow_nan=False, allow_infinity=False, width=32))


def reals(max_size: int = 12) -> st.SearchStrategy[NDArray[np.float32]]:
    """Arrays of finite float32."""
    return st.lists(floats(), min_size=1, max_size=max_size).map(lambda v: np.array(v, dtype=np.float32))


def noise_for(array: NDArray[np.generic], seed: int) -> NDArray[np.uint16]:
    """One random word per element (NumPy's generator: these are test inputs, not the noise of the spec)."""
    return np.random.default_rng(seed).integers(0, 65536, array.shape).astype(np.uint16)
