"""A variant in a process of its own: builds it, says what it is, then times as many steps as it is told.

Run as ``python -m qnn.bench.worker SPEC`` with SPEC in JSON. The first line on standard output are facts in JSON; each
line on standard input is a number of steps, and its answer their seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from qnn.bench.steps import Made, Spec, make
from qnn.bench.timing import clock_of

__all__ = ["Worker", "WorkerError"]

PATIENCE = 900.0  # seconds until the first line: a compiler may run first


class WorkerError(Exception):
    """A variant that does not run here; the text is its last message."""


def _kibibytes(name: str) -> int:
    """A line of /proc/self/status; 0 where there is no such file."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _growth(made: Made) -> int:
    """Bytes by which the resident memory grew at its peak in the first two steps; 0 where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    except OSError:
        return 0
    before = _kibibytes("VmRSS")
    made.step()
    made.step()
    return max(0, _kibibytes("VmHWM") - before) << 10


def serve(spec: Spec) -> None:
    """The process's side."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes where messages go
    made = make(spec)
    grown = _growth(made)
    about = {**made.about, "memory_growth": grown, "checksum": made.checksum() if made.checksum else None}
    print(json.dumps(about), file=answers)
    clock = clock_of(spec.threads)
    for line in sys.stdin:
        begin = clock()
        for _ in range(int(line)):
            made.step()
        print(clock() - begin, file=answers)


class Worker:
    """The caller's side: starts the process; :meth:`ready` waits until it can be timed."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "QNN_NUM_THREADS")
        root = str(Path(__file__).resolve().parents[2])
        search = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qnn.bench.worker", json.dumps(dataclasses.asdict(spec))],
            env={**os.environ, **dict.fromkeys(names, str(spec.threads)), "PYTHONPATH": search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[str] = []
        self.about: dict[str, Any] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def ready(self) -> None:
        """Wait for the facts.

        Raises
        ------
        WorkerError
            If the process ends early, takes too long to start, or says something else.
        """
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            self.about = json.loads(line := self._answer())
        except json.JSONDecodeError as error:
            raise WorkerError(f"said {line.strip()[:120]!r} where facts in JSON belong") from error
        finally:
            timer.cancel()

    def _listen(self) -> None:
        """Keep what the process says, so that it never waits for a reader."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said = [*self._said[-20:], line.strip()]

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = [text for text in self._said if text]
            raise WorkerError(said[-1][:160] if said else f"ended with code {self.process.returncode}")
        return line

    def seconds(self, steps: int) -> float:
        """Time of so many steps."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either, and that is said
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process; one that is not ready yet at once."""
        if not self.about:
            self.process.kill()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


if __name__ == "__main__":
    serve(Spec(**json.loads(sys.argv[1])))
