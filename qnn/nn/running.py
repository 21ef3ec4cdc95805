"""What normalisations share: running statistics of each channel, and scale and shift after them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.errors import ConfigError
from qnn.nn.module import Module
from qnn.recipes import Recipe
from qnn.tensor import Tensor

Float32 = NDArray[np.float32]


def refuse_recipe(layer: Module) -> None:
    """Refuse a recipe whose weights alone move, by its own rule: it has no normalisation, and no step for its
    parameters."""
    if layer.recipe.update is not None:
        raise ConfigError(
            f"got recipe {layer.recipe.name!r} for {type(layer).__name__}; it defines no normalisation, and its update "
            "rule has no step for scale and shift: leave the layer out, or take another recipe"
        )


class Running(Module):
    """A normalisation without scale: two running values per channel, the mean and another one, and its two sites.

    Parameters
    ----------
    channels : int
    momentum : float
        Share of the old running values kept at each step.
    eps : float
    recipe : Recipe, optional

    Notes
    -----
    A subclass names its second value ``running_<second>``. Bit-exactness: clause BN-3.
    """

    second: str
    running_mean: Float32

    def __init__(self, channels: int, momentum: float, eps: float, recipe: Recipe | None) -> None:
        super().__init__(recipe)
        refuse_recipe(self)
        if not 0.0 <= momentum < 1.0 or not eps > 0:
            raise ValueError(f"got momentum={momentum} and eps={eps}; allowed are 0 <= momentum < 1 and eps > 0")
        self.momentum, self.eps = float(momentum), float(eps)
        self.register_buffer("running_mean", np.zeros(channels, np.float32))
        self.register_buffer(f"running_{self.second}", np.ones(channels, np.float32))
        if self.recipe.is_integer:
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def frozen(self, x: Tensor) -> tuple[Float32, Float32] | None:
        """The running values for evaluation, None in training; refuses an input of other channels."""
        if x.shape[-1:] != self.running_mean.shape:
            raise ValueError(
                f"got shape {x.shape} for {self.label} of {len(self.running_mean)} channels; channels are the last "
                f"axis (NHWC)"
            )
        return None if self.training else (self.running_mean, getattr(self, f"running_{self.second}"))

    def follow(self, operation: Any, x: Tensor) -> Tensor:
        """Run the operation, which keeps its mean and its second value; in training the running ones follow them."""
        out = self.run(operation, x)
        if self.training:
            for name in ("mean", self.second):
                key = f"running_{name}"
                running, new = getattr(self, key), getattr(operation, name)
                setattr(self, key, _kernels.call("running_update", running, new, self.momentum))
        return out


class Scaled(Module):
    """A normalisation, then scale and shift."""

    normalize: Module
    scale: Module

    def __init__(self, recipe: Recipe | None) -> None:
        super().__init__(recipe)
        refuse_recipe(self)
        self.gradient_sum = None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scale(self.normalize(x))
        return out


__all__ = ["Running", "Scaled", "refuse_recipe"]
