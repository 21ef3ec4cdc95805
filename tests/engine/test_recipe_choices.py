"""What a recipe chooses beside formats: weight rules, activations, normalisation, padding, first and last layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import DFP, nn
from qnn.batch_quantizer import BatchFormat
from qnn.extend import apply
from qnn.numerics import clip, sign
from qnn.operation import no_grad
from qnn.ops.shape import PadInteger
from qnn.quantizer import Format, Quantizer
from qnn.weights import WeightRule

DFP8 = qnn.recipes.dfp8()
Float32 = np.ndarray


class Halves(WeightRule):
    """Trains with half the masters, infers with a quarter; the gradient is doubled, so that each step shows."""

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return master * np.float32(0.5)

    def inference(self, master: Float32) -> Float32:
        return master * np.float32(0.25)

    def gradient(self, gradient: Float32, master: Float32, site: Quantizer) -> Float32:
        return gradient * np.float32(2)


@pytest.mark.clause("EXP-8")
def test_a_fixed_exponent_never_moves() -> None:
    site = Quantizer("activation", Format(4, exponent=-3))
    assert (site.exponent, site.initialised) == (-3, True)
    for values in ([100.0], [2.0**-9], [0.0]):
        assert site.quantize(np.array(values, np.float32)).exponent == -3
        site.advance()
        assert site.exponent == -3
        assert site.counts is not None
    with pytest.raises(ValueError, match="fixed"):
        site.load_state(np.array([-2, 1], np.int64))
    site.load_state(site.state())
    with pytest.raises(ValueError, match="exponent"):
        Format(4, exponent=64)
    assert str(Format(2, exponent=0)) == "int2·2^0 NEAREST_DOWN"


def test_a_format_names_its_generator_once() -> None:
    noise = [(kind, bits) for kind in ("philox", "lfsr16") for bits in (16, 9)]
    words = [str(Format(8, "stochastic", kind, bits)).split("/")[1] for kind, bits in noise]
    assert words == ["philox16", "philox9", "lfsr16", "lfsr16 of 9 bits"]
    assert str(Format(8, "floor", "lfsr16")) == "int8 FLOOR"
    assert str(Format(8, "floor", overflow="integer")) == "int8 FLOOR, overflow of integers"


@pytest.mark.clause("EXP-1")
@pytest.mark.parametrize("path", qnn.available_kernels())
def test_a_site_that_counts_the_overflow_of_integers(path: str) -> None:
    with qnn.use_kernels(path):
        site = Quantizer("activation", Format(8, exponent=None, overflow="integer"))
        for role_sees, exponent in ((np.float32(127), 0), (np.float32(127.25), 0), (np.float32(3), 1)):
            assert site.quantize(np.array([role_sees], np.float32)).exponent == exponent
            site.advance()
        assert site.exponent == 0
        sums = np.array([127 * 4, 127 * 4 + 1, -128 * 4, -128 * 4 - 1, 63 * 4 + 2, 63 * 4 + 3], np.int32)
        site.requantize(sums, -2)
        site.advance()
        assert site.counts is not None
        assert (site.counts.overflow, site.counts.overflow_double) == (2, 5)
        assert site.exponent == 1
        site.training = False
        site.requantize(sums, -2)
    with pytest.raises(ValueError, match="no count moves"):
        BatchFormat(8, overflow="integer")


@pytest.mark.clause("UPD-3")
@given(data=st.data())
def test_clip_and_rate_of_a_parameter(data: st.DataObject) -> None:
    values = np.random.default_rng(data.draw(st.integers(0, 99))).normal(0, 1, 7).astype(np.float32)
    parameter, plain = qnn.Parameter(values), qnn.Parameter(values)
    parameter.limit, parameter.rate = 0.5, 0.25
    gradient = np.ones(7, np.float32)
    parameter.grad, plain.grad = gradient, gradient
    qnn.optim.SGD([("w", parameter)]).step(0.1)
    qnn.optim.SGD([("w", plain)]).step(0.1 * 0.25)
    np.testing.assert_array_equal(parameter.numpy(), np.minimum(np.maximum(plain.numpy(), -0.5), 0.5))
    np.testing.assert_array_equal(clip(values, 0.5), np.minimum(np.maximum(values, np.float32(-0.5)), np.float32(0.5)))


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_weight_rule_is_used_forward_backward_and_in_evaluation(kind: str) -> None:
    recipe = replace(DFP8, rule=Halves(limit=0.25), weight=Format(8, exponent=-7))
    layer = (
        nn.Linear(6, 4, bias=False, recipe=recipe)
        if kind == "linear"
        else nn.Conv2d(2, 4, 3, bias=False, recipe=recipe)
    )
    model = nn.Sequential(nn.Quantize(recipe), layer)
    run = nn.prepare(model, seed=1)
    shape = (5, 6) if kind == "linear" else (5, 4, 4, 2)
    x = qnn.Tensor(np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))
    layer.weight.data = np.full(layer.weight.shape, 0.5, np.float32)
    with qnn.trace() as entries:
        out = model(x)
    assert set(entries[1].operation.weight.ints.ravel()) == {32}  # 0.25 at 2^-7
    out.backward(DFP(np.ones(out.shape, np.int8), -4, 8))
    total = layer.weight._total
    np.testing.assert_array_equal(np.asarray(layer.weight.grad), total.to_float32() * 2)
    with no_grad(), qnn.trace() as entries:
        model.eval()(x)
    assert set(entries[1].operation.weight.ints.ravel()) == {16}  # evaluation sees its own weights within the step
    model.train()
    qnn.optim.SGD(model.named_parameters()).step(0.0)
    run.advance()
    assert set(layer.weight.numpy().ravel()) == {np.float32(0.25)}


@pytest.mark.clause("LAY-13")
def test_sign_of_every_code_and_its_gradient() -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    x = qnn.Tensor(DFP(codes, -5, 8), requires_grad=True, grad_site=Quantizer("gradient", DFP8.gradient or Format()))
    layer = nn.Sign(DFP8)
    y = layer(x)
    assert isinstance(y.data, DFP)
    assert (y.data.bits, y.data.exponent) == (2, 0)
    assert [int(v) for v in y.data.ints] == [1 if q >= 0 else -1 for q in range(-128, 128)]
    np.testing.assert_array_equal(sign(codes), y.data.ints)
    y.backward(DFP(np.full(256, 3, np.int8), -4, 8))
    assert isinstance(x.grad, DFP)
    assert [int(v) for v in x.grad.ints] == [3 if -32 <= q <= 32 else 0 for q in range(-128, 128)]
    with pytest.raises(TypeError, match="float32"):
        nn.Sign()(qnn.Tensor([1.0]))


@pytest.mark.clause("LAY-14")
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_activations_of_few_bits(bits: int) -> None:
    recipe = replace(DFP8, activated=Format(bits, exponent=1 - bits), activation_layer="quantized")
    codes = np.arange(-128, 128, dtype=np.int8)
    x = qnn.Tensor(DFP(codes, -5, 8), requires_grad=True, grad_site=Quantizer("gradient", DFP8.gradient or Format()))
    y = nn.activation(recipe)(x)
    assert isinstance(y.data, DFP)
    step = 2 ** (6 - bits)  # codes of x in one step of y
    want = [min(max(-((step // 2 - q) // step), -(2 ** (bits - 1))), 2 ** (bits - 1) - 1) for q in range(-128, 128)]
    assert [int(v) for v in y.data.ints] == want
    y.backward(DFP(np.full(256, 3, np.int8), -4, 8))
    assert isinstance(x.grad, DFP)
    assert [int(v) for v in x.grad.ints] == [3 if -32 <= q <= 32 else 0 for q in range(-128, 128)]
    with pytest.raises(ValueError, match="activated"):
        nn.QuantizedActivation(DFP8)


@pytest.mark.clause("LAY-12")
def test_padding_with_one() -> None:
    x = qnn.Tensor(DFP(np.array([[[[-1]]]], np.int8), 0, 2), requires_grad=True)
    y = apply(PadInteger((0, 1), 1), x)
    assert isinstance(y.data, DFP)
    assert y.data.ints.tolist() == [[[[1], [-1], [1]]]]
    y.backward(DFP(np.array([[[[5], [6], [7]]]], np.int8), -4, 8))
    assert isinstance(x.grad, DFP)
    assert x.grad.ints.tolist() == [[[[6]]]]
    assert PadInteger((1, 0), 1).forward(DFP(np.array([[[[5]]]], np.int8), -2, 8)).ints.ravel().tolist() == [4, 5, 4]
    for exponent, bits in ((1, 8), (-7, 8)):
        with pytest.raises(ValueError, match="pad with 1"):
            PadInteger((1, 1), 1).forward(DFP(np.array([[[[0]]]], np.int8), exponent, bits))


def test_a_convolution_pads_as_its_recipe_says() -> None:
    recipe = replace(DFP8, padding=1)
    padded, plain = (nn.Conv2d(2, 3, 3, padding=1, recipe=r) for r in (recipe, DFP8))
    for layer in (padded, plain):
        nn.prepare(layer, seed=1)
    x = DFP(np.random.default_rng(0).choice([-1, 1], (2, 4, 4, 2)).astype(np.int8), 0, 2)
    around = np.pad(x.ints, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    want = plain(qnn.Tensor(DFP(around, 0, 2))).data
    np.testing.assert_array_equal(padded(qnn.Tensor(x)).data.ints, want.ints[:, 1:-1, 1:-1])


def test_products_and_ends_have_their_formats() -> None:
    ends = replace(DFP8, name="ends", weight=Format(6))
    recipe = replace(DFP8, product=Format(16, exponent=-12), first=ends, last=ends)
    assert nn.Linear(2, 2, recipe=recipe).activation.format == Format(16, exponent=-12)
    assert recipe.first_layer() is ends
    assert recipe.last_layer() is ends
    assert DFP8.first_layer() is DFP8
    with pytest.raises(ValueError, match="activation_layer"):
        nn.activation(replace(DFP8, activation_layer="nothing"))
    with pytest.raises(ValueError, match="normalization"):
        nn.normalization(3, replace(DFP8, normalization="nothing"))
    with pytest.raises(ValueError, match="padding"):
        replace(DFP8, padding=2)
    with pytest.raises(ValueError, match="rule"):
        qnn.recipes.Recipe("fp32", rule=Halves())


def test_progress_is_a_share() -> None:
    run = nn.prepare(nn.Linear(2, 2, recipe=DFP8), seed=1)
    run.progress = 0.5
    assert run.progress == 0.5
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="progress"):
            run.progress = wrong
