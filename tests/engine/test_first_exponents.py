"""The range of what a site sees first is found in parts of the batch; where they end changes nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import nn, quantizer
from qnn.numerics import DFP
from qnn.ops.batchnorm import first_of_reals
from qnn.quantizer import Format, Quantizer, parts

WHOLE = 1 << 40
SHAPE, HALF = (8, 8, 3), (0.5, 0.5, 0.5)
BYTES = st.integers(-128, 127)


@given(st.lists(st.integers(0, 40), max_size=4).map(tuple), st.integers(1, 200))
def test_parts_are_all_samples_once_and_in_order(shape: tuple[int, ...], size: int) -> None:
    array = np.arange(math.prod(shape)).reshape(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizer, "_PART", size)
        found = [array[part] for part in parts(shape)]
    if len(shape) < 2:
        assert len(found) == 1
        assert found[0].shape == shape
        return
    np.testing.assert_array_equal(np.concatenate(found), array)
    assert all(part.size <= size or len(part) == 1 for part in found)


@pytest.mark.clause("EXP-5")
def test_a_bias_of_one_axis_meets_its_channels() -> None:
    acc, bias = np.arange(7, dtype=np.int32), np.arange(7) << 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizer, "_PART", 3)
        found = Quantizer("activation", Format()).requantize(acc, -3, bias=bias)
    whole = Quantizer("activation", Format()).requantize(acc + bias, -3)
    assert found.exponent == whole.exponent
    np.testing.assert_array_equal(found.ints, whole.ints)


def first_exponents(part: int, recipe: str, name: str) -> dict[str, object]:
    """Exponents and integers after the first two steps, whose sites see their first data on both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizer, "_PART", part)
        model = qnn.models.build(name, recipe=recipe, input_shape=SHAPE, classes=4, mean=HALF, std=HALF, seed=1)
        loss = nn.CrossEntropyLoss(model.recipe)
        optimizer = qnn.optim.SGD(model.named_parameters())
        run = nn.prepare(model, loss, seed=1)
        random = np.random.default_rng(0)
        for _ in range(2):
            loss(model(random.integers(0, 256, (6, *SHAPE), np.uint8)), np.arange(6) % 4).backward()
            optimizer.step(0.1)
            optimizer.zero_grad()
            run.advance()
        return {key: value.tobytes() for key, value in {**model.state_dict(), **loss.state_dict()}.items()}


@pytest.mark.clause("EXP-5")
@pytest.mark.parametrize(
    ("name", "recipe"),
    [*itertools.product(["resnet20"], ["dfp", "bnn", "wage", "banner8"]), ("mlp", "dfp"), ("bnn-mlp", "wage")],
)
def test_the_first_exponents_of_a_net_do_not_depend_on_the_parts(name: str, recipe: str) -> None:
    whole = first_exponents(WHOLE, recipe, name)
    assert len(whole) > 20
    for part in (1, 700, 4096):
        assert first_exponents(part, recipe, name) == whole


@pytest.mark.clause("EXP-5")
@given(
    st.lists(st.tuples(st.integers(-128, 127), st.integers(-128, 127)), min_size=1, max_size=12), st.integers(-3, 60)
)
def test_the_ends_of_a_sum_may_lie_in_any_part(pairs: list[tuple[int, int]], spread: int) -> None:
    a, b = (np.array(side, np.int8)[:, None] for side in zip(*pairs, strict=True))
    found = []
    for part in (1, WHOLE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quantizer, "_PART", part)
            site = Quantizer("activation", Format())
            site.add([DFP(a, spread, 8), DFP(b, 0, 8)])
            found.append((site.exponent, site.initialised))
    assert found[0] == found[1]


def test_a_number_that_is_none_is_found_in_any_part() -> None:
    good, bad = np.float32([1, 2]), np.float32([np.nan, 1])
    for order in ([good, bad], [bad, good]):
        with pytest.raises(ValueError, match="finite"):
            first_of_reals(order, 8)
    assert first_of_reals([good, np.float32([]), -good], 8) == first_of_reals([np.float32([-2, 2])], 8)
    assert first_of_reals([], 8) is None
