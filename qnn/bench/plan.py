"""What a run of the benchmark is to do: size, threads, paths, peers; and what the machine offers: caches and peaks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from qnn import _kernels
from qnn.bench.peak import Peaks
from qnn.bench.timing import Quiet

__all__ = ["Plan", "cache_bytes", "default_paths"]


def cache_bytes(level: int) -> int:
    """Size of a data cache; where the system does not tell, what is common."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if (index / "level").read_text().strip() == str(level) and "Instr" not in (index / "type").read_text():
                number, unit = re.fullmatch(r"(\d+)([KMG]?)\s*", (index / "size").read_text()).groups()  # type: ignore[union-attr]
                return int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]
        except (OSError, AttributeError):
            continue
    return {1: 32 << 10, 2: 1 << 20}.get(level, 32 << 20)


def default_paths() -> tuple[str, ...]:
    """All compiled paths; the reference is for checksums, or alone where nothing is compiled."""
    paths = tuple(path for path in _kernels.available_kernels() if path != "reference")
    return paths or ("reference",)


def _nothing(line: str) -> None:
    """Progress that nobody wants to see."""


@dataclass
class Plan:
    """The settings of a run.

    Parameters
    ----------
    quick : bool
        Small shapes and few turns: seconds a group.
    threads : tuple of int
    paths : tuple of str
        Kernel paths to time.
    peers : bool
        Whether to measure what else is installed.
    scaling : bool
        Whether ``train`` also measures how cost grows.
    say : callable
        Takes a line about progress.
    """

    quick: bool = False
    threads: tuple[int, ...] = (1,)
    paths: tuple[str, ...] = ()
    peers: bool = True
    scaling: bool = False
    say: Callable[[str], None] = _nothing
    peaks: Peaks = field(default_factory=Peaks)
    notes: list[str] = field(default_factory=list)
    _quiet: dict[int, Quiet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = self.paths or default_paths()
        self.peaks.quick = self.quick
        self.peaks.settle = lambda threads: self.quiet(threads).wait()

    @property
    def turns(self) -> int:
        """Turns of each case."""
        return 3 if self.quick else 15

    @property
    def budget(self) -> float:
        """Seconds of each case."""
        return 0.03 if self.quick else 0.4

    def quiet(self, threads: int) -> Quiet:
        """The wait for quiet of this number of threads."""
        if threads not in self._quiet:
            self._quiet[threads] = Quiet(self.peaks.known_loop(threads), threads)
        return self._quiet[threads]

    def note(self, line: str) -> None:
        """Say something once below the tables."""
        if line not in self.notes:
            self.notes.append(line)
