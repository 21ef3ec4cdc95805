"""Values at the bounds where kernels change to narrower lanes, on every path against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from elem_cases import run, same
from hypothesis import given
from hypothesis import strategies as st
from mac_cases import seeds

import qnn._kernels as kernels
from qnn.numerics import Noise, Rounding, Target

compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])
rules = st.one_of(st.sampled_from(list(Rounding)), st.just(Rounding.STOCHASTIC), st.just(Rounding.NEAREST_DOWN))
widths = st.one_of(st.just(8), st.integers(2, 9))


def target(exponent: int, bits: int, rule: Rounding, seed: int) -> Target:
    """A target; its noise begins at a whole block or within one."""
    noise = Noise(seed=seed, start=8 * (seed % 3) + (seed % 5 == 0)) if rule is Rounding.STOCHASTIC else None
    return Target(exponent, bits, rule, noise)


@pytest.mark.clause("REQ-1", "EXP-1", "RND-12")
@compiled
@given(seed=seeds, shift=st.integers(0, 31), bits=widths, rule=rules)
def test_requantize_at_limits_and_ends(path: str, seed: int, shift: int, bits: int, rule: Rounding) -> None:
    rng = np.random.default_rng(seed)
    limits = np.array([1, 2, 4], np.int64) << max(bits - 3 + shift, 0)
    edges = np.concatenate([limits, -limits, [0, 2**31 - 1, -(2**31), 2**31 - (1 << shift)]])
    near = rng.choice(edges, 193) + rng.choice([-1, 0, 1, (1 << shift) // 2, -((1 << shift) // 2)], 193)
    acc = np.clip(near, -(2**31), 2**31 - 1).astype(np.int32)
    to = target(shift, bits, rule, seed)
    same(run(path, "requantize", acc, 0, to), run("reference", "requantize", acc, 0, to))


@pytest.mark.clause("BN-8")
@compiled
@given(seed=seeds, shift=st.integers(0, 15), bits=widths, rule=rules, more=st.integers(-1, 2))
def test_scale_where_sums_just_fit_int16(
    path: str, seed: int, shift: int, bits: int, rule: Rounding, more: int
) -> None:
    rng = np.random.default_rng(seed)
    gamma = rng.integers(-128, 128, 17).astype(np.int8)
    room = 2**15 - (1 << shift) - 128 * np.abs(gamma.astype(np.int64)) + more
    bias = np.maximum(room, 0) * rng.choice([-1, 1], 17)
    x = rng.choice(np.array([-128, -127, 0, 1, 127], np.int8), (13, 17))
    to = target(shift, bits, rule, seed)
    same(run(path, "scale", x, gamma, bias, 0, to), run("reference", "scale", x, gamma, bias, 0, to))


@pytest.mark.clause("BN-8")
@compiled
@pytest.mark.parametrize("rule", [Rounding.CEIL, Rounding.STOCHASTIC])
def test_scale_where_the_addend_takes_the_last_room(path: str, rule: Rounding) -> None:
    x, gamma = np.full((70, 1), -128, np.int8), np.array([-128], np.int8)
    words = np.full(x.size, 0xFFFF, np.uint16) if rule is Rounding.STOCHASTIC else None
    for shift in range(15):
        for more in (0, 1):
            bias, to = np.array([2**14 - (1 << shift) + more]), Target(shift, 8, rule, words)
            same(run(path, "scale", x, gamma, bias, 0, to), run("reference", "scale", x, gamma, bias, 0, to))


@pytest.mark.clause("REQ-7")
@compiled
@given(seed=seeds, shifts=st.tuples(*[st.integers(0, 8)] * 3), bits=widths, rule=rules)
def test_add_where_sums_just_fit_int16(
    path: str, seed: int, shifts: tuple[int, int, int], bits: int, rule: Rounding
) -> None:
    rng = np.random.default_rng(seed)
    terms = [(rng.choice(np.array([-128, 0, 1, 127], np.int8), 131), shift) for shift in shifts[:2]]
    to = target(shifts[2], bits, rule, seed)
    same(run(path, "add_requantize", terms, to), run("reference", "add_requantize", terms, to))


@pytest.mark.clause("BN-5", "RND-4", "EXP-1")
@compiled
@given(seed=seeds, exponent=st.one_of(st.sampled_from([-64, 63]), st.integers(-20, 20)), bits=widths, rule=rules)
def test_normalize_next_to_ties(path: str, seed: int, exponent: int, bits: int, rule: Rounding) -> None:
    rng = np.random.default_rng(seed)
    mean = (rng.integers(-512, 512, 16) / 4).astype(np.float32)
    k = np.float32(2.0**exponent) * np.nextafter(np.float32(0.5), rng.choice([0.0, 0.5, 1.0], 16)).astype(np.float32)
    x = rng.integers(-128, 128, (9, 16)).astype(np.int8)
    to = target(exponent, bits, rule, seed)
    same(run(path, "normalize", x, mean, k, to), run("reference", "normalize", x, mean, k, to))
    g, zero = rng.integers(-128, 128, (9, 16)).astype(np.int8), np.zeros(16, np.float32)
    same(
        run(path, "normalize_grad", g, x, k, zero, mean * k, to),
        run("reference", "normalize_grad", g, x, k, zero, mean * k, to),
    )


@pytest.mark.clause("BN-5", "BN-7", "FLT-1")
@compiled
@pytest.mark.parametrize("rule", [Rounding.NEAREST_DOWN, Rounding.STOCHASTIC])
def test_terms_that_cancel_leave_what_roundings_lost(path: str, rule: Rounding) -> None:
    """No step is fused with the next one, by the rules and types that have lanes of their own."""
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 128, (20, 16)).astype(np.int8)
    a, c = (rng.standard_normal(16) * 2.0**20).astype(np.float32), rng.standard_normal(16).astype(np.float32)
    mean = x[0] + c * np.float32(2.0**-20)
    for exponent in range(-6, 3):
        to = target(exponent, 8, rule, exponent + 9)
        same(run(path, "normalize_grad", x, x, a, -a, c, to), run("reference", "normalize_grad", x, x, a, -a, c, to))
        same(run(path, "normalize", x, mean, a, to), run("reference", "normalize", x, mean, a, to))


@pytest.mark.clause("BN-5", "BN-7")
@compiled
@pytest.mark.parametrize("worst", [np.inf, -np.inf, np.nan, 3e38])
def test_infinite_factors_are_found(path: str, worst: float) -> None:
    x, ones, bad = np.full((40, 4), 100, np.int8), np.ones(4, np.float32), np.ones(4, np.float32)
    bad[2] = worst
    calls = (("normalize", x, ones, bad), ("normalize_grad", x, x, bad, ones, ones))
    for operation, *arguments in calls:
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="40"):
            run(path, operation, *arguments, Target(-2))
