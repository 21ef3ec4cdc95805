"""Arguments of recipes: what is no number, no name or no bool is refused; NumPy's numbers are numbers."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from qnn import recipes
from qnn.errors import ConfigError
from qnn.numerics import alpha_schedule, aqe_grad, level_thresholds, reconstruct, reconstruct_grad
from qnn.recipes import BUILDERS, Format
from qnn.recipes.integer import NitiUpdate

ONES = np.ones(2, np.float32)


def arguments(kind: str) -> list[tuple[str, str]]:
    """Every argument of every recipe whose annotation begins so."""
    return [
        (name, key)
        for name, builder in BUILDERS.items()
        for key, parameter in inspect.signature(builder).parameters.items()
        if str(parameter.annotation).startswith(kind)
    ]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("bnn(stochastic=false)", "bnn"),
        ("bnn(stochastic=true)", "bnn(stochastic=True)"),
        ("ternary(scaled=false)", "ternary(scaled=False)"),
        ("nbq(relative=false)", "nbq(relative=False)"),
        ("nbq(relative=true)", "nbq"),
        ("dfp(strict=false)", "dfp(strict=False)"),
    ],
)
def test_true_and_false_in_small_letters(text: str, same: str) -> None:
    assert recipes.parse(text) == recipes.parse(same)
    assert recipes.parse(text).name == recipes.parse(same).name


def test_false_does_not_draw_signs() -> None:
    rule = recipes.parse("bnn(stochastic=false)").rule
    assert str(rule) == "sign"


@pytest.mark.parametrize(("name", "key"), arguments("bool"))
@pytest.mark.parametrize("wrong", ["false", "no", 0, 1, 5, None, 1.0, [True]])
def test_only_a_bool_is_a_bool(name: str, key: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"got {key}=.* for the recipe {name}; allowed is True or False: change it"):
        BUILDERS[name](**{key: wrong})
    for right in (True, False):
        assert BUILDERS[name](**{key: np.bool_(right)}) == BUILDERS[name](**{key: right})


@pytest.mark.parametrize(("name", "key"), arguments("int"))
@pytest.mark.parametrize("wrong", [True, False, np.True_, "3", 3.0, [3]])
def test_only_a_whole_number_is_one(name: str, key: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"got {key}=.* for the recipe {name}; allowed is a whole number"):
        BUILDERS[name](**{key: wrong})


@pytest.mark.parametrize(("name", "key"), arguments("int"))
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64])
def test_numpys_integers_give_the_same_recipe(name: str, key: str, dtype: type) -> None:
    value = {"wide": 12, "noise_bits": 8}.get(key, 4)
    found, want = BUILDERS[name](**{key: dtype(value)}), BUILDERS[name](**{key: value})
    assert found == want
    assert found.name == want.name
    assert repr(found) == repr(want)


def test_numpys_floats_give_the_same_recipe() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        found, want = recipes.nbq(alpha=dtype(0.5)), recipes.nbq(alpha=0.5)
        assert repr(found) == repr(want)
        assert repr(recipes.nbq(2, thresholds=dtype(0.25))) == repr(recipes.nbq(2, thresholds=0.25))
        assert repr(recipes.nbq(thresholds=np.array([0.5, 0.25, 0.125], dtype))) == repr(
            recipes.nbq(thresholds=(0.5, 0.25, 0.125))
        )
        assert repr(recipes.dfp(r_max=dtype(0.5))) == repr(recipes.dfp(r_max=0.5))
    assert recipes.nbq(alpha=1).name == "nbq(n=3, a=8, g=8, alpha=1)"
    assert recipes.dfp(r_max=0).name == "dfp8"


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"alpha": True}, "got alpha=True"),
        ({"alpha": None}, "allowed is a number or a name"),
        ({"alpha": np.array(0.5)}, "allowed is a number or a name"),
        ({"thresholds": True}, "got thresholds=True"),
        ({"thresholds": [None, 1, 2]}, "a sequence of numbers"),
        ({"thresholds": ["a", "b", "c"]}, "a sequence of numbers"),
        ({"thresholds": ["0.3", "0.2", "0.1"]}, "a sequence of numbers"),
        ({"thresholds": [True, 0.2, 0.1]}, "a sequence of numbers"),
        ({"thresholds": [[0.3], [0.2, 0.1], 1]}, "a sequence of numbers"),
        ({"thresholds": np.array(0.5)}, "a sequence of numbers"),
        ({"n": None}, "a whole number"),
        ({"staircase": True}, "a whole number or None"),
    ],
)
def test_what_is_no_number_is_refused(given: dict[str, Any], part: str) -> None:
    with pytest.raises(TypeError) as error:
        recipes.nbq(**given)
    assert part in str(error.value)
    assert "leave it out, which means" in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bnn(stochastic=no)", "True or False"),
        ("bnn(stochastic=5)", "True or False"),
        ("bnn(stochastic='false')", "True or False"),
        ("ternary(scaled=0)", "True or False"),
        ("nbq(relative=None)", "True or False"),
        ("nbq(n=True)", "a whole number"),
        ("nbq(n=true)", "a whole number"),
        ("nbq(n='3')", "a whole number"),
        ("nbq(n=None)", "a whole number"),
        ("qnn(w=True)", "a whole number"),
        ("niti(mu=True)", "a whole number"),
        ("wage(g=2.5)", "a whole number"),
        ("nbq(staircase=True)", "a whole number or None"),
        ("dfp(last_bits=true)", "a whole number or None"),
        ("dfp(r_max=true)", "a number"),
        ("bnn(norm=true)", "'batch' and 'shift'"),
        ("dfp(a_rounding=true)", "a bool"),
    ],
)
def test_the_same_in_text(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipes.parse(text)
    assert part in str(error.value)
    assert repr(text)[1:-1] in str(error.value)


def test_arguments_that_a_recipe_does_not_have() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        BUILDERS["bnn"](widths=3)
    with pytest.raises(TypeError, match="positional"):
        BUILDERS["bnn"](False, "batch", 8, False, 9)


@pytest.mark.parametrize("wrong", [True, "x", None])
def test_shares_are_numbers(wrong: Any) -> None:
    for function in (reconstruct, aqe_grad):
        with pytest.raises(TypeError, match="a number from 0 to 1"):
            function(ONES, ONES, wrong)
    with pytest.raises(TypeError, match="a number from 0 to 1"):
        reconstruct_grad(ONES, wrong)
    with pytest.raises(TypeError, match="a number from 0 to 1"):
        alpha_schedule(wrong)


def test_shares_may_be_numpys() -> None:
    assert alpha_schedule(np.float32(0.5)) == alpha_schedule(0.5)
    np.testing.assert_array_equal(reconstruct(ONES, -ONES, np.float32(0.25)), reconstruct(ONES, -ONES, 0.25))


@pytest.mark.parametrize("wrong", [[None, 1, 2], ["a", "b", "c"], ["3", "2", "1"], [True, 0.5, 0.2]])
def test_thresholds_are_numbers(wrong: Any) -> None:
    with pytest.raises(TypeError, match="each must be a number"):
        level_thresholds(3, wrong)


def test_bits_of_rules_and_formats() -> None:
    with pytest.raises(ValueError, match="got n = True"):
        level_thresholds(True, "nearest")
    with pytest.raises(ValueError, match="got mu=True"):
        NitiUpdate(mu=True)
    wrong: dict[str, Any]
    for wrong in ({"bits": True}, {"noise_bits": True}, {"r_max": False}, {"r_max": "0"}, {"exponent": True}):
        with pytest.raises(ValueError, match=f"got {next(iter(wrong))}="):
            Format(**wrong)
    numpys: Any = np.int64
    assert repr(Format(numpys(8), exponent=numpys(-3))) == repr(Format(8, exponent=-3))
