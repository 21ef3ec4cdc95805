"""Fine-tuning: master weights and running statistics of one network into another with a different recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.errors import CheckpointError
from qnn.nn.module import Module
from qnn.nn.running import Scaled
from qnn.numerics import clip


def transfer(source: Module | Mapping[str, NDArray[Any]], target: Module) -> None:
    """Give a network the trained arrays of another one, whatever the recipes of the two.

    Parameters
    ----------
    source : Module or state of one
        What ``state_dict()`` gives. Parameters and buffers are taken; exponents are not: they belong to formats that
        the target may not have, and its own come from its first data. Pruned weights come as the zeros they are, free
        to train.
    target : Module
        Of the same layers; a normalisation that it has alone, as after a last layer of levels, stays as it is.
        Parameters with a limit are clipped to it.

    Raises
    ------
    qnn.errors.CheckpointError
        If names or shapes differ, or an entry is not finite; then nothing has changed.

    Notes
    -----
    Bit-exactness: values are copied; the clip is clause UPD-3.

    Examples
    --------
    >>> import qnn
    >>> made = {"input_shape": (8, 8, 1), "classes": 10, "mean": (0.3,), "std": (0.4,), "seed": 1}
    >>> full = qnn.models.build("digits-cnn", recipe="fp32", **made)
    >>> small = qnn.models.build("digits-cnn", recipe="nbq", **made)
    >>> qnn.nn.transfer(full, small)
    """
    state = source.state_dict() if isinstance(source, Module) else source
    arrays = {name: np.asarray(value) for name, value in state.items() if not name.endswith((".exponent", ".kept"))}
    parameters = dict(target.named_parameters())
    own = {name: np.asarray(p.data) for name, p in parameters.items()} | dict(target.named_buffers())
    for path, module in target.named_modules():
        entries = {name for name in own if name.startswith(f"{path}.")} if isinstance(module, Scaled) else set()
        if not entries & arrays.keys():
            own = {name: value for name, value in own.items() if name not in entries}
    different = sorted(arrays.keys() ^ own.keys())
    if different:
        raise CheckpointError(
            f"got arrays that differ from the network's in {len(different)} names, {different[0]!r} first; both must "
            "have the same layers: build the same model with the other recipe"
        )
    for name, mine in own.items():
        theirs = arrays[name]
        if theirs.shape != mine.shape or not np.isfinite(theirs).all():
            raise CheckpointError(
                f"got {theirs.shape} for {name!r}, which must be {mine.shape} and finite; build the same model with "
                "the other recipe"
            )
    made = {name: np.array(arrays[name], np.float32) for name in own}
    for name in made.keys() & parameters.keys():
        limit = parameters[name].limit
        parameters[name].data = made[name] if limit is None else clip(made[name], limit)
    for prefix, module in target.named_modules():
        for key in module._buffers:
            name = f"{prefix}.{key}" if prefix else key
            if name in made:
                setattr(module, key, made[name])


__all__ = ["transfer"]
