"""Products and convolutions: every path against the definition, exactly, at the edges of shapes, values and sums."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mac_cases import (
    Convolution,
    Ints,
    Product,
    biases,
    convolutions,
    ints,
    products,
    targets,
    tiled_convolutions,
)

import qnn._kernels as kernels
from qnn import numerics
from qnn.numerics import Noise, Rounding, Target, mac

every_path = pytest.mark.parametrize("path", kernels.available_kernels())
THREADS = (1, 2, 3, 7) if "QNN_TEST_EXAMPLES" not in os.environ else (3,)  # short runs: see conftest.py
thread_counts = st.sampled_from(THREADS)


def same(got: Any, wanted: Any) -> None:
    """Equal types, shapes and integers; or equal results of a requantising operation."""
    if isinstance(wanted, tuple):
        same(got[0], wanted[0])
        assert got[1] == wanted[1]
        return
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got, wanted)


def same_sums(got: Any, wanted: Any) -> None:
    """The same convolution, and with it the sums of its channels."""
    same(got[:2], wanted)
    for sums, separate in zip(got[2], numerics.channel_sums(got[0]), strict=True):
        same(sums, separate)


def run(path: str, operation: str, *args: Any, threads: int = 1, **kwargs: Any) -> Any:
    """Call one operation on one path."""
    with kernels.threads(threads):
        return kernels.TABLE[operation][path](*args, **kwargs)


# --- shapes and values -----------------------------------------------------------------------------------------------


@pytest.mark.clause("MAC-1", "MAC-3")
@every_path
@given(case=products(), threads=thread_counts)
def test_gemm(path: str, case: Product, threads: int) -> None:
    got = run(path, "gemm", case.a, case.b, case.trans_a, case.trans_b, threads=threads)
    same(got, mac.gemm(case.a, case.b, case.trans_a, case.trans_b))


@pytest.mark.clause("MAC-3", "REQ-1")
@every_path
@given(case=products(trans_a=False), threads=thread_counts, exponent=st.integers(-40, 40), data=st.data())
def test_gemm_requantize(path: str, case: Product, threads: int, exponent: int, data: st.DataObject) -> None:
    acc = mac.gemm(case.a, case.b, False, case.trans_b)
    bias, target = data.draw(biases(acc.shape[1])), data.draw(targets(acc.shape))
    got = run(path, "gemm_requantize", case.a, case.b, case.trans_b, bias, exponent, target, threads=threads)
    same(got, numerics.requantize(acc, exponent, target, bias=bias))


@pytest.mark.clause("MAC-4", "MAC-5", "MAC-6")
@every_path
@given(case=st.one_of(convolutions(), convolutions(), tiled_convolutions()), threads=thread_counts)
def test_conv2d_and_gradients(path: str, case: Convolution, threads: int) -> None:
    x, w, g, geometry = case.x, case.w, case.g, case.geometry
    same(run(path, "conv2d", x, w, *geometry, threads=threads), mac.conv2d(x, w, *geometry))
    got = run(path, "conv2d_input_grad", g, w, case.input_hw, *geometry, threads=threads)
    same(got, mac.conv2d_input_grad(g, w, case.input_hw, *geometry))
    got = run(path, "conv2d_weight_grad", x, g, case.kernel_hw, *geometry, threads=threads)
    same(got, mac.conv2d_weight_grad(x, g, case.kernel_hw, *geometry))


@pytest.mark.clause("MAC-4", "MAC-5", "REQ-1")
@every_path
@given(
    case=st.one_of(convolutions(), convolutions(), tiled_convolutions()),
    threads=thread_counts,
    exponent=st.integers(-40, 40),
    data=st.data(),
)
def test_conv2d_requantize(path: str, case: Convolution, threads: int, exponent: int, data: st.DataObject) -> None:
    acc = mac.conv2d(case.x, case.w, *case.geometry)
    bias, target = data.draw(biases(acc.shape[3])), data.draw(targets(acc.shape))
    got = run(path, "conv2d_requantize", case.x, case.w, bias, exponent, target, *case.geometry, threads=threads)
    same(got, numerics.requantize(acc, exponent, target, bias=bias))
    same_sums(
        run(path, "conv2d_requantize", case.x, case.w, bias, exponent, target, *case.geometry, True, threads=threads),
        got,
    )
    acc = mac.conv2d_input_grad(case.g, case.w, case.input_hw, *case.geometry)
    target = data.draw(targets(acc.shape))
    got = run(
        path,
        "conv2d_input_grad_requantize",
        case.g,
        case.w,
        case.input_hw,
        exponent,
        target,
        *case.geometry,
        threads=threads,
    )
    same(got, numerics.requantize(acc, exponent, target))


# --- long sums: where int32 ends and where sums are split ------------------------------------------------------------

BOUNDARIES = [
    (np.int8, np.int8, [1023, 1024, 1025, 131070, 131071, 131072, 131073, 262143]),
    (np.int8, np.int16, [509, 510, 511, 512, 513, 1021, 1535]),
    (np.int16, np.int8, [509, 510, 511, 512, 513, 1021, 1535]),
    (np.int16, np.int16, [0, 1, 2, 3, 255, 256, 257, 258, 511, 513, 1025]),
]
LONG_SUMS = [(na, nb, k) for na, nb, ks in BOUNDARIES for k in ks]


@pytest.mark.clause("MAC-1", "MAC-2")
@every_path
@pytest.mark.parametrize(("na", "nb", "k"), LONG_SUMS)
@pytest.mark.parametrize("signs", ["lowest lowest", "lowest highest"])
def test_longest_sums_are_attained_exactly(path: str, na: type, nb: type, k: int, signs: str) -> None:
    left, right = (ints((3, k), na, signs.split()[0], 0), ints((9, k), nb, signs.split()[1], 0))
    wanted = k * int(np.iinfo(na).min) * int(np.iinfo(nb).min if signs == "lowest lowest" else np.iinfo(nb).max)
    for a, b, trans_a, trans_b in [(left, right, 0, 1), (left.T.copy(), right, 1, 1), (left, right.T.copy(), 0, 0)]:
        got = run(path, "gemm", a, b, bool(trans_a), bool(trans_b))
        assert got.dtype == mac.accumulator_dtype(k, np.iinfo(na).bits, np.iinfo(nb).bits)
        assert np.all(got == wanted)


@pytest.mark.clause("MAC-1")
@every_path
@pytest.mark.parametrize(
    ("na", "nb", "k"), [(np.int8, np.int8, 131073), (np.int8, np.int16, 1100), (np.int16, np.int16, 700)]
)
@pytest.mark.parametrize("pattern", ["extremes"])
def test_split_sums(path: str, na: type, nb: type, k: int, pattern: str) -> None:
    a, b = ints((7, k), na, pattern, 1), ints((k, 17), nb, pattern, 2)
    wanted = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)  # all sums are below 2**53
    got = run(path, "gemm", a, b, threads=3)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, wanted)
    target = Target(20, 16, Rounding.STOCHASTIC, Noise(seed=3, stream=4))
    bias = np.arange(17, dtype=np.int64) - 8
    got = run(path, "gemm_requantize", a, b, False, bias, 0, target)
    same(got, numerics.requantize(wanted, 0, target, bias=bias))


@pytest.mark.clause("MAC-1", "MAC-6")
@every_path
@pytest.mark.parametrize("threads", THREADS)
def test_weight_gradient_that_reaches_two_to_the_31(path: str, threads: int) -> None:
    """128 images of 32x32 positions, all -128: the sum is 2**31, one more than int32 holds."""
    x = ints((128, 32, 32, 1), np.int8, "lowest", 0)
    got = run(path, "conv2d_weight_grad", x, x, (1, 1), threads=threads)
    assert got.dtype == np.int64
    assert got.tolist() == [[[[2**31]]]]
    got = run(path, "conv2d_weight_grad", x[:127], x[:127], (3, 3), (1, 1), (1, 1), threads=threads)
    assert got.dtype == np.int32
    assert got[0, 1, 1, 0] == 127 * 1024 * 2**14
    assert got[0, 0, 0, 0] == 127 * 31 * 31 * 2**14


@pytest.mark.clause("MAC-4", "MAC-5", "MAC-6")
@every_path
@pytest.mark.parametrize(("na", "nb"), [(np.int8, np.int16), (np.int16, np.int8), (np.int16, np.int16)])
def test_deep_convolutions_split_their_sums(path: str, na: type, nb: type) -> None:
    x, w, g = (
        ints((2, 5, 6, 90), na, "extremes", 1),
        ints((70, 3, 3, 90), nb, "extremes", 2),
        ints((2, 5, 6, 70), na, "random", 3),
    )
    same(run(path, "conv2d", x, w, (1, 1), (1, 1)), mac.conv2d(x, w, (1, 1), (1, 1)))
    same(
        run(path, "conv2d_input_grad", g, w, (5, 6), (1, 1), (1, 1)),
        mac.conv2d_input_grad(g, w, (5, 6), (1, 1), (1, 1)),
    )
    same(
        run(path, "conv2d_weight_grad", x, g, (3, 3), (1, 1), (1, 1)),
        mac.conv2d_weight_grad(x, g, (3, 3), (1, 1), (1, 1)),
    )


# --- blocks: wide rows, many images, threads --------------------------------------------------------------------------


@pytest.mark.clause("MAC-4", "REQ-1", "LAY-11")
@every_path
@given(
    case=st.one_of(convolutions(), convolutions(), tiled_convolutions()),
    threads=thread_counts,
    exponent=st.integers(-40, 40),
    data=st.data(),
)
def test_prepared_conv2d(path: str, case: Convolution, threads: int, exponent: int, data: st.DataObject) -> None:
    x = case.x.astype(np.int8)
    acc = mac.conv2d(x, case.w, *case.geometry)
    bias = data.draw(biases(acc.shape[3]))
    target = data.draw(targets(acc.shape).filter(lambda t: t.rounding != Rounding.STOCHASTIC))
    wanted, _ = numerics.requantize(acc, exponent, target, bias=bias)
    table = None
    if target.bits <= 8 and data.draw(st.booleans()):
        draw = np.random.default_rng(data.draw(st.integers(0, 2**16)))
        table = draw.integers(-128, 128, (acc.shape[3], 256)).astype(np.int8)
        wanted = numerics.look_up(wanted, table)
    with kernels.use_kernels(path), kernels.threads(threads):
        convolve = kernels.call("prepare_conv2d", case.w, bias, exponent, target, x.shape[1:], table, *case.geometry)
        same(convolve(x), wanted)
        same(convolve(x[::-1]), wanted[::-1])
        same(convolve(x[:0]), wanted[:0])
        for wrong in (x.astype(np.int16), x[:, 1:], x[..., None]):
            with pytest.raises(ValueError, match="was prepared for int8"):
                convolve(wrong)


@every_path
def test_prepared_conv2d_refuses_what_it_cannot_keep(path: str) -> None:
    w, noise = np.ones((4, 1, 1, 2), np.int8), Noise(seed=1, stream=2)
    table = np.zeros((4, 256), np.int8)
    with kernels.use_kernels(path):
        for target, entries in [
            (Target(0, 8, Rounding.STOCHASTIC, noise), None),
            (Target(0, 16), table),
            (Target(0), table[:3]),
            (Target(0), table[:, :5]),
            (Target(0), table.astype(np.int16)),
        ]:
            with pytest.raises(ValueError, match=r"allowed|prepared kernel"):
                kernels.call("prepare_conv2d", w, None, 0, target, (3, 3, 2), entries)


@every_path
def test_a_prepared_conv2d_keeps_its_own_weights_and_table(path: str) -> None:
    w, x, table = (
        ints((16, 3, 3, 4), np.int8, "random", 1),
        ints((2, 9, 9, 4), np.int8, "random", 2),
        np.ones((16, 256), np.int8),
    )
    bias = np.arange(16, dtype=np.int64)
    with kernels.use_kernels(path):
        plain = kernels.call("prepare_conv2d", w, None, 0, Target(6), (9, 9, 4))
        ones = kernels.call("prepare_conv2d", w, None, 0, Target(6), (9, 9, 4), table)
        shifted = kernels.call("prepare_conv2d", w, bias, 0, Target(6), (9, 9, 4))
        before, moved = plain(x), shifted(x)
        w[:], table[:], bias[:] = 0, 0, 10**6
        same(plain(x), before)
        same(shifted(x), moved)
        same(ones(x), np.ones_like(before))


@pytest.mark.clause("MAC-4", "MAC-5", "MAC-6")
@every_path
@pytest.mark.parametrize("width", [511, 512, 513, 700, 1025])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_wide_rows_are_cut_without_a_seam(path: str, width: int, dtype: type) -> None:
    for stride, padding, dilation in [((1, 1), (0, 1), (1, 1)), ((1, 2), (1, 0), (1, 3)), ((1, 3), (0, 2), (1, 1))]:
        x, w = ints((1, 2, width, 3), dtype, "random", 1), ints((5, 1, 3, 3), dtype, "extremes", 2)
        y = mac.conv2d(x, w, stride, padding, dilation)
        g = ints(y.shape, dtype, "random", 3)
        geometry = (stride, padding, dilation)
        same(run(path, "conv2d", x, w, *geometry, threads=2), y)
        got = run(path, "conv2d_input_grad", g, w, (2, width), *geometry, threads=2)
        same(got, mac.conv2d_input_grad(g, w, (2, width), *geometry))
        got = run(path, "conv2d_weight_grad", x, g, (1, 3), *geometry, threads=2)
        same(got, mac.conv2d_weight_grad(x, g, (1, 3), *geometry))
        target = Target(6, 8, Rounding.STOCHASTIC, Noise(seed=1, stream=2, start=5))
        rounded = numerics.requantize(y, 0, target)
        same(run(path, "conv2d_requantize", x, w, None, 0, target, *geometry, threads=2), rounded)
        same_sums(run(path, "conv2d_requantize", x, w, None, 0, target, *geometry, threads=2, sums=True), rounded)


TRAINING_LAYERS = [
    ((16, 32, 32, 3), (16, 3, 3, 3), (1, 1), (1, 1)),
    ((8, 32, 32, 16), (16, 3, 3, 16), (1, 1), (1, 1)),
    ((8, 32, 32, 16), (32, 3, 3, 16), (2, 2), (1, 1)),
    ((8, 32, 32, 16), (32, 1, 1, 16), (2, 2), (0, 0)),
    ((8, 8, 8, 64), (64, 3, 3, 64), (1, 1), (1, 1)),
    ((8, 28, 28, 1), (20, 5, 5, 1), (1, 1), (0, 0)),
    ((33, 2, 2, 40), (24, 2, 2, 40), (1, 1), (0, 0)),
]


@pytest.mark.clause("MAC-4", "MAC-5", "MAC-6", "NOI-1")
@every_path
@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding"), TRAINING_LAYERS)
def test_layers_of_real_networks_on_any_number_of_threads(
    path: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    x, w = ints(x_shape, np.int8, "random", 1), ints(w_shape, np.int8, "random", 2)
    y = mac.conv2d(x, w, stride, padding)
    g = ints(y.shape, np.int8, "random", 3)
    dx = mac.conv2d_input_grad(g, w, x_shape[1:3], stride, padding)
    dw = mac.conv2d_weight_grad(x, g, w_shape[1:3], stride, padding)
    target = Target(-3, 8, Rounding.STOCHASTIC, Noise(seed=5, stream=6, step=7))
    bias = np.arange(w_shape[0], dtype=np.int64) * 100
    rounded_y = numerics.requantize(y, -12, target, bias=bias)
    rounded_dx = numerics.requantize(dx, -12, target)
    for threads in THREADS if path != "reference" else (1,):
        same(run(path, "conv2d", x, w, stride, padding, threads=threads), y)
        same(run(path, "conv2d_input_grad", g, w, x_shape[1:3], stride, padding, threads=threads), dx)
        same(run(path, "conv2d_weight_grad", x, g, w_shape[1:3], stride, padding, threads=threads), dw)
        same(run(path, "conv2d_requantize", x, w, bias, -12, target, stride, padding, threads=threads), rounded_y)
        got = run(path, "conv2d_requantize", x, w, bias, -12, target, stride, padding, threads=threads, sums=True)
        same_sums(got, rounded_y)
        got = run(
            path, "conv2d_input_grad_requantize", g, w, x_shape[1:3], -12, target, stride, padding, threads=threads
        )
        same(got, rounded_dx)


@every_path
@pytest.mark.parametrize("shape", [(1, 300, 700), (5, 700, 129), (100, 257, 65), (300, 33, 1100), (97, 512, 100)])
def test_large_products_on_any_number_of_threads(path: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    for dtype in (np.int8, np.int16):
        a, b = ints((m, k), dtype, "random", 1), ints((k, n), np.int8, "random", 2)
        wanted = mac.gemm(a, b)
        target = Target(2, 8, Rounding.STOCHASTIC, Noise(seed=5, stream=6))
        rounded = numerics.requantize(wanted, -8, target)
        for threads in THREADS if path != "reference" else (1,):
            same(run(path, "gemm", a, b, threads=threads), wanted)
            same(run(path, "gemm", a.T.copy(), b.T.copy(), True, True, threads=threads), wanted)
            same(run(path, "gemm_requantize", a, b, False, None, -8, target, threads=threads), rounded)


@pytest.mark.clause("MAC-1", "MAC-3")
@every_path
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 7, 16, 24, 25, 32, 33])
@pytest.mark.parametrize("k", [511, 512, 515, 576, 1000, 65536 + 64 + 7])
def test_few_rows_by_columns_of_any_length(path: str, m: int, k: int) -> None:
    for pattern, n in (("random", 67), ("extremes", 3)):
        n = n if k < 2000 else 5
        a, b = ints((m, k), np.int8, pattern, 1), ints((n, k), np.int8, pattern, 2)
        if pattern == "extremes":
            a[:1], b[:1] = -128, -128
        wanted = mac.gemm(a, b, False, True)
        same(run(path, "gemm", a, b, False, True), wanted)
        target = Target(9, 8, Rounding.STOCHASTIC, Noise(seed=3, stream=4))
        got = run(path, "gemm_requantize", a, b, True, None, 0, target)
        same(got, numerics.requantize(wanted, 0, target))


@pytest.mark.clause("MAC-1")
@every_path
@pytest.mark.parametrize("m", [255, 256, 257, 272, 273, 512, 600])
@pytest.mark.parametrize("n", [1, 16, 33, 128, 129])
def test_many_rows_by_few_columns(path: str, m: int, n: int) -> None:
    """Rows that are read where they are, to the last byte of the operand, and blocks of them."""
    for k in (63, 64, 65, 144) if path != "reference" else (65,):
        a, b = ints((m, k), np.int8, "random", 1), ints((n, k), np.int8, "extremes", 2)
        same(run(path, "gemm", a, b, False, True), mac.gemm(a, b, False, True))


@pytest.mark.clause("NOI-1")
@every_path
def test_a_batch_in_parts_gives_the_same_bits(path: str) -> None:
    """The noise of an image is addressed by its place in the whole batch."""
    x, w = ints((6, 9, 7, 5), np.int8, "random", 1), ints((11, 3, 3, 5), np.int8, "random", 2)
    noise = Noise(seed=5, stream=6, bits=8)
    whole, _ = run(path, "conv2d_requantize", x, w, None, 0, Target(8, 8, Rounding.STOCHASTIC, noise), (1, 1), (1, 1))
    for cut in (1, 4):
        second = Target(8, 8, Rounding.STOCHASTIC, noise.at(cut * 9 * 7 * 11))
        part, _ = run(path, "conv2d_requantize", x[cut:], w, None, 0, second, (1, 1), (1, 1))
        np.testing.assert_array_equal(part, whole[cut:])


@every_path
def test_calls_from_several_python_threads(path: str) -> None:
    """The interpreter lock is released, so calls may overlap; each has its own buffers."""
    x, w = ints((4, 16, 16, 16), np.int8, "random", 1), ints((16, 3, 3, 16), np.int8, "random", 2)
    wanted, wrong = mac.conv2d(x, w, (1, 1), (1, 1)), []
    function = kernels.TABLE["conv2d"][path]

    def work() -> None:
        for _ in range(5):
            if not np.array_equal(function(x, w, (1, 1), (1, 1)), wanted):
                wrong.append(path)

    with kernels.threads(2):
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong


# --- empty and unusual arrays ----------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_products(path: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    a, b = np.ones((m, k), np.int8), np.ones((k, n), np.int8)
    same(run(path, "gemm", a, b), np.zeros((m, n), np.int32))
    bias = np.full(n, 3, np.int64)
    got = run(path, "gemm_requantize", a, b, False, bias, 0, Target(0))
    same(got, numerics.requantize(np.zeros((m, n), np.int32), 0, Target(0), bias=bias))


@every_path
@pytest.mark.parametrize(("images", "channels"), [(0, 2), (2, 0), (0, 0)])
def test_empty_convolutions(path: str, images: int, channels: int) -> None:
    x, w = np.ones((images, 4, 4, channels), np.int8), np.ones((3, 3, 3, channels), np.int8)
    g = np.ones((images, 4, 4, 3), np.int8)
    same(run(path, "conv2d", x, w, (1, 1), (1, 1)), np.zeros((images, 4, 4, 3), np.int32))
    same(
        run(path, "conv2d_input_grad", g, w, (4, 4), (1, 1), (1, 1)),
        mac.conv2d_input_grad(g, w, (4, 4), (1, 1), (1, 1)),
    )
    same(run(path, "conv2d_weight_grad", x, g, (3, 3), (1, 1), (1, 1)), np.zeros((3, 3, 3, channels), np.int32))


@pytest.mark.clause("MAC-5")
@every_path
@pytest.mark.parametrize("stride", [(3, 3), (5, 2), (2**31 - 1, 1)])
def test_inputs_that_no_window_reaches_get_zero(path: str, stride: tuple[int, int]) -> None:
    x, w = ints((2, 11, 10, 3), np.int8, "random", 1), ints((4, 2, 1, 3), np.int8, "random", 2)
    g = ints(mac.conv2d(x, w, stride).shape, np.int8, "lowest", 0)
    got = run(path, "conv2d_input_grad", g, w, (11, 10), stride)
    same(got, mac.conv2d_input_grad(g, w, (11, 10), stride))
    assert not got[:, 2:3].any()
    same(run(path, "conv2d_weight_grad", x, g, (2, 1), stride), mac.conv2d_weight_grad(x, g, (2, 1), stride))


def arrangements(array: Ints) -> list[Ints]:
    """The same values read-only, in Fortran order, with gaps, backwards, and beginning at an odd address."""
    read_only = array.copy()
    read_only.setflags(write=False)
    gaps = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    gaps[...] = array
    odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    return [read_only, np.asfortranarray(array), gaps, array[::-1].copy()[::-1], odd]


@every_path
def test_any_memory_layout_is_taken_and_nothing_is_written_to(path: str) -> None:
    a, b = ints((7, 20), np.int8, "random", 1), ints((20, 18), np.int16, "random", 2)
    x, w = ints((2, 6, 5, 4), np.int8, "random", 1), ints((3, 3, 3, 4), np.int16, "random", 2)
    for left, right in zip(arrangements(a), arrangements(b), strict=True):
        same(run(path, "gemm", left, right), mac.gemm(a, b))
        np.testing.assert_array_equal(left, a)
        np.testing.assert_array_equal(right, b)
    for data, weights in zip(arrangements(x), arrangements(w), strict=True):
        same(run(path, "conv2d", data, weights, (1, 2), (1, 0)), mac.conv2d(x, w, (1, 2), (1, 0)))
        np.testing.assert_array_equal(data, x)
    bias = np.arange(36, dtype=np.int64)[::2]
    got = run(path, "gemm_requantize", a, b, False, bias, 0, Target(5))
    same(got, numerics.requantize(mac.gemm(a, b), 0, Target(5), bias=bias.copy()))


# --- refusals ---------------------------------------------------------------------------------------------------------

A, B = np.ones((3, 4), np.int8), np.ones((4, 5), np.int8)
X, W, G = np.ones((2, 5, 6, 4), np.int8), np.ones((3, 2, 2, 4), np.int8), np.ones((2, 4, 5, 3), np.int8)
SR = Target(0, 8, Rounding.STOCHASTIC)
BAD_CALLS = [
    ("gemm", (A.astype(np.uint8), B), TypeError, "uint8"),
    ("gemm", (A, B.astype(np.float32)), TypeError, "float32"),
    ("gemm", (A, B.astype(np.int32)), TypeError, "int32"),
    ("gemm", (A.astype(">i2"), B), TypeError, "i2"),
    ("gemm", (A[0], B), ValueError, "shape"),
    ("gemm", (A, B[None]), ValueError, "shape"),
    ("gemm", (A, B[:3]), ValueError, "4 .* 3"),
    ("gemm", (A, B, True), ValueError, "3 .* 4"),
    ("gemm_requantize", (A, B, False, np.ones(5), 0, Target(0)), TypeError, "float64"),
    ("gemm_requantize", (A, B, False, np.ones(4, np.int64), 0, Target(0)), ValueError, r"\(4,\)"),
    ("gemm_requantize", (A, B, False, None, 0, SR), ValueError, "noise"),
    (
        "gemm_requantize",
        (A, B, False, None, 0, Target(0, 8, 8, np.zeros((3, 4), np.uint16))),
        ValueError,
        "12 noise words",
    ),
    ("conv2d", (X[0], W), ValueError, "shape"),
    ("conv2d", (X, W[..., :3]), ValueError, "groups"),
    ("conv2d", (X, W, (1, 1), (0, 0), (1, 1), 3), ValueError, "groups"),
    ("conv2d", (X, W, (1, 1), (0, 0), (1, 1), 0), ValueError, "groups"),
    ("conv2d", (X, W, (0, 1)), ValueError, "stride"),
    ("conv2d", (X, W, (1, 1), (-1, 0)), ValueError, "padding"),
    ("conv2d", (X, W, (1, 1), (0, 0), (0, 1)), ValueError, "dilation"),
    ("conv2d", (X, W, (1, 1), (0, 0), (5, 1)), ValueError, "span"),
    ("conv2d_requantize", (X, W, np.ones(4, np.int64), 0, Target(0)), ValueError, "bias"),
    ("conv2d_input_grad", (G, W, (6, 6)), ValueError, "gradient"),
    ("conv2d_input_grad", (G, W, (5, 6), (2, 1)), ValueError, "gradient"),
    ("conv2d_input_grad_requantize", (G, W, (5, 6), 0, SR), ValueError, "noise"),
    ("conv2d_weight_grad", (X, G, (3, 2)), ValueError, "gradient"),
    ("conv2d_weight_grad", (X, G.astype(np.int64), (2, 2)), TypeError, "int64"),
    ("conv2d_weight_grad", (X, G, (0, 2)), ValueError, "kernel"),
]


@every_path
@pytest.mark.parametrize(("operation", "args", "error", "words"), BAD_CALLS)
def test_refusals_say_what_is_wrong(
    path: str, operation: str, args: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(path, operation, *args)


@pytest.mark.parametrize("path", [path for path in kernels.available_kernels() if path != "reference"])
def test_refusals_of_the_compiled_bindings(path: str) -> None:
    """What the definition would meet as an error of Python or NumPy; the bindings must never pass it to C."""
    for call, error in [
        (lambda: run(path, "gemm", [[1]], B), TypeError),
        (lambda: run(path, "conv2d", X, W, 1), TypeError),
        (lambda: run(path, "conv2d", X, W, (1.5, 1)), TypeError),
        (lambda: run(path, "conv2d", X, W, (2**31, 1)), ValueError),
        (lambda: run(path, "conv2d", X, W, (1, 1), (2**40, 0)), ValueError),
        (lambda: run(path, "gemm_requantize", A, B, False, None, 0, None), TypeError),
        (lambda: run(path, "gemm_requantize", A, B, False, None, 0.5, Target(0)), TypeError),
    ]:
        with pytest.raises(error, match=r"got|not|must"):
            call()


@pytest.mark.clause("MAC-4")
@every_path
@pytest.mark.parametrize(("taps", "dilation"), [(2**34 + 1, 2**30), (2**40, 2**31 - 1)])
def test_kernels_that_span_more_than_int64_counts_are_refused(path: str, taps: int, dilation: int) -> None:
    x, w = np.ones((2, 6, 5, 1), np.int8), np.zeros((0, taps, 1, 1), np.int8)
    with pytest.raises(ValueError, match="got a kernel that spans"):
        run(path, "conv2d", x, w, (1, 1), (0, 0), (dilation, 1))
