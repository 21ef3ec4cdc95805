"""Every row ``| `expression` | `value` |`` of docs/spec is evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import numerics

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"
ROW = re.compile(r"^\| `(.+)` \| `(.+)` \|$")


def _error(action: Callable[[], object]) -> str | None:
    try:
        action()
    except Exception as problem:
        return type(problem).__name__
    return None


def _rounded_up(num: Any, shift: int, bits: int) -> tuple[int, int]:
    words = np.arange(2**bits, dtype=np.int64) << (16 - bits)
    rounded = numerics.round_ratio(np.repeat(num, 2**bits), shift, "stochastic", words.astype(np.uint16))
    return int((rounded > int(num[0]) >> shift).sum()), 2**bits


def _replay(exponent: int, trace: list[numerics.Counts]) -> list[int]:
    out = [exponent]
    for counts in trace:
        out.append(numerics.next_exponent(counts, out[-1]))
    return out


def _hexes(words: Any) -> str:
    return " ".join(f"{int(w):0{2 * words.itemsize}x}" for w in words.reshape(-1))


NAMES: dict[str, Any] = {
    **vars(numerics),
    "np": np,
    "f32": lambda *values: np.array(values, dtype=np.float32),
    "ints": lambda *values, dtype="int64": np.array(values, dtype=dtype),
    "u16": lambda *values: np.array(values, dtype=np.uint16),
    "blocks": lambda *values: np.array(values, dtype=np.uint64),
    "same": lambda a, b: bool(np.array_equal(a, b)),
    "error": _error,
    "hexes": _hexes,
    "rounded_up": _rounded_up,
    "replay": _replay,
}


def _rows() -> list[Any]:
    rows = []
    for path in sorted(SPEC.glob("*.md")):
        clause, inside = path.stem, False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("### "):
                clause = line.split()[1]
            inside = line == "| expression | value |" or (inside and line.startswith("|"))
            match = ROW.match(line) if inside else None
            if match:
                rows.append(pytest.param(match[1], match[2], id=f"{clause}:{number}"))
            elif inside and not line.startswith(("| expression", "|---")):
                rows.append(pytest.param(line, "malformed row", id=f"{clause}:{number}"))
    return rows


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@pytest.mark.parametrize(("expression", "value"), _rows())
def test_example_of_the_spec(expression: str, value: str) -> None:
    got = eval(expression, dict(NAMES))
    assert _plain(got) == eval(value, dict(NAMES))
