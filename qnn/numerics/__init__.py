"""The executable specification: every number of qnn, in plain NumPy, importing nothing else of the package.

A hardware engineer needs to read only this folder and ``docs/spec/``.
"""

from __future__ import annotations

from .dfp import DFP, Target, add_requantize, align_bias, int_limits, quantize, requantize, storage_dtype
from .exponent import EXP_MAX, EXP_MIN, Counts, first_exponent_float, first_exponent_int, next_exponent
from .noise import LFSR_TAPS, LFSR_TAPS_ALTERNATIVE, Noise, lfsr16, lfsr_orbit, philox, philox32, philox_block
from .rounding import Rounding, round_ratio, round_real

__all__ = [
    "DFP",
    "EXP_MAX",
    "EXP_MIN",
    "LFSR_TAPS",
    "LFSR_TAPS_ALTERNATIVE",
    "Counts",
    "Noise",
    "Rounding",
    "Target",
    "add_requantize",
    "align_bias",
    "first_exponent_float",
    "first_exponent_int",
    "int_limits",
    "lfsr16",
    "lfsr_orbit",
    "next_exponent",
    "philox",
    "philox32",
    "philox_block",
    "quantize",
    "requantize",
    "round_ratio",
    "round_real",
    "storage_dtype",
]
