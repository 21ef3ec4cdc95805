"""The executable specification: every number of qnn, in plain NumPy, importing nothing else of the package.

A hardware engineer needs to read only this folder and ``docs/spec/``.
"""

from __future__ import annotations

from .batchnorm import (
    Statistics,
    bn_eval_grad_coefficients,
    bn_eval_statistics,
    bn_grad_coefficients,
    bn_statistics,
    channel_dots,
    channel_sums,
    normalize,
    normalize_grad,
    running_update,
    scale,
)
from .binary import bitplane_gemm, pack_bits, popcount, unpack_bits, xnor_conv2d, xnor_gemm
from .dfp import DFP, Target, add_requantize, align_bias, int_limits, quantize, requantize, storage_dtype
from .elementary import cos_pi, exp32, exp64, log32, log64, power64, sigmoid32, tanh32
from .exponent import EXP_MAX, EXP_MIN, Counts, first_exponent_float, first_exponent_int, next_exponent
from .float32 import scale_by_power, to_float32_once
from .initial import AUGMENT_STREAM, DATA_STREAM, INIT_STREAM, glorot_bound, kaiming_bound, permutation, uniform
from .loss import LOSS_FRACTION_BITS, predict, softmax_cross_entropy, square_hinge
from .mac import (
    accumulator_bits,
    accumulator_bits_needed,
    accumulator_dtype,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_output_hw,
    gemm,
)
from .noise import LFSR_TAPS, LFSR_TAPS_ALTERNATIVE, Noise, lfsr16, lfsr_orbit, philox, philox32, philox_block
from .pooling import max_pool, max_pool_grad, pool_output_shape, sum_pool, sum_pool_grad
from .pow2 import (
    ap2,
    decode_pow2,
    encode_pow2,
    pack_pow2,
    pow2_levels,
    shift_accumulator_dtype,
    shift_conv2d,
    shift_gemm,
    unpack_pow2,
)
from .rounding import Rounding, round_ratio, round_real
from .schedule import lr
from .update import adam, sgd

__all__ = [
    "AUGMENT_STREAM",
    "DATA_STREAM",
    "DFP",
    "EXP_MAX",
    "EXP_MIN",
    "INIT_STREAM",
    "LFSR_TAPS",
    "LFSR_TAPS_ALTERNATIVE",
    "LOSS_FRACTION_BITS",
    "Counts",
    "Noise",
    "Rounding",
    "Statistics",
    "Target",
    "accumulator_bits",
    "accumulator_bits_needed",
    "accumulator_dtype",
    "adam",
    "add_requantize",
    "align_bias",
    "ap2",
    "bitplane_gemm",
    "bn_eval_grad_coefficients",
    "bn_eval_statistics",
    "bn_grad_coefficients",
    "bn_statistics",
    "channel_dots",
    "channel_sums",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_output_hw",
    "cos_pi",
    "decode_pow2",
    "encode_pow2",
    "exp32",
    "exp64",
    "first_exponent_float",
    "first_exponent_int",
    "gemm",
    "glorot_bound",
    "int_limits",
    "kaiming_bound",
    "lfsr16",
    "lfsr_orbit",
    "log32",
    "log64",
    "lr",
    "max_pool",
    "max_pool_grad",
    "next_exponent",
    "normalize",
    "normalize_grad",
    "pack_bits",
    "pack_pow2",
    "permutation",
    "philox",
    "philox32",
    "philox_block",
    "pool_output_shape",
    "popcount",
    "pow2_levels",
    "power64",
    "predict",
    "quantize",
    "requantize",
    "round_ratio",
    "round_real",
    "running_update",
    "scale",
    "scale_by_power",
    "sgd",
    "shift_accumulator_dtype",
    "shift_conv2d",
    "shift_gemm",
    "sigmoid32",
    "softmax_cross_entropy",
    "square_hinge",
    "storage_dtype",
    "sum_pool",
    "sum_pool_grad",
    "tanh32",
    "to_float32_once",
    "uniform",
    "unpack_bits",
    "unpack_pow2",
    "xnor_conv2d",
    "xnor_gemm",
]
