"""Update rules: what a recipe does with its weights instead of an optimiser's step, from the first draw on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import Noise
from qnn.operation import Array, Gradient
from qnn.quantizer import Quantizer

if TYPE_CHECKING:
    from qnn.recipes import Recipe

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class UpdateRule:
    """How weights start and move. A recipe names one; every layer with weights binds it to its weight site.

    Notes
    -----
    The weights are the arrays of a :class:`qnn.Parameter`: float32, or integers with an exponent (DFP).
    """

    takes_rate = True
    """Whether the learning rate has a part in the step."""

    def layer(self, recipe: Recipe, fan_in: int, fan_out: int) -> tuple[Recipe, float]:
        """The recipe of a layer of this size, and the bound of its uniform first weights."""
        raise NotImplementedError(f"{type(self).__name__} defines no layer()")

    def first(self, values: Float32) -> Array:
        """Weights from the uniform draw."""
        raise NotImplementedError(f"{type(self).__name__} defines no first()")

    def step(self, weight: Array, gradient: Gradient, lr: float, site: Quantizer) -> Array:
        """Weights after a step; ``site`` has the clock and the noise stream."""
        raise NotImplementedError(f"{type(self).__name__} defines no step()")


class BoundUpdate:
    """An update rule at its layer: with the site that knows the clock and the noise."""

    def __init__(self, rule: UpdateRule, site: Quantizer) -> None:
        self.rule, self.site = rule, site

    def first(self, values: Float32) -> Array:
        """Weights from the uniform draw."""
        return self.rule.first(values)

    def step(self, weight: Array, gradient: Gradient, lr: float) -> Array:
        """Weights after a step."""
        return self.rule.step(weight, gradient, lr, self.site)


def update_words(site: Quantizer, count: int) -> NDArray[np.uint16]:
    """Noise words of a step's update: stream of the weight site, from its first word (clauses INT-5 and INT-11)."""
    if site.clock is None or site.stream is None:
        raise RuntimeError(
            f"{site.label} rounds its update stochastically but has no noise stream yet: call run = "
            "qnn.nn.prepare(model, criterion, seed=...) before the first step"
        )
    return Noise(site.format.noise, site.clock.seed, site.stream, site.clock.step).u16(count)


__all__ = ["BoundUpdate", "UpdateRule", "update_words"]
