"""Noise that is addressed, not drawn: Philox4x32-10 and a 16-bit LFSR (spec chapter NOI).

A word is a pure function of (seed, step, stream, element); nothing here has state.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .arguments import index

PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
PHILOX_ROUNDS = 10

LFSR_PERIOD = 65535
LFSR_TAPS = (0, 2, 3, 5)
"""Bits whose XOR is the new leftmost bit (textbook taps 16, 14, 13, 11); our choice, the paper names none (NOI-5)."""
LFSR_TAPS_ALTERNATIVE = (0, 1, 3, 12)

_MASK32 = 0xFFFFFFFF


def philox_block(seed: int, stream: int, step: int, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Philox4x32-10: four 32-bit words for each block number.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1; the key is (seed mod 2**32, seed >> 32).
    stream, step : int
        0 to 2**32 - 1 each; the counter is (block mod 2**32, block >> 32, step, stream).
    blocks : ndarray of uint64 [n]
        Block numbers.

    Returns
    -------
    ndarray of uint32 [n, 4]

    Notes
    -----
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). The papers name no such generator.
    Bit-exactness: clause NOI-2; nothing may vary.
    """
    seed, stream, step = _checked("seed", seed, 64), _checked("stream", stream, 32), _checked("step", step, 32)
    low, mask = np.uint64(32), np.uint64(_MASK32)
    m0, m1 = (np.uint64(m) for m in PHILOX_MULTIPLIERS)
    k0, k1 = seed & _MASK32, seed >> 32
    c0, c1 = blocks & mask, blocks >> low
    c2, c3 = np.full_like(blocks, step), np.full_like(blocks, stream)
    for _ in range(PHILOX_ROUNDS):
        p0, p1 = c0 * m0, c2 * m1  # 32 x 32 bits: at most 64, never wraps
        c0, c1, c2, c3 = (p1 >> low) ^ c1 ^ np.uint64(k0), p1 & mask, (p0 >> low) ^ c3 ^ np.uint64(k1), p0 & mask
        k0, k1 = (k0 + PHILOX_KEY_STEPS[0]) & _MASK32, (k1 + PHILOX_KEY_STEPS[1]) & _MASK32
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def philox32(seed: int, stream: int, start: int, count: int, step: int = 0) -> NDArray[np.uint32]:
    """``count`` 32-bit Philox words from word ``start`` on (for shuffles, initial weights and augmentation).

    Parameters
    ----------
    seed, stream, step : int
        The address, see `philox_block`.
    start, count : int
        Word i is the (i mod 4)-th of block i // 4. ``start + count`` is at most 2**64.

    Returns
    -------
    ndarray of uint32 [count]

    Notes
    -----
    Bit-exactness: clause NOI-3; nothing may vary.
    """
    return _philox_words(seed, stream, start, count, step, 4, np.dtype("<u4")).astype(np.uint32, copy=False)


def philox(
    seed: int, stream: int, start: int, count: int, step: int = 0, word_bits: int = 16
) -> NDArray[np.uint16] | NDArray[np.uint8]:
    """``count`` Philox noise words of 16 or 8 bits from word ``start`` on.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    stream, step : int
        0 to 2**32 - 1.
    start, count : int
        Range of words, ``start + count <= 2**64``.
    word_bits : 16 or 8
        A block is eight 16-bit or sixteen 8-bit words, little-endian.

    Returns
    -------
    ndarray of uint16 [count], or of uint8 [count]

    Raises
    ------
    ValueError
        A part of the address is out of its range.

    Notes
    -----
    Bit-exactness: clause NOI-3; nothing may vary.
    """
    if word_bits == 16:
        return _philox_words(seed, stream, start, count, step, 8, np.dtype("<u2")).astype(np.uint16, copy=False)
    if word_bits == 8:
        return _philox_words(seed, stream, start, count, step, 16, np.dtype("u1"))
    raise ValueError(f"got word_bits {word_bits}; allowed are 8 and 16; use 8 for up to 8 random bits, else 16")


def lfsr16(seed: int, start: int, count: int, taps: tuple[int, ...] = LFSR_TAPS) -> NDArray[np.uint16]:
    """``count`` words of the 16-bit LFSR from word ``start`` on; word i is the state after i + 1 shifts.

    Parameters
    ----------
    seed : int
        State before the first shift, 1 to 65535; 0 never leaves 0 and is an error.
    start, count : int
        Range of words; any start costs the same (table of the 65535 states).
    taps : tuple of int
        Bits whose XOR becomes the new leftmost bit; only sets of full period are accepted.

    Returns
    -------
    ndarray of uint16 [count]

    Raises
    ------
    ValueError
        Seed 0 or out of range; taps without the full period of 65535.

    Notes
    -----
    Source: DFP paper, section 5.5 and Figure 6 (16-bit LFSR shifted right, XOR of four bits); the taps are our choice.
    Bit-exactness: clause NOI-5; nothing may vary.
    """
    seed = operator.index(seed)
    if not 1 <= seed <= LFSR_PERIOD:
        raise ValueError(f"got LFSR seed {seed}; allowed are 1 to 65535; 0 would never change, take another")
    start, count = _range(start, count)
    orbit, place = lfsr_orbit(tuple(taps))
    first = (int(place[seed]) + 1 + start) % LFSR_PERIOD
    return np.asarray(orbit[(first + np.arange(count, dtype=np.int64)) % LFSR_PERIOD])


@functools.lru_cache(maxsize=8)
def lfsr_orbit(taps: tuple[int, ...] = LFSR_TAPS) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """All 65535 states in the order of shifting from state 1, and the place of each state in that order.

    Returns
    -------
    orbit : ndarray of uint16 [65535]
        ``orbit[j]`` is state 1 after j shifts.
    place : ndarray of int64 [65536]
        ``orbit[place[s]] == s`` for s from 1 to 65535; ``place[0]`` is -1.

    Notes
    -----
    Bit-exactness: clause NOI-5; nothing may vary.
    """
    bits = tuple(operator.index(t) for t in taps)
    if not bits or len(set(bits)) != len(bits) or not all(0 <= t <= 15 for t in bits):
        raise ValueError(f"got LFSR taps {taps}; they must be distinct bits from 0 to 15; take for example {LFSR_TAPS}")
    states, state = [], 1
    for _ in range(LFSR_PERIOD):
        states.append(state)
        new = 0
        for tap in bits:
            new ^= state >> tap
        state = (state >> 1) | ((new & 1) << 15)
        if state <= 1:
            break
    if state != 1 or len(states) != LFSR_PERIOD:
        raise ValueError(
            f"got LFSR taps {taps}; only sets of the full period 65535 are allowed; "
            f"take {LFSR_TAPS} or {LFSR_TAPS_ALTERNATIVE}"
        )
    orbit = np.array(states, dtype=np.uint16)
    place = np.full(LFSR_PERIOD + 1, -1, dtype=np.int64)
    place[orbit] = np.arange(LFSR_PERIOD)
    orbit.flags.writeable = place.flags.writeable = False
    return orbit, place


@dataclass(frozen=True)
class Noise:
    """The address of a run of noise words; nothing is drawn until `u16` is asked.

    Parameters
    ----------
    kind : "philox" or "lfsr16"
    seed : int
        0 to 2**64 - 1, the seed of the run.
    stream : int
        0 to 2**32 - 1; names layer and role.
    step : int
        0 to 2**32 - 1; the training step.
    start : int
        Address of the first element.
    bits : int
        Random bits r that count, 1 to 16.
    taps : tuple of int
        LFSR taps; only used by ``lfsr16``.

    Notes
    -----
    Source: DFP paper, section 5.5 (one 16-bit word per output element); numerics N5.
    Bit-exactness: clauses NOI-1, NOI-4 and NOI-6; nothing may vary.
    """

    kind: str = "philox"
    seed: int = 0
    stream: int = 0
    step: int = 0
    start: int = 0
    bits: int = 16
    taps: tuple[int, ...] = LFSR_TAPS

    def __post_init__(self) -> None:
        if self.kind not in ("philox", "lfsr16"):
            raise ValueError(f"got noise kind {self.kind!r}; allowed are 'philox' and 'lfsr16'; choose one of them")
        seed, stream, step, start, bits = self.seed, self.stream, self.step, self.start, self.bits
        if not (  # Python integers in range, as nearly all are of the hundreds that a training step makes
            type(seed) is type(stream) is type(step) is type(start) is type(bits) is int
            and 0 <= seed < 2**64
            and 0 <= stream < 2**32
            and 0 <= step < 2**32
            and 0 <= start < 2**64
            and 1 <= bits <= 16
        ):
            self._normalise()
        if self.taps is not LFSR_TAPS:
            object.__setattr__(self, "taps", tuple(operator.index(t) for t in self.taps))
        if self.kind == "lfsr16":
            lfsr_orbit(self.taps)

    def _normalise(self) -> None:
        """Make the numbers Python integers, or say which one is out of range."""
        numbers = {
            "seed": _checked("seed", self.seed, 64),
            "stream": _checked("stream", self.stream, 32),
            "step": _checked("step", self.step, 32),
            "start": _range(self.start, 0)[0],
            "bits": index("random bits", self.bits),
        }
        if not 1 <= numbers["bits"] <= 16:
            raise ValueError(f"got {numbers['bits']} random bits; allowed are 1 to 16; the papers use 16")
        for name, number in numbers.items():
            object.__setattr__(self, name, number)  # the dataclass is frozen

    def at(self, start: int) -> Noise:
        """The same stream from element ``start`` on (clause NOI-1)."""
        return replace(self, start=start)

    @property
    def lfsr_seed(self) -> int:
        """The LFSR's state before the first shift, made from (seed, stream, step), never 0 (clause NOI-6)."""
        return 1 + int(philox32(self.seed, self.stream, 0, 1, self.step)[0]) % LFSR_PERIOD

    def u16(self, count: int) -> NDArray[np.uint16]:
        """Words ``start`` to ``start + count`` in u16 form: only the top ``bits`` bits may be set.

        Parameters
        ----------
        count : int

        Returns
        -------
        ndarray of uint16 [count]

        Notes
        -----
        Philox streams of 8 bits or fewer have 8-bit words, which go into the upper byte. An LFSR word is always the
        16-bit state. Bit-exactness: clauses NOI-4 and NOI-6; nothing may vary.
        """
        if self.kind == "lfsr16":
            words = lfsr16(self.lfsr_seed, self.start, count, self.taps)
        elif self.bits <= 8:
            words = philox(self.seed, self.stream, self.start, count, self.step, 8).astype(np.uint16) << np.uint16(8)
        else:
            words = philox(self.seed, self.stream, self.start, count, self.step, 16).astype(np.uint16, copy=False)
        return np.asarray(words & np.uint16((0xFFFF << (16 - self.bits)) & 0xFFFF))


def _philox_words(
    seed: int, stream: int, start: int, count: int, step: int, per_block: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Words ``start`` to ``start + count``, where a block holds ``per_block`` little-endian words."""
    start, count = _range(start, count)
    first = start // per_block
    blocks = np.uint64(first) + np.arange(-(-(start + count) // per_block) - first if count else 0, dtype=np.uint64)
    words = philox_block(seed, stream, step, blocks).astype("<u4").reshape(-1).view(dtype)
    return np.asarray(words[start - first * per_block :][:count].copy())


def _checked(name: str, value: SupportsIndex, bits: int) -> int:
    number = index(f"noise {name}", value)
    if not 0 <= number < 2**bits:
        raise ValueError(f"got noise {name} {number}; allowed are 0 to 2**{bits} - 1; choose one in this range")
    return number


def _range(start: SupportsIndex, count: SupportsIndex) -> tuple[int, int]:
    first, number = index("a first noise word", start), index("a number of noise words", count)
    if first < 0 or number < 0 or first + number > 2**64:
        raise ValueError(
            f"got {number} noise words from {first} on; both must be 0 or more and end within 2**64; check the address"
        )
    return first, number
