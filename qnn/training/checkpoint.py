"""Checkpoints: one safetensors file with everything a run needs to go on, replaced atomically, refused when changed.

The file is plain safetensors (any reader opens it): tensors named ``model.*``, with ``model.<parameter>.kept`` where
weights are pruned, ``criterion.*`` and ``optimizer.*``, and in its metadata one JSON text under the key ``qnn`` with
the position of the run, its identity, the value of the digest chain, and a sha256 over all of that and all tensors. No
pickle anywhere. ``checkpoint.safetensors`` is the newest, ``previous.safetensors`` the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import __version__
from qnn.errors import CheckpointError
from qnn.training.chain import hash_arrays
from qnn.training.files import write_atomically, write_failed

FORMAT = 1
PRUNED_FORMAT = 2
"""Of files in which weights are pruned: an older version, which knows no masks, then says that it is another format."""
CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "previous.safetensors"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to; loading for a run checks every part.

    Parameters
    ----------
    model, recipe : str
        Names of network and recipe.
    data : str
        Checksum of the training set.
    version : str
        Version of the package; another one may have other bits.
    """

    model: str
    recipe: str
    data: str
    version: str = __version__


@dataclass
class Checkpoint:
    """A checkpoint in memory.

    Parameters
    ----------
    tensors : dict of str to ndarray
        ``model.<name>``, ``criterion.<name>``, ``optimizer.<name>``.
    identity : Identity
        What the tensors belong to.
    state : dict
        JSON values: position, digest, sums of the running epoch, and what is needed to rebuild the model.
    """

    tensors: Arrays
    identity: Identity
    state: dict[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> Arrays:
        """The tensors under ``prefix.``, with the prefix taken off."""
        start = prefix + "."
        return {name[len(start) :]: array for name, array in self.tensors.items() if name.startswith(start)}


def save(path: Path, checkpoint: Checkpoint, *, keep_previous: bool = True) -> None:
    """Write a checkpoint: temporary file, fsync, rename, fsync of the folder; the old one becomes ``previous``.

    Parameters
    ----------
    path : Path
        Usually ``RUN/checkpoint.safetensors``.
    checkpoint : Checkpoint
        What to write.
    keep_previous : bool
        Keep the file that was there as ``previous.safetensors``.

    Raises
    ------
    RunError
        If the system refuses (disk full, no permission). The checkpoint that was there is untouched.
    """
    from safetensors.numpy import save as to_bytes

    tensors = {name: np.asarray(array, order="C") for name, array in checkpoint.tensors.items()}
    content: dict[str, Any] = {
        "format": PRUNED_FORMAT if any(map(_is_mask, tensors)) else FORMAT,
        "identity": vars(checkpoint.identity),
        "state": checkpoint.state,
    }
    content["sha256"] = _checksum(content, tensors)
    payload = to_bytes(tensors, {"qnn": json.dumps(content, sort_keys=True, allow_nan=False)})
    try:
        write_atomically(path, [payload], keep_as=path.with_name(PREVIOUS) if keep_previous else None)
    except OSError as error:
        raise write_failed(
            "the checkpoint",
            path,
            error,
            "the last good checkpoint is kept; make room, then go on with --resume",
        ) from error


def load(path: Path, expect: Identity | None = None) -> Checkpoint:
    """Read a checkpoint and check it whole.

    Parameters
    ----------
    path : Path
        The file.
    expect : Identity, optional
        What it must belong to. Without it, any model, recipe, data and package version is accepted.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, changed, no checkpoint of this package, of another format version, or
        belongs to something else than `expect`.
    """
    tensors, content = _read(path)
    if content["format"] not in (FORMAT, PRUNED_FORMAT):
        raise CheckpointError(
            f"got {path} in checkpoint format {content['format']!r}; this version of qnn ({__version__}) reads formats "
            f"{FORMAT} and {PRUNED_FORMAT}; use the version that wrote it"
        )
    checkpoint = _parse(path, tensors, content)
    if content.get("sha256") != _checksum({key: content[key] for key in ("format", "identity", "state")}, tensors):
        raise CheckpointError(
            f"{path} was changed after it was written: its checksum does not fit its content; "
            f"only unchanged checkpoints are loaded; {_way_out(path)}"
        )
    if expect is not None:
        _check_identity(path, checkpoint.identity, expect)
    return checkpoint


def _is_mask(name: str) -> bool:
    """Whether a tensor says what is not pruned of a parameter."""
    return name.startswith("model.") and name.endswith(".kept")


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and the JSON content of a file, or a CheckpointError that says what is wrong with it."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:
            _check_header(path, file.read(8), os.fstat(file.fileno()).st_size)
        with safe_open(path, framework="np") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint {path}; name a run folder that holds one, or train first"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; it must be a readable file") from error
    except (SafetensorError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is no whole safetensors file ({error}); it was truncated or is something else; {_way_out(path)}"
        ) from error
    try:
        content = json.loads(metadata["qnn"])
        content["format"], content["identity"], content["state"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is a safetensors file but no qnn checkpoint (its metadata lacks a readable 'qnn' entry); "
            "name a checkpoint that `qnn train` wrote"
        ) from error
    return tensors, content


def _way_out(path: Path) -> str:
    """What to do about a checkpoint that cannot be used: the older one beside it, if that is not the one."""
    older = path.with_name(PREVIOUS)
    return f"use {PREVIOUS} beside it or train again" if path != older and older.exists() else "train again"


def _check_header(path: Path, first: bytes, size: int) -> None:
    """Refuse a file whose stated header does not fit into it, before anything is mapped or allocated."""
    if len(first) < 8 or struct.unpack("<Q", first)[0] + 8 > size:
        raise CheckpointError(
            f"{path} is truncated or no safetensors file (it has {size} bytes, less than its header says); "
            f"{_way_out(path)}"
        )


def _parse(path: Path, tensors: Arrays, content: Mapping[str, Any]) -> Checkpoint:
    try:
        identity = Identity(**content["identity"])
        state = dict(content["state"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has an identity or state this version cannot read: {error}") from error
    return Checkpoint(tensors, identity, state)


def _check_identity(path: Path, got: Identity, expect: Identity) -> None:
    remedies = {
        "model": "name that model, or another output folder",
        "recipe": "name that recipe, or another output folder",
        "data": "give the same data set, or another output folder",
        "version": "install that version of qnn to go on (another may have other bits), or train again",
    }
    for part, remedy in remedies.items():
        mine, theirs = getattr(got, part), getattr(expect, part)
        if mine != theirs:
            raise CheckpointError(f"{path} belongs to {part} '{mine}', but this run has '{theirs}'; {remedy}")


def _checksum(content: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over the canonical JSON of `content` and all tensors by name (clause DIG-5)."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = hashlib.sha256(struct.pack("<Q", len(canonical)))
    digest.update(canonical)
    digest.update(hash_arrays(sorted(tensors.items())))
    return digest.hexdigest()
