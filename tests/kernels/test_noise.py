"""Addressed noise of the kernels: every path, kind, width and address gives the words of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from elem_cases import examples, lengths, noises, run, same, same_error, thread_counts
from hypothesis import given
from hypothesis import strategies as st

import qnn._kernels as kernels
from qnn.numerics import LFSR_TAPS_ALTERNATIVE, Noise, Rounding, Target

every_path = pytest.mark.parametrize("path", kernels.available_kernels())
compiled = pytest.mark.parametrize("path", [p for p in kernels.available_kernels() if p != "reference"])


@pytest.mark.clause("NOI-2", "NOI-3", "NOI-4", "NOI-5", "NOI-6")
@compiled
@examples(150)
@given(noise=noises(), count=lengths, threads=thread_counts)
def test_words(path: str, noise: Noise, count: int, threads: int) -> None:
    same(run(path, "noise_u16", noise, count, threads=threads), noise.u16(count))


@pytest.mark.clause("NOI-2", "NOI-3")
@every_path
def test_published_known_answer(path: str) -> None:
    words = run(path, "noise_u16", Noise(), 8)
    assert [f"{w:04X}" for w in words] == ["E8D5", "6627", "C58D", "E169", "AC4C", "BC57", "DBD8", "9B00"]
    bytes_of = run(path, "noise_u16", Noise(bits=8), 16)
    assert (bytes_of >> 8).astype(np.uint8).tobytes().hex() == "d5e827668dc569e14cac57bcd8db009b"


@pytest.mark.clause("NOI-1")
@compiled
@given(noise=noises(), count=st.integers(0, 300), cut=st.integers(0, 300))
def test_a_range_in_two_parts(path: str, noise: Noise, count: int, cut: int) -> None:
    cut = min(cut, count)
    parts = [run(path, "noise_u16", noise, cut), run(path, "noise_u16", noise.at(noise.start + cut), count - cut)]
    same(np.concatenate(parts), run(path, "noise_u16", noise, count))


@pytest.mark.clause("NOI-3")
@compiled
@pytest.mark.parametrize("bits", [8, 16])
def test_the_block_counter_carries_into_its_upper_word(path: str, bits: int) -> None:
    per_block = 8 if bits == 16 else 16
    for first in range(2**32 - 10, 2**32 + 2):
        noise = Noise(seed=2**64 - 1, stream=7, step=3, start=first * per_block + 3, bits=bits)
        same(run(path, "noise_u16", noise, 150), noise.u16(150))
    last = Noise(seed=1, start=2**64 - 200, bits=bits)
    same(run(path, "noise_u16", last, 200), last.u16(200))


@pytest.mark.clause("NOI-5")
@compiled
@pytest.mark.parametrize("taps", [(0, 2, 3, 5), LFSR_TAPS_ALTERNATIVE])
def test_lfsr_over_more_than_a_period(path: str, taps: tuple[int, ...]) -> None:
    noise = Noise("lfsr16", seed=11, stream=2, step=5, start=65530, bits=16, taps=taps)
    words = run(path, "noise_u16", noise, 65535 + 70, threads=2)
    same(words, noise.u16(65535 + 70))
    assert len(set(words.tolist())) == 65535


@compiled
def test_refused_alike(path: str) -> None:
    same_error(path, "noise_u16", Noise(start=2**64 - 10), 11)
    same_error(path, "noise_u16", Noise(), -1)
    far = Target(0, 8, Rounding.STOCHASTIC, Noise(start=2**64 - 10))
    same_error(path, "quantize", np.zeros(11, np.float32), far)


@pytest.mark.clause("NOI-1")
@compiled
@pytest.mark.parametrize("kind", ["philox", "lfsr16"])
@pytest.mark.parametrize("bits", [3, 16])
def test_element_i_uses_word_start_plus_i(path: str, kind: str, bits: int) -> None:
    """Requantising one element at a time at its own address gives the tensor, on any number of threads."""
    acc = np.random.default_rng(1).integers(-3000, 3000, 40_000).astype(np.int32)
    noise = Noise(kind, seed=4, stream=1, start=13, bits=bits)
    whole, counts = run(path, "requantize", acc, 0, Target(5, 8, Rounding.STOCHASTIC, noise), threads=3)
    assert counts.total == 40_000
    for i in (0, 1, 7, 8, 511, 512, 1023, 16383, 16384, 39_999):
        one, _ = run(path, "requantize", acc[i : i + 1], 0, Target(5, 8, Rounding.STOCHASTIC, noise.at(13 + i)))
        assert one[0] == whole[i]
