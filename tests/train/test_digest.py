"""The digest chain against its clauses, and what replay and bisect find."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from qnn.numerics import Counts
from qnn.training import chain

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec" / "12-digest.md"
ROW = re.compile(r"^\| `(.+)` \| `(.+)` \|$")
NAMES = {**vars(chain), "np": np, "Counts": Counts}

arrays = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.int8, np.uint64, np.float64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
named = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), arrays), max_size=4)


def by_hand(items: list[tuple[str, NDArray[Any]]]) -> bytes:
    """Clause DIG-3, written a second time with plain bytes."""
    out = b""
    for name, array in items:
        text = name.encode("utf-8")
        code = {"float32": "<f4", "float64": "<f8", "int64": "<i8", "uint64": "<u8", "int8": "|i1", "bool": "|b1"}[
            array.dtype.name
        ]
        out += len(text).to_bytes(4, "little") + text + len(code).to_bytes(4, "little") + code.encode()
        out += array.ndim.to_bytes(4, "little") + b"".join(side.to_bytes(8, "little") for side in array.shape)
        for value in array.ravel(order="C"):
            out += value.tobytes() if value.dtype.newbyteorder("<") == value.dtype else value.byteswap().tobytes()
    return hashlib.sha256(out).digest()


@pytest.mark.clause("DIG-1", "DIG-2", "DIG-3", "DIG-4")
@pytest.mark.parametrize(
    ("call", "value"), [match.groups() for match in map(ROW.match, SPEC.read_text().splitlines()) if match]
)
def test_example_of_the_spec(call: str, value: str) -> None:
    assert eval(call, dict(NAMES)) == eval(value, dict(NAMES))


@pytest.mark.clause("DIG-3")
@given(named)
def test_hash_of_arrays_is_that_of_the_clause(items: list[tuple[str, NDArray[Any]]]) -> None:
    assert chain.hash_arrays(items) == by_hand(items)


@pytest.mark.clause("DIG-3")
@given(named)
def test_layout_and_byte_order_in_memory_do_not_matter(items: list[tuple[str, NDArray[Any]]]) -> None:
    others = [(name, np.asarray(array, array.dtype.newbyteorder(">"), order="F")) for name, array in items]
    assert chain.hash_arrays(others) == chain.hash_arrays(items)


@pytest.mark.clause("DIG-3")
@given(one=named, two=named)
def test_different_lists_have_different_bytes(
    one: list[tuple[str, NDArray[Any]]], two: list[tuple[str, NDArray[Any]]]
) -> None:
    def key(items: list[tuple[str, NDArray[Any]]]) -> list[tuple[Any, ...]]:
        return [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in items]

    assert (chain.hash_arrays(one) == chain.hash_arrays(two)) == (key(one) == key(two))


@pytest.mark.clause("DIG-3")
def test_every_bit_counts() -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    seen = {chain.hash_arrays([("w", base)])}
    for other in (base.reshape(3, 2), base.reshape(6), base.view(np.int32), base.astype(np.float64)):
        seen.add(chain.hash_arrays([("w", other)]))
    for bit in range(base.nbytes * 8):
        raw = bytearray(base.tobytes())
        raw[bit // 8] ^= 1 << bit % 8
        seen.add(chain.hash_arrays([("w", np.frombuffer(bytes(raw), np.float32).reshape(2, 3))]))
    seen |= {chain.hash_arrays([("v", base)]), chain.hash_arrays([("w", base), ("w", base)]), chain.hash_arrays([])}
    assert len(seen) == 5 + base.nbytes * 8 + 3


@pytest.mark.clause("DIG-1")
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.one_of(
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(st.characters(exclude_categories=["Cs"])),
        ),
        max_size=5,
    )
)
def test_first_digest_is_that_of_the_clause_in_any_order(settings: dict[str, Any]) -> None:
    pieces = []
    for key in sorted(settings):
        value = settings[key]
        text = json.dumps(value.hex() if isinstance(value, float) else value)
        pieces.append(f"{json.dumps(key)}:{text}")
    text = '{"digest_format":1,"settings":{' + ",".join(pieces) + "}}"
    assert chain.first_digest(settings) == hashlib.sha256(text.encode()).digest()
    assert chain.first_digest(dict(reversed(settings.items()))) == chain.first_digest(settings)


@pytest.mark.clause("DIG-2")
@given(
    previous=st.binary(min_size=32, max_size=32),
    step=st.integers(0, 2**64 - 1),
    seeds=st.lists(st.binary(), min_size=6, max_size=6),
)
def test_next_digest_is_that_of_the_clause(previous: bytes, step: int, seeds: list[bytes]) -> None:
    parts = {name: hashlib.sha256(seed).digest() for name, seed in zip(chain.PARTS, seeds, strict=True)}
    want = hashlib.sha256(
        previous + struct.pack("<Q", step) + b"".join(hashlib.sha256(seed).digest() for seed in seeds)
    ).digest()
    assert chain.next_digest(previous, step, dict(reversed(parts.items()))) == want
