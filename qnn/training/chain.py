"""The digest chain of a run: after every step, one sha256 over everything that decides the steps to come.

The exact byte layout is clause DIG of the specification (``docs/spec/12-digest.md``); all numbers are little-endian.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
PARTS = ("batch", "parameters", "buffers", "optimizer", "exponents", "noise")
_LITTLE = sys.byteorder == "little"
_SMALL = 4096
NamedArrays = Iterable[tuple[str, NDArray[Any]]]


def array_header(name: str, array: NDArray[Any]) -> bytes:
    """Name, dtype and shape of an array as bytes that no other array shares (clause DIG-3)."""
    return _header(name, array.dtype.newbyteorder("<").str, array.shape)


@functools.lru_cache(maxsize=8192)
def _header(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    text, kind = name.encode(), dtype.encode()
    layout = f"<I{len(text)}sI{len(kind)}sI{len(shape)}Q"
    return struct.pack(layout, len(text), text, len(kind), kind, len(shape), *shape)


def hash_arrays(arrays: NamedArrays) -> bytes:
    """sha256 of named arrays in the order given (clause DIG-3).

    Parameters
    ----------
    arrays : iterable of (str, ndarray)
        Any shapes and numeric dtypes.

    Returns
    -------
    bytes
        32 bytes. Differs as soon as a name, dtype, shape or bit does.
    """
    digest = hashlib.sha256()
    small: list[
        bytes
    ] = []  # many small arrays are joined: one call of the hash per array would cost more than the hash
    for name, array in arrays:
        dtype = array.dtype if array.dtype.isnative and _LITTLE else array.dtype.newbyteorder("<")
        small.append(_header(name, dtype.str, array.shape))
        # A view where the array is little-endian and C-contiguous, as all of ours are; a copy otherwise.
        flat = np.asarray(array, dtype=dtype, order="C").reshape(-1)
        if flat.nbytes <= _SMALL:
            small.append(flat.tobytes())
            continue
        digest.update(b"".join(small))
        digest.update(flat.data)
        small.clear()
    digest.update(b"".join(small))
    return digest.digest()


def hash_each(arrays: NamedArrays) -> dict[str, str]:
    """One sha256 (hexadecimal) per array, to say which one differs."""
    return {name: hash_arrays([(name, array)]).hex() for name, array in arrays}


def first_digest(settings: Mapping[str, Any]) -> bytes:
    """d_0: sha256 of the settings that fix the bits (clause DIG-1).

    Parameters
    ----------
    settings : mapping
        Names to str, bool, int, float or a tuple of ints. Floats enter as their exact hexadecimal text.

    Examples
    --------
    >>> first_digest({"lr": 0.5}) == first_digest({"lr": 0.25})
    False
    """
    content = {"digest_format": FORMAT, "settings": exact_settings(settings)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def exact_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every float as its exact hexadecimal text, ready for JSON (clause DIG-1)."""
    return {key: value.hex() if isinstance(value, float) else value for key, value in settings.items()}


def next_digest(previous: bytes, step: int, parts: Mapping[str, bytes]) -> bytes:
    """d_(t+1) from d_t, the number of the finished step, and the sha256 of each part (clause DIG-2).

    Parameters
    ----------
    previous : bytes
        32 bytes.
    step : int
        Completed steps, from 1.
    parts : mapping
        32 bytes for each of `PARTS`.

    Notes
    -----
    Bit-exactness: clause DIG-2; nothing may vary.
    """
    return hashlib.sha256(previous + struct.pack("<Q", step) + b"".join(parts[name] for name in PARTS)).digest()


def site_arrays(sites: Iterable[tuple[str, Any]]) -> list[tuple[str, NDArray[np.int64]]]:
    """Per site: next exponent, whether it is settled, and the five counts of the step (clause DIG-4)."""
    rows = [(name, (site.exponent, site.initialised, *count_values(site.counts))) for name, site in sites]
    table = np.array([values for _, values in rows], dtype="<i8").reshape(len(rows), 7)
    return [(name, row) for (name, _), row in zip(rows, table, strict=True)]


def count_values(counts: Any) -> tuple[int, int, int, int, int]:
    """The five counts of a site in their order; zeros when the site saw no data in the step."""
    if counts is None:
        return (0, 0, 0, 0, 0)
    return (counts.total, counts.nonzero, counts.overflow, counts.overflow_double, counts.saturated)


def noise_arrays(sites: Iterable[tuple[str, Any]], seed: int, step: int) -> list[tuple[str, NDArray[np.uint64]]]:
    """Per site: the address (seed, stream, step) its noise words of the step started from (clause DIG-4)."""
    rows = [(name, (seed, site.stream if site.stream is not None else 2**64 - 1, step)) for name, site in sites]
    table = np.array([values for _, values in rows], dtype="<u8").reshape(len(rows), 3)
    return [(name, row) for (name, _), row in zip(rows, table, strict=True)]
