"""3 x 3 convolutions in fewer products: identities in Python integers, their bounds, inputs that attain them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mac_cases import Convolution, ints, tiled_convolutions

import qnn._kernels as kernels
from qnn.numerics import Noise, Rounding, Target, channel_sums, mac, requantize

every_path = pytest.mark.parametrize("path", kernels.available_kernels())
Matrix = list[list[int]]

# As the head of qnn_winograd.h gives them.
B = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
G, A = [[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], [[1, 1, 1, 0], [0, 1, -1, -1]]
G2, A3 = [[2, 0], [1, 1], [1, -1], [0, 2]], [[1, 1, 1, 0], [0, 1, -1, 0], [0, 1, 1, -1]]
DATA, WEIGHT, GRAD, CHANNELS, TILES = 512, 1152, 512, 3640, 8191


def product(left: Matrix, right: Matrix) -> Matrix:
    """Matrix product of Python integers."""
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


def both(matrix: Matrix, middle: Matrix) -> Matrix:
    """M X M'."""
    return product(product(matrix, middle), [list(row) for row in zip(*matrix, strict=True)])


def slow(data: Matrix, kernel: Matrix) -> Matrix:
    """The correlation of 4 x 4 data with a small kernel, by loops."""
    size = len(kernel)
    return [
        [
            sum(data[y + i][x + j] * kernel[i][j] for i in range(size) for j in range(size))
            for x in range(len(data) - size + 1)
        ]
        for y in range(len(data) - size + 1)
    ]


def by_tiles(data: Matrix, kernel: Matrix, g: Matrix, a: Matrix) -> Matrix:
    """A [(G w G') * (B d B')] A'."""
    points = zip(both(g, kernel), both(B, data), strict=True)
    return both(a, [[w * d for w, d in zip(*rows, strict=True)] for rows in points])


@pytest.mark.clause("MAC-4", "MAC-6")
@pytest.mark.parametrize(("g", "a"), [(G, A), (G2, A3)])
def test_identities_hold_for_every_pair_of_units(g: Matrix, a: Matrix) -> None:
    """Both sides are linear in the data and in the kernel, so units prove it for all integers."""
    size = len(g[0])
    for y, x, i, j in itertools.product(range(4), range(4), range(size), range(size)):
        data, kernel = [[0] * 4 for _ in range(4)], [[0] * size for _ in range(size)]
        data[y][x] = kernel[i][j] = 1
        assert by_tiles(data, kernel, g, a) == [[4 * v for v in row] for row in slow(data, kernel)]


wide = st.integers(-(2**70), 2**70)


@pytest.mark.clause("MAC-4", "MAC-6")
@pytest.mark.parametrize(("g", "a"), [(G, A), (G2, A3)])
@given(numbers=st.lists(wide, min_size=25, max_size=25))
def test_identities_hold_for_integers_of_any_size(g: Matrix, a: Matrix, numbers: list[int]) -> None:
    size = len(g[0])
    data = [numbers[4 * y : 4 * y + 4] for y in range(4)]
    kernel = [numbers[16 + size * i : 16 + size * (i + 1)] for i in range(size)]
    assert by_tiles(data, kernel, g, a) == [[4 * v for v in row] for row in slow(data, kernel)]


def largest(matrix: Matrix) -> int:
    """The largest |M X M'| over int8 X; attained by -128 and 127 with the signs of the coefficients, or all -128."""
    return 2**7 * max(sum(map(abs, row)) for row in matrix) ** 2


@pytest.mark.clause("MAC-1")
def test_bounds_are_those_of_the_kernels_and_are_attained() -> None:
    source = Path(kernels.__file__).parent / "src" / "qnn_winograd.h"
    if source.exists():  # an installed copy has no C files
        defined = dict(re.findall(r"QNN_WINO_(\w+) = (\d+)", source.read_text()))
        names = ("DATA", "WEIGHT", "GRAD", "CHANNELS", "TILES")
        assert [int(defined[name]) for name in names] == [DATA, WEIGHT, GRAD, CHANNELS, TILES]
    assert (largest(B), largest(G), largest(G2)) == (DATA, WEIGHT, GRAD)
    low4, low3, low2 = ([[-128] * n for _ in range(n)] for n in (4, 3, 2))
    assert (both(B, low4)[1][1], both(G, low3)[1][1], both(G2, low2)[1][1]) == (-DATA, -WEIGHT, -GRAD)
    assert DATA * WEIGHT * CHANNELS < 2**31 <= DATA * WEIGHT * (CHANNELS + 1)
    assert DATA * GRAD * TILES < 2**31 <= DATA * GRAD * (TILES + 1)
    assert max(DATA, WEIGHT, GRAD) < 2**15
    # four times the result is no larger than the sums of products
    assert DATA * WEIGHT >= 4 * 9 * 2**14
    assert DATA * GRAD >= 4 * 4 * 2**14


@pytest.mark.clause("MAC-1", "MAC-4", "MAC-5")
@every_path
@pytest.mark.parametrize("channels", [CHANNELS - 1, CHANNELS, CHANNELS + 1])
@pytest.mark.parametrize("weight", [-128, 127])
def test_deepest_sums_are_exact(path: str, channels: int, weight: int) -> None:
    """All -128: the sums of products come as close to 2**31 as they can; one channel more goes the direct way."""
    x, w = np.full((1, 14, 14, channels), -128, np.int8), np.full((8, 3, 3, channels), weight, np.int8)
    got = kernels.TABLE["conv2d"][path](x, w, (1, 1), (0, 0))
    assert got.dtype == np.int32
    assert np.all(got == 9 * -128 * weight * channels)
    back = np.ascontiguousarray(w.transpose(3, 1, 2, 0))
    got = kernels.TABLE["conv2d_input_grad"][path](x, back, (14, 14), (1, 1), (1, 1))
    assert np.all(got[:, 1:-1, 1:-1] == 9 * -128 * weight * channels)


@pytest.mark.clause("MAC-1", "MAC-6")
@every_path
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("images", "value"), [(2, -128), (3, 127), (8, -128)])
def test_weight_gradients_are_drained_in_time(path: str, threads: int, images: int, value: int) -> None:
    """128 x 128 positions are 4096 tiles: two images are one tile too many for int32, eight images need int64."""
    x, g = np.full((images, 130, 130, 12), -128, np.int8), np.full((images, 128, 128, 8), value, np.int8)
    with kernels.threads(threads):
        got = kernels.TABLE["conv2d_weight_grad"][path](x, g, (3, 3))
    assert got.dtype == mac.accumulator_dtype(images * 128 * 128, 8, 8)
    assert np.all(got == images * 128 * 128 * -128 * value)


@pytest.mark.clause("MAC-4", "MAC-5", "NOI-1")
@every_path
@pytest.mark.parametrize("rounding", list(Rounding))
@given(case=tiled_convolutions(), threads=st.sampled_from([1, 2, 3, 7]), bits=st.sampled_from([2, 8, 9, 16]))
def test_every_rule_of_rounding_after_tiles(
    path: str, rounding: Rounding, case: Convolution, threads: int, bits: int
) -> None:
    target = Target(9, bits, rounding, Noise(seed=7, stream=3, start=5))
    with kernels.threads(threads):
        got, counts = kernels.TABLE["conv2d_requantize"][path](case.x, case.w, None, 0, target, *case.geometry)
        wanted, wanted_counts = requantize(mac.conv2d(case.x, case.w, *case.geometry), 0, target)
        assert counts == wanted_counts
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.clause("MAC-4", "MAC-5", "MAC-6")
@every_path
@pytest.mark.parametrize("width", [255, 256, 257, 300])
def test_wide_rows_of_tiles_are_cut_without_a_seam(path: str, width: int) -> None:
    x, w = ints((2, 5, width, 12), np.int8, "random", 1), ints((9, 3, 3, 12), np.int8, "extremes", 2)
    y = mac.conv2d(x, w, (1, 1), (1, 1))
    g = ints(y.shape, np.int8, "random", 3)
    target = Target(8, 8, Rounding.STOCHASTIC, Noise(seed=1, stream=2))
    with kernels.threads(2):
        got = kernels.TABLE["conv2d_requantize"][path](x, w, None, 0, target, (1, 1), (1, 1), sums=True)
        back = kernels.TABLE["conv2d_input_grad"][path](g, w, (5, width), (1, 1), (1, 1))
        grad = kernels.TABLE["conv2d_weight_grad"][path](x, g, (3, 3), (1, 1), (1, 1))
    wanted = requantize(y, 0, target)
    np.testing.assert_array_equal(got[0], wanted[0])
    assert got[1] == wanted[1]
    np.testing.assert_array_equal(got[2], channel_sums(wanted[0]))
    np.testing.assert_array_equal(back, mac.conv2d_input_grad(g, w, (5, width), (1, 1), (1, 1)))
    np.testing.assert_array_equal(grad, mac.conv2d_weight_grad(x, g, (3, 3), (1, 1), (1, 1)))
