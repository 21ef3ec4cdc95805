"""A recipe says which tensor gets which format and rounding; modules ask it for their quantisation sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from qnn.numerics import Rounding, level_thresholds, staircase_slope
from qnn.numerics.pow2 import ap2_carry
from qnn.quantizer import Format, Quantizer
from qnn.updates import UpdateRule
from qnn.weights import WeightRule

Maker = TypeVar("Maker")


@dataclass(frozen=True)
class Staircase:
    """Levels of activations (clause WGT-10).

    Parameters
    ----------
    bits : int
        1 to 5, as for weights.
    thresholds : str or tuple of float
        As :func:`qnn.numerics.level_thresholds` takes them; they are absolute.
    slope : {"printed", "derived", "straight"}
        Reading of the gradient's lambda: the n-BQ-NN paper prints another sum than its derivation gives; "straight" is
        1, for LogQuant.
    inclusive : bool
        A level begins at its threshold; False: above it, as in the AQE paper.
    """

    bits: int = 1
    thresholds: str | tuple[float, ...] = "nearest"
    slope: str = "printed"
    inclusive: bool = True

    def __post_init__(self) -> None:
        level_thresholds(self.bits, self.thresholds)
        staircase_slope(self.bits, self.slope)

    def __str__(self) -> str:
        where = "" if self.bits == 1 else f", {self.thresholds}{'' if self.inclusive else ' exclusive'}"
        return f"{self.bits} bits, {self.slope} slope{where}"


@dataclass(frozen=True)
class Recipe:
    """Formats by role; a role whose format is None stays float32.

    Parameters
    ----------
    name : str
        What tables, configurations and checkpoints call it; :func:`qnn.recipes.parse` reads it back.
    input, weight, bias, activation, gradient : Format or None
        All None is the float baseline, all set is integer training. A mixture is refused: an integer kernel needs
        integer operands.
    returned : Format or None
        Format of the gradient that a layer with weights sends to the layer before it, where it is not `gradient`.
    last_bits : int or None
        Width of weights, activations and gradients in the last layer (the paper takes 16 on ImageNet).
    strict : bool
        Raise at any operation that leaves integers where the recipe does not say so.
    source : str
        Where the recipe is described.
    product : Format or None
        Of what a layer with weights gives, where it is not `activation`; an exact one for binary products.
    activated : Format or None
        Of what an activation layer gives that quantises: the k bits of its levels.
    rule : WeightRule or None
        What multiplies instead of the master weights; None takes them as they are.
    activation_layer : str
        What :func:`qnn.nn.activation` makes: one of ``qnn.nn.ACTIVATIONS``.
    normalization : str
        What :func:`qnn.nn.normalization` makes: one of ``qnn.nn.NORMALIZATIONS``.
    padding : {0, 1}
        Value of padded pixels of a convolution; a binary net has no 0.
    normalize_last : bool
        Whether models normalise their outputs.
    loss : {"cross_entropy", "square_hinge", "integer_cross_entropy", "sum_of_squares"}
        What the recipe's paper trains with; ``qnn train`` takes it.
    first, last : Recipe or None
        Recipes of the first and last layer with weights, where they differ.
    factor : Format or None
        Of the factors of batch normalisation, where it is not `weight`: a grid of levels is too coarse for them.
    staircase : Staircase or None
        Levels of the activation layer "staircase".
    update : UpdateRule or None
        How weights start and move, where no optimiser does it.
    biases : bool
        Whether layers with weights have biases.
    unit_input : bool
        Whether pictures are scaled by a power of two to -1 .. 1.
    loss_gradient : Format or None
        Of the gradient of the outputs, where it is not `gradient`.
    split : Format or None
        Of a narrower copy of the gradient, from which layers with weights make the gradient of their input; that of the
        weights is made from the gradient as it arrives.
    samples : Format or None
        Of the gradients that arrive at layers with weights, each sample rounded below its own largest magnitude;
        only the bits count: noise rounds, and the grid is that of the gradient.
    drawn_signs : bool
        Whether the activation layer "sign" draws in training, +1 with the probability (x + 1) / 2.
    ap2 : {"nearest", "top"}
        Reading of AP2 in normalisation by shifts and in the activation layer "log"; ``qnn train`` takes it for
        shift-based AdaMax (clause POW-5).
    """

    name: str
    input: Format | None = None
    weight: Format | None = None
    bias: Format | None = None
    activation: Format | None = None
    gradient: Format | None = None
    returned: Format | None = None
    last_bits: int | None = None
    strict: bool = False
    source: str = ""
    product: Format | None = None
    activated: Format | None = None
    rule: WeightRule | None = None
    activation_layer: str = "relu"
    normalization: str = "batch"
    padding: int = 0
    normalize_last: bool = False
    loss: str = "cross_entropy"
    first: Recipe | None = None
    last: Recipe | None = None
    factor: Format | None = None
    staircase: Staircase | None = None
    update: UpdateRule | None = None
    biases: bool = True
    unit_input: bool = False
    loss_gradient: Format | None = None
    split: Format | None = None
    samples: Format | None = None
    drawn_signs: bool = False
    ap2: str = "nearest"

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples.rounding != Rounding.STOCHASTIC:
            raise ValueError(
                f"got samples={self.samples} in recipe {self.name!r}; gradients per sample are rounded "
                "with noise: give it the rounding STOCHASTIC"
            )
        given = [f is not None for f in (self.input, self.weight, self.bias, self.activation, self.gradient)]
        if any(given) and not all(given):
            raise ValueError(
                f"recipe {self.name!r} gives a format to {sum(given)} of the 5 roles input, weight, bias, "
                f"activation, gradient; "
                "allowed are all (integer training) or none (float32): fill in the missing ones"
            )
        if self.rule is not None and not self.is_integer:
            raise ValueError(f"recipe {self.name!r} has a weight rule without formats; rules are for integer recipes")
        if self.padding not in (0, 1):
            raise ValueError(f"got padding={self.padding!r} for recipe {self.name!r}; allowed are 0 and 1")
        if self.last_bits is not None and not 2 <= self.last_bits <= 16:
            raise ValueError(f"got last_bits={self.last_bits}; allowed are 2 to 16 or None")
        ap2_carry(self.ap2)

    @property
    def is_integer(self) -> bool:
        """True where training runs in integers."""
        return self.activation is not None

    def site(self, role: str) -> Quantizer:
        """A new quantisation site for a role."""
        chosen: Format | None = getattr(self, role)
        if chosen is None:
            raise ValueError(
                f"got a request for a {role} site from the float recipe {self.name!r}; only integer recipes have sites"
            )
        return chosen.site(role)

    def returned_site(self) -> Quantizer:
        """A new site for the gradient that a layer with weights sends to the layer before it."""
        return self.returned.site("gradient") if self.returned is not None else self.site("gradient")

    def product_site(self) -> Quantizer:
        """A new site for the result of a layer with weights."""
        return self.product.site("activation") if self.product is not None else self.site("activation")

    def loss_site(self) -> Quantizer:
        """A new site for the gradient of the outputs."""
        return self.loss_gradient.site("gradient") if self.loss_gradient is not None else self.site("gradient")

    def factor_site(self) -> Quantizer:
        """A new site for the factors of batch normalisation."""
        return Quantizer("weight", self.factor) if self.factor is not None else self.site("weight")

    def chosen(self, field: str, known: Mapping[str, Maker]) -> Maker:
        """The entry of a table that the recipe's field names.

        Raises
        ------
        ValueError
            If the table has no such entry.
        """
        name = getattr(self, field)
        if name not in known:
            raise ValueError(f"got {field}={name!r} in recipe {self.name!r}; known are {list(known)}")
        return known[name]

    def first_layer(self) -> Recipe:
        """The recipe of the first layer with weights: the same, or ``first`` where it is set."""
        return self.first or self

    def last_layer(self) -> Recipe:
        """The recipe of the last layer: the same, with ``last_bits`` where it is set.

        The gradient that leaves it has the width of the other layers, whose products stay as narrow as they were.
        """
        if self.last is not None:
            return self.last
        if self.last_bits is None or not self.is_integer:
            return self
        widened = {
            role: replace(chosen, bits=self.last_bits)
            for role in ("weight", "bias", "activation", "gradient")
            if (chosen := getattr(self, role)) is not None
        }
        return replace(self, returned=self.gradient, **widened)

    def describe(self) -> dict[str, str]:
        """Formats by role, and what else the recipe chooses where it is not the usual, in words."""
        roles = ("input", "weight", "bias", "activation", "gradient")
        found = {role: str(getattr(self, role) or "float32") for role in roles}
        others = ("product", "activated", "returned", "factor", "loss_gradient", "split", "samples")
        found |= {role: str(own) for role in others if (own := getattr(self, role))}
        for kind in ("rule", "update", "staircase"):
            if (chosen := getattr(self, kind)) is not None:
                found[kind] = str(chosen)
        for key, usual in (
            ("activation_layer", "relu"),
            ("normalization", "batch"),
            ("loss", "cross_entropy"),
            ("ap2", "nearest"),
        ):
            if getattr(self, key) != usual:
                found[key] = getattr(self, key)
        if self.drawn_signs:
            found["activation_layer"] = f"{self.activation_layer}, drawn in training"
        for place in ("first", "last"):
            if (own := getattr(self, place)) is not None:
                found[place] = own.name
        return found


__all__ = ["Recipe", "Staircase"]
