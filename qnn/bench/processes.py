"""Variants in processes of their own that take turns, and the rows that come of it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool

from qnn._kernels import allowed_cpus
from qnn.bench.plan import Plan
from qnn.bench.rows import Row
from qnn.bench.steps import Spec
from qnn.bench.timing import PAUSE, Samples
from qnn.bench.worker import Worker, WorkerError

__all__ = ["compare"]

SLOW = 2.0  # seconds of a step from which on three turns must do


def compare(plan: Plan, group: str, name: str, specs: Sequence[Spec], count: int, macs: int) -> Iterator[Row]:
    """Time the variants in turns.

    Parameters
    ----------
    plan, group
        As everywhere.
    name : str
        First column.
    specs : sequence of Spec
    count : int
        Images of a step.
    macs : int
        Multiply-accumulates of an image, for GOPS.
    """
    started: list[Worker] = []
    try:
        found = _turns(plan, _start(plan, f"{group} {name}", specs, started))
    finally:
        for worker in started:
            worker.close()
    yield from _rows(group, name, found, count, macs)


def _start(plan: Plan, name: str, specs: Sequence[Spec], started: list[Worker]) -> list[Worker]:
    """The variants that run here, in order. As many processes start side by side as there are processors, since a
    compiler may take minutes; `started` gets every one, whatever happens."""

    stopped = threading.Event()

    def start(spec: Spec) -> Worker | WorkerError:
        if stopped.is_set():
            return WorkerError("not started")
        plan.say(f"{name}, {spec.variant} {spec.path}, {spec.threads} threads: start")
        worker = Worker(spec)
        started.append(worker)
        if stopped.is_set():
            worker.process.kill()
        try:
            worker.ready()
        except WorkerError as error:
            return error
        return worker

    ready, pool = [], ThreadPool(max(1, allowed_cpus() // max((spec.threads for spec in specs), default=1)))
    try:
        for spec, made in zip(specs, pool.imap(start, specs), strict=True):
            if isinstance(made, Worker):
                ready.append(made)
            else:
                plan.note(f"{spec.variant} left out: {made}")
    except BaseException:
        stopped.set()
        for worker in tuple(started):
            worker.process.kill()  # or the threads would wait until it is ready
        raise
    finally:
        pool.close()
        pool.join()
    return ready


def _warm(plan: Plan, worker: Worker) -> float:
    """Seconds of a step after one to warm up; infinite where the process has ended."""
    try:
        worker.seconds(1)
        return max(worker.seconds(1), 1e-6)
    except WorkerError as error:
        plan.note(f"{worker.spec.variant} ended early: {error}")
        return math.inf


def _turns(plan: Plan, workers: list[Worker]) -> list[tuple[Worker, Samples]]:
    block = 0.05 if plan.quick else 1.0
    found, wanted = [], []
    for worker in workers:
        samples, call = Samples(), _warm(plan, worker)
        samples.calls = max(1, math.ceil(block / call))
        found.append(samples)
        wanted.append(0 if math.isinf(call) else 2 if plan.quick else 9 if call < SLOW else 3)
    plan.say(f"{max(wanted, default=0)} turns of {len(workers)} variants")
    for turn in range(max(wanted, default=0)):
        start = turn % max(len(workers), 1)
        for index in [*range(start, len(workers)), *range(start)]:
            if turn >= wanted[index]:
                continue
            worker, samples = workers[index], found[index]
            time.sleep(PAUSE)  # for the threads of the process before
            samples.disturbed += not plan.quiet(worker.spec.threads).wait()
            try:
                samples.seconds.append(worker.seconds(samples.calls) / samples.calls)
            except WorkerError as error:
                plan.note(f"{worker.spec.variant} ended early: {error}")
                wanted[index] = 0
    return [(worker, samples) for worker, samples in zip(workers, found, strict=True) if samples.seconds]


def _rows(group: str, name: str, found: list[tuple[Worker, Samples]], count: int, macs: int) -> Iterator[Row]:
    peers = [(samples.median, worker.spec.variant) for worker, samples in found if _side(worker) == "peer"]
    sums = [worker.about["checksum"] for worker, _ in found if worker.about["checksum"]]
    for worker, samples in found:
        spec, checksum = worker.spec, worker.about["checksum"]
        row = Row(group, name, spec.variant, _side(worker), spec.path, spec.threads, "image", count)
        row.seconds, row.seconds_best = samples.median, samples.best
        row.turns, row.disturbed = len(samples.seconds), samples.disturbed
        row.ns_per_unit = samples.median * 1e9 / count
        row.gops = 2e-9 * macs * count / samples.median
        if spec.job == "train":  # for inference qnn needs a training batch first, so its growth would say nothing
            row.memory_growth = worker.about["memory_growth"]
        row.checksum, row.same = checksum, checksum == sums[0] if checksum else None
        if peers and _side(worker) == "qnn":
            best, row.ratio_to = min(peers)
            row.ratio = best / samples.median
        row.extra = {"images_per_second": count / samples.median, "parameters": worker.about.get("parameters")}
        yield row


def _side(worker: Worker) -> str:
    return "qnn" if worker.spec.variant.startswith("qnn ") else "peer"
