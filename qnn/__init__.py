"""qnn: quantized neural networks that really run in integers and promise their bits."""

from __future__ import annotations

__version__ = "0.1.0"

from qnn import data, errors, extend, inference, kernels, models, nn, noise, optim, recipes
from qnn._kernels import available_kernels, get_num_threads, set_num_threads, show_runtime, use_kernels
from qnn.arithmetic import next_exponent, quantize, requantize
from qnn.numerics import DFP, Counts, Noise, Rounding, Target
from qnn.operation import Operation, no_grad, trace
from qnn.quantizer import Format, Quantizer
from qnn.tensor import Parameter, Tensor

NEAREST_EVEN = Rounding.NEAREST_EVEN
NEAREST_AWAY = Rounding.NEAREST_AWAY
NEAREST_UP = Rounding.NEAREST_UP
NEAREST_DOWN = Rounding.NEAREST_DOWN
NEAREST_TO_ZERO = Rounding.NEAREST_TO_ZERO
FLOOR = Rounding.FLOOR
CEIL = Rounding.CEIL
TRUNCATE = Rounding.TRUNCATE
STOCHASTIC = Rounding.STOCHASTIC

__all__ = [
    "CEIL",
    "DFP",
    "FLOOR",
    "NEAREST_AWAY",
    "NEAREST_DOWN",
    "NEAREST_EVEN",
    "NEAREST_TO_ZERO",
    "NEAREST_UP",
    "STOCHASTIC",
    "TRUNCATE",
    "Counts",
    "Format",
    "Noise",
    "Operation",
    "Parameter",
    "Quantizer",
    "Rounding",
    "Target",
    "Tensor",
    "available_kernels",
    "data",
    "errors",
    "extend",
    "get_num_threads",
    "inference",
    "kernels",
    "models",
    "next_exponent",
    "nn",
    "no_grad",
    "noise",
    "optim",
    "quantize",
    "recipes",
    "requantize",
    "set_num_threads",
    "show_runtime",
    "trace",
    "use_kernels",
]
