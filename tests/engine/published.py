"""What the papers publish of their networks: parameters by arithmetic that is not the models', sizes, multiply-adds."""

from __future__ import annotations

import numpy as np


def conv(inputs: int, outputs: int, height: int, width: int | None = None) -> int:
    """Weights of a convolution."""
    return inputs * outputs * height * (width or height)


def norm(*channels: int) -> int:
    """Factors and shifts of normalisations."""
    return 2 * sum(channels)


def small_resnet(n: int) -> int:
    """He et al., section 4.2: 6n+2 layers, 16, 32 and 64 channels, no weights in the shortcuts."""
    stages = [(16, 16), (16, 32), (32, 64)]
    blocks = sum(conv(i, o, 3) + (2 * n - 1) * conv(o, o, 3) + 2 * n * norm(o) for i, o in stages)
    return conv(3, 16, 3) + norm(16) + blocks + 64 * 10 + 10


def resnet18() -> int:
    """He et al., Table 1, with 1x1 convolutions where a shortcut changes its shape."""
    total = conv(3, 64, 7) + norm(64) + 4 * (conv(64, 64, 3) + norm(64))
    for o in (128, 256, 512):
        total += conv(o // 2, o, 3) + 3 * conv(o, o, 3) + conv(o // 2, o, 1) + 5 * norm(o)
    return total + 512 * 1000 + 1000


def resnet50() -> int:
    """He et al., Table 1, bottlenecks; the first block of each stage has a projection."""
    total, inputs = conv(3, 64, 7) + norm(64), 64
    for c, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            total += conv(inputs, c, 1) + conv(c, c, 3) + conv(c, 4 * c, 1) + norm(c, c, 4 * c)
            total += conv(inputs, 4 * c, 1) + norm(4 * c) if block == 0 else 0
            inputs = 4 * c
    return total + 2048 * 1000 + 1000


def densenet_bc(depth: int = 100, k: int = 12) -> int:
    """Huang et al., section 3: 1x1 to 4k, 3x3 to k, compression 1/2, 2k channels at the start."""
    total, width = conv(3, 2 * k, 3), 2 * k
    for block in range(3):
        for _ in range((depth - 4) // 6):
            total += norm(width) + conv(width, 4 * k, 1) + norm(4 * k) + conv(4 * k, k, 3)
            width += k
        if block < 2:
            total += norm(width) + conv(width, width // 2, 1)
            width //= 2
    return total + norm(width) + width * 10 + 10


def tbq() -> int:
    """Table I; the digest's 3,487,104 weights, and two numbers per channel of the normalisations."""
    weights = 3_487_104
    assert weights == sum(
        (
            conv(3, 128, 3) + 2 * conv(128, 128, 3),
            conv(128, 256, 3) + 2 * conv(256, 256, 3),
            conv(256, 512, 3) + conv(512, 1024, 1) + conv(1024, 10, 1),
        )
    )
    return weights + norm(128, 128, 128, 256, 256, 256, 512, 1024, 10)


def alexnet() -> int:
    """The layers of the n-BQ-NN authors' code."""
    layers = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 384, 3), (384, 256, 3)]
    layers += [(256, 4096, 5), (4096, 4096, 1), (4096, 1000, 1)]
    return sum(conv(*layer) + norm(layer[1]) for layer in layers) + 1000


def googlenet() -> int:
    """6,998,552, what the network of Table 1 has in Caffe: weights and one bias per channel; here each channel of a
    convolution has two numbers."""
    rows = {  # inputs: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
        "3a": (192, 64, 96, 128, 16, 32, 32),
        "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64),
        "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64),
        "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128),
        "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }
    weights, channels = conv(3, 64, 7) + conv(64, 64, 1) + conv(64, 192, 3), 64 + 64 + 192
    for i, a, b, c, d, e, f in rows.values():
        weights += i * (a + b + d + f) + conv(b, c, 3) + conv(d, e, 5)
        channels += a + b + c + d + e + f
    caffe = weights + channels + 1024 * 1000 + 1000
    assert caffe == 6_998_552
    return caffe + channels


def inception_v3() -> int:
    """The release has 23,817,352 trained numbers (Keras lists it so: weights, one shift per channel, last layer) and
    17,216 channels of convolutions, whose factors it leaves out."""
    return 23_817_352 + 17_216


# name: (side, classes, parameters, published count, multiply-adds as published, stages: module to output shape)
Published = tuple[int, int, int, int, tuple[float, float], dict[str, tuple[int, ...]]]


def _residual(counts: tuple[int, ...], shapes: list[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    ends = np.cumsum(counts) - 1
    return {f"blocks.{end}": shape for end, shape in zip(ends, shapes, strict=True)}


def _small(n: int, count: int, macs: tuple[float, float]) -> Published:
    stages = {"relu": (32, 32, 16), **_residual((n, n, n), [(32, 32, 16), (16, 16, 32), (8, 8, 64)]), "pool": (64,)}
    return 32, 10, small_resnet(n), count, macs, stages


PUBLISHED: dict[str, Published] = {
    # "0.27M" to "1.7M" in Table 6 of the ResNet paper
    "resnet20": _small(3, 269_722, (40e6, 41e6)),
    "resnet32": _small(5, 464_154, (68e6, 70e6)),
    "resnet44": _small(7, 658_586, (97e6, 98e6)),
    "resnet56": _small(9, 853_018, (125e6, 126e6)),
    "resnet110": _small(18, 1_727_962, (252e6, 254e6)),
    "tbq-nn": (
        32,
        10,
        tbq(),
        3_492_500,
        (792e6, 793e6),
        {
            "conv1": (32, 32, 128),
            "pool1": (16, 16, 128),
            "conv2": (16, 16, 256),
            "pool2": (8, 8, 256),
            "conv3": (8, 8, 1024),
            "head.layers.0": (8, 8, 10),
        },
    ),
    # "0.8M" in Table 2 of the DenseNet paper, 0.15 M * 16 / 3 in Table IV of the n-BQ-NN paper
    "densenet100": (
        32,
        10,
        densenet_bc(),
        769_162,
        (287e6, 289e6),
        {
            "conv": (32, 32, 24),
            "blocks.0": (32, 32, 216),
            "transitions.0": (16, 16, 108),
            "blocks.1": (16, 16, 300),
            "transitions.1": (8, 8, 150),
            "blocks.2": (8, 8, 342),
        },
    ),
    "alexnet": (
        224,
        1000,
        alexnet(),
        50_315_384,
        (736e6, 737e6),
        {
            "conv1": (26, 26, 64),
            "conv2": (12, 12, 192),
            "conv3": (12, 12, 384),
            "conv4": (12, 12, 384),
            "conv5": (5, 5, 256),
            "fc6": (1, 1, 4096),
            "fc7": (1, 1, 4096),
        },
    ),
    # "1.5 billion multiply-adds" in the paper's introduction; the column "output size" of its Table 1
    "googlenet": (
        224,
        1000,
        googlenet(),
        7_005_832,
        (1.5e9, 1.6e9),
        {
            "conv1": (112, 112, 64),
            "pool1": (56, 56, 64),
            "conv2": (56, 56, 192),
            "pool2": (28, 28, 192),
            "3a": (28, 28, 256),
            "3b": (28, 28, 480),
            "pool3": (14, 14, 480),
            "4a": (14, 14, 512),
            "4b": (14, 14, 512),
            "4c": (14, 14, 512),
            "4d": (14, 14, 528),
            "4e": (14, 14, 832),
            "pool4": (7, 7, 832),
            "5a": (7, 7, 832),
            "5b": (7, 7, 1024),
        },
    ),
    # Table 1 of the ResNet paper: 1.8 and 3.8 times 10^9
    "resnet18": (
        224,
        1000,
        resnet18(),
        11_689_512,
        (1.8e9, 1.85e9),
        {
            "relu": (112, 112, 64),
            "first_pool": (56, 56, 64),
            **_residual((2, 2, 2, 2), [(56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)]),
            "pool": (512,),
        },
    ),
    "resnet50": (
        224,
        1000,
        resnet50(),
        25_557_032,
        (3.8e9, 3.9e9),
        {
            "relu": (112, 112, 64),
            "first_pool": (56, 56, 64),
            **_residual((3, 4, 6, 3), [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048)]),
            "pool": (2048,),
        },
    ),
    # "less than 25 million parameters" and "5 billion multiply-adds" (the release has 5.7) in the paper's section 11
    "inception-v3": (
        299,
        1000,
        inception_v3(),
        23_834_568,
        (5.6e9, 5.8e9),
        {
            "conv1": (149, 149, 32),
            "conv2": (147, 147, 32),
            "conv3": (147, 147, 64),
            "pool1": (73, 73, 64),
            "conv4": (73, 73, 80),
            "conv5": (71, 71, 192),
            "pool2": (35, 35, 192),
            "5b": (35, 35, 256),
            "5c": (35, 35, 288),
            "5d": (35, 35, 288),
            **dict.fromkeys(("6a", "6b", "6c", "6d", "6e"), (17, 17, 768)),
            "7a": (8, 8, 1280),
            "7b": (8, 8, 2048),
            "7c": (8, 8, 2048),
        },
    ),
}
