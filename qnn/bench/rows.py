"""Rows of the tables, the work that they come from, and the checksum that proves that all paths computed the same."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qnn import _kernels
from qnn.bench.plan import Plan
from qnn.bench.timing import clock_of, interleave

__all__ = ["Case", "Row", "Work", "differing", "digest", "measure", "on_path", "our_cases"]


@dataclass
class Case:
    """One thing to time: a kernel on a path, a peer, or a probe.

    Parameters
    ----------
    variant : str
    run : callable
        Without arguments; of exact cases the result is hashed.
    side : "qnn", "loop" or "peer"
    path : str
        The kernel path; of a peer its arithmetic.
    peak : str
        Name of the peak probe that the rate is compared with.
    exact : bool
        Whether the integers must equal those of the other exact cases of the work.
    timed : bool
        False for a case that is computed only for its checksum.
    bytes : int
        Memory traffic of one call, 0 where it says nothing.
    family : str
        Exact cases of one family must agree; those of another compute other integers.
    first : float
        Seconds of a call that was made before the timing, for its checksum or to see whether it works.
    """

    variant: str
    run: Callable[[], Any]
    side: str = "qnn"
    path: str = ""
    peak: str = ""
    exact: bool = True
    timed: bool = True
    bytes: int = 0
    family: str = ""
    first: float = 0.0


@dataclass
class Work:
    """One piece of work that several cases do.

    Parameters
    ----------
    name : str
        Shape and the like, the first column.
    unit : str
        What is counted: MAC, bit, element, word, image.
    count : int
        Units of one call.
    cases : list of Case
    base : str
        The variant that ratios are to; empty for the fastest peer.
    traffic : float
        Bytes a second of the memory probe that rows are compared with; 0 for none.
    traffic_name : str
    """

    name: str
    unit: str
    count: int
    cases: list[Case]
    base: str = ""
    traffic: float = 0.0
    traffic_name: str = ""


@dataclass
class Row:
    """One measured row; what does not apply is None. The JSON has these names."""

    group: str
    work: str
    variant: str
    side: str
    path: str
    threads: int
    unit: str
    count: int
    seconds: float | None = None
    seconds_best: float | None = None
    turns: int = 0
    disturbed: int = 0
    ns_per_unit: float | None = None
    gops: float | None = None
    gbytes_per_second: float | None = None
    peak: str | None = None
    peak_fraction: float | None = None
    traffic: str | None = None
    traffic_fraction: float | None = None
    ratio: float | None = None
    ratio_to: str | None = None
    checksum: str | None = None
    same: bool | None = None
    memory_growth: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return dataclasses.asdict(self)


OPERATIONS = {"MAC": 2, "bit": 2}  # of one unit; other units have no operations


def digest(result: Any) -> str:
    """BLAKE2b over shapes and exact integers, 16 hexadecimal digits; the width of the type does not matter."""
    state = hashlib.blake2b(digest_size=8)
    _feed(state, result)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iu":
            raise TypeError(f"got {value.dtype} to hash; checksums are over exact integers; pass the integers")
        state.update(repr(value.shape).encode())
        wide = value.astype("<u8" if value.dtype == np.uint64 else "<i8", copy=False)
        state.update(np.ascontiguousarray(wide).data)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed(state, dataclasses.astuple(value))
    elif isinstance(value, (tuple, list)):
        for item in value:
            _feed(state, item)
    else:
        state.update(repr(int(value)).encode() + b";")


def on_path(operation: str, path: str, *arguments: Any) -> Callable[[], Any]:
    """A call of an operation's kernel on a path."""
    with _kernels.use_kernels(path):
        kernel = _kernels.get(operation)
    return lambda: kernel(*arguments)


def has_own(operation: str, path: str) -> bool:
    """Whether the path has a version of its own of an operation."""
    return path in _kernels.TABLE[operation]


def our_cases(
    plan: Plan, operation: str, *arguments: Any, kind: str, variant: str = "", traffic: int = 0, reference: bool = True
) -> list[Case]:
    """The kernel on every chosen path that has its own version, and the reference for the checksum."""
    cases = [
        Case(
            variant or operation,
            on_path(operation, path, *arguments),
            path=path,
            peak=f"{kind} {path}" if kind else "",
            bytes=traffic,
        )
        for path in plan.paths
        if has_own(operation, path)
    ]
    if reference and "reference" not in plan.paths:
        run = on_path(operation, "reference", *arguments)
        cases.append(Case(variant or operation, run, path="reference", timed=False))
    return cases


def measure(plan: Plan, group: str, work: Work, threads: int) -> Iterator[Row]:
    """Compute every exact case once and compare, then time all of them in turns."""
    plan.say(f"{group} {work.name}, {threads} thread{'s' * (threads > 1)}")
    with _kernels.threads(threads):
        sums = {id(case): digest(_first_call(case, threads)) for case in work.cases if case.exact}
        timed = [case for case in work.cases if case.timed]
        firsts = [case.first for case in timed]
        found = interleave([case.run for case in timed], plan.quiet(threads), plan.turns, plan.budget, firsts)
    expected = {case.family: _expected(work, sums, case.family) for case in work.cases if case.exact}
    medians = {id(case): samples.median for case, samples in zip(timed, found, strict=True)}
    for case, samples in zip(timed, found, strict=True):
        row = _row(plan, group, work, case, samples, threads)
        row.ratio, row.ratio_to = _ratio(work, case, medians)
        if case.exact:
            row.checksum = sums[id(case)]
            row.same = sums[id(case)] == expected[case.family]
        yield row


def _first_call(case: Case, threads: int) -> Any:
    """The result of a call, whose time is kept."""
    clock = clock_of(threads)
    begin = clock()
    result = case.run()
    case.first = clock() - begin
    return result


def _expected(work: Work, sums: dict[int, str], family: str) -> str:
    """The reference's checksum where it ran, else the first one, so that any difference shows."""
    exact = [case for case in work.cases if case.exact and case.family == family]
    chosen = next((case for case in exact if case.path == "reference"), exact[0])
    return sums[id(chosen)]


def _row(plan: Plan, group: str, work: Work, case: Case, samples: Any, threads: int) -> Row:
    rate = work.count / samples.median
    row = Row(group, work.name, case.variant, case.side, case.path, threads, work.unit, work.count)
    row.seconds, row.seconds_best = samples.median, samples.best
    row.turns, row.disturbed = len(samples.seconds), samples.disturbed
    row.ns_per_unit = 1e9 / rate
    if work.unit in OPERATIONS:
        row.gops = OPERATIONS[work.unit] * rate * 1e-9
        top = plan.peaks.rate(case.peak, threads) if case.peak else None
        if top:
            row.peak, row.peak_fraction = case.peak, rate / top
    if case.bytes:
        row.gbytes_per_second = case.bytes / samples.median * 1e-9
        if work.traffic:
            row.traffic, row.traffic_fraction = work.traffic_name, row.gbytes_per_second * 1e9 / work.traffic
    return row


def _ratio(work: Work, case: Case, medians: dict[int, float]) -> tuple[float | None, str | None]:
    """How many times as fast as the fastest peer, or as the base on the same path."""
    if work.base:
        bases = [c for c in work.cases if c.timed and c.variant == work.base and c.path == case.path]
        bases = bases or [c for c in work.cases if c.timed and c.variant == work.base]
    else:
        bases = [c for c in work.cases if c.timed and c.side == "peer"]
    if not bases or (not work.base and case.side == "peer") or case in bases:
        return None, None
    best = min(bases, key=lambda c: medians[id(c)])
    return medians[id(best)] / medians[id(case)], best.variant


def differing(rows: list[Row]) -> list[Row]:
    """The rows whose integers were not those of the others."""
    return [row for row in rows if row.same is False]
