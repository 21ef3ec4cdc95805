"""The lock of a run folder: one process at a time writes there, and a dead one blocks nobody."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from qnn.errors import RunError
from qnn.training.files import write_failed

fcntl: Any
try:
    import fcntl
except ImportError:  # pragma: no cover - not on POSIX
    fcntl = None

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class FolderLock:
    """An exclusive lock on a folder, held by a file ``.lock`` in it.

    Where the system has ``flock`` the kernel drops the lock with the process, so a left-over file is recognised as
    stale at once. Elsewhere the process number and host in the file decide.

    Parameters
    ----------
    folder : Path
        An existing folder.

    Raises
    ------
    RunError
        On :meth:`acquire`, if another process (or another run of this one) holds it, or the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock or raise `RunError` saying who has it."""
        try:
            self._descriptor = self._acquire_flock()
        except OSError as error:
            raise write_failed("the lock file", self.path, error, "choose another output folder") from error

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is None:
            return
        # Unlink while still holding the lock: whoever opened the file before sees below that it is gone.
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        os.close(self._descriptor)
        self._descriptor = None

    def _acquire_flock(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                known = _flock(descriptor)
                if not known and self._owner_lives():
                    raise BlockingIOError
                if known and not self._still_there(descriptor):
                    os.close(descriptor)
                    continue
                os.ftruncate(descriptor, 0)
                note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                os.write(descriptor, json.dumps(note).encode())
                return descriptor
            except BlockingIOError:
                owner = self._owner()
                os.close(descriptor)
                raise RunError(
                    f"the folder {self.path.parent} is in use by {_describe(owner)}; two runs cannot share one folder; "
                    "wait for it, stop it, or choose another output folder"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise

    def _still_there(self, descriptor: int) -> bool:
        """Whether the locked file is the one the folder still names (its owner may have removed it meanwhile)."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _owner(self) -> dict[str, object]:
        try:
            note = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _owner_lives(self) -> bool:
        """Without flock: whether the process named in the file may still be running."""
        owner = self._owner()
        pid = owner.get("pid")
        if not isinstance(pid, int):
            return False
        if owner.get("host") != socket.gethostname() or os.name != "posix":
            return True
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _flock(descriptor: int) -> bool:
    """Lock the descriptor's file; False where the system cannot; BlockingIOError when somebody has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    return True


def _describe(owner: dict[str, object]) -> str:
    if "pid" not in owner:
        return "another run"
    return f"process {owner['pid']} on {owner.get('host', 'this host')} since {owner.get('since', 'some time')}"
