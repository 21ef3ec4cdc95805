"""What recipes of few bits ask of a model: normalised outputs, and normalisation before each activation."""

from __future__ import annotations

from dataclasses import replace

from qnn import nn
from qnn.recipes import Recipe


def closing(classes: int, recipe: Recipe) -> list[nn.Module]:
    """The layers after the last one with weights: normalisation where the recipe asks for it."""
    return [nn.normalization(classes, recipe.last_layer())] if recipe.normalize_last else []


def without_normalization(recipe: Recipe, model: str, instead: str) -> None:
    """Refuse a recipe whose activations need normalised input, or its weights normalised products (clause WGT-12), for
    a model that has none.

    Raises
    ------
    ValueError
    """
    if recipe.rule is not None and not recipe.rule.keeps_scale:
        raise ValueError(
            f"got recipe {recipe.name!r} for {model}, which does not normalise; its weights are levels without a scale "
            f"({recipe.rule}) and need that: take {instead}"
        )
    if recipe.activation_layer not in ("relu", "hardtanh"):
        raise ValueError(
            f"got recipe {recipe.name!r} for {model}, which does not normalise; its activations "
            f"({recipe.activation_layer!r}) work between -1 and 1 and need that: take {instead}"
        )


def behind_averages(recipe: Recipe) -> Recipe:
    """The recipe of a layer that takes averages of activations.

    The mean of signs is no sign, so its products with binary weights are not exact: they are rounded, as those of the
    first layer, which takes pictures, are. Other recipes stay as they are.
    """
    return replace(recipe, product=None) if has_exact_products(recipe) else recipe


def without_signs(recipe: Recipe, model: str, instead: str) -> None:
    """Refuse a recipe of exact binary products for a model that has no meaning with signs; ``model`` says why.

    Raises
    ------
    ValueError
    """
    if has_exact_products(recipe):
        raise ValueError(
            f"got recipe {recipe.name!r} for {model}; take {instead}, or a recipe "
            "with wider activations such as qnn(w=1, a=2)"
        )


def has_exact_products(recipe: Recipe) -> bool:
    """Whether products of the recipe take signs alone (clause BIT-6)."""
    return recipe.activation_layer == "sign" and recipe.product is not None and recipe.product.exponent is not None
