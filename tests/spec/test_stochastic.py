"""Chapter SR: random bits, and how many noise words round up, counted exhaustively."""

from __future__ import annotations

from fractions import Fraction

import generators as gen
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnn.numerics import Noise, Rounding, Target, quantize, requantize, round_ratio, round_real


def every_word(bits: int) -> np.ndarray:
    """All noise words with ``bits`` random bits, in u16 form."""
    return (np.arange(2**bits, dtype=np.int64) << (16 - bits)).astype(np.uint16)


@pytest.mark.clause("SR-2")
@pytest.mark.parametrize("k", range(1, 9))
def test_exactly_r_of_2_to_the_k_words_round_up(k: int) -> None:
    """Exhaustive: every 8-bit value times every noise word, with k fraction bits and k random bits."""
    words = every_word(k)
    for value in range(-128, 128):
        rest = value % 2**k
        up = round_ratio(np.full(words.shape, value), k, "stochastic", words) - (value >> k)
        assert int(up.sum()) == rest
        assert set(up.tolist()) <= {0, 1}


@pytest.mark.clause("SR-2", "REQ-2")
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_word_with_full_width_noise(bits: int) -> None:
    words = every_word(bits)
    for value in (0, 1, 5, 2 ** (bits - 1), 2**bits - 1, -1, -77, 3 * 2**bits + 9):
        acc = np.full(words.shape, value, dtype=np.int64)
        ints, _ = requantize(acc, -bits, Target(0, 8, "stochastic", words))
        assert int((ints.astype(np.int64) - (value >> bits)).sum()) == value % 2**bits
        assert Fraction(int(ints.astype(np.int64).sum()), 2**bits) == Fraction(value, 2**bits)


@pytest.mark.clause("SR-2", "SR-1")
@given(st.integers(1, 16), st.integers(1, 30), gen.int64s())
def test_bits_below_the_noise_are_cut_off(bits: int, shift: int, num: int) -> None:
    words = every_word(bits)[: 1 << min(bits, 10)] if bits > 10 else every_word(bits)
    up = round_ratio(np.full(words.shape, num), shift, "stochastic", words) - (num >> shift)
    fraction = Fraction(num % 2**shift, 2**shift)
    threshold = 2**bits - (fraction * 2**bits).__floor__()
    assert up.tolist() == [int(j >= threshold) for j in range(len(words))]


@pytest.mark.clause("SR-2")
def test_real_input_rounds_up_for_as_many_words_as_ratios() -> None:
    words = every_word(8)
    for value in range(-128, 128):
        x = np.full(words.shape, value / 16, dtype=np.float32)
        assert np.array_equal(
            round_real(x, 0, "stochastic", words), round_ratio(np.full(words.shape, value), 4, 8, words)
        )


@pytest.mark.clause("SR-1")
@pytest.mark.parametrize("kind", ["philox", "lfsr16"])
@pytest.mark.parametrize("bits", range(1, 17))
def test_only_the_top_bits_of_a_word_are_set(kind: str, bits: int) -> None:
    words = Noise(kind, seed=5, stream=6, bits=bits).u16(4096)
    assert words.dtype == np.uint16
    assert not (words & np.uint16((1 << (16 - bits)) - 1)).any()
    if bits <= 8:
        assert len(set(words.tolist())) == 2**bits


@pytest.mark.clause("SR-1")
@pytest.mark.parametrize("bits", [0, 17, -1])
def test_random_bits_out_of_range_are_an_error(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        Noise(bits=bits)


@pytest.mark.clause("SR-1")
def test_one_random_bit_is_a_coin_between_floor_and_nearest_up() -> None:
    num = np.arange(-64, 65)
    low, high = np.zeros(num.shape, np.uint16), np.full(num.shape, 0x8000, np.uint16)
    assert np.array_equal(round_ratio(num, 3, "stochastic", low), round_ratio(num, 3, "floor"))
    assert np.array_equal(round_ratio(num, 3, "stochastic", high), round_ratio(num, 3, "nearest_up"))


@pytest.mark.clause("SR-2", "RND-11")
def test_a_noise_address_gives_the_same_as_its_words() -> None:
    x = np.linspace(-3, 3, 1000).astype(np.float32)
    for noise in (Noise(seed=3, stream=4, start=17), Noise("lfsr16", seed=3, stream=4, bits=7)):
        one, counts = quantize(x, Target(-4, 8, Rounding.STOCHASTIC, noise))
        two, same = quantize(x, Target(-4, 8, Rounding.STOCHASTIC, noise.u16(1000)))
        assert np.array_equal(one, two)
        assert counts == same
        assert abs(float(one.mean()) / 16 - float(x.mean())) < 0.005
