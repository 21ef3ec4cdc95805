"""Layers, losses, and ``prepare``; every layer takes a recipe that says which of its tensors are integers."""

from __future__ import annotations

from qnn.nn.activation import (
    ACTIVATIONS,
    Dropout,
    Hardtanh,
    LogActivation,
    QuantizedActivation,
    Relu,
    ReluClip,
    Sign,
    StaircaseActivation,
    UnitActivation,
    activation,
)
from qnn.nn.initialize import initialize
from qnn.nn.losses import (
    LOSSES,
    CrossEntropyLoss,
    IntegerCrossEntropyLoss,
    SquareHingeLoss,
    SumOfSquaresLoss,
    criterion,
)
from qnn.nn.module import Module, Sequential
from qnn.nn.normalization import (
    NORMALIZATIONS,
    BatchNorm,
    Normalize,
    RangeNorm,
    Scale,
    ShiftBatchNorm,
    ShiftNormalize,
    ShiftScale,
    normalization,
)
from qnn.nn.pooling import AveragePool2d, GlobalAveragePool, MaxPool2d
from qnn.nn.prune import prune
from qnn.nn.range_norm import NoNormalization, RangeNormalize
from qnn.nn.run import Run, prepare
from qnn.nn.source import Dequantize, ImageInput, Quantize
from qnn.nn.structure import Add, Concat, Flatten, PadShortcut
from qnn.nn.summary import Summary, summarize
from qnn.nn.transfer import transfer
from qnn.nn.weighted import Conv2d, Linear

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "NORMALIZATIONS",
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
    "IntegerCrossEntropyLoss",
    "Linear",
    "LogActivation",
    "MaxPool2d",
    "Module",
    "NoNormalization",
    "Normalize",
    "PadShortcut",
    "Quantize",
    "QuantizedActivation",
    "RangeNorm",
    "RangeNormalize",
    "Relu",
    "ReluClip",
    "Run",
    "Scale",
    "Sequential",
    "ShiftBatchNorm",
    "ShiftNormalize",
    "ShiftScale",
    "Sign",
    "SquareHingeLoss",
    "StaircaseActivation",
    "SumOfSquaresLoss",
    "Summary",
    "UnitActivation",
    "activation",
    "criterion",
    "initialize",
    "normalization",
    "prepare",
    "prune",
    "summarize",
    "transfer",
]
