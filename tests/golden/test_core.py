"""The golden vectors of the core: unchanged, and equal to the second implementation."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import oracle
import pytest

FOLDER = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_core", FOLDER / "make_core.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(name: str) -> list[list[str]]:
    lines = (FOLDER / name).read_text(encoding="ascii").splitlines()
    assert "golden vectors" in lines[0]
    return [[part.strip() for part in line.split("|")] for line in lines if not line.startswith("#")]


@pytest.mark.clause("NOI-3", "RND-3", "REQ-1", "FMT-6")
@pytest.mark.parametrize("name", ["core_noise.txt", "core_requantise.txt", "core_quantise.txt"])
def test_bits_have_not_changed(maker: ModuleType, name: str) -> None:
    assert maker.text(name).splitlines() == (FOLDER / name).read_text(encoding="ascii").splitlines()


@pytest.mark.clause("NOI-2", "NOI-3", "NOI-4", "NOI-5", "NOI-6")
def test_noise_vectors_equal_the_oracle() -> None:
    for kind, address, words in rows("core_noise.txt"):
        at = dict(item.split("=") for item in address.split())
        got = [int(w, 16) for w in words.split()]
        seed, start = int(at["seed"]), int(at["start"])
        if kind == "lfsr16":
            taps = [int(t) for t in at["taps"].split(",")]
            skip = start % 65535
            assert got == oracle.lfsr_words(seed, skip + len(got), taps)[skip:]
            continue
        stream, step = int(at["stream"]), int(at["step"])
        if kind == "u16" and at["kind"] == "lfsr16":
            first = oracle.philox4x32((0, 0, step, stream), (seed % 2**32, seed >> 32))[0]
            skip, low = start % 65535, 2 ** (16 - int(at["bits"]))
            states = oracle.lfsr_words(1 + first % 65535, skip + len(got))[skip:]
            assert got == [w - w % low for w in states]
        elif kind == "u16":
            assert got == [oracle.noise_word(seed, stream, step, start + i, int(at["bits"])) for i in range(len(got))]
        else:
            size = int(kind.removeprefix("philox")) // 8
            block, place = divmod(start * size, 16)
            data = oracle.philox_bytes(seed, stream, step, block, 3)[place:]
            assert got == [int.from_bytes(data[i * size : (i + 1) * size], "little") for i in range(len(got))]


def check(given: list[str], result: str, value: Fraction) -> None:
    rule, bits, exponent, word = int(given[0]), int(given[1]), int(given[2]), int(given[3], 16)
    wanted, counts = oracle.to_bits([value], exponent, bits, rule, [word])
    assert [int(v) for v in result.split()] == [*wanted, *counts[2:]]


@pytest.mark.clause("REQ-1", "REQ-2", "REQ-3", "REQ-4", "REQ-5", "REQ-8")
def test_requantise_vectors_equal_the_oracle() -> None:
    for left, result in rows("core_requantise.txt"):
        rule, bits, exponent, source, divisor, word, acc = left.split()
        check([rule, bits, exponent, word], result, int(acc) * oracle.power(int(source)) / int(divisor))


@pytest.mark.clause("FMT-6", "RND-2", "RND-12")
def test_quantise_vectors_equal_the_oracle() -> None:
    for left, result in rows("core_quantise.txt"):
        rule, bits, exponent, word, pattern = left.split()
        value = np.array([int(pattern, 16)], dtype=np.uint32).view(np.float32)[0]
        check([rule, bits, exponent, word], result, Fraction(float(value)))


def test_the_maker_shows_a_change(maker: ModuleType, tmp_path: Path) -> None:
    """The check can fail: beside a changed file the maker prints the difference and returns 1."""
    script = tmp_path / "tests" / "golden" / "make_core.py"
    script.parent.mkdir(parents=True)
    script.write_text((FOLDER / "make_core.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "qnn").mkdir()
    (tmp_path / "qnn" / "__init__.py").touch()
    (tmp_path / "qnn" / "numerics").symlink_to(FOLDER.parents[1] / "qnn" / "numerics")
    run = subprocess.run([sys.executable, str(script), "--write"], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    target = script.parent / "core_quantise.txt"
    assert target.read_text(encoding="ascii") == maker.text("core_quantise.txt")
    target.write_text(target.read_text(encoding="ascii").replace("| 0 ", "| 1 ", 1), encoding="ascii")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout.count("\n+3") + run.stdout.count("\n+0") >= 1
