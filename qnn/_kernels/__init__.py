"""The dispatch table of the kernels: which operation runs on which path, and how that is chosen.

Every operation has one definition (the ``reference`` path, which calls :mod:`qnn.numerics`) and compiled twins with the
same name, the same arguments and the same bits: ``c`` (portable C11), ``avx2``, ``avx512vnni`` where 512 bits gain
(products, convolutions, rounding; products of bits need AVX512_VPOPCNTDQ, tables of bytes AVX512_VBMI, too, and fall
to ``avx2`` elsewhere) and, for products and convolutions, ``amx``. ``TABLE[operation][path]`` holds the functions; each
part (``mac``, ``elementwise``) fills in its own rows.

A forced path that lacks an operation falls to the next slower one that has it, in the order of PATHS;
:func:`show_runtime` shows the result of that for every operation. The choice of path and of the number of threads holds
for the whole process and never changes a result.

Environment: ``QNN_KERNELS`` (a path), ``QNN_NUM_THREADS`` (else ``OMP_NUM_THREADS``, else the processors this process
may use). Both are looked at when the first kernel is called, so a wrong value is an error there and not at import.

Bit-exactness: clause MAC-1 and all others; no path and no number of threads changes a bit.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, TextIO

__all__ = [
    "PATHS",
    "TABLE",
    "active_path",
    "allowed_cpus",
    "available_kernels",
    "call",
    "get",
    "get_num_threads",
    "release_memory",
    "runtime_info",
    "set_num_threads",
    "show_runtime",
    "threads",
    "use_kernels",
]

Kernel = Callable[..., Any]

PATHS = ("amx", "avx512vnni", "avx2", "c", "reference")
"""All paths there can be, the fastest first. Forcing one falls through to those behind it, never to those before it."""

PARTS = ("mac", "elementwise")
"""Modules that register operations: REFERENCE is {operation: function}, COMPILED is {path: {operation: function}}.

A part may have ``refusal(path)``, which says why a path must not be offered after all, or None.
"""

MAX_THREADS = 1024

TABLE: dict[str, dict[str, Kernel]] = {}
"""{operation: {path: function}}, filled below."""

_parts: list[ModuleType] = []
_active: dict[str, Kernel] = {}  # operation -> function for the chosen path; empty until the first use
_path: str | None = None  # the chosen path; None until the first use
_threads: int | None = None  # the chosen number of threads; None until the first use
_checked = False  # whether the paths of TABLE have proved themselves on this machine


def _load_parts() -> None:
    """Import the parts and fill TABLE; a part without a compiled twin contributes its reference functions."""
    for name in PARTS:
        part = importlib.import_module(f"{__name__}.{name}")
        _parts.append(part)
        for operation, function in part.REFERENCE.items():
            TABLE.setdefault(operation, {})["reference"] = function
        for path, functions in part.COMPILED.items():
            for operation, function in functions.items():
                TABLE.setdefault(operation, {})[path] = function
    if all(set(row) == {"reference"} for row in TABLE.values()) and os.environ.get("QNN_KERNELS") != "reference":
        warnings.warn(_how_to_get_speed(), RuntimeWarning, stacklevel=2)


def _how_to_get_speed() -> str:
    """The one warning of an import without compiled kernels: what runs, why, and what to do."""
    runs = "qnn runs without compiled kernels, on the NumPy reference path: the same bits, but many times slower. "
    source = Path(__file__).resolve().parents[2]
    if (source / "setup.py").exists():
        return (
            f"{runs}This is the source folder {source}, whose qnn/ is not built and hides an installed one: run from "
            "another folder, or build it here with `python setup.py build_ext --inplace` (needs a C compiler, cython "
            "and numpy); set QNN_KERNELS=reference to silence this warning."
        )
    return (
        f"{runs}To get the fast kernels install a C compiler (for example gcc) and reinstall qnn-exact from source; "
        "set QNN_KERNELS=reference to silence this warning."
    )


def _check_paths() -> None:
    """Take the paths that a part refuses on this machine out of the table; a warning says which and why (once)."""
    global _checked
    _checked = True
    for part in _parts:
        for path in part.COMPILED if hasattr(part, "refusal") else ():
            reason = part.refusal(path)
            if reason is None:
                continue
            for row in TABLE.values():
                row.pop(path, None)
            warnings.warn(
                f"the kernel path {path!r} is not offered on this machine: {reason}. Slower paths give the right bits; "
                "please report this with the output of qnn.show_runtime().",
                RuntimeWarning,
                stacklevel=2,
            )


def available_kernels() -> list[str]:
    """Return the names of the paths that this machine can run, the fastest first; the last is always ``reference``."""
    if not _checked:
        _check_paths()
    return [path for path in PATHS if path == "reference" or any(path in row for row in TABLE.values())]


def get(operation: str) -> Kernel:
    """Return the function that `operation` runs on the chosen path.

    Raises
    ------
    KeyError
        If there is no such operation.
    ValueError
        If QNN_KERNELS or QNN_NUM_THREADS holds a value that is not allowed (first use only).
    """
    try:
        return _active[operation]
    except KeyError:
        pass
    _settle()
    if operation not in _active:
        raise KeyError(f"got operation {operation!r}; the table has {sorted(TABLE)}; use one of these")
    return _active[operation]


def call(operation: str, *args: Any, **kwargs: Any) -> Any:
    """Run `operation` on the chosen path; the same as ``get(operation)(*args, **kwargs)``."""
    kernel = _active.get(operation) or get(operation)
    return kernel(*args, **kwargs)


def active_path(operation: str | None = None) -> str:
    """Return the chosen path, or the path that `operation` really runs on after falling through."""
    _settle()
    assert _path is not None
    if operation is None:
        return _path
    if operation not in TABLE:
        raise KeyError(f"got operation {operation!r}; the table has {sorted(TABLE)}; use one of these")
    return _choose(operation, _path)


def _choose(operation: str, path: str) -> str:
    """The path from `path` on towards slower ones that has the operation."""
    row = TABLE[operation]
    for candidate in PATHS[PATHS.index(path) :]:
        if candidate in row:
            return candidate
    raise KeyError(f"got operation {operation!r}, which has no reference path; every operation needs one; register it")


def _select(path: str, source: str = "the path") -> None:
    global _path
    allowed = available_kernels()
    if path not in allowed:
        raise ValueError(
            f"got {path!r} for {source}; available on this machine are {', '.join(allowed)}; use one of these"
        )
    _active.clear()
    _active.update({operation: row[_choose(operation, path)] for operation, row in TABLE.items()})
    _path = path


def _settle() -> None:
    """Read the environment at the first use; later calls do nothing."""
    if _threads is None:
        _set_threads(_default_threads())
    if _path is None or not _active:
        _select(_path or os.environ.get("QNN_KERNELS") or available_kernels()[0], "QNN_KERNELS")


class _Undo:
    """What use_kernels and threads return: the setting holds; the end of a ``with`` block puts the old one back."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo()


def use_kernels(path: str) -> _Undo:
    """Choose the path of all operations, for good or inside a ``with`` block.

    Parameters
    ----------
    path : str
        One of :func:`available_kernels`. An operation without a version for it uses the next slower one.

    Raises
    ------
    ValueError
        If the path is not available on this machine; the message lists those that are.

    Notes
    -----
    Bit-exactness: clause MAC-1; every path gives the same bits. The choice holds for all threads of the process.

    Examples
    --------
    >>> import qnn._kernels as kernels
    >>> with kernels.use_kernels("reference"):
    ...     kernels.active_path()
    'reference'
    """
    if not isinstance(path, str):
        raise TypeError(
            f"got a kernel path of type {type(path).__name__}; it must be a string; "
            f"pass one of {', '.join(available_kernels())}"
        )
    # The old path is looked up without reading QNN_KERNELS, so that a wrong value there can be overruled here.
    before = _path
    if _threads is None:
        _set_threads(_default_threads())
    _select(path)

    def undo() -> None:
        global _path
        if before is None:
            _path = None
            _active.clear()
        else:
            _select(before)

    return _Undo(undo)


def _check_threads(count: object, source: str) -> int:
    """Return `count` as an int within 1..MAX_THREADS or raise."""
    if isinstance(count, bool) or not hasattr(count, "__index__"):
        raise TypeError(f"got {source} of type {type(count).__name__}; it must be an integer; pass for example 2")
    number = count.__index__()
    if not 1 <= number <= MAX_THREADS:
        raise ValueError(f"got {number} for {source}; allowed are 1 to {MAX_THREADS}; pass 1 for no parallel work")
    return number


def _default_threads() -> int:
    """QNN_NUM_THREADS, then OMP_NUM_THREADS, then the processors that this process may use."""
    own = os.environ.get("QNN_NUM_THREADS", "").strip()
    if own:
        try:
            number = int(own)
        except ValueError:
            raise ValueError(
                f"got QNN_NUM_THREADS={own!r}; allowed are 1 to {MAX_THREADS}; set it to a whole number or unset it"
            ) from None
        return _check_threads(number, "QNN_NUM_THREADS")
    # OpenMP's own variable may be a list (one entry per nesting level) and is not ours to complain about.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return min(int(first), MAX_THREADS)
    return min(allowed_cpus(), MAX_THREADS)


def allowed_cpus() -> int:
    """Processors of this process's affinity mask, at most the share that the container gives it."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(count, 1)


def _set_threads(number: int) -> None:
    global _threads
    for part in _parts:
        tell = getattr(part, "set_threads", None)
        if tell is not None:
            tell(number)
    _threads = number


def set_num_threads(count: int) -> None:
    """Let the compiled kernels use `count` threads (1 to 1024; 0 is refused). Never changes a result."""
    _set_threads(_check_threads(count, "the number of threads"))


def get_num_threads() -> int:
    """Return how many threads the compiled kernels may use."""
    if _threads is None:
        _set_threads(_default_threads())
    assert _threads is not None
    return _threads


def release_memory() -> None:
    """Give the freed blocks of the arena back to the system; nothing to do where it was not built."""
    memory = sys.modules.get(f"{__name__}._memory")
    if memory is not None:
        memory.release()


def threads(count: int) -> _Undo:
    """Like :func:`set_num_threads`, but usable in a ``with`` block that puts the old number back."""
    before = _threads
    set_num_threads(count)

    def undo() -> None:
        global _threads
        if before is None:
            _threads = None
        else:
            _set_threads(before)

    return _Undo(undo)


def runtime_info() -> dict[str, Any]:
    """Return what runs here: versions, compiler, processor features, threads, and the path of every operation."""
    import platform

    import numpy

    from qnn import __version__

    _settle()
    build: dict[str, Any] = {}
    for part in _parts:
        build = build or dict(getattr(part, "BUILD_INFO", {}))
    return {
        "qnn": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "compiler": build.get("compiler", "none (no compiled kernels)"),
        "threading": bool(build.get("threading", False)),
        "cpu_features": list(build.get("cpu_features", [])),
        "threads": get_num_threads(),
        "available": available_kernels(),
        "path": active_path(),
        "operations": {operation: active_path(operation) for operation in sorted(TABLE)},
    }


def show_runtime(file: TextIO | None = None) -> dict[str, Any]:
    """Print what :func:`runtime_info` returns, one line a fact, and return it."""
    info = runtime_info()
    out = file or sys.stdout
    for name, value in info.items():
        if name == "operations":
            continue
        text = (
            ", ".join(value) or "none"
            if isinstance(value, list)
            else ("yes" if value is True else "no" if value is False else value)
        )
        print(f"{name + ':':14}{text}", file=out)
    print("operations:", file=out)
    for operation, path in info["operations"].items():
        print(f"  {operation:32}{path}", file=out)
    return info


_load_parts()
