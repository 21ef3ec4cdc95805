"""Requantising, quantising, batch norm's steps, sums, ranges: every path against the definition, with no tolerance."""

from __future__ import annotations

import threading
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from elem_cases import (
    accumulator_dtypes,
    channels,
    examples,
    integer_arrays,
    lengths,
    real_arrays,
    run,
    same,
    same_error,
    small_ints,
    targets,
    thread_counts,
    wide_channels,
)
from hypothesis import given
from hypothesis import strategies as st
from mac_cases import biases, seeds

import qnn._kernels as kernels
from qnn.numerics import Noise, Rounding, Target

every_path = pytest.mark.parametrize("path", kernels.available_kernels())
compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])
shifts = st.integers(-70, 70)


# --- requantising ---


@pytest.mark.clause("REQ-1", "REQ-2", "REQ-3", "REQ-4", "REQ-5", "RND-12")
@compiled
@examples(100)
@given(data=st.data(), n=lengths, dtype=accumulator_dtypes, shift=shifts, threads=thread_counts)
def test_requantize(path: str, data: st.DataObject, n: int, dtype: type, shift: int, threads: int) -> None:
    acc, target = data.draw(integer_arrays((n,), dtype)), data.draw(targets(n, st.integers(-5, 5)))
    exponent = target.exponent - shift
    same(
        run(path, "requantize", acc, exponent, target, threads=threads),
        run("reference", "requantize", acc, exponent, target),
    )


@pytest.mark.clause("REQ-2", "REQ-6")
@compiled
@examples(100)
@given(
    data=st.data(),
    rows=st.integers(0, 9),
    c=wide_channels,
    dtype=accumulator_dtypes,
    shift=shifts,
    threads=thread_counts,
)
def test_requantize_with_bias(
    path: str, data: st.DataObject, rows: int, c: int, dtype: type, shift: int, threads: int
) -> None:
    acc, bias = data.draw(integer_arrays((rows, c), dtype)), data.draw(biases(c))
    target = data.draw(targets(rows * c, st.just(0)))
    wanted = run("reference", "requantize", acc, -shift, target, bias=bias)
    same(run(path, "requantize", acc, -shift, target, bias=bias, threads=threads), wanted)


@pytest.mark.clause("REQ-8")
@compiled
@examples(100)
@given(
    data=st.data(),
    n=st.integers(0, 70),
    dtype=accumulator_dtypes,
    shift=shifts,
    divisor=st.one_of(
        st.sampled_from([2, 3, 4, 6, 9, 49, 64, 2**31, 2**62, 2**62 - 1, 2**63 - 1, 2**63, 3**50]),
        st.integers(1, 2**20),
    ),
)
def test_requantize_ratio(path: str, data: st.DataObject, n: int, dtype: type, shift: int, divisor: int) -> None:
    acc, bias = data.draw(integer_arrays((n, 1), dtype)), data.draw(biases(1))
    target = data.draw(targets(n, st.just(3)))
    wanted = run("reference", "requantize", acc, 3 - shift, target, divisor, bias)
    same(run(path, "requantize", acc, 3 - shift, target, divisor, bias), wanted)


@pytest.mark.clause("RND-13", "REQ-2")
@compiled
@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("bits", [8, 16])
def test_requantize_exhaustively_around_each_tie(path: str, rounding: Rounding, bits: int) -> None:
    """Every shift up to 33; for each, all 16-bit accumulators at stride 1, and all remainders near 0, half and full."""
    acc = np.arange(-(2**15) - 3, 2**15 + 3, dtype=np.int32)
    for shift in range(34):
        near = (np.arange(-300, 300, dtype=np.int64)[:, None] << max(shift - 1, 0)) + np.arange(-1, 2)
        both = np.concatenate([acc, np.clip(near, -(2**31), 2**31 - 1).astype(np.int32).reshape(-1)])
        target = Target(shift, bits, rounding, Noise(seed=shift, bits=16 if bits == 16 else 5))
        same(run(path, "requantize", both, 0, target), run("reference", "requantize", both, 0, target))


@pytest.mark.clause("REQ-4", "REQ-6", "REQ-8")
@pytest.mark.parametrize("rounding", list(Rounding))
def test_requantize_at_the_ends_of_int64(rounding: Rounding) -> None:
    """Sums of 65 bits, shifts beyond the word, remainders that only a lost bit tells from a tie; any divisor."""
    ends = [2**63 - 1, 2**63 - 2, 2**62 + 1, 2**62, 2**62 - 1, 3 * 2**61, 2**31, 3, 1, 0]
    acc = np.array(ends + [-v for v in ends[:-1]] + [-(2**63)], np.int64)
    square = np.repeat(acc[:, None], acc.size, axis=1)
    words = np.random.default_rng(1).choice(np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF], np.uint16), square.size)
    for divisor, shifts_of in (
        (1, [-65, -1, 0, 1, 2, 15, 17, 47, 48, 61, 62, 63, 64, 65, 66, 70, 127, 128, 200]),
        (3, [-64, -1, 0, 1, 15, 16, 17, 46, 60, 61, 62, 63, 64, 65]),
        (2**47 + 1, [-20, 0, 1, 2, 14, 15, 16, 17]),
        (2**63 - 1, [-70, -16, -8, -2, -1, 0, 1, 2, 3, 16, 17]),
    ):
        for shift in shifts_of:
            target = Target(0, 8 if shift % 2 else 16, rounding, words)
            wanted = run("reference", "requantize", square, -shift, target, divisor, acc)
            for path in kernels.available_kernels():
                same(run(path, "requantize", square, -shift, target, divisor, acc), wanted)


@pytest.mark.clause("REQ-1", "REQ-3", "EXP-1")
@compiled
@pytest.mark.parametrize("bits", [8, 14, 15, 16])
def test_far_left_shifts_leave_every_format(path: str, bits: int) -> None:
    acc = np.array([-1, 0, 1, -2, 2, -32769, -32768, -32767, 32767, 32768, -(2**31), 2**31 - 1] * 5, np.int32)
    for shift in range(25):
        target = Target(0, bits, Rounding.NEAREST_EVEN)
        same(run(path, "requantize", acc, shift, target), run("reference", "requantize", acc, shift, target))


@every_path
def test_requantize_takes_python_integers(path: str) -> None:
    acc = np.array([2**70, -(2**70), 3, 0], dtype=object)
    ints, counts = run(path, "requantize", acc, 0, Target(64 - 1, 8))
    assert ints.tolist() == [127, -128, 0, 0]
    assert counts.saturated == 1
    assert counts.overflow == 1


@pytest.mark.clause("REQ-7", "LAY-2")
@compiled
@examples(100)
@given(data=st.data(), n=lengths, count=st.integers(1, 4), rectify=st.booleans(), threads=thread_counts)
def test_add_requantize(path: str, data: st.DataObject, n: int, count: int, rectify: bool, threads: int) -> None:
    exponents = data.draw(st.lists(st.one_of(st.integers(-8, 8), st.integers(-64, 63)), min_size=count, max_size=count))
    terms = [(data.draw(small_ints((n,))), exponent) for exponent in exponents]
    target = data.draw(targets(n, st.one_of(st.integers(-8, 8), st.integers(-64, 63))))
    output = data.draw(st.one_of(st.none(), small_ints((n,))))
    wanted = run("reference", "add_requantize", terms, target, rectify, output)
    same(run(path, "add_requantize", terms, target, rectify, output, threads=threads), wanted)


@pytest.mark.clause("REQ-7", "LAY-11")
@compiled
@given(
    data=st.data(), rows=st.sampled_from([0, 1, 5, 64, 129]), c=channels, count=st.integers(1, 9), threads=thread_counts
)
def test_prepared_add(path: str, data: st.DataObject, rows: int, c: int, count: int, threads: int) -> None:
    exponents = data.draw(st.lists(st.one_of(st.integers(-8, 8), st.integers(-64, 63)), min_size=count, max_size=count))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    terms = [draw.integers(-128, 128, (rows, c)).astype(np.int8) for _ in exponents]
    target = data.draw(targets(rows * c, st.integers(-8, 8)).filter(lambda t: t.rounding != Rounding.STOCHASTIC))
    table = draw.integers(-128, 128, (c, 256)).astype(np.int8) if target.bits <= 8 else None
    for entries in (None, table):
        wanted = run("reference", "prepare_add", exponents, target, entries)(*terms)
        with kernels.use_kernels(path), kernels.threads(threads):
            add = kernels.call("prepare_add", exponents, target, entries)
            same(add(*terms), wanted)
            same(add(*[term[::-1] for term in terms]), wanted[::-1])
            same(add(*[term.astype(np.int16) for term in terms]), wanted)


@compiled
def test_prepared_add_refuses_what_it_cannot_keep(path: str) -> None:
    table = np.zeros((4, 256), np.int8)
    same_error(path, "prepare_add", [], Target(0))
    same_error(path, "prepare_add", [0], Target(0, 8, Rounding.STOCHASTIC, Noise(seed=1, stream=2)))
    same_error(path, "prepare_add", [0], Target(0, 16), table)
    same_error(path, "prepare_add", [0], Target(0), table[:, :5])
    add, term = run(path, "prepare_add", [0, 1], Target(0)), np.zeros((2, 4), np.int8)
    for wrong in ((), (term,), (term, term, term), (term, term[:1])):
        with pytest.raises(ValueError, match=r"terms|shapes"):
            add(*wrong)
    if path != "reference":
        with pytest.raises(TypeError):
            type(add)()()


@pytest.mark.clause("REQ-7")
@every_path
def test_add_requantize_of_many_terms(path: str) -> None:
    terms = [(np.full((3, 2), i - 9, np.int8), -i) for i in range(20)]
    same(run(path, "add_requantize", terms, Target(-10)), run("reference", "add_requantize", terms, Target(-10)))


@pytest.mark.clause("BN-8")
@compiled
@given(
    data=st.data(), rows=st.integers(0, 40), c=wide_channels, shift=shifts, rectify=st.booleans(), threads=thread_counts
)
def test_scale(path: str, data: st.DataObject, rows: int, c: int, shift: int, rectify: bool, threads: int) -> None:
    x, gamma, bias = data.draw(small_ints((rows, c))), data.draw(small_ints((c,))), data.draw(biases(c))
    target = data.draw(targets(rows * c, st.just(1)))
    wanted = run("reference", "scale", x, gamma, bias, 1 - shift, target, rectify)
    same(run(path, "scale", x, gamma, bias, 1 - shift, target, rectify, threads=threads), wanted)


@pytest.mark.clause("BN-1", "BN-8", "LAY-2")
@compiled
@given(
    data=st.data(),
    rows=st.one_of(st.integers(1, 40), st.just(700)),
    c=wide_channels,
    shift=shifts,
    behind=st.booleans(),
    masked=st.booleans(),
    threads=thread_counts,
)
def test_scale_grad(
    path: str, data: st.DataObject, rows: int, c: int, shift: int, behind: bool, masked: bool, threads: int
) -> None:
    g, x, gamma = data.draw(small_ints((rows, c))), data.draw(small_ints((rows, c))), data.draw(small_ints((c,)))
    target = data.draw(targets(rows * c, st.just(1)))
    more = [data.draw(small_ints((rows, c))) if there else None for there in (behind, masked)]
    wanted = run("reference", "scale_grad", g, x, gamma, 1 - shift, target, *more)
    same(run(path, "scale_grad", g, x, gamma, 1 - shift, target, *more, threads=threads), wanted)


@pytest.mark.clause("BN-8", "NOI-1")
@compiled
@pytest.mark.parametrize("noise", [Noise(start=2**35 - 9), Noise("lfsr16", 3, start=65530), "words"])
@pytest.mark.parametrize("c", [16, 50_000])
def test_scale_grad_in_several_blocks(path: str, noise: Noise | str, c: int) -> None:
    """Every block of rows has the noise of its place in the whole tensor."""
    rng = np.random.default_rng(8)
    g, x, y = (rng.integers(-128, 128, (150_000 // c + 1, c)).astype(np.int8) for _ in range(3))
    gamma = rng.integers(-128, 128, c).astype(np.int8)
    words = rng.integers(0, 65536, g.size).astype(np.uint16) if isinstance(noise, str) else noise
    target = Target(7, 8, Rounding.STOCHASTIC, words)
    wanted = run("reference", "scale_grad", g, x, gamma, 0, target, x, y)
    for threads in (1, 2, 7):
        same(run(path, "scale_grad", g, x, gamma, 0, target, x, y, threads=threads), wanted)


@compiled
def test_scale_grad_refuses_other_shapes(path: str) -> None:
    g, gamma = np.ones((3, 2), np.int8), np.ones(2, np.int8)
    for wrong in (
        (g, g[:2], gamma, 0, Target(0)),
        (g, g, gamma[:1], 0, Target(0)),
        (g, g, gamma, 0, Target(0), g[:2]),
        (g, g, gamma, 0, Target(0), None, g[:1]),
    ):
        assert "(3, 2)" in same_error(path, "scale_grad", *wrong)


# --- quantising ---


@pytest.mark.clause("FMT-4", "FMT-6", "RND-2", "RND-3", "RND-4", "RND-11", "EXP-1")
@compiled
@examples(120)
@given(data=st.data(), n=lengths, threads=thread_counts)
def test_quantize(path: str, data: st.DataObject, n: int, threads: int) -> None:
    target = data.draw(targets(n, st.one_of(st.sampled_from([-64, 63, 0, -5]), st.integers(-64, 63))))
    x = data.draw(real_arrays((n,), around=target.exponent))
    same(run(path, "quantize", x, target, threads=threads), run("reference", "quantize", x, target))


@pytest.mark.clause("FMT-4", "RND-13")
@compiled
@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("bits", [2, 8, 14, 15])
def test_quantize_every_power_and_its_neighbours(path: str, rounding: Rounding, bits: int) -> None:
    """All 2**k and 3 * 2**k from the smallest subnormal to the largest number, and their neighbours."""
    powers = np.ldexp(np.float32(1), np.arange(-149, 128)).astype(np.float32)
    with np.errstate(over="ignore"):
        powers = np.concatenate([powers, powers * 3, [np.finfo(np.float32).max]]).astype(np.float32)
    powers = powers[np.isfinite(powers)]
    beside = [np.nextafter(powers, np.float32(0)), powers, np.nextafter(powers, np.float32(1e38))]
    x = np.concatenate([np.zeros(1, np.float32), *beside]).astype(np.float32)
    x = np.concatenate([x, -x])
    for exponent in (-64, -63, -31, -1, 0, 1, 16, 17, 40, 62, 63):
        for words in (np.uint16(0), np.uint16(1), np.uint16(0x8000), np.uint16(0xFFFF)):
            target = Target(exponent, bits, rounding, np.full(x.size, words, np.uint16))
            same(run(path, "quantize", x, target), run("reference", "quantize", x, target))
            if rounding is not Rounding.STOCHASTIC:
                break


@pytest.mark.clause("FMT-5")
@every_path
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("place", [0, 31, 32, 1023, 20000])
def test_not_finite_is_an_error_with_the_count(path: str, bits: int, place: int) -> None:
    x = np.ones(20001, np.float32)
    x[place] = np.nan
    assert "1 NaN and 0 infinite" in same_error(path, "quantize", x, Target(0, bits))
    assert "1 NaN" in same_error(path, "float_range", x)
    x[place] = -np.inf
    assert "0 NaN and 1 infinite" in same_error(path, "quantize", x, Target(0, bits))
    mean, k = np.zeros(1, np.float32), np.array([np.inf], np.float32)
    ones = np.ones((place + 1, 1), np.int8)
    assert f"{place + 1} infinite" in same_error(path, "normalize", ones, mean, k, Target(0, bits))


@every_path
def test_wrong_input_is_refused_alike(path: str) -> None:
    x, i = np.ones((2, 3), np.float32), np.ones((2, 3), np.int32)
    noisy = Target(0, 8, Rounding.STOCHASTIC)
    same_error(path, "quantize", x.astype(np.float64), Target(0))
    same_error(path, "quantize", [1.0], Target(0))
    same_error(path, "quantize", x, Target(0, 8, Rounding.STOCHASTIC, np.zeros(5, np.uint16)))
    same_error(path, "requantize", i.astype(np.uint8), 0, Target(0))
    same_error(path, "requantize", i, 0, Target(0), 0)
    same_error(path, "requantize", i, 0, Target(0), 1, np.zeros(2, np.int64))
    same_error(path, "requantize", i, 0, Target(0), 1, np.zeros(3, np.int32))
    same_error(path, "add_requantize", [], Target(0))
    same_error(path, "add_requantize", [(i, 0), (i[:1], 0)], Target(0))
    same_error(path, "add_requantize", [(i, 0)], Target(0), False, i[:1])
    same_error(path, "add_requantize", [(1 + (12345 << 60), 0)], Target(0), False, i.astype(np.int8))
    same_error(path, "scale", i.astype(np.int8), np.ones(2, np.int8), None, 0, Target(0))
    same_error(path, "channel_sums", i)
    same_error(path, "channel_dots", i.astype(np.int8), i[:1].astype(np.int8))
    same_error(path, "relu_grad", i.astype(np.int8), i[:1].astype(np.int8))
    same_error(path, "clip_ints", i.astype(np.int8), 3, 2)
    same_error(path, "clip_ints", i.astype(np.int8), 128, 300)
    same_error(path, "int_range", x)
    same_error(path, "float_range", i)
    for operation, args in (("quantize", (x,)), ("requantize", (i, 0))):
        with pytest.raises(ValueError, match="noise"):
            run(path, operation, *args, noisy)


# --- batch norm ---


@st.composite
def factors(draw: st.DrawFn, c: int, scale: int) -> Any:
    """float32 per channel around 2**scale, some zero and some subnormal."""
    rng = np.random.default_rng(draw(seeds))
    values = (rng.standard_normal(c) * 2.0**scale).astype(np.float32)
    return np.where(rng.random(c) < 0.1, np.float32(draw(st.sampled_from([0, 1e-42, -1e-42]))), values).astype(
        np.float32
    )


@pytest.mark.clause("BN-5")
@compiled
@given(data=st.data(), rows=st.integers(0, 40), c=wide_channels, exponent=st.integers(-12, 4), threads=thread_counts)
def test_normalize(path: str, data: st.DataObject, rows: int, c: int, exponent: int, threads: int) -> None:
    x, mean, k = data.draw(small_ints((rows, c))), data.draw(factors(c, 3)), data.draw(factors(c, -3))
    target = data.draw(targets(rows * c, st.just(exponent)))
    wanted = run("reference", "normalize", x, mean, k, target)
    same(run(path, "normalize", x, mean, k, target, threads=threads), wanted)


@pytest.mark.clause("BN-5", "BN-8", "LAY-2")
@compiled
@given(
    data=st.data(),
    rows=st.integers(0, 40),
    c=wide_channels,
    exponent=st.integers(-12, 4),
    rectify=st.booleans(),
    threads=thread_counts,
)
def test_normalize_scale(
    path: str, data: st.DataObject, rows: int, c: int, exponent: int, rectify: bool, threads: int
) -> None:
    x, mean, k = data.draw(small_ints((rows, c))), data.draw(factors(c, 3)), data.draw(factors(c, -3))
    gamma, bias = data.draw(small_ints((c,))), data.draw(st.one_of(st.none(), biases(c)))
    first, second = data.draw(targets(rows * c, st.just(exponent))), data.draw(targets(rows * c, st.integers(-20, 40)))
    normal = run("reference", "normalize", x, mean, k, first)
    scaled = run("reference", "scale", normal[0], gamma, bias, 1, second, rectify)
    got = run(path, "normalize_scale", x, mean, k, first, gamma, bias, 1, second, rectify, threads=threads)
    same(got, normal + scaled)


@pytest.mark.clause("BN-5", "BN-8", "NOI-1")
@every_path
@pytest.mark.parametrize("noise", [Noise(start=2**35 - 9), Noise("lfsr16", 3, start=65530), "words"])
@pytest.mark.parametrize("c", [16, 50_000])
def test_normalize_scale_in_several_blocks(path: str, noise: Noise | str, c: int) -> None:
    """Every block of rows has the noise of its place in the whole tensor, of either step."""
    rng = np.random.default_rng(8)
    x = rng.integers(-128, 128, (150_000 // c + 1, c)).astype(np.int8)
    mean, k = rng.standard_normal(c).astype(np.float32), rng.random(c).astype(np.float32)
    gamma, bias = rng.integers(-128, 128, c).astype(np.int8), rng.integers(-900, 900, c)
    words = rng.integers(0, 65536, x.size).astype(np.uint16) if isinstance(noise, str) else noise
    first, second = (Target(e, 8, Rounding.STOCHASTIC, n) for e, n in ((0, words), (6, Noise(seed=4, start=3))))
    normal = run("reference", "normalize", x, mean, k, first)
    wanted = normal + run("reference", "scale", normal[0], gamma, bias, 0, second)
    for threads in (1, 2, 7) if path != "reference" else (1,):
        same(run(path, "normalize_scale", x, mean, k, first, gamma, bias, 0, second, threads=threads), wanted)


@compiled
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_normalize_scale_refuses_what_its_steps_refuse(path: str, wrong: float) -> None:
    x, row, target = np.ones((3, 2), np.int8), np.ones(2, np.float32), Target(0)
    gamma = np.ones(2, np.int8)
    steep = np.array([1, wrong], np.float32)
    message = same_error(path, "normalize_scale", x, 2 * row, steep, target, gamma, None, 0, target)
    assert message == same_error(path, "normalize", x, 2 * row, steep, target)
    for more in ((gamma[:1], None), (gamma, np.ones(3, np.int64))):
        same_error(path, "normalize_scale", x, row, row, target, *more, 0, target)


@pytest.mark.clause("BN-7")
@compiled
@given(data=st.data(), rows=st.integers(0, 40), c=wide_channels, exponent=st.integers(-12, 4), threads=thread_counts)
def test_normalize_grad(path: str, data: st.DataObject, rows: int, c: int, exponent: int, threads: int) -> None:
    g, x = data.draw(small_ints((rows, c))), data.draw(small_ints((rows, c)))
    coefficients = [data.draw(factors(c, scale)) for scale in (-3, -4, 1)]
    target = data.draw(targets(rows * c, st.just(exponent)))
    wanted = run("reference", "normalize_grad", g, x, *coefficients, target)
    same(run(path, "normalize_grad", g, x, *coefficients, target, threads=threads), wanted)


@pytest.mark.clause("BN-5", "BN-7", "BN-8", "REQ-7")
@compiled
@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize(
    "noise", [None, Noise(start=2**35 - 1000), Noise(start=2**36 - 700, bits=7), Noise("lfsr16", 3)]
)
@pytest.mark.parametrize(("rows", "c"), [(90, 70), (25, 48), (700, 3), (1, 1100), (3, 2500), (17, 1024)])
def test_factors_repeat_within_long_runs(path: str, rows: int, c: int, noise: Noise | None, bits: int) -> None:
    """Vectors take several repetitions of the channels' factors at a time, and each of them may end within a vector."""
    rng = np.random.default_rng(rows)
    x, y = (rng.integers(-128, 128, (rows, c)).astype(np.int8) for _ in range(2))
    gamma, mean = rng.integers(-100, 101, c).astype(np.int8), rng.normal(0, 9, c).astype(np.float32)
    bias, k = rng.integers(-2000, 2000, c), rng.uniform(0.1, 0.9, c).astype(np.float32)
    rounding = Rounding.NEAREST_DOWN if noise is None else Rounding.STOCHASTIC
    low, high = (Target(exponent + 8 - bits, bits, rounding, noise) for exponent in (0, 6))
    cases: list[tuple[Any, ...]] = [
        ("scale", x, gamma, bias, 0, high),
        ("add_requantize", [(x, 0), (y, 3)], Target(4 + 8 - bits, bits, rounding, noise)),
        ("normalize", x, mean, k, low),
        ("normalize_grad", y, x, k, -k / 3, mean, low),
    ]
    for operation, *args in cases:
        same(run(path, operation, *args), run("reference", operation, *args))


@pytest.mark.clause("BN-5", "BN-7", "FLT-1")
@compiled
@given(data=st.data(), rows=st.integers(1, 40), c=channels, bits=st.sampled_from([8, 16]))
def test_float32_steps_are_in_the_stated_order(path: str, data: st.DataObject, rows: int, c: int, bits: int) -> None:
    """Terms that cancel leave only what each rounding lost: another order or a fused multiply-add changes integers."""
    x = data.draw(small_ints((rows, c)))
    g = x if data.draw(st.booleans()) else np.clip(x, -100, 100) + np.int8(data.draw(st.integers(-1, 1)))
    a, small = data.draw(factors(c, 20)), data.draw(factors(c, 0))
    target = data.draw(targets(rows * c, st.integers(-6, 2)))
    target = Target(target.exponent, bits, target.rounding, target.noise)
    for b in (-a, np.nextafter(-a, np.float32(0))):
        wanted = run("reference", "normalize_grad", g, x, a, b, small, target)
        same(run(path, "normalize_grad", g, x, a, b, small, target), wanted)
    mean = x[0].astype(np.float32) + small * np.float32(2.0**-20)
    same(run(path, "normalize", x, mean, a, target), run("reference", "normalize", x, mean, a, target))


@pytest.mark.clause("BN-1")
@compiled
@given(data=st.data(), rows=st.one_of(st.integers(0, 70), st.just(1500)), c=channels, threads=thread_counts)
def test_channel_sums_and_dots(path: str, data: st.DataObject, rows: int, c: int, threads: int) -> None:
    shape = data.draw(st.sampled_from([(rows, c), (1, rows, 1, c)]))
    g, x = data.draw(small_ints(shape)), data.draw(small_ints(shape))
    same(run(path, "channel_sums", x, threads=threads), run("reference", "channel_sums", x))
    same(run(path, "channel_dots", g, x, threads=threads), run("reference", "channel_dots", g, x))


@pytest.mark.clause("BN-1")
@compiled
def test_channel_sums_do_not_wrap(path: str) -> None:
    """More rows of -128 than int32 sums of squares can hold."""
    x = np.full((150_000, 16), -128, np.int8)
    s1, s2 = run(path, "channel_sums", x, threads=1)
    assert set(s1.tolist()) == {-128 * 150_000}
    assert set(s2.tolist()) == {16384 * 150_000}
    assert 16384 * 150_000 > 2**31
    _, dots = run(path, "channel_dots", x, np.full_like(x, 127), threads=1)
    assert set(dots.tolist()) == {-128 * 127 * 150_000}


SUMS = st.one_of(
    st.integers(-300, 300),
    st.integers(-(2**31), 2**31),
    st.integers(-(2**61), 2**61),
    st.sampled_from([0, 1, -1, 2**31, 2**62 - 1, -(2**62), 2**63 - 1, -(2**63)]),
)


@pytest.mark.clause("BN-2", "BN-6", "FLT-2", "FLT-3")
@compiled
@given(data=st.data(), c=st.integers(0, 5), count=st.one_of(st.integers(1, 300), st.integers(1, 2**33)))
def test_batch_constants(path: str, data: st.DataObject, c: int, count: int) -> None:
    """Sums of any size, also those beyond what int64 products hold, and variances beyond float32."""

    def sums() -> np.ndarray:
        return np.array(data.draw(st.lists(SUMS, min_size=c, max_size=c)), np.int64)

    exponent, eps = data.draw(st.integers(-70, 70)), data.draw(st.sampled_from([1e-5, 1e-30, 1.0]))
    s1, sg, sgx = sums(), sums(), sums()
    # Sums of squares as a batch can have them, or any.
    s2 = data.draw(st.sampled_from([np.abs(s1 // 2), sums()]))
    with np.errstate(all="ignore"):
        try:
            wanted = run("reference", "bn_statistics", s1, s2, count, exponent, eps)
        except OverflowError:
            same_error(path, "bn_statistics", s1, s2, count, exponent, eps)
            return
        same(astuple(run(path, "bn_statistics", s1, s2, count, exponent, eps)), astuple(wanted))
        rest = (wanted, s1, sg, sgx, count, data.draw(st.integers(-70, 70)))
        same(run(path, "bn_grad_coefficients", *rest), run("reference", "bn_grad_coefficients", *rest))


@pytest.mark.clause("BN-3")
@compiled
@given(data=st.data(), c=st.integers(0, 40), momentum=st.floats(0, 1, exclude_max=True))
def test_running_update(path: str, data: st.DataObject, c: int, momentum: float) -> None:
    numbers = st.lists(st.floats(width=32, allow_nan=False), min_size=c, max_size=c)
    running, new = (np.array(data.draw(numbers), np.float32) for _ in range(2))
    with np.errstate(all="ignore"):
        wanted = run("reference", "running_update", running, new, momentum)
    got = run(path, "running_update", running, new, momentum)
    same(got.view(np.uint32), wanted.view(np.uint32))


LOGITS = st.one_of(
    st.integers(-128, 127).map(lambda i: i / 16),  # what integer outputs become, with equal ones
    st.floats(-100, 100, width=32),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 88.8, -103.9, 1e-40, 2.0**21, 2.0**22, 3e38, -3e38]),
)


@pytest.mark.clause("LOSS-1", "LOSS-2", "LOSS-3", "FLT-4", "FLT-5")
@compiled
@given(data=st.data(), rows=st.integers(0, 7), classes=st.integers(1, 12), kind=st.sampled_from(["i8", "u1", "i4"]))
def test_softmax_cross_entropy(path: str, data: st.DataObject, rows: int, classes: int, kind: str) -> None:
    """Close and far logits; losses of 2**22 and more are the definition's error."""
    logits = np.array(data.draw(st.lists(LOGITS, min_size=rows * classes, max_size=rows * classes)), np.float32)
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    total = data.draw(st.sampled_from([None, 1, 3, 128, 2**24 + 1, 2**54 + 2**30 + 1]))
    batch = (logits.reshape(rows, classes), np.array(labels, kind), rows or 1 if total is None else total)
    try:
        wanted = run("reference", "softmax_cross_entropy", *batch)
    except OverflowError:
        same_error(path, "softmax_cross_entropy", *batch)
        return
    same(run(path, "softmax_cross_entropy", *batch), wanted)


@pytest.mark.clause("FLT-4", "FLT-5", "LOSS-1")
@compiled
def test_softmax_cross_entropy_of_all_exponentials(path: str) -> None:
    """Two classes a step of 2**-12 apart, and sums that meet every row of the logarithm's table."""
    gap = np.arange(-120 * 4096, 1, 7, np.float32) / np.float32(4096)
    pairs = np.stack([gap, np.zeros_like(gap)], axis=1)
    for label in (0, 1):
        batch = (pairs, np.full(len(pairs), label))
        same(run(path, "softmax_cross_entropy", *batch), run("reference", "softmax_cross_entropy", *batch))
    counts = np.arange(1, 600)
    many = np.where(np.arange(600) < counts[:, None], np.float32(0.25), np.float32(-9)).astype(np.float32)
    batch = (many, counts - 1)
    same(run(path, "softmax_cross_entropy", *batch), run("reference", "softmax_cross_entropy", *batch))


@pytest.mark.clause("LOSS-1")
@compiled
def test_softmax_cross_entropy_refuses_what_the_definition_refuses(path: str) -> None:
    x, labels = np.zeros((2, 3), np.float32), np.array([0, 2])
    for bad in (np.nan, np.inf, -np.inf):
        y = x.copy()
        y[1, 1] = bad
        same_error(path, "softmax_cross_entropy", y, labels)
    same_error(path, "softmax_cross_entropy", x, labels, 0)
    same_error(path, "softmax_cross_entropy", x, labels, 2.5)
    same_error(path, "softmax_cross_entropy", x.astype(np.float64), labels)
    same_error(path, "softmax_cross_entropy", x, labels + 1)
    same_error(path, "softmax_cross_entropy", x, labels - 1)
    same_error(path, "softmax_cross_entropy", x, np.array([0, 2**63], np.uint64))
    same_error(path, "softmax_cross_entropy", x, labels[:1])
    same_error(path, "softmax_cross_entropy", x, labels.astype(np.float32))
    same_error(path, "softmax_cross_entropy", x[:, :0], labels)


@pytest.mark.clause("BN-2")
@compiled
def test_batch_constants_refuse_what_the_definition_refuses(path: str) -> None:
    one = np.ones(3, np.int64)
    same_error(path, "bn_statistics", one, one, 0, 0, 1e-5)
    for eps in (0.0, -1.0, np.nan, np.inf, 1e300):
        same_error(path, "bn_statistics", one, one, 4, 0, eps)
    same_error(path, "bn_statistics", one * 0, one * 2**40, 4, 90, 1e-5)  # a variance beyond float32
    same_error(path, "bn_statistics", one, one, 4, 201, 1e-5)


# --- simple operations ---


@pytest.mark.clause("LAY-2")
@compiled
@given(data=st.data(), n=lengths, threads=thread_counts)
def test_relu_clip_and_ranges(path: str, data: st.DataObject, n: int, threads: int) -> None:
    x, g = data.draw(small_ints((n,))), data.draw(small_ints((n,)))
    lo, hi = sorted(data.draw(st.tuples(st.integers(-200, 127), st.integers(-128, 40000))))
    same(run(path, "relu", x, threads=threads), np.maximum(x, x.dtype.type(0)))
    same(run(path, "relu_grad", g, x, threads=threads), run("reference", "relu_grad", g, x))
    same(run(path, "clip_ints", x, lo, hi, threads=threads), run("reference", "clip_ints", x, lo, hi))
    wide = data.draw(integer_arrays((n,), data.draw(accumulator_dtypes)))
    same(run(path, "int_range", wide, threads=threads), run("reference", "int_range", wide))


@pytest.mark.clause("LAY-10")
@compiled
@given(
    data=st.data(),
    images=st.integers(0, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    c=st.sampled_from([1, 3, 8, 15, 16, 17, 40]),
    more=st.sampled_from([0, 1, 15, 16, 33]),
    stride=st.integers(1, 10),
    threads=thread_counts,
)
def test_subsample(
    path: str,
    data: st.DataObject,
    images: int,
    size: tuple[int, int],
    c: int,
    more: int,
    stride: int,
    threads: int,
) -> None:
    x = data.draw(small_ints((images, *size, c)))
    y = run("reference", "subsample", x, stride, c + more)
    same(run(path, "subsample", x, stride, c + more, threads=threads), y)
    g = data.draw(small_ints(y.shape))
    wanted = run("reference", "subsample_grad", g, stride, x.shape)
    same(run(path, "subsample_grad", g, stride, x.shape, threads=threads), wanted)


@pytest.mark.clause("LAY-10")
@compiled
def test_subsample_refuses(path: str) -> None:
    x = np.zeros((1, 4, 4, 3), np.int8)
    for wrong in ((x, 2, 2), (x, 0, 3), (x, -1, 3), (x[0], 1, 3), (x, 2.5, 3)):
        same_error(path, "subsample", *wrong)
    for wrong in ((x, 2, (1, 4, 4, 3)), (x[:, :2, :2], 0, (1, 4, 4, 3)), (x, 1, (2, 4, 4, 3)), (x, 1, (1, 4, 4))):
        same_error(path, "subsample_grad", *wrong)


@pytest.mark.clause("LAY-11")
@compiled
@given(data=st.data(), rows=st.sampled_from([0, 1, 5, 40, 63, 64, 129, 3000]), c=wide_channels, threads=thread_counts)
def test_look_up(path: str, data: st.DataObject, rows: int, c: int, threads: int) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    codes = draw.integers(0, 256, (rows, c)).astype(np.uint8).view(data.draw(st.sampled_from([np.uint8, np.int8])))
    table = draw.integers(-128, 128, (c, 256)).astype(data.draw(st.sampled_from([np.int8, np.int16, np.float32])))
    same(run(path, "look_up", codes, table, threads=threads), run("reference", "look_up", codes, table))
    backwards = codes[::-1, ::-1]
    same(run(path, "look_up", backwards, table, threads=threads), run("reference", "look_up", backwards, table))
    same_error(path, "look_up", codes, table[:, :255])
    same_error(path, "look_up", codes.astype(np.int16), table)


@compiled
@given(data=st.data(), n=lengths, threads=thread_counts)
def test_float_range(path: str, data: st.DataObject, n: int, threads: int) -> None:
    x = data.draw(real_arrays((n,)))
    same(run(path, "float_range", x, threads=threads), run("reference", "float_range", x))


# --- arrays as they come ---


@every_path
def test_any_memory_layout(path: str) -> None:
    """Transposed, strided, unaligned, read-only and 0-d arrays change nothing; swapped bytes are refused."""
    rng = np.random.default_rng(3)
    plain = rng.standard_normal((6, 10)).astype(np.float32)
    raw = np.zeros(plain.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(plain.shape)
    unaligned[:] = plain
    frozen = plain.copy()
    frozen.flags.writeable = False
    target = Target(-3, 8, Rounding.STOCHASTIC, Noise(seed=5))
    wanted = run("reference", "quantize", plain, target)
    for x in (unaligned, frozen, np.asfortranarray(plain), np.repeat(plain, 2, axis=1)[:, ::2], plain[::-1][::-1]):
        same(run(path, "quantize", x, target), wanted)
    ints = wanted[0]
    same(run(path, "channel_sums", np.asfortranarray(ints)), run("reference", "channel_sums", ints))
    same(run(path, "relu", ints.T), np.maximum(ints.T, np.int8(0)))
    zero_d = np.array(1.25, np.float32)
    assert run(path, "quantize", zero_d, Target(-2))[0] == 5
    swapped = np.array([5, -7, 300], np.dtype(np.int32).newbyteorder())
    same_error(path, "requantize", swapped, 0, Target(1))


@compiled
def test_python_threads_at_the_same_time(path: str) -> None:
    """The lock is released, so several calls may run at once; each has its own result."""
    x = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    target = Target(-5, 8, Rounding.STOCHASTIC, Noise(seed=9))
    wanted = run("reference", "quantize", x, target)
    results: list[Any] = [None] * 6

    quantize = kernels.TABLE["quantize"][kernels._choose("quantize", path)]

    def work(number: int) -> None:
        for _ in range(5):
            results[number] = quantize(x, target)

    with kernels.threads(3):
        workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for result in results:
        same(result, wanted)
