"""How everything is timed: warm-up, turns that interleave what is compared, a wait for quiet, median and minimum.

Work on one thread is timed by the processor time of this process, which other processes on the machine do not add to;
work on more threads by the clock, and only after a quiet spell: a loop whose best time is known runs again until it is
near that time, or until the wait has lasted long enough, which is then counted.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Quiet", "Samples", "clock_of", "interleave", "timed"]

SHORTEST = 0.002  # seconds of one sample at least: calls are repeated until it is that long
NEAR = 1.15  # a known loop within this factor of its best time means quiet
LONGEST_WAIT = 5.0  # seconds that one wait for quiet may take
GIVE_UP = 60.0  # seconds of waiting after which a run stops to wait at all
PAUSE = 0.02  # seconds for the threads of the library that ran before to fall asleep


@dataclass
class Samples:
    """What was measured of one thing: seconds per call, one entry a turn."""

    seconds: list[float] = field(default_factory=list)
    calls: int = 1
    disturbed: int = 0

    @property
    def median(self) -> float:
        """The middle of all turns."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The fastest turn."""
        return min(self.seconds)


def clock_of(threads: int) -> Callable[[], float]:
    """Processor time for one thread, the clock for more."""
    return time.process_time if threads == 1 else time.perf_counter


class Quiet:
    """Waits until the machine is quiet; with one thread there is nothing to wait for.

    Parameters
    ----------
    loop : callable
        Work of some milliseconds on all threads.
    threads : int
    """

    def __init__(self, loop: Callable[[], object], threads: int) -> None:
        self.loop, self.threads = loop, threads
        self.best, self.waited = math.inf, 0.0

    def _once(self) -> float:
        begin = time.perf_counter()
        self.loop()
        return time.perf_counter() - begin

    def wait(self) -> bool:
        """Return when it is quiet (True) or the wait has become too long (False)."""
        if self.threads == 1:
            return True
        time.sleep(PAUSE)
        if math.isinf(self.best):
            self.best = min(self._once() for _ in range(10))
        begin = time.perf_counter()
        limit = LONGEST_WAIT if self.waited < GIVE_UP else 0.0
        while True:
            taken = self._once()
            self.best = min(self.best, taken)
            if taken <= NEAR * self.best:
                return True
            if time.perf_counter() - begin > limit:
                self.waited += time.perf_counter() - begin
                return False
            time.sleep(0.05)


def interleave(
    runs: Sequence[Callable[[], object]],
    quiet: Quiet,
    turns: int = 15,
    budget: float = 1.0,
    firsts: Sequence[float] = (),
) -> list[Samples]:
    """Time several things in turns, so that a change of the machine's speed meets all of them.

    Parameters
    ----------
    runs : callables without arguments
    quiet : Quiet
        Holds the number of threads, too.
    turns : int
        Turns of each at most.
    budget : float
        Seconds for each of them, at least three turns; a call of five times as many is timed once after its warm-up.

    firsts : sequence of float
        Seconds that calls before took; where that is ten times the budget, it stays the only sample.

    Returns
    -------
    list of Samples, one for each callable
    """
    clock, found, wanted = clock_of(quiet.threads), [], []
    for index, run in enumerate(runs):
        if index < len(firsts) and firsts[index] > 10 * budget:
            found.append(Samples([firsts[index]]))
            wanted.append(0)
            continue
        first = timed(run, 1, clock)
        second = timed(run, 1, clock) if first < budget / 4 else first
        call = max(min(first, second), 1e-9)
        samples = Samples(calls=max(1, math.ceil(SHORTEST / call)))
        found.append(samples)
        wanted.append(1 if call > 5 * budget else min(turns, max(3, int(budget / (samples.calls * call)))))
    for turn in range(max(wanted, default=0)):
        start = turn % max(len(runs), 1)
        for index in [*range(start, len(runs)), *range(start)]:
            if turn < wanted[index]:
                found[index].disturbed += not quiet.wait()
                found[index].seconds.append(timed(runs[index], found[index].calls, clock))
    return found


def timed(run: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    """Seconds of a call, the mean of some."""
    begin = clock()
    for _ in range(calls):
        run()
    return (clock() - begin) / calls
