"""The same networks in PyTorch: plain, and as simulators of quantised training (fake quantisation, QPyTorch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["build", "dfp8_layers"]

MakeConv = Callable[..., nn.Module]
MakeLinear = Callable[[int, int], nn.Module]


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation; the shortcut halves the picture and pads the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, conv: MakeConv) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block."""
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        if self.stride != 1 or self.extra:
            half = self.extra // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
        return functional.relu(x + y)


def build(net: str, conv: MakeConv = nn.Conv2d, linear: MakeLinear = nn.Linear) -> nn.Module:
    """A network by name, with other layers in place of its own where a simulator wants that."""
    if net == "mlp":
        return nn.Sequential(nn.Flatten(), linear(784, 512), nn.ReLU(), linear(512, 512), nn.ReLU(), linear(512, 10))
    if net == "lenet5":
        return nn.Sequential(
            *(conv(1, 6, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2), conv(6, 16, 5, 1, 0), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), linear(400, 120), nn.ReLU(), linear(120, 84), nn.ReLU(), linear(84, 10)),
        )
    layers: list[nn.Module] = [conv(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for outputs in (16, 32, 64):
        for index in range(3):
            layers.append(Block(inputs, outputs, 2 if index == 0 and outputs > 16 else 1, conv))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(64, 10))


def _dfp8(x: torch.Tensor, stochastic: bool) -> torch.Tensor:
    """8-bit dynamic fixed point as float32: one power-of-two step for the tensor, from its largest value."""
    step = torch.exp2(torch.ceil(torch.log2(x.abs().amax().clamp_min(1e-30) / 127)))
    scaled = x / step
    whole = torch.floor(scaled + torch.rand_like(scaled)) if stochastic else torch.round(scaled)
    return whole.clamp_(-128, 127).mul_(step)


class _Forward(torch.autograd.Function):
    """Rounds to nearest on the way forward, passes gradients through."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return _dfp8(x, False)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        return g


class _Backward(torch.autograd.Function):
    """Passes values through, rounds gradients stochastically on the way back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        return _dfp8(g, True)


class _Conv(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self._conv_forward(_Forward.apply(x), _Forward.apply(self.weight), self.bias)
        return _Backward.apply(y)


class _Linear(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Backward.apply(functional.linear(_Forward.apply(x), _Forward.apply(self.weight), self.bias))


def dfp8_layers(net: str) -> nn.Module:
    """The network with fake-quantised layers: DFP8 values and weights, DFP8 gradients with stochastic rounding."""
    return build(net, _Conv, _Linear)


def qpytorch_layers(net: str) -> tuple[nn.Module, Callable[[Any], Any]]:
    """The network with QPyTorch's 8-bit fixed point around each layer, and what wraps the optimiser."""
    from qtorch import FixedPoint
    from qtorch.optim import OptimLP
    from qtorch.quant import Quantizer, quantizer

    number = FixedPoint(wl=8, fl=6)

    def rounded(layer: nn.Module) -> nn.Module:
        return nn.Sequential(
            layer,
            Quantizer(
                forward_number=number,
                backward_number=number,
                forward_rounding="stochastic",
                backward_rounding="stochastic",
            ),
        )

    model = build(
        net,
        lambda *sizes, **options: rounded(nn.Conv2d(*sizes, **options)),
        lambda inputs, outputs: rounded(nn.Linear(inputs, outputs)),
    )
    update = quantizer(forward_number=number, forward_rounding="stochastic")
    return model, lambda sgd: OptimLP(sgd, weight_quant=update, grad_quant=update, momentum_quant=update)
