"""Optimiser steps and the conversion of exact gradients: every path against the definition, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from elem_cases import examples, integer_arrays, lengths, real_arrays, run, same_error, thread_counts
from hypothesis import given
from hypothesis import strategies as st

import qnn._kernels as kernels

compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])
rates = st.one_of(st.sampled_from([0.0, 1.0, 0.1, 1e-3, 2.0**-140, 1e30]), st.floats(0, 10))
factors = st.one_of(st.sampled_from([0.0, 0.9, 0.5, 0.999, 1e-4, 2.0**-126]), st.floats(0, 0.9999))


def bits_of(arrays: Any) -> list[list[int]]:
    """Bit patterns, so that -0 differs from 0."""
    return [np.ascontiguousarray(a).view(np.uint32).ravel().tolist() for a in arrays]


def outcome(path: str, operation: str, *args: Any, threads: int = 1) -> Any:
    """Bit patterns of the result, or the message of the error."""
    try:
        return bits_of(run(path, operation, *args, threads=threads))
    except OverflowError as error:
        return str(error)


@pytest.mark.clause("UPD-1")
@compiled
@examples(60)
@given(
    data=st.data(),
    n=lengths,
    lr=rates,
    momentum=factors,
    decay=factors,
    nesterov=st.booleans(),
    threads=thread_counts,
)
def test_sgd(
    path: str, data: st.DataObject, n: int, lr: float, momentum: float, decay: float, nesterov: bool, threads: int
) -> None:
    w, g, v = (data.draw(real_arrays((n,))) for _ in range(3))
    args = (w, g, v, lr, momentum, decay, nesterov)
    assert outcome(path, "sgd", *args, threads=threads) == outcome("reference", "sgd", *args)


@pytest.mark.clause("UPD-1", "FLT-2", "FLT-3")
@compiled
@given(
    data=st.data(),
    n=lengths,
    dtype=st.sampled_from([np.int32, np.int64]),
    exponent=st.one_of(st.integers(-60, 10), st.sampled_from([-400, -150, 100, 400])),
    momentum=factors,
    decay=factors,
    threads=thread_counts,
)
def test_sgd_of_exact_sums(
    path: str, data: st.DataObject, n: int, dtype: type, exponent: int, momentum: float, decay: float, threads: int
) -> None:
    w, v = (data.draw(real_arrays((n,))) for _ in range(2))
    sums = data.draw(integer_arrays((n,), dtype))
    args = (w, sums, v, 0.01, momentum, decay, False, exponent)
    assert outcome(path, "sgd", *args, threads=threads) == outcome("reference", "sgd", *args)


@pytest.mark.clause("UPD-1")
@compiled
def test_sgd_refuses_sums_of_another_shape_or_scale(path: str) -> None:
    w, sums = np.ones(3, np.float32), np.ones(3, np.int64)
    assert "401" in same_error(path, "sgd", w, sums, w, 0.01, 0.0, 0.0, False, 401)
    assert "(2,)" in same_error(path, "sgd", w, sums[:2], w, 0.01, 0.0, 0.0, False, 0)


@pytest.mark.clause("UPD-2")
@compiled
@examples(60)
@given(
    data=st.data(),
    n=lengths,
    step=st.integers(1, 10**6),
    lr=rates,
    beta1=factors,
    beta2=factors,
    decay=factors,
    threads=thread_counts,
)
def test_adam(
    path: str,
    data: st.DataObject,
    n: int,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    decay: float,
    threads: int,
) -> None:
    w, g, m, v = (np.clip(data.draw(real_arrays((n,))), np.float32(-1e9), np.float32(1e9)) for _ in range(4))
    args = (w, g, m, np.abs(v), step, lr, beta1, beta2, 1e-8, decay)
    assert outcome(path, "adam", *args, threads=threads) == outcome("reference", "adam", *args)


@pytest.mark.clause("UPD-4", "POW-5")
@compiled
@examples(60)
@given(
    data=st.data(),
    n=lengths,
    step=st.integers(1, 10**6),
    lr=rates,
    beta1=factors,
    beta2=factors,
    eps=st.sampled_from([2.0**-27, 2.0**-149, 0.0, 1e-30, 3.0]),
    decay=factors,
    store=st.sampled_from(["exact", "ap2"]),
    reading=st.sampled_from(["nearest", "top"]),
    threads=thread_counts,
)
def test_shift_adamax(
    path: str,
    data: st.DataObject,
    n: int,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    store: str,
    reading: str,
    threads: int,
) -> None:
    w, g, m, v = (data.draw(real_arrays((n,))) for _ in range(4))
    args = (w, g, m, np.abs(v), step, lr, beta1, beta2, eps, decay, store, reading)
    assert outcome(path, "shift_adamax", *args, threads=threads) == outcome("reference", "shift_adamax", *args)


@pytest.mark.clause("UPD-1", "UPD-2")
@compiled
def test_a_term_whose_factor_is_zero_is_left_out(path: str) -> None:
    zero, one = np.float32([-0.0]), np.float32([1])
    # With the term, -0 + 0 would be 0.
    w, v = run(path, "sgd", one, zero, one, 0.5, 0.0, 0.0)
    assert bits_of([v]) == bits_of([zero])
    assert w == 1


@pytest.mark.clause("FLT-2", "FLT-3")
@compiled
@examples(60)
@given(
    data=st.data(),
    n=lengths,
    dtype=st.sampled_from([np.int32, np.int64]),
    exponent=st.one_of(st.integers(-40, 10), st.integers(-400, 400)),
    threads=thread_counts,
)
def test_ints_to_float32(path: str, data: st.DataObject, n: int, dtype: type, exponent: int, threads: int) -> None:
    ints = data.draw(integer_arrays((n,), dtype))
    got = run(path, "ints_to_float32", ints, exponent, threads=threads)
    assert bits_of([got]) == bits_of([run("reference", "ints_to_float32", ints, exponent)])


@pytest.mark.clause("FLT-2")
@compiled
def test_halfway_integers_go_to_the_even_float(path: str) -> None:
    ints = np.array([2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**53 + 2**29, 2**53 + 2**29 + 1, 2**63 - 1], np.int64)
    got = run(path, "ints_to_float32", ints, 0)
    assert got.astype(np.float64).tolist() == [
        2.0**24,
        2.0**24 + 4,
        -(2.0**24),
        2.0**53,
        2.0**53 + 2.0**30,
        2.0**63,
    ]


@compiled
def test_wrong_input_is_refused_alike(path: str) -> None:
    w = np.ones(3, np.float32)
    same_error(path, "sgd", w, w[:2], w, 0.1)
    same_error(path, "sgd", w, w.astype(np.float64), w, 0.1)
    same_error(path, "sgd", w, w, w, np.inf)
    same_error(path, "adam", w, w, w, w, 0, 0.1)
    same_error(path, "adam", w, w, w, w, 1, 0.1, 1.0)
    same_error(path, "adam", w, w, w, w[:1], 1, 0.1)
    same_error(path, "shift_adamax", w, w, w, w, 0, 0.1)
    same_error(path, "shift_adamax", w, w, w, w, 1, np.inf)
    same_error(path, "shift_adamax", w, w, w, w, 1, 0.1, store="power")
    same_error(path, "shift_adamax", w, w, w, w, 1, 0.1, reading="floor")
    same_error(path, "shift_adamax", w, w, w, w * np.float32(np.nan), 1, 0.1)
    same_error(path, "shift_adamax", w, w, w, w * np.float32(3e38), 1, 0.1)
    same_error(path, "ints_to_float32", np.ones(2, np.float32), 0)
    same_error(path, "ints_to_float32", np.ones(2, np.int32), 401)
    with kernels.use_kernels(path):
        ints = np.array([2**70, -1], object)  # sums of Python integers go to the definition
        assert kernels.call("ints_to_float32", ints, -70).tolist() == [1.0, -(2.0**-70)]
