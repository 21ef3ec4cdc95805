"""Optimisers and learning-rate schedules: thin state-keeping classes; the arithmetic is specified in the numerics."""

from __future__ import annotations

from qnn.optim.optimizers import SGD, Adam, Optimizer, ShiftAdaMax
from qnn.optim.recipe_update import RecipeUpdate
from qnn.optim.schedules import Constant, Cosine, Exponential, Schedule, Step

__all__ = [
    "SGD",
    "Adam",
    "Constant",
    "Cosine",
    "Exponential",
    "Optimizer",
    "RecipeUpdate",
    "Schedule",
    "ShiftAdaMax",
    "Step",
]
