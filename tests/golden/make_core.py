"""Golden vectors of the numeric core: noise, quantising and requantising, as text that C, RTL and others can read.

``python tests/golden/make_core.py`` shows what would change and fails if anything would; ``--write`` regenerates.
A change here is a change of bits: it belongs into the changelog under "Bits", with the clause and the reason.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1]))

from qnn.numerics import (  # noqa: E402
    LFSR_TAPS,
    LFSR_TAPS_ALTERNATIVE,
    Noise,
    Rounding,
    Target,
    lfsr16,
    philox,
    philox32,
    quantize,
    requantize,
)

PROVENANCE = (
    "# qnn golden vectors, format 1, first made for version 0.1.0 from qnn.numerics by tests/golden/make_core.py",
    "# Inputs: listed boundary values, then Philox words of the given seed. Numbers are decimal unless marked 0x.",
)
INPUT_SEED = 20200214
SHIFTS = (-70, -3, 0, 1, 2, 7, 15, 16, 17, 31, 40, 62, 63, 64, 90)
EDGES = (0, 1, -1, 127, -128, 255, -256, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))


def noise_lines() -> Iterator[str]:
    """Words of both generators at near and far addresses."""
    yield "# clauses NOI-2 to NOI-6. kind | address | words from start on, hexadecimal"
    places = [(0, 0, 0, 0), (1, 2, 3, 0), (2**64 - 1, 2**32 - 1, 2**32 - 1, 5), (0x0123456789ABCDEF, 7, 9, 2**35 - 3)]
    for seed, stream, step, start in places:
        address = f"seed={seed} stream={stream} step={step} start={start}"
        yield f"philox32 | {address} | {_hexes(philox32(seed, stream, start, 5, step))}"
        yield f"philox16 | {address} | {_hexes(philox(seed, stream, start, 10, step, 16))}"
        yield f"philox8 | {address} | {_hexes(philox(seed, stream, start, 18, step, 8))}"
        for kind in ("philox", "lfsr16"):
            for bits in (1, 5, 8, 9, 12, 16):
                words = Noise(kind, seed, stream, step, start, bits).u16(6)
                yield f"u16 | kind={kind} {address} bits={bits} | {_hexes(words)}"
    for taps in (LFSR_TAPS, LFSR_TAPS_ALTERNATIVE):
        for seed, start in ((0xACE1, 0), (1, 0), (65535, 65530), (0xACE1, 10**12)):
            name = ",".join(map(str, taps))
            yield f"lfsr16 | seed={seed} start={start} taps={name} | {_hexes(lfsr16(seed, start, 8, taps))}"


def requantise_lines() -> Iterator[str]:
    """Accumulators over all rules and shifts, one element per line."""
    yield "# clauses RND-3 to RND-12, REQ-1 to REQ-5, REQ-8, EXP-1"
    yield "# rule n eo ea divisor u acc | q overflow overflow_double saturated"
    random = philox(INPUT_SEED, 1, 0, 20000).astype(np.int64)
    place = 0
    for rule in Rounding:
        for i in range(44):
            word, low, mid, high, pick = (int(v) for v in random[place : place + 5])
            place += 5
            shift = SHIFTS[(pick + i) % len(SHIFTS)] if i % 2 else pick % 12
            bits = (8, 8, 16, 4)[i % 4]
            divisor = (1, 1, 1, 10, 49)[i % 5]
            # Steps of the result, a little more than the width holds, plus a fraction that is a tie every third time.
            step = divisor << min(max(shift, 0), 40)
            fraction = step // 2 if i % 3 == 0 else (mid << 40 | high << 24 | low << 8) * step >> 56
            acc = ((low << 16 | mid) % (2**bits + 2**bits // 4) - 5 * 2 ** (bits - 3)) * step + fraction
            acc = EDGES[i] if i < len(EDGES) else acc
            exponent = max(-64, min(63, -20 + pick % 40))
            target = Target(exponent, bits, rule, np.array([word], dtype=np.uint16))
            acc_exponent = exponent - shift
            ints, c = requantize(np.array([acc], dtype=np.int64), acc_exponent, target, divisor)
            given = f"{rule.value} {bits} {exponent} {acc_exponent} {divisor} 0x{word:04x} {acc}"
            yield f"{given} | {int(ints[0])} {c.overflow} {c.overflow_double} {c.saturated}"


def quantise_lines() -> Iterator[str]:
    """Float32 inputs, given by their bits, over all rules; ties, subnormals and neighbours of integers included."""
    yield "# clauses FMT-4, FMT-6, RND-2 to RND-12, EXP-1"
    yield "# rule n e u float32-bits | q overflow overflow_double saturated"
    listed = [0.0, -0.0, 0.5, -0.5, 1.5, -1.5, -0.49999997, 0.50000006, 1000.0, 127.5, 127.25, -128.5, 2.0**-149, 3e38]
    random = philox(INPUT_SEED, 2, 0, 20000).astype(np.int64)
    place = 0
    for rule in Rounding:
        for i in range(36):
            word, low, high, pick = (int(v) for v in random[place : place + 4])
            place += 4
            if i < len(listed):
                x, exponent = np.array([listed[i]], dtype=np.float32), 0
            else:
                pattern = (high & 0x8000) << 16 | (120 + pick % 16) << 23 | (high & 0x7F) << 16 | low
                x, exponent = np.array([pattern], dtype=np.uint32).view(np.float32), -6 + pick % 9
            bits = (8, 8, 16, 4)[i % 4]
            ints, c = quantize(x, Target(exponent, bits, rule, np.array([word], dtype=np.uint16)))
            given = f"{rule.value} {bits} {exponent} 0x{word:04x} 0x{int(x.view(np.uint32)[0]):08x}"
            yield f"{given} | {int(ints[0])} {c.overflow} {c.overflow_double} {c.saturated}"


FILES = {
    "core_noise.txt": noise_lines,
    "core_requantise.txt": requantise_lines,
    "core_quantise.txt": quantise_lines,
}


def text(name: str) -> str:
    """What the file should hold."""
    return "\n".join([*PROVENANCE, *FILES[name]()]) + "\n"


def _hexes(words: np.ndarray) -> str:
    return " ".join(f"{int(word):0{2 * words.itemsize}x}" for word in words)


def main() -> int:
    """Command line; 0 when the files are as they should be (or were written)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="regenerate the files")
    write = parser.parse_args().write
    changed = False
    for name in FILES:
        path = FOLDER / name
        old, new = path.read_text(encoding="ascii") if path.exists() else "", text(name)
        if old == new:
            continue
        changed = True
        sys.stdout.writelines(
            difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"old/{name}", f"new/{name}", n=0)
        )
        if write:
            path.write_text(new, encoding="ascii")
    return 1 if changed and not write else 0


if __name__ == "__main__":
    sys.exit(main())
