"""Inference of a trained integer network: its layers frozen into a list of kernel calls, with the same bits."""

from __future__ import annotations

from qnn.inference.build import freeze
from qnn.inference.frozen import FrozenModel, Step
from qnn.inference.lower import PRODUCTS

__all__ = ["PRODUCTS", "FrozenModel", "Step", "freeze"]
