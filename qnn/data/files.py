"""Reads whole files into memory, gunzips them by their content, and compares checksums."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path

from qnn.data.messages import problem

GZIP_MAGIC = b"\x1f\x8b"
# A gzip file can hold a thousand times its size: refuse what no supported data set reaches.
MAX_CONTENT_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20


def read_bytes(path: Path) -> bytes:
    """Return a file's content, decompressed when it starts with the gzip magic.

    Raises
    ------
    DataError
        If the file is missing, unreadable, a damaged gzip file, or larger than 4 GiB.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise problem(
            f"an unreadable file {path} ({error.strerror or error})", "a file this user can read", "check the path"
        ) from error
    if raw[:2] != GZIP_MAGIC:
        return raw
    return gunzip(raw, str(path))


def gunzip(raw: bytes, where: str) -> bytes:
    """Decompress gzip bytes; ``where`` names the file in errors."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            content = stream.read(MAX_CONTENT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise problem(
            f"a truncated or corrupt gzip file {where} ({error})", "a complete gzip file", "fetch it again"
        ) from error
    if len(content) > MAX_CONTENT_BYTES:
        raise problem(
            f"more than {MAX_CONTENT_BYTES} bytes inside {where}",
            "up to 4 GiB a file",
            "split the data into smaller files",
        )
    return content


def md5_bytes(raw: bytes) -> str:
    """Return the MD5 of bytes in hexadecimal (a checksum against damage, not a signature)."""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def md5_file(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal without reading it at once."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
