"""Range batch norm: normalise by the range of a channel instead of its deviation; and no normalisation at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qnn.nn.module import Module
from qnn.numerics import RANGE_CHUNKS, running_update
from qnn.ops.range_norm import RangeInteger
from qnn.recipes import Recipe
from qnn.tensor import Tensor


class RangeNormalize(Module):
    """(x - mean) times the inverse scale of the channel's range, per channel; integers only.

    Parameters
    ----------
    channels : int
    momentum : float
        Share of the old running values kept at each step; 0.1 as in the authors' code.
    eps : float
    recipe : Recipe

    Notes
    -----
    Training takes the mean of the chunks' extremes, evaluation the running mean and running inverse scale.
    Bit-exactness: clauses INT-14 to INT-16, BN-1, BN-3 and BN-5.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        if not 0.0 <= momentum < 1.0 or not eps > 0:
            raise ValueError(f"got momentum={momentum} and eps={eps}; allowed are 0 <= momentum < 1 and eps > 0")
        self.momentum, self.eps, self.chunks = float(momentum), float(eps), RANGE_CHUNKS
        self.running_mean: NDArray[np.float32]
        self.running_inverse: NDArray[np.float32]
        self.register_buffer("running_mean", np.zeros(channels, np.float32))
        self.register_buffer("running_inverse", np.ones(channels, np.float32))
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != self.running_mean.shape:
            raise ValueError(
                f"got shape {x.shape} for {self.label} of {len(self.running_mean)} channels; channels are the last "
                f"axis (NHWC)"
            )
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it has no float form: take an integer recipe")
        frozen = None if self.training else (self.running_mean, self.running_inverse)
        operation = RangeInteger(self.eps, self.chunks, self.activation, self.gradient, frozen)
        out = self.run(operation, x)
        if self.training:
            self.running_mean = running_update(self.running_mean, operation.mean, self.momentum)
            self.running_inverse = running_update(self.running_inverse, operation.inverse, self.momentum)
        return out


class NoNormalization(Module):
    """What a recipe without normalisation has in its place: the input."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.gradient_sum = None

    def forward(self, x: Tensor) -> Tensor:
        return x


__all__ = ["NoNormalization", "RangeNormalize"]
