"""Pruning: the smallest weights of each layer become 0 and stay there."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn.nn.module import Module
from qnn.nn.weighted import Conv2d, Linear
from qnn.numerics import keep, unpruned


def prune(model: Module, share: float) -> None:
    """Set the smallest master weights of each layer with weights to 0, which then is their level, and keep them there.

    Training may go on: optimisers leave pruned weights at 0 (clause UPD-5) until the model is pruned anew; a share of 0
    lets all of them train. ``qnn train --init RUN --prune SHARE`` prunes before the first step. Checkpoints hold what
    is pruned (DIG-5), and digests see it from the next step on (DIG-4).

    Parameters
    ----------
    model : Module
        Changed; evaluate it again.
    share : float
        Of each layer, 0 <= share < 1; rounded down to whole weights. Of equal magnitudes the first go.

    Raises
    ------
    ValueError
        If the share is out of range, a layer's rule has no level 0 (1 bit) or two masters, or the recipe
        moves its weights by itself.
    """
    chosen: list[Any] = [layer for layer in model.modules() if isinstance(layer, (Conv2d, Linear))]
    for layer in chosen:
        if layer.weight.update is not None:
            raise ValueError(
                f"got a layer whose weights move by a rule of its own ({layer.recipe.name}), which would not keep them "
                "at 0; allowed are recipes with an optimiser: take another"
            )
        if layer.rule is not None and layer.rule.second is not None:
            raise ValueError(f"got a layer whose weights have two masters ({layer.rule.rule}); prune needs one")
        if layer.rule is not None and layer.rule.inference(np.zeros(1, np.float32)).any():
            raise ValueError(f"got a layer whose weights have no level 0 ({layer.rule.rule}); prune needs n of 2 to 5")
    masks = [unpruned(np.asarray(layer.weight.data), share) for layer in chosen]
    for layer, kept in zip(chosen, masks, strict=True):
        layer.weight.data, layer.weight.kept = keep(np.asarray(layer.weight.data), kept), kept


__all__ = ["prune"]
