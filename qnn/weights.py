"""Weight rules: what a layer multiplies with instead of its master weights, and how the gradient comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qnn.quantizer import Format, Quantizer
from qnn.tensor import Parameter

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class WeightRule:
    """From master weights to the weights of a product. This base class takes the masters as they are.

    A recipe names one rule; every layer with weights binds it to its own weight site (:class:`BoundRule`).

    Parameters
    ----------
    limit : float, optional
        Masters are clipped to -limit .. limit after each update (clause UPD-3).

    Notes
    -----
    Everything that a rule computes is float32, one IEEE operation at a time, and clauses of the chapter WGT say which.
    """

    limit: float | None = None

    @property
    def bits(self) -> int | None:
        """Bits of one weight's code in evaluation; None where it has those of the weight format."""
        return None

    @property
    def shifts(self) -> bool:
        """Whether every weight in evaluation is 0 or plus or minus a power of two."""
        return False

    @property
    def keeps_scale(self) -> bool:
        """Whether levels are near the masters; else a normalisation must follow each layer (clause WGT-12)."""
        return True

    def __str__(self) -> str:
        return "masters"

    def bound(self, usual: float) -> float:
        """Bound of the first masters (clause INI-1); ``usual`` is what the layer takes without a rule."""
        return usual

    def rate(self, fan_in: int, fan_out: int) -> float:
        """Factor of the layer's learning rate (clause UPD-3)."""
        return 1.0

    def bind(self, weight: Parameter, site: Quantizer) -> BoundRule:
        """The rule at its layer."""
        return BoundRule(self, site)

    def check(self, terms: int, product: Format | None) -> None:
        """Refuse a layer whose sums of ``terms`` products do not fit the recipe's format of products."""

    def training(self, master: Float32, site: Quantizer) -> Float32:
        """Weights of the forward and backward products of a step; ``site`` has the clock and the noise stream."""
        return master

    def inference(self, master: Float32) -> Float32:
        """Weights of the products in evaluation: levels of the rule, exactly."""
        return master

    def gradient(self, gradient: Float32, master: Float32, site: Quantizer) -> Float32:
        """Gradient of the master from that of the weights which multiplied."""
        return gradient


class BoundRule:
    """A weight rule at its layer: with the site that knows the clock, the noise and whether this is training.

    ``second`` is the other trained array of a rule that has two.
    """

    second: Parameter | None = None

    def __init__(self, rule: WeightRule, site: Quantizer) -> None:
        self.rule, self.site = rule, site

    def view(self, master: Float32) -> Float32:
        """What multiplies now."""
        return self.rule.training(master, self.site) if self.site.training else self.inference(master)

    def inference(self, master: Float32) -> Float32:
        """What multiplies in evaluation."""
        return self.rule.inference(master)

    def gradient(self, gradient: Float32, master: Float32) -> Float32:
        """Gradient of the master."""
        return self.rule.gradient(gradient, master, self.site)


__all__ = ["BoundRule", "WeightRule"]
