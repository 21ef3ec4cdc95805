"""Chapter NOI: known answers, random access, split, resume and jump invariance, independence, ranges."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qnn.numerics import (
    LFSR_TAPS,
    LFSR_TAPS_ALTERNATIVE,
    Noise,
    lfsr16,
    lfsr_orbit,
    philox,
    philox32,
    philox_block,
)

seeds = st.one_of(st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**64 - 1]), st.integers(0, 2**64 - 1))
short = st.one_of(st.sampled_from([0, 1, 2**32 - 1]), st.integers(0, 2**32 - 1))
starts = st.one_of(
    st.integers(0, 40), st.sampled_from([2**32 - 3, 2**32 * 8 - 3, 2**35 - 1, 2**36 - 1, 2**60]), st.integers(0, 2**63)
)


def noises(**fixed: object) -> st.SearchStrategy[Noise]:
    """Noise addresses of both kinds."""
    parts = {
        "kind": st.sampled_from(["philox", "lfsr16"]),
        "seed": seeds,
        "stream": short,
        "step": short,
        "start": starts,
        "bits": st.integers(1, 16),
        "taps": st.sampled_from([LFSR_TAPS, LFSR_TAPS_ALTERNATIVE]),
    }
    parts.update({name: st.just(value) for name, value in fixed.items()})
    return st.builds(Noise, **parts)


@pytest.mark.clause("NOI-2")
def test_philox_known_answers() -> None:
    ones, pi = 2**32 - 1, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    published = [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones, ones, ones, ones), (ones, ones), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (pi[:4], pi[4:], (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ]
    for counter, key, answer in published:
        block = np.array([counter[0] | counter[1] << 32], dtype=np.uint64)
        got = philox_block(key[0] | key[1] << 32, counter[3], counter[2], block)
        assert got.dtype == np.uint32
        assert got.tolist() == [list(answer)]
        assert oracle.philox4x32(counter, key) == list(answer)


@pytest.mark.clause("NOI-2")
@given(seeds, short, short, st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1)))
def test_philox_equals_the_oracle(seed: int, stream: int, step: int, block: int) -> None:
    got = philox_block(seed, stream, step, np.array([block], dtype=np.uint64))
    assert got.tolist() == [oracle.philox4x32((block % 2**32, block >> 32, step, stream), (seed % 2**32, seed >> 32))]


@pytest.mark.clause("NOI-2")
def test_philox_over_the_carry_of_the_block_number() -> None:
    data = oracle.philox_bytes(123456789012345, 7, 9, 2**32 - 5, 10)
    blocks = np.arange(2**32 - 5, 2**32 + 5, dtype=np.uint64)
    assert philox_block(123456789012345, 7, 9, blocks).astype("<u4").tobytes() == data


@pytest.mark.clause("NOI-3")
def test_words_of_a_block() -> None:
    words = [0xE8D5, 0x6627, 0xC58D, 0xE169, 0xAC4C, 0xBC57, 0xDBD8, 0x9B00]
    assert philox(0, 0, 0, 8).tolist() == words
    assert philox(0, 0, 0, 16, word_bits=8).tolist() == [b for w in words for b in (w & 255, w >> 8)]
    assert philox32(0, 0, 0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert (philox(0, 0, 0, 1).dtype, philox(0, 0, 0, 1, word_bits=8).dtype) == (np.uint16, np.uint8)
    assert philox32(0, 0, 0, 1).dtype == np.uint32
    with pytest.raises(ValueError, match="8 and 16"):
        philox(0, 0, 0, 1, word_bits=32)


@pytest.mark.clause("NOI-3")
@given(seeds, short, short, starts, st.integers(0, 40), st.sampled_from([8, 16, 32]))
def test_words_are_the_bytes_of_the_blocks(
    seed: int, stream: int, step: int, start: int, count: int, size: int
) -> None:
    first, place = divmod(start * size // 8, 16)
    data = oracle.philox_bytes(seed, stream, step, first, (place + count * size // 8) // 16 + 1)[place:]
    if size == 32:
        words = philox32(seed, stream, start, count, step)
    else:
        words = philox(seed, stream, start, count, step, size)
    assert words.astype(f"<u{size // 8}").tobytes() == data[: count * size // 8]


@pytest.mark.clause("NOI-4", "NOI-1")
@given(noises(kind="philox"), st.integers(0, 30))
def test_u16_form_of_philox(noise: Noise, count: int) -> None:
    wanted = [
        oracle.noise_word(noise.seed, noise.stream, noise.step, noise.start + i, noise.bits) for i in range(count)
    ]
    assert noise.u16(count).tolist() == wanted


@pytest.mark.clause("NOI-4", "NOI-6")
@given(noises(kind="lfsr16", start=0), st.integers(0, 60))
def test_u16_form_of_the_lfsr(noise: Noise, count: int) -> None:
    first = oracle.philox4x32((0, 0, noise.step, noise.stream), (noise.seed % 2**32, noise.seed >> 32))[0]
    assert noise.lfsr_seed == 1 + first % 65535
    words = oracle.lfsr_words(noise.lfsr_seed, count, noise.taps)
    assert noise.u16(count).tolist() == [w - w % 2 ** (16 - noise.bits) for w in words]


@pytest.mark.clause("NOI-5")
def test_lfsr_known_answers() -> None:
    assert lfsr16(0xACE1, 0, 6).tolist() == [0x5670, 0xAB38, 0x559C, 0x2ACE, 0x1567, 0x8AB3]
    other = lfsr16(0xACE1, 0, 6, taps=(0, 1, 3, 12))
    assert other.tolist() == [0xD670, 0xEB38, 0xF59C, 0x7ACE, 0xBD67, 0xDEB3]
    assert (LFSR_TAPS, LFSR_TAPS_ALTERNATIVE) == ((0, 2, 3, 5), (0, 1, 3, 12))


@pytest.mark.clause("NOI-5")
@pytest.mark.parametrize("taps", [LFSR_TAPS, LFSR_TAPS_ALTERNATIVE, (5, 3, 2, 0)])
def test_lfsr_visits_every_state_but_zero(taps: tuple[int, ...]) -> None:
    words = lfsr16(1, 0, 65535, taps)
    assert sorted(words.tolist()) == list(range(1, 65536))
    assert words.tolist() == oracle.lfsr_words(1, 65535, taps)
    orbit, place = lfsr_orbit(taps)
    assert np.array_equal(orbit[place[1:]], np.arange(1, 65536))


@pytest.mark.clause("NOI-5")
@given(
    st.integers(1, 65535),
    st.integers(0, 2**63),
    st.integers(0, 300),
    st.sampled_from([LFSR_TAPS, LFSR_TAPS_ALTERNATIVE]),
)
def test_lfsr_jumps_anywhere(seed: int, start: int, count: int, taps: tuple[int, ...]) -> None:
    near = start % 65535
    assert np.array_equal(lfsr16(seed, start, count, taps), lfsr16(seed, 0, near + count, taps)[near:])
    if count:
        state = int(lfsr16(seed, start, 1, taps)[0])
        assert np.array_equal(lfsr16(seed, start + 1, count, taps), lfsr16(state, 0, count, taps))


@pytest.mark.clause("NOI-5")
@pytest.mark.parametrize("seed", [0, -1, 65536])
def test_lfsr_seed_out_of_range_is_an_error(seed: int) -> None:
    with pytest.raises(ValueError, match="LFSR seed"):
        lfsr16(seed, 0, 1)


@pytest.mark.clause("NOI-5")
@pytest.mark.parametrize(
    "taps", [(), (0,), (1, 2), (0, 1, 2, 3), (0, 2, 3, 4), (0, 0, 2, 3), (0, 16), (-1, 0), (2, 3, 5, 7)]
)
def test_taps_without_the_full_period_are_errors(taps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="LFSR taps"):
        lfsr16(1, 0, 1, taps)
    with pytest.raises(ValueError, match="LFSR taps"):
        Noise("lfsr16", taps=taps)


@pytest.mark.clause("NOI-1")
@given(noises(), st.lists(st.integers(0, 40), max_size=6))
def test_split_and_resume_anywhere(noise: Noise, sizes: list[int]) -> None:
    whole = noise.u16(sum(sizes))
    parts, at = [np.zeros(0, np.uint16)], noise.start
    for size in sizes:
        parts.append(noise.at(at).u16(size))
        at += size
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.clause("NOI-1")
@given(noises(), st.integers(1, 100), st.integers(0, 2**20))
def test_jump_and_repeat(noise: Noise, count: int, jump: int) -> None:
    there = noise.at(noise.start + jump)
    near = noise.at(noise.start + jump - 1) if noise.start + jump else there
    assert np.array_equal(there.u16(count), there.u16(count))
    assert np.array_equal(near.u16(count + 1)[1:], there.u16(count)) or near is there
    assert (there.seed, there.stream, there.step, there.bits) == (noise.seed, noise.stream, noise.step, noise.bits)


@pytest.mark.clause("NOI-1")
@pytest.mark.parametrize("kind", ["philox", "lfsr16"])
def test_every_part_of_the_address_counts(kind: str) -> None:
    seen = set()
    for seed in (0, 1, 2**32, 2**63):
        for stream in (0, 1, 2**31):
            for step in (0, 1, 2**31):
                seen.add(Noise(kind, seed, stream, step).u16(8).tobytes())
    assert len(seen) == 36


@pytest.mark.clause("NOI-7")
@pytest.mark.parametrize(
    "bad",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"stream": -1},
        {"stream": 2**32},
        {"step": -1},
        {"step": 2**32},
        {"start": -1},
        {"start": 2**64 + 1},
        {"bits": 0},
        {"bits": 17},
        {"kind": "mersenne"},
    ],
)
def test_addresses_out_of_range_are_errors(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got "):
        Noise(**{"seed": 0, "stream": 0, **bad})  # type: ignore[arg-type]


@pytest.mark.clause("NOI-7")
def test_ranges_of_words_out_of_range_are_errors() -> None:
    for call in (philox, philox32, lambda seed, stream, start, count: lfsr16(1, start, count)):
        for start, count in ((-1, 1), (0, -1), (2**64, 1), (2**64 - 1, 2)):
            with pytest.raises(ValueError, match="noise words"):
                call(0, 0, start, count)
    for seed, stream, step in ((-1, 0, 0), (2**64, 0, 0), (0, 2**32, 0), (0, 0, 2**32)):
        with pytest.raises(ValueError, match="got noise"):
            philox(seed, stream, 0, 1, step)
    with pytest.raises(TypeError):
        Noise(seed=1.5)  # type: ignore[arg-type]
    last = philox(0, 0, 2**64 - 3, 3)
    assert np.array_equal(last[1:], philox(0, 0, 2**64 - 2, 2))
    assert philox(0, 0, 2**64, 0).size == 0
    assert Noise(seed=np.uint64(5), stream=np.int32(3)).u16(2).tolist() == Noise(seed=5, stream=3).u16(2).tolist()  # type: ignore[arg-type]


@pytest.mark.clause("NOI-8", "NOI-1")
@pytest.mark.parametrize("bits", [8, 16])
def test_philox_words_are_uniform_and_uncorrelated(bits: int) -> None:
    n = 1 << 18
    words = Noise(seed=2024, stream=1, bits=bits).u16(n)
    assert stats.chisquare(np.bincount(words >> 8, minlength=256)).pvalue > 1e-3
    centred = words.astype(np.float64) - words.mean()
    variance = np.dot(centred, centred)
    for lag in (1, 2, 3, 4, 7, 8, 9, 16, 64, 65535):
        assert abs(np.dot(centred[:-lag], centred[lag:]) / variance) < 4 / np.sqrt(n - lag)
    if bits == 16:
        for bit in range(16):
            ones = int(((words >> bit) & 1).sum())
            assert stats.binomtest(ones, n).pvalue > 1e-3
        assert stats.kstest((words + 0.5) / 65536, "uniform").pvalue > 1e-3


@pytest.mark.clause("NOI-8", "NOI-1")
def test_streams_steps_and_seeds_are_independent_under_philox() -> None:
    n = 1 << 14
    base = Noise(seed=5, stream=6, step=7)
    others = [Noise(seed=5, stream=6 + k, step=7) for k in (1, 2, 256)]
    others += [Noise(seed=5, stream=6, step=7 + k) for k in (1, 2, 256)]
    others += [Noise(seed=5 + k, stream=6, step=7) for k in (1, 2, 2**32)]
    others += [Noise(seed=5, stream=7, step=6), Noise(seed=6, stream=5, step=7)]
    first = base.u16(n)
    for other in others:
        words = other.u16(n)
        assert abs(np.corrcoef(first, words)[0, 1]) < 4 / np.sqrt(n)
        pairs = np.histogram2d(first >> 12, words >> 12, bins=16)[0].reshape(-1)
        assert stats.chisquare(pairs).pvalue > 1e-4
        assert (first == words).sum() < 8


@pytest.mark.clause("NOI-8")
@pytest.mark.parametrize("taps", [LFSR_TAPS, LFSR_TAPS_ALTERNATIVE])
def test_the_lfsr_s_weakness_is_as_documented(taps: tuple[int, ...]) -> None:
    words = lfsr16(1, 0, 65535, taps).astype(np.int64)
    centred = words - words.mean()
    for lag in (1, 2, 3, 4):
        correlation = np.dot(centred, np.roll(centred, -lag)) / np.dot(centred, centred)
        assert abs(correlation - 2.0**-lag) < 1e-3
    assert np.array_equal(words[1:] & 0x7FFF, words[:-1] >> 1)
    assert np.array_equal(lfsr16(77, 65535, 100, taps), lfsr16(77, 0, 100, taps))
