"""Writing a file so that a crash, a full disk or a kill leaves either the old file or the new one, never a mixture."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from qnn.errors import RunError

Buffer = bytes | bytearray | memoryview

# Small enough that a kill can hit the middle of a file in tests, large enough to cost nothing.
_CHUNK = 1 << 20


def write_atomically(path: Path, parts: Iterable[Buffer], keep_as: Path | None = None) -> None:
    """Write `parts` to `path`: temporary file, fsync, rename, fsync of the folder.

    Parameters
    ----------
    path : Path
        The file to make or replace.
    parts : iterable of bytes-like
        Its content, written one after the other without joining them.
    keep_as : Path, optional
        Where the file that `path` was until now is kept.

    Raises
    ------
    OSError
        If anything fails (a full disk, no permission). `path` is then what it was, and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            for part in parts:
                _write_all(descriptor, memoryview(part).cast("B"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if keep_as is not None and path.exists():
            _keep(path, keep_as)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def _write_all(descriptor: int, view: memoryview) -> None:
    while len(view):
        view = view[os.write(descriptor, view[:_CHUNK]) :]


def _keep(path: Path, keep_as: Path) -> None:
    """Give `path` the second name `keep_as` without ever taking away its first."""
    link = keep_as.with_name(f".{keep_as.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    try:
        os.link(path, link)
    except OSError:
        # No hard links on this file system: rename, so that `path` is missing for a moment and `keep_as` is not.
        os.replace(path, keep_as)
        return
    try:
        os.replace(link, keep_as)
    finally:
        # Renaming a link over another link to the same file does nothing and leaves both names (POSIX).
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable (where the system lets a folder be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # pragma: no cover - not on POSIX
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not know fsync of a folder; a full or broken disk is another matter.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def write_failed(what: str, path: Path, error: OSError, remedy: str) -> RunError:
    """The error for a write that the system refused: got, allowed, what to do."""
    reason = error.strerror or str(error)
    return RunError(
        f"could not write {what} {path}: {reason}; the folder must be writable and the disk not full; {remedy}"
    )
