"""What else is installed to compare with: names, versions, and one line for each that is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import TypeVar

from qnn.bench.plan import Plan
from qnn.bench.rows import Case

__all__ = ["PEERS", "collect", "installed", "limited_blas", "versions"]

T = TypeVar("T")

PEERS = {"torch": "torch", "onnxruntime": "onnxruntime", "onnx": "onnx", "qtorch": "qtorch"}
"""{module: distribution}"""


def installed(*modules: str) -> bool:
    """Whether all of these can be imported; nothing is imported to find out."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def versions() -> dict[str, str | None]:
    """Version of each peer, None for one that is missing."""
    found: dict[str, str | None] = {}
    for module, distribution in PEERS.items():
        found[module] = None
        if installed(module):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[module] = metadata.version(distribution)
    return found


def collect(plan: Plan, modules: tuple[str, ...], make: Callable[[], Iterator[Case]]) -> list[Case]:
    """The cases of a peer; none, with one line that says why, where it is missing or does not work."""
    if not plan.peers:
        return []
    missing = [name for name in modules if not installed(name)]
    if missing:
        plan.note(f"not installed, so not compared with: {', '.join(missing)} (see docs/performance.md)")
        return []
    cases: list[Case] = []
    maker = make()
    while True:
        try:
            case = next(maker)
            case.first = _first_call(case)  # what does not work shows here, not amid the timing
            cases.append(case)
        except StopIteration:
            return cases
        except Exception as error:  # whatever a foreign library raises, the rest is still measured
            first = str(error).splitlines() or [""]
            plan.note(f"{modules[0]} left out of a row: {type(error).__name__}: {first[0][:100]}")
            if not maker.gi_running and maker.gi_frame is None:  # type: ignore[attr-defined]
                return cases


def _first_call(case: Case) -> float:
    """Seconds of a call: of one thread's processor time or of the clock, whichever says less."""
    begin, used = time.perf_counter(), time.process_time()
    case.run()
    return min(time.perf_counter() - begin, time.process_time() - used)


@contextlib.contextmanager
def limited_blas(threads: int, plan: Plan) -> Iterator[None]:
    """Let NumPy's own product use so many threads."""
    if not installed("threadpoolctl"):
        plan.note("threadpoolctl is not installed: NumPy's own products use as many threads as they like")
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        yield
