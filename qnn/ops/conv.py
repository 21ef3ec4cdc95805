"""Two-dimensional convolution, NHWC with OHWI weights: forward and backward in float32 and in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.lazy import Summing
from qnn.numerics import DFP, Target, accumulator_bits_needed, align_bias, conv_output_hw
from qnn.operation import ExactSum, Operation
from qnn.ops.channels import channel_sum, wide
from qnn.ops.linear import column_sums, narrowed
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]
Pair = tuple[int, int]

_BLOCK_BYTES = 4 << 20  # float im2col is made for so many bytes of images at a time, so that it stays in cache


@dataclass(frozen=True)
class Window:
    """Stride, padding, dilation and groups of a convolution."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def args(self) -> tuple[Pair, Pair, Pair, int]:
        """In the order in which the kernels take them."""
        return self.stride, self.padding, self.dilation, self.groups

    def output_hw(self, x: tuple[int, ...], weight: tuple[int, ...]) -> Pair:
        """Output height and width, after checking that input and weights fit."""
        if len(x) != 4 or len(weight) != 4 or x[3] != weight[3] * self.groups or weight[0] % self.groups:
            raise ValueError(
                f"got input {x} for weights {weight} with groups={self.groups}; allowed is [N, H, W, "
                f"{weight[-1] * self.groups}] for weights "
                "[O, KH, KW, C/groups] with O divisible by groups: change the layer's channels or the input"
            )
        out: Pair = conv_output_hw((x[1], x[2]), (weight[1], weight[2]), self.stride, self.padding, self.dilation)
        return out


class Conv2dFloat(Operation):
    """Convolution in float32 by im2col and NumPy's BLAS (bits not promised)."""

    name = "conv2d"

    def __init__(self, window: Window) -> None:
        self.window = window

    def forward(self, x: Float, weight: Float, bias: Float | None = None) -> Float:
        self.hw = self.window.output_hw(x.shape, weight.shape)
        self.x, self.weight = x, weight
        y = _convolve(x, weight, self.window, self.hw)
        if bias is not None:
            pixels, offset = wide(y, bias)
            return (pixels + offset).reshape(y.shape)
        return y

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        dx = self._input_gradient(gradient) if self.needs[0] else None
        dw = self._weight_gradient(gradient) if self.needs[1] else None
        return (dx, dw, channel_sum(gradient)) if len(self.needs) == 3 else (dx, dw)

    def _weight_gradient(self, gradient: Float) -> Float:
        o, kh, kw, c = self.weight.shape
        groups = self.window.groups
        total = np.zeros((groups, o // groups, kh * kw * c), np.float32)
        for images, columns in _columns(self.x, (kh, kw), self.window, self.hw):
            g = gradient[images].reshape(-1, groups, o // groups)
            for k in range(groups):
                total[k] += g[:, k].T @ columns[k]
        return total.reshape(self.weight.shape)

    def _input_gradient(self, gradient: Float) -> Float:
        o, kh, kw, c = self.weight.shape
        (sh, sw), (ph, pw), (dh, dw), groups = self.window.args()
        if (sh, sw) == (1, 1) and groups == 1 and dh * (kh - 1) >= ph and dw * (kw - 1) >= pw:
            flipped = np.ascontiguousarray(self.weight[:, ::-1, ::-1].transpose(3, 1, 2, 0))
            back = Window((1, 1), (dh * (kh - 1) - ph, dw * (kw - 1) - pw), (dh, dw))
            return _convolve(gradient, flipped, back, self.x.shape[1:3])
        n, h, w, _ = self.x.shape
        oh, ow = self.hw
        full = np.zeros((n, h + 2 * ph, w + 2 * pw, groups, c), np.float32)
        g = gradient.reshape(-1, groups, o // groups)
        weight = self.weight.reshape(groups, o // groups, kh, kw, c)
        for i in range(kh):
            for j in range(kw):
                part = np.stack([g[:, k] @ weight[k, :, i, j] for k in range(groups)], axis=1).reshape(
                    n, oh, ow, groups, c
                )
                full[:, i * dh : i * dh + sh * oh : sh, j * dw : j * dw + sw * ow : sw] += part[:, :, :]
        return np.ascontiguousarray(full[:, ph : ph + h, pw : pw + w].reshape(self.x.shape))

    def cost(self) -> dict[str, int]:
        o, kh, kw, c = self.weight.shape
        return {"macs": self.x.shape[0] * self.hw[0] * self.hw[1] * o * kh * kw * c}


class Conv2dInteger(Operation):
    """Convolution on integers: three exact products, each rounded once.

    Parameters
    ----------
    window : Window
    weight : DFP [O, KH, KW, C/groups]
    bias : DFP [O] or None
    output, gradient : Quantizer
        Sites of the result and of the gradient sent back.
    incoming_bits : int
        Width of the gradient that arrives, for the table of accumulator widths.

    Where ``split`` is a site, the gradient of the input is made from a copy that this site rounds (clause INT-17).
    Where ``samples`` is one, it first rounds the gradient that arrives, sample by sample (clause BIT-13).

    A normalisation behind it takes the sums of its channels from the same kernel.

    Bit-exactness: clauses MAC-4 to MAC-6, REQ-1, REQ-6 and LAY-9; the weight gradient is exact until its conversion.
    """

    name = "conv2d"
    split: Quantizer | None = None
    samples: Quantizer | None = None

    def __init__(
        self, window: Window, weight: DFP, bias: DFP | None, output: Quantizer, gradient: Quantizer, incoming_bits: int
    ) -> None:
        self.window, self.weight, self.bias, self.output, self.gradient = window, weight, bias, output, gradient
        self.incoming_bits = incoming_bits

    def forward(self, x: DFP, *masters: Float) -> DFP:
        self.hw = self.window.output_hw(x.shape, self.weight.shape)
        self.x = x
        exponent = x.exponent + self.weight.exponent
        bias = None if self.bias is None else align_bias(self.bias, exponent)
        w, args = self.weight.ints, self.window.args()

        def make(target: Target, sums: bool = False) -> Any:
            return _kernels.call("conv2d_requantize", x.ints, w, bias, exponent, target, *args, sums)

        return self.output.product(
            (x.shape[0], *self.hw, w.shape[0]),
            make,
            lambda part: _kernels.call("conv2d", x.ints[part], w, *args),
            exponent,
            bias,
            Summing,
        )

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        w = self.weight.ints
        gradient = gradient if self.samples is None else self.samples.samples(gradient)
        hw, args = self.x.shape[1:3], self.window.args()
        dx = None
        if self.needs[0]:
            copy = narrowed(gradient, self.split)
            g, exponent = copy.ints, copy.exponent + self.weight.exponent
            dx = self.gradient.product(
                self.x.shape,
                lambda target: _kernels.call("conv2d_input_grad_requantize", g, w, hw, exponent, target, *args),
                lambda part: _kernels.call("conv2d_input_grad", g[part], w, hw, *args),
                exponent,
            )
        acc = _kernels.call("conv2d_weight_grad", self.x.ints, gradient.ints, w.shape[1:3], *args)
        dw = ExactSum(acc, gradient.exponent + self.x.exponent)
        return (dx, dw, column_sums(gradient)) if self.bias is not None else (dx, dw)

    def operands(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return [inputs[0], self.weight] + ([self.bias] if self.bias is not None else [])

    def cost(self) -> dict[str, int]:
        o, kh, kw, c = self.weight.shape
        positions = self.x.shape[0] * self.hw[0] * self.hw[1]
        per_group = o // self.window.groups
        return {
            "macs": positions * o * kh * kw * c,
            "accumulator": accumulator_bits_needed(kh * kw * c, self.x.bits, self.weight.bits),
            "accumulator_input_gradient": accumulator_bits_needed(
                kh * kw * per_group, self.incoming_bits, self.weight.bits
            ),
            "accumulator_weight_gradient": accumulator_bits_needed(positions, self.incoming_bits, self.x.bits),
        }


def _columns(x: Float, kernel: Pair, window: Window, hw: Pair) -> Iterator[tuple[slice, Float]]:
    """Blocks of images as rows of their windows, [groups, positions, KH*KW*C/groups], in one reused buffer."""
    n, _, _, channels = x.shape
    (sh, sw), (ph, pw), (dh, dw), groups = window.args()
    (kh, kw), (oh, ow), c = kernel, hw, channels // groups
    step = max(1, _BLOCK_BYTES // max(1, oh * ow * kh * kw * channels * 4))
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0))) if ph or pw else x
    s = padded.strides
    view = np.lib.stride_tricks.as_strided(
        padded,
        (groups, n, oh, ow, kh, kw, c),
        (s[3] * c, s[0], s[1] * sh, s[2] * sw, s[1] * dh, s[2] * dw, s[3]),
        writeable=False,
    )
    buffer = np.empty((groups, min(step, n), oh, ow, kh, kw, c), np.float32)
    for start in range(0, n, step):
        images = slice(start, min(n, start + step))
        block = buffer[:, : images.stop - start]
        np.copyto(block, view[:, images])
        yield images, block.reshape(groups, -1, kh * kw * c)


def _convolve(x: Float, weight: Float, window: Window, hw: Pair) -> Float:
    o, kh, kw, c = weight.shape
    groups = window.groups
    y = np.empty((x.shape[0], *hw, o), np.float32)
    flat = weight.reshape(groups, o // groups, kh * kw * c)
    for images, columns in _columns(x, (kh, kw), window, hw):
        if groups == 1:
            np.matmul(columns[0], flat[0].T, out=y[images].reshape(-1, o))
        else:
            out = y[images].reshape(-1, groups, o // groups)
            for k in range(groups):
                out[:, k] = columns[k] @ flat[k].T
    return y


def as_pair(value: int | Sequence[int], what: str, least: int) -> Pair:
    """One number or two, as (height, width)."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise ValueError(f"got {what}={value!r}; allowed is an integer >= {least} or a pair (height, width) of them")
    return pair[0], pair[1]
