"""Range batch norm: normalise by the range of a channel instead of its deviation; and no normalisation at all."""

from __future__ import annotations

from qnn.nn.module import Module
from qnn.nn.running import Running
from qnn.numerics import RANGE_READINGS
from qnn.ops.range_norm import RangeInteger
from qnn.recipes import Recipe
from qnn.tensor import Tensor


class RangeNormalize(Running):
    """(x - mean) times the inverse scale of the channel's range, per channel; integers only.

    Parameters
    ----------
    channels : int
    momentum : float
        Share of the old running values kept at each step; 0.1 as in the authors' code.
    eps : float
    recipe : Recipe
    reading : {"code", "paper"}
        The mean range of 16 chunks times the constant of the authors' code, or the range of the batch times that of
        their paper.

    Notes
    -----
    Evaluation takes the running mean and running inverse scale.
    Bit-exactness: clauses INT-14 to INT-16, BN-1, BN-3 and BN-5.
    """

    second = "inverse"

    def __init__(
        self,
        channels: int,
        momentum: float = 0.1,
        eps: float = 1e-5,
        recipe: Recipe | None = None,
        reading: str = "code",
    ) -> None:
        super().__init__(channels, momentum, eps, recipe)
        if reading not in RANGE_READINGS:
            raise ValueError(f"got reading={reading!r} for range batch norm; allowed are {', '.join(RANGE_READINGS)}")
        self.reading = reading

    def forward(self, x: Tensor) -> Tensor:
        frozen = self.frozen(x)
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it has no float form: take an integer recipe")
        return self.follow(RangeInteger(self.eps, self.reading, self.activation, self.gradient, frozen), x)


class NoNormalization(Module):
    """What a recipe without normalisation has in its place: the input."""

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.gradient_sum = None

    def forward(self, x: Tensor) -> Tensor:
        return x


__all__ = ["NoNormalization", "RangeNormalize"]
