"""Rounding and noise on every path."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn.bench.quantize import ROUNDINGS
from qnn.numerics import Noise, Target

from .common import PATHS, Kernel

ELEMENTS = 1 << 20


class Quantize(Kernel):
    """float32 to int8 with counts."""

    params = (PATHS, list(ROUNDINGS))
    operation = "quantize"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """Normal numbers and a rounding."""
        return np.random.default_rng(1).standard_normal(ELEMENTS, np.float32), Target(-5, **ROUNDINGS[shape])

    def time_quantize(self, path: str, shape: Any) -> None:
        """A million elements."""
        self.run()


class Words(Kernel):
    """Noise words."""

    params = (PATHS, ["philox", "lfsr16"])
    operation = "noise_u16"

    def operands(self, shape: Any) -> tuple[Any, ...]:
        """An address."""
        return Noise(shape, seed=7), ELEMENTS

    def time_noise(self, path: str, shape: Any) -> None:
        """A million words."""
        self.run()
