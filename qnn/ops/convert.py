"""Between float32 and integers, on purpose: quantise a float tensor, dequantise an integer one, and the images'
table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, image_values
from qnn.operation import GradientSum, Operation, register
from qnn.quantizer import Quantizer

Float = NDArray[np.float32]


@register
class Quantize(Operation):
    """float32 to DFP at a site; the gradient passes straight through (saturated entries too, as in the DFP
    authors' code)."""

    name = "quantize"

    def __init__(self, site: Quantizer) -> None:
        self.site = site

    def forward(self, x: Float) -> DFP:
        return self.site.quantize(np.ascontiguousarray(x))

    def backward(self, gradient: DFP) -> tuple[Any, ...]:
        return (gradient.to_float(),)


@register
class Dequantize(Operation):
    """DFP to float32, exact; the float gradient is quantised at ``site`` on the way back."""

    name = "dequantize"

    def __init__(self, site: GradientSum | None) -> None:
        self.site = site

    def forward(self, x: DFP) -> Float:
        return x.to_float()

    def backward(self, gradient: Float) -> tuple[Any, ...]:
        if self.site is None:
            raise ValueError(
                "got a float32 gradient for an integer tensor without a gradient site; pass the value through a "
                "module of an integer recipe first"
            )
        return (self.site.quantize(np.ascontiguousarray(gradient)),)


class ImageTable:
    """The 256-entry table per channel that turns pixels into network input (clause LAY-1).

    Pixel p of channel c stands for ``(p/255 - mean[c]) / std[c]``, computed in float32 in that order.

    Parameters
    ----------
    mean, std : sequence of float
        Per channel, for pixel/255.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.values: Float = image_values(np.asarray(mean, np.float32), np.asarray(std, np.float32))
        self.channels = len(self.values[0])

    def look_up(self, images: NDArray[np.uint8], table: NDArray[Any]) -> NDArray[Any]:
        """Replace each pixel by its entry of ``table`` [256, C]."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != self.channels:
            raise ValueError(
                f"got images of dtype {images.dtype} and shape {images.shape}; allowed is uint8 [N, H, W, "
                f"{self.channels}] (NHWC): convert or transpose them"
            )
        if table.dtype == np.int8:
            return np.asarray(_kernels.call("look_up", images, np.ascontiguousarray(table.T)))
        if self.channels == 1:
            return np.take(table[:, 0], images)
        out = np.empty(images.shape, table.dtype)
        for c in range(self.channels):
            out[..., c] = np.take(table[:, c], images[..., c])
        return out
