"""Layers, losses, and ``prepare``; every layer takes a recipe that says which of its tensors are integers."""

from __future__ import annotations

from qnn.nn.initialize import initialize
from qnn.nn.layers import (
    Add,
    AveragePool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Dequantize,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Hardtanh,
    ImageInput,
    Linear,
    MaxPool2d,
    Normalize,
    PadShortcut,
    Quantize,
    Relu,
    Scale,
)
from qnn.nn.losses import CrossEntropyLoss, SquareHingeLoss
from qnn.nn.module import Module, Sequential
from qnn.nn.run import Run, prepare
from qnn.nn.summary import Summary, summarize

__all__ = [
    "Add",
    "AveragePool2d",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "CrossEntropyLoss",
    "Dequantize",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "Hardtanh",
    "ImageInput",
    "Linear",
    "MaxPool2d",
    "Module",
    "Normalize",
    "PadShortcut",
    "Quantize",
    "Relu",
    "Run",
    "Scale",
    "Sequential",
    "SquareHingeLoss",
    "Summary",
    "initialize",
    "prepare",
    "summarize",
]
