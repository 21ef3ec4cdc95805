"""Differentiable operations: forward and backward side by side, one file per layer kind. ``extend`` shows how to
add one."""

from __future__ import annotations

from qnn.ops import activation, basic, batchnorm, combine, conv, convert, dropout, linear, loss, pooling, scale, shape

__all__ = [
    "activation",
    "basic",
    "batchnorm",
    "combine",
    "conv",
    "convert",
    "dropout",
    "linear",
    "loss",
    "pooling",
    "scale",
    "shape",
]
