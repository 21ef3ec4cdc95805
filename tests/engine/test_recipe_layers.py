"""Layers that a recipe does not define are refused when they are built with it."""

from __future__ import annotations

import pytest

from qnn import nn, recipes
from qnn.errors import ConfigError

NORMS = ["BatchNorm", "ShiftBatchNorm", "RangeNorm", "Normalize", "ShiftNormalize", "RangeNormalize", "Scale"]
QUANTISING = {
    "Sign": "bnn",
    "QuantizedActivation": "qnn(w=2, a=2)",
    "LogActivation": "qnn(w=2, a=3, quant_a=log)",
    "UnitActivation": "dorefa",
    "ReluClip": "wage",
    "StaircaseActivation": "nbq(staircase=2)",
}


@pytest.mark.parametrize("name", ["niti", "wage"])
@pytest.mark.parametrize("layer", NORMS)
def test_integer_trainers_have_no_normalisation(name: str, layer: str) -> None:
    with pytest.raises(ConfigError, match=rf"got recipe '{name}' for {layer}; it defines no normalisation.*leave"):
        getattr(nn, layer)(3, recipe=recipes.parse(name))
    assert isinstance(nn.normalization(3, recipes.parse(name)), nn.NoNormalization)


@pytest.mark.parametrize("layer", QUANTISING)
@pytest.mark.parametrize("owner", QUANTISING)
def test_a_recipe_has_one_quantising_activation(layer: str, owner: str) -> None:
    recipe = recipes.parse(QUANTISING[owner])
    if layer == owner:
        assert type(getattr(nn, layer)(recipe)) is type(nn.activation(recipe))
        return
    with pytest.raises(ConfigError, match=rf"for {layer}; the activation that it defines is {owner}: take"):
        getattr(nn, layer)(recipe)


def test_relu_and_hardtanh_are_exact_in_every_recipe() -> None:
    for name in QUANTISING.values():
        for layer in (nn.Relu, nn.Hardtanh):
            layer(recipes.parse(name))
