"""Strategies for everything that is not a product: sizes at the edges of the vectors, boundary values, every target."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from generators import accumulators, floats
from hypothesis import settings
from hypothesis import strategies as st
from mac_cases import ints, patterns, seeds
from numpy.typing import NDArray

import qnn._kernels as kernels
from qnn.numerics import LFSR_TAPS, LFSR_TAPS_ALTERNATIVE, Noise, Rounding, Target

Array = NDArray[Any]

# A step of the AVX2 code is 32 results, a chunk 1024 (512 in plain C), a block of one thread 16384 elements.
# With AVX-512 a step is 64 results, a chunk 256 or 512, by the bits of noise.
lengths = st.one_of(
    st.sampled_from(
        [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1056, 2047, 16385]
    ),
    st.integers(0, 200),
)
channels = st.one_of(st.sampled_from([1, 2, 3, 6, 8, 15, 16, 17, 32, 33, 64, 100]), st.integers(1, 40))
wide_channels = st.one_of(channels, st.sampled_from([1023, 1024, 1025, 2100]))
thread_counts = st.sampled_from([1, 2, 3, 5, 7])
starts = st.sampled_from([0, 1, 3, 7, 8, 9, 15, 16, 63, 65533, 2**32 - 5, 2**35 - 9, 2**36 - 20, 2**63, 2**64 - 2**17])
accumulator_dtypes = st.sampled_from([np.int8, np.int16, np.int32, np.int32, np.int64])


def examples(most: int) -> settings:
    """More examples of a test than the profile has, but never more than QNN_TEST_EXAMPLES."""
    return settings(max_examples=min(most, int(os.environ.get("QNN_TEST_EXAMPLES") or most)))


def noises() -> st.SearchStrategy[Noise]:
    """Every kind, every number of bits, addresses that are no multiple of 8 and those where counters carry."""
    return st.builds(
        Noise,
        kind=st.sampled_from(["philox", "philox", "lfsr16"]),
        seed=st.one_of(st.sampled_from([0, 1, 2**32 - 1, 2**64 - 1]), st.integers(0, 2**64 - 1)),
        stream=st.one_of(st.sampled_from([0, 2**32 - 1]), st.integers(0, 2**32 - 1)),
        step=st.one_of(st.sampled_from([0, 1, 2**32 - 1]), st.integers(0, 2**32 - 1)),
        start=starts,
        bits=st.integers(1, 16),
        taps=st.sampled_from([LFSR_TAPS, LFSR_TAPS_ALTERNATIVE]),
    )


def words(count: int) -> st.SearchStrategy[NDArray[np.uint16]]:
    """An array of noise words with many zeros and all-ones."""

    def make(seed: int) -> NDArray[np.uint16]:
        rng = np.random.default_rng(seed)
        some = rng.integers(0, 65536, count).astype(np.uint16)
        edge = rng.choice(np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF], np.uint16), count)
        return np.where(rng.random(count) < 0.5, some, edge).astype(np.uint16)

    return seeds.map(make)


@st.composite
def targets(draw: st.DrawFn, count: int, exponents: st.SearchStrategy[int]) -> Target:
    """Any rule, width and noise; STOCHASTIC half of the time."""
    rounding = draw(st.one_of(st.sampled_from(list(Rounding)), st.just(Rounding.STOCHASTIC)))
    bits = draw(st.one_of(st.just(8), st.integers(2, 16)))
    noise: Noise | NDArray[np.uint16] | None = None
    if rounding is Rounding.STOCHASTIC:
        noise = draw(st.one_of(noises(), noises(), words(count)))
    return Target(draw(exponents), bits, rounding, noise)


@st.composite
def integer_arrays(draw: st.DrawFn, shape: tuple[int, ...], dtype: type) -> Array:
    """Accumulators of any size within the type: boundary numbers, small, large and random ones, in random places."""
    info, size = np.iinfo(dtype), int(np.prod(shape, dtype=np.int64))
    rng = np.random.default_rng(draw(seeds))
    bits = draw(st.integers(1, info.bits))
    values = rng.integers(max(info.min, -(2 ** (bits - 1))), min(info.max, 2 ** (bits - 1)), size, endpoint=True)
    edge = np.clip(draw(accumulators()), info.min, info.max)
    values = np.where(rng.random(size) < 0.3, rng.choice(edge, size), values)
    return values.astype(dtype).reshape(shape)


@st.composite
def real_arrays(draw: st.DrawFn, shape: tuple[int, ...], around: int = 0) -> NDArray[np.float32]:
    """Reals: any float32, and quarters of 2**around (ties) with their neighbours, in random places."""
    size = int(np.prod(shape, dtype=np.int64))
    rng = np.random.default_rng(draw(seeds))
    ties = (rng.integers(-1200, 1200, size) / np.float32(4) * 2.0**around).astype(np.float32)
    ties = np.where(rng.random(size) < 0.3, np.nextafter(ties, np.float32(rng.choice([-1e30, 1e30]))), ties)
    anything = np.array(draw(st.lists(floats(), min_size=1, max_size=12)), np.float32)
    any_bits = rng.integers(0, 2**32, size, dtype=np.uint32).view(np.float32)
    any_bits = np.where(np.isfinite(any_bits), any_bits, np.float32(0))
    kind = rng.integers(0, 4, size)
    values = np.where(kind == 0, rng.choice(anything, size), np.where(kind == 1, any_bits, ties))
    return values.astype(np.float32).reshape(shape)


def small_ints(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """int8 or int16 operands with boundary values."""
    return st.builds(ints, st.just(shape), st.sampled_from([np.int8, np.int16]), patterns, seeds)


def run(path: str, operation: str, *args: Any, threads: int = 1, **kwargs: Any) -> Any:
    """Call one operation on one path."""
    with kernels.threads(threads):
        return kernels.TABLE[operation][kernels._choose(operation, path)](*args, **kwargs)


def same(got: Any, wanted: Any) -> None:
    """Equal types, shapes and values, without a tolerance; tuples entry by entry."""
    if isinstance(wanted, tuple):
        assert isinstance(got, tuple)
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            same(one, other)
    elif isinstance(wanted, np.ndarray):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)
    else:
        assert type(got) is type(wanted)
        assert got == wanted


def same_error(path: str, operation: str, *args: Any, **kwargs: Any) -> str:
    """Both the path and the definition refuse, with the same class of error; returns the path's message."""
    caught = []
    for where in (path, "reference"):
        try:
            run(where, operation, *args, **kwargs)
        except (TypeError, ValueError, OverflowError) as error:
            caught.append((type(error), str(error)))
        else:
            raise AssertionError(f"{operation} on {where} accepted what must be an error")
    assert caught[0][0] is caught[1][0]
    return caught[0][1]
