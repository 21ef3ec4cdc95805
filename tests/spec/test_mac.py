"""Exact products and convolutions against sums of Python integers, their adjoints, and the width of the accumulator."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn.numerics import (
    accumulator_bits,
    accumulator_bits_needed,
    accumulator_dtype,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_output_hw,
    gemm,
    mac,
)

DTYPES = st.sampled_from([np.int8, np.int16])


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Random integers of the whole range, mixed with its boundaries, where mistakes live."""
    info = np.iinfo(dtype)
    random = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    edges = rng.choice(np.array([info.min, info.min + 1, -1, 0, 1, info.max], dtype), shape)
    return np.where(rng.random(shape) < 0.5, random, edges)


@dataclass
class Conv:
    """A drawn convolution: operands and geometry."""

    x: np.ndarray
    w: np.ndarray
    g: np.ndarray
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
        return self.stride, self.padding, self.dilation, self.groups


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    pair = lambda lo, hi: (draw(st.integers(lo, hi)), draw(st.integers(lo, hi)))  # noqa: E731
    kernel, stride, padding, dilation = pair(1, 3), pair(1, 3), pair(0, 3), pair(1, 2)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    cg, og = pair(1, 2)
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = tuple(max(1, s - 2 * p) + draw(st.integers(0, 4)) for s, p in zip(spans, padding, strict=True))
    n = draw(st.integers(0, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    oh, ow = conv_output_hw(size, kernel, stride, padding, dilation)
    return Conv(
        values(rng, (n, *size, groups * cg), draw(DTYPES)),
        values(rng, (groups * og, *kernel, cg), draw(DTYPES)),
        values(rng, (n, oh, ow, groups * og), draw(DTYPES)),
        stride,
        padding,
        dilation,
        groups,
    )


def conv_terms(x: np.ndarray, w_shape: tuple[int, ...], case: Conv):
    """All (output place, input place, weight place) triples of a convolution, by plain loops from the formula."""
    (sh, sw), (ph, pw), (dh, dw), groups = case.geometry
    n, h, wid, _ = x.shape
    o, kh, kw, cg = w_shape
    oh, ow = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (wid + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    for b, r, s, out, i, j, ch in itertools.product(*map(range, (n, oh, ow, o, kh, kw, cg))):
        row, col = r * sh + i * dh - ph, s * sw + j * dw - pw
        if 0 <= row < h and 0 <= col < wid:
            yield (b, r, s, out), (b, row, col, out // (o // groups) * cg + ch), (out, i, j, ch)


def int_zeros(shape: tuple[int, ...]) -> np.ndarray:
    zeros = np.empty(shape, object)
    zeros.fill(0)
    return zeros


@pytest.mark.clause("MAC-1")
@pytest.mark.parametrize(("na", "nb"), [(8, 8), (8, 16), (16, 16)])
def test_the_accumulator_is_int32_exactly_below_the_bound(na, nb):
    first_too_long = 2 ** (31 - (na + nb - 2))
    assert accumulator_dtype(0, na, nb) == np.int32
    assert accumulator_dtype(first_too_long - 1, na, nb) == np.int32
    assert accumulator_dtype(first_too_long, na, nb) == np.int64
    with pytest.raises(OverflowError, match="split the sum"):
        accumulator_dtype(2 ** (63 - (na + nb - 2)), na, nb)


@pytest.mark.clause("MAC-1", "MAC-3")
@pytest.mark.parametrize(("da", "db"), [(np.int8, np.int8), (np.int8, np.int16), (np.int16, np.int16)])
def test_the_sum_that_reaches_two_to_the_31_is_not_wrapped(da, db):
    na, nb = np.iinfo(da).bits, np.iinfo(db).bits
    k = 2 ** (31 - (na + nb - 2))
    for length, dtype in ((k - 1, np.int32), (k, np.int64), (k + 1, np.int64)):
        a, b = np.full((1, length), np.iinfo(da).min, da), np.full((length, 1), np.iinfo(db).min, db)
        product = gemm(a, b)
        assert product.dtype == dtype
        assert int(product[0, 0]) == length * 2 ** (na + nb - 2)
        assert int(gemm(-(a + 1), b)[0, 0]) == -length * (2 ** (na - 1) - 1) * 2 ** (nb - 1)


@pytest.mark.clause("MAC-1", "MAC-6")
def test_the_weight_gradient_of_a_cifar_batch_reaches_two_to_the_31():
    x = np.full((128, 32, 32, 1), -128, np.int8)
    grad = conv2d_weight_grad(x, x, (1, 1))
    assert grad.dtype == np.int64
    assert grad.item() == 2**31


@pytest.mark.clause("MAC-1", "MAC-3")
def test_sums_that_binary64_cannot_hold_are_exact():
    k = 2**23 + 2
    a = np.full((1, k), -32768, np.int16)
    a[0, 0] = 1
    b = a.T.copy()
    assert gemm(a, b).item() == (k - 1) * 2**30 + 1  # odd and above 2**53


@pytest.mark.clause("MAC-2")
@pytest.mark.parametrize(("na", "nb"), [(8, 8), (8, 16), (16, 16), (4, 8), (2, 2)])
def test_a_constructed_input_attains_the_reported_width(na, nb):
    least_a, least_b = -(2 ** (na - 1)), -(2 ** (nb - 1))

    def signed_width(value: int) -> int:
        return (value if value >= 0 else -value - 1).bit_length() + 1

    for k in [*range(1, 70), 127, 128, 129, 1023, 1024, 1025]:
        bits = accumulator_bits(k, na, nb)
        largest, next_to_it, lowest = k * least_a * least_b, k * least_a * (least_b + 1), k * least_a * -(least_b + 1)
        if k & (k - 1):  # not a power of two
            assert signed_width(largest) == bits == accumulator_bits_needed(k, na, nb)
        else:  # the one sum that needs a bit more is the largest; all others fit
            assert largest == 2 ** (bits - 1)
            assert signed_width(largest - 1) <= bits
            assert signed_width(largest) == bits + 1 == accumulator_bits_needed(k, na, nb)
            assert signed_width(next_to_it) == bits
        assert signed_width(lowest) <= bits


@pytest.mark.clause("MAC-2")
def test_widths_of_examples():
    assert [accumulator_bits(k, 8, 8) for k in (0, 1, 2, 3, 27, 1152)] == [15, 15, 16, 17, 20, 26]
    assert [accumulator_bits_needed(k, 8, 8) for k in (0, 1, 2, 3, 27, 1152)] == [16, 16, 17, 17, 20, 26]


@pytest.mark.clause("MAC-3")
@given(st.integers(0, 4), st.integers(0, 9), st.integers(0, 4), DTYPES, DTYPES, st.booleans(), st.booleans(), st.data())
def test_gemm_is_the_sum_of_python_integers(m, k, n, da, db, trans_a, trans_b, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    a, b = values(rng, (m, k), da), values(rng, (k, n), db)
    product = gemm(a.T.copy() if trans_a else a, b.T.copy() if trans_b else b, trans_a, trans_b)
    expected = [[sum(int(a[i, p]) * int(b[p, j]) for p in range(k)) for j in range(n)] for i in range(m)]
    assert product.dtype == accumulator_dtype(k, np.iinfo(da).bits, np.iinfo(db).bits)
    assert product.shape == (m, n)
    assert product.tolist() == expected


@pytest.mark.clause("MAC-3")
@pytest.mark.parametrize("k", [1023, 1024, 1025, 4097])  # where the float32 shortcut ends, and beyond
def test_gemm_is_exact_on_every_internal_path(k):
    rng = np.random.default_rng(k)
    for da, db in itertools.product((np.int8, np.int16), repeat=2):
        a, b = values(rng, (3, k), da), values(rng, (k, 5), db)
        assert np.array_equal(gemm(a, b), a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.clause("MAC-3")
def test_gemm_takes_any_layout_and_leaves_its_operands_alone():
    rng = np.random.default_rng(1)
    a, b = values(rng, (6, 8), np.int8), values(rng, (8, 10), np.int8)
    expected = gemm(a[::2, ::-2].copy(), b[::2, 1::3].copy())
    a.setflags(write=False)
    before = b.copy()
    assert np.array_equal(gemm(a[::2, ::-2], b[::2, 1::3]), expected)
    assert np.array_equal(b, before)


@pytest.mark.clause("MAC-4")
@given(convolutions())
def test_conv2d_is_the_sum_of_python_integers(case):
    _, kh, kw, cg = case.w.shape
    expected = int_zeros(case.g.shape)
    for out, inp, weight in conv_terms(case.x, case.w.shape, case):
        expected[out] += int(case.x[inp]) * int(case.w[weight])
    y = conv2d(case.x, case.w, *case.geometry)
    assert y.dtype == accumulator_dtype(kh * kw * cg, *(a.dtype.itemsize * 8 for a in (case.x, case.w)))
    assert y.tolist() == expected.tolist()


@pytest.mark.clause("MAC-5")
@given(convolutions())
def test_the_input_gradient_is_the_sum_of_python_integers(case):
    o, kh, kw, _ = case.w.shape
    expected = int_zeros(case.x.shape)
    for out, inp, weight in conv_terms(case.x, case.w.shape, case):
        expected[inp] += int(case.g[out]) * int(case.w[weight])
    dx = conv2d_input_grad(case.g, case.w, case.x.shape[1:3], *case.geometry)
    k = kh * kw * (o // case.groups)
    assert dx.dtype == accumulator_dtype(k, *(a.dtype.itemsize * 8 for a in (case.g, case.w)))
    assert dx.tolist() == expected.tolist()


@pytest.mark.clause("MAC-6")
@given(convolutions())
def test_the_weight_gradient_is_the_sum_of_python_integers(case):
    expected = int_zeros(case.w.shape)
    for out, inp, weight in conv_terms(case.x, case.w.shape, case):
        expected[weight] += int(case.x[inp]) * int(case.g[out])
    dw = conv2d_weight_grad(case.x, case.g, case.w.shape[1:3], *case.geometry)
    k = int(np.prod(case.g.shape[:3]))
    assert dw.dtype == accumulator_dtype(k, *(a.dtype.itemsize * 8 for a in (case.x, case.g)))
    assert dw.tolist() == expected.tolist()


@pytest.mark.clause("MAC-7")
@given(convolutions())
def test_the_three_convolutions_are_adjoint(case):
    def dot(a: np.ndarray, b: np.ndarray) -> int:
        return sum(int(p) * int(q) for p, q in zip(a.ravel(), b.ravel(), strict=True))

    forward = dot(conv2d(case.x, case.w, *case.geometry), case.g)
    assert dot(conv2d_input_grad(case.g, case.w, case.x.shape[1:3], *case.geometry), case.x) == forward
    assert dot(conv2d_weight_grad(case.x, case.g, case.w.shape[1:3], *case.geometry), case.w) == forward


@pytest.mark.clause("MAC-7")
def test_any_split_of_the_batch_gives_the_same_sums(monkeypatch):
    rng = np.random.default_rng(7)
    x, w = values(rng, (5, 6, 6, 4), np.int8), values(rng, (4, 3, 3, 2), np.int8)
    g = values(rng, (5, 6, 6, 4), np.int8)
    geometry = ((1, 1), (1, 1), (1, 1), 2)
    y, dw = conv2d(x, w, *geometry), conv2d_weight_grad(x, g, (3, 3), *geometry)
    parts = sum(conv2d_weight_grad(x[p], g[p], (3, 3), *geometry) for p in (slice(0, 1), slice(1, 3), slice(3, 5)))
    assert np.array_equal(parts, dw)
    monkeypatch.setattr(mac, "_PATCH_ELEMENTS", 1)
    assert np.array_equal(conv2d(x, w, *geometry), y)
    assert np.array_equal(conv2d_weight_grad(x, g, (3, 3), *geometry), dw)


@pytest.mark.clause("MAC-4")
def test_a_depthwise_convolution_keeps_channels_apart():
    x = np.zeros((1, 1, 1, 3), np.int8)
    x[..., 1] = -128
    w = np.full((3, 1, 1, 1), -128, np.int8)
    assert conv2d(x, w, groups=3).ravel().tolist() == [0, 16384, 0]


@pytest.mark.clause("MAC-4")
def test_pixels_in_the_padding_are_zero_however_wide_it_is():
    x, w = np.full((1, 1, 1, 1), 3, np.int8), np.full((1, 2, 2, 1), 5, np.int8)
    y = conv2d(x, w, (3, 3), (3, 3))
    assert y.shape == (1, 2, 2, 1)
    assert y.ravel().tolist() == [0, 0, 0, 15]


@pytest.mark.clause("MAC-5")
def test_inputs_that_no_window_reaches_get_zero():
    g, w = np.ones((1, 1, 1, 1), np.int8), np.ones((1, 1, 1, 1), np.int8)
    assert conv2d_input_grad(g, w, (3, 3), (3, 3)).ravel().tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.clause("MAC-3", "MAC-4")
def test_wrong_operands_are_refused_with_what_to_do():
    a, x, w = np.zeros((2, 3), np.int8), np.zeros((1, 4, 4, 4), np.int8), np.zeros((2, 3, 3, 4), np.int8)
    with pytest.raises(TypeError, match="int8 and int16"):
        gemm(a.astype(np.int32), a)
    with pytest.raises(TypeError, match="uint8"):
        conv2d(x.astype(np.uint8), w)
    with pytest.raises(ValueError, match="inner sizes 3 \\(a\\) and 2"):
        gemm(a, a)
    with pytest.raises(ValueError, match="two matrices"):
        gemm(a[0], a)
    with pytest.raises(ValueError, match="groups must divide"):
        conv2d(x, w, groups=2)
    with pytest.raises(ValueError, match="groups must divide"):
        conv2d(x, w, groups=0)
    with pytest.raises(ValueError, match="smaller kernel"):
        conv2d(x, w, dilation=(2, 2))
    with pytest.raises(ValueError, match="at least 1"):
        conv2d(x, w, stride=(0, 1))
    with pytest.raises(ValueError, match="padding at least 0"):
        conv2d(x, w, padding=(0, -1))
    with pytest.raises(ValueError, match="check stride"):
        conv2d_input_grad(np.zeros((1, 2, 1, 2), np.int8), w, (4, 4))
    with pytest.raises(ValueError, match="check stride"):
        conv2d_weight_grad(x, np.zeros((1, 2, 1, 2), np.int8), (3, 3))
    with pytest.raises(ValueError, match="takes \\[N, H, W, C\\]"):
        conv2d(x[0], w)


@pytest.mark.clause("MAC-4", "MAC-5", "MAC-6")
@pytest.mark.parametrize("path", qnn._kernels.available_kernels())
def test_layers_without_filters_or_images_give_empty_or_zero_results(path):
    """Shapes with a zero in them are shapes; every path says the same."""
    window = ((1, 1), (1, 1), (1, 1), 1)
    with qnn._kernels.use_kernels(path):
        for images, filters in ((1, 0), (0, 2), (0, 0)):
            x, w = np.ones((images, 4, 4, 2), np.int8), np.ones((filters, 3, 3, 2), np.int8)
            g = np.ones((images, 4, 4, filters), np.int8)
            y = qnn._kernels.call("conv2d", x, w, *window)
            dx = qnn._kernels.call("conv2d_input_grad", g, w, (4, 4), *window)
            dw = qnn._kernels.call("conv2d_weight_grad", x, g, (3, 3), *window)
            assert y.shape == g.shape
            assert dx.shape == x.shape
            assert dw.shape == w.shape
            assert not dx.any()
            assert not dw.any()
