"""What a report shows, as plain data: the form between the run folder (:mod:`qnn.report.reader`) and the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROLES = ("weight", "activation", "gradient")
"""The groups of the pictures; the roles ``input`` and ``bias`` join activation and weight."""


@dataclass
class SiteTrace:
    """One quantisation site through the run; the int64 arrays [T] run over the recorded steps (numbered from 1).

    ``overflow`` counts entries outside the range before rounding, ``saturated`` those clipped after it, ``total`` all.
    """

    name: str
    role: str
    steps: NDArray[np.int64]
    exponents: NDArray[np.int64]
    overflow: NDArray[np.int64]
    saturated: NDArray[np.int64]
    total: NDArray[np.int64]
    bits: int = 8
    rounding: str = ""
    stream: int | None = None
    label: str = ""

    @property
    def group(self) -> str:
        """The picture this site belongs to."""
        return {"input": "activation", "bias": "weight"}.get(self.role, self.role)

    @property
    def moves(self) -> int:
        """How often the exponent changed between recorded steps."""
        return int(np.count_nonzero(np.diff(self.exponents)))

    @property
    def entries(self) -> int:
        """All entries that passed here."""
        return int(self.total.sum())

    @property
    def hits(self) -> int:
        """All entries that overflowed here."""
        return int(self.overflow.sum())

    def share(self, which: str) -> float:
        """The run's share of ``overflow`` or ``saturated`` entries."""
        counts: NDArray[np.int64] = getattr(self, which)
        return int(counts.sum()) / self.entries if self.entries else 0.0


@dataclass
class WeightHistogram:
    """A weight tensor at the end of the run: float32 master values and integer codes over the same bins.

    The bins are equal parts of the code range ``[-2^(bits-1), 2^(bits-1))``; ``clipped`` counts values outside of it.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    exponent: int
    floats: NDArray[np.int64]
    codes: NDArray[np.int64]
    used: int
    clipped: int


@dataclass
class WorstExample:
    """A test image the network is most wrong about."""

    index: int
    truth: str
    said: str
    loss: float
    image: NDArray[np.uint8] | None


@dataclass
class RunView:
    """Everything the page draws. Missing parts are None or empty, and the page says so instead of failing."""

    folder: Path
    name: str
    config: dict[str, Any]
    config_text: str
    runtime: dict[str, Any] = field(default_factory=dict)
    finished: bool = False
    epochs: list[dict[str, Any]] = field(default_factory=list)
    loss: list[tuple[float, float]] = field(default_factory=list)
    lr: list[tuple[float, float]] = field(default_factory=list)
    sites: list[SiteTrace] = field(default_factory=list)
    weights: list[WeightHistogram] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    confusion: NDArray[np.int64] | None = None
    worst: list[WorstExample] = field(default_factory=list)
    test_accuracy: float | None = None
    test_loss: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    digest: str | None = None
    covered: bool = True
    steps_per_epoch: int = 0
    notes: list[str] = field(default_factory=list)

    def sites_of(self, group: str) -> list[SiteTrace]:
        """The sites of one picture, in the order of the network."""
        return [site for site in self.sites if site.group == group and site.steps.size]
