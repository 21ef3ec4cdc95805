"""Recipes of one to a few bits: the BNN and QNN papers, and DoReFa-Net."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qnn.numerics import Rounding, level_format
from qnn.quantizer import Format
from qnn.recipes.arguments import checked
from qnn.recipes.recipe import Recipe
from qnn.recipes.rules import Binary, ByLargest, Clipped, Dorefa, Logarithmic
from qnn.weights import WeightRule

_BNN = "Courbariaux, Hubara, Soudry, El-Yaniv, Bengio, arXiv 1602.02830 (2016)"
_QNN = "Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, J. Mach. Learn. Res. 18 (2018)"
_DOREFA = "Zhou, Wu, Ni, Zhou, Wen, Zou, arXiv 1606.06160 (2016)"
_SIGNS = Format(2, exponent=0)
_EXACT = Format(16, exponent=0)


@checked
def bnn(
    stochastic: bool = False,
    norm: str = "batch",
    g: int = 8,
    stochastic_activations: bool = False,
    *,
    ap2: str = "nearest",
    rates: str = "exact",
) -> Recipe:
    """Binarised networks: weights and activations are +1 and -1, products are exact integers.

    Parameters
    ----------
    stochastic : bool
        Draw the weights of each step (clause BIT-2) instead of taking their sign (clause BIT-1).
    norm : {"batch", "shift"}
        Batch normalisation, or the papers' form by shifts (clauses BIT-9 to BIT-11); the last layer has the former.
    g : int
        Bits of gradients, 2 to 16, rounded stochastically.
    stochastic_activations : bool
        Draw the signs of activations too (clause LAY-15). Evaluation takes signs everywhere.
    ap2 : {"nearest", "top"}
        Reading of AP2 (clause POW-5) in normalisation by shifts, in ``rates="ap2"``, and where ``qnn train`` moves the
        weights by shift-based AdaMax: the nearest power of two, or that of the top bit.
    rates : {"exact", "ap2"}
        Glorot coefficients as they are, as in the authors' MNIST model, or AP2 of them, as in that for CIFAR-10 (clause
        BIT-5).

    Returns
    -------
    Recipe

    Notes
    -----
    The first layer sees 8-bit input and has binary weights; its sums are rounded to 8 bits like those of `dfp8`.
    Convolutions pad with 1, since no bit is 0. The papers keep gradients in float32; here they have g bits.
    Bit-exactness: clauses BIT, LAY-12, LAY-13 and LAY-15.

    Examples
    --------
    >>> import qnn
    >>> qnn.recipes.bnn().describe()["rule"]
    'sign'
    """
    parts = _differing(
        {
            "stochastic": (stochastic, False),
            "norm": (norm, "batch"),
            "g": (g, 8),
            "stochastic_activations": (stochastic_activations, False),
            "ap2": (ap2, "nearest"),
            "rates": (rates, "exact"),
        }
    )
    name = f"bnn({parts})" if parts else "bnn"
    _one_of("rates", rates, "exact", "ap2")
    rule = Binary(stochastic=stochastic, reading=ap2, rates=rates)
    return _signs(name, rule, norm, g, _BNN, ap2, drawn=stochastic_activations)


@checked
def qnn(
    w: int = 1,
    a: int = 1,
    g: int = 8,
    quant: str = "linear",
    norm: str = "batch",
    *,
    quant_a: str = "linear",
    scale: str = "unit",
    ap2: str = "nearest",
    rates: str = "exact",
) -> Recipe:
    """Quantised networks: w-bit weights, a-bit activations, g-bit gradients.

    Parameters
    ----------
    w : int
        Bits of weights: 1 is their sign; 2 to 8 with "linear" (clause BIT-3), 2 to 5 with "log" (clause BIT-4).
    a : int
        Bits of activations: 1 is their sign; 2 to 8 with "linear", a grid from -1 to below 1 (clause LAY-14); 2 to 5
        with "log" (clause BIT-14).
    g : int
        Bits of gradients, 2 to 16, rounded stochastically; the paper names 6.
    quant : {"linear", "log"}
        Grid of the weights where w is above 1.
    norm : {"batch", "shift"}
    quant_a : {"linear", "log"}
        Grid of the activations where a is above 1; "log", signed powers of two from 2**-(r-1) to 1, r = 2**(a-1) - 1,
        needs that.
    scale : {"unit", "max"}
        "max" puts "linear" weights of 2 bits or more on the grid in shares of the layer's largest (clause BIT-3).
    ap2 : {"nearest", "top"}
        As for `bnn`, and in "log" of weights and activations.
    rates : {"exact", "ap2"}
        As for `bnn`.

    Returns
    -------
    Recipe

    Notes
    -----
    With one bit for both it is `bnn` under another name. Otherwise products are rounded to 8 bits that follow the data,
    convolutions pad with 0 (with 1 where activations are signs), and the last layer works like the others. The scheme
    of the paper's 6-bit gradients is not published: here it is dynamic fixed point. Bit-exactness: clauses BIT.

    Examples
    --------
    >>> import qnn
    >>> str(qnn.recipes.qnn(w=4, a=4, g=6).weight)
    'int4·2^-3 NEAREST_DOWN'
    """
    _one_of("quant", quant, "linear", "log")
    _one_of("quant_a", quant_a, "linear", "log")
    _one_of("scale", scale, "unit", "max")
    _one_of("rates", rates, "exact", "ap2")
    _bits("w", w, 1, 5 if quant == "log" else 8)
    _bits("a", a, *((2, 5) if quant_a == "log" else (1, 8)))
    if scale == "max" and (w == 1 or quant == "log"):
        raise ValueError(f"got scale='max' for w={w}, quant={quant!r}; only linear weights of 2 bits or more have it")
    options = _differing(
        {
            "quant": (quant, "linear"),
            "norm": (norm, "batch"),
            "quant_a": (quant_a, "linear"),
            "scale": (scale, "unit"),
            "ap2": (ap2, "nearest"),
            "rates": (rates, "exact"),
        }
    )
    name = f"qnn(w={w}, a={a}, g={g}{', ' + options if options else ''})"
    rule, weight = _grid(w, quant, scale, {"reading": ap2, "rates": rates})
    if w == a == 1:
        return _signs(name, rule, norm, g, _QNN, ap2)
    activation, gradient = Format(8), Format(g, Rounding.STOCHASTIC)
    recipe = Recipe(
        name,
        input=activation,
        weight=weight,
        bias=activation,
        factor=activation,
        activation=activation,
        gradient=gradient,
        activated=None if a == 1 else _levels(a) if quant_a == "log" else Format(a, exponent=1 - a),
        rule=rule,
        activation_layer="sign" if a == 1 else "log" if quant_a == "log" else "quantized",
        normalization=_one_of("norm", norm, "batch", "shift"),
        padding=1 if a == 1 else 0,
        normalize_last=True,
        loss="square_hinge",
        strict=True,
        source=_QNN,
        ap2=ap2,
    )
    return _with_ends(recipe)


@checked
def dorefa(w: int = 1, a: int = 2, g: int = 6, scale: str = "tensor") -> Recipe:
    """DoReFa-Net: w-bit weights, a-bit activations, g-bit gradients; first and last layer with 8 bits.

    Parameters
    ----------
    w, a : int
        Bits of weights and activations, 1 to 8 (clauses BIT-7 and BIT-8).
    g : int
        Bits of gradients, 2 to 16, rounded stochastically.
    scale : {"tensor", "sample"}
        One power of two scales all gradients of a tensor, by dynamic fixed point; or each sample has its own, above its
        largest gradient (clause BIT-13), as in the paper. The gradients then lie on a grid of 16 bits, and those that
        arrive at a layer with weights, but for the first and the last, have g of them.

    Returns
    -------
    Recipe

    Notes
    -----
    Readings. The paper's levels are multiples of ``1/(2**k - 1)``, which no binary grid holds; here they are the same
    integers over ``2**k``. The factor is one for the whole tensor and batch normalisation takes it up; so it does the
    paper's ``mean|w|`` of binary weights. The gradient does not flow through ``max|tanh w|``. First and last layers are
    float32 in the paper, 8-bit integers here. The scale of a sample is the power
    of two above its largest gradient, where the paper has twice the latter; levels are those of g-bit integers.
    Bit-exactness: clauses BIT-7, BIT-8 and BIT-13, and those of dynamic fixed point.

    Examples
    --------
    >>> import qnn
    >>> qnn.recipes.dorefa(1, 2, 6).name
    'dorefa(w=1, a=2, g=6)'
    """
    _bits("w", w, 1, 8)
    _bits("a", a, 1, 8)
    _one_of("scale", scale, "tensor", "sample")
    options = _differing({"scale": (scale, "tensor")})
    name = f"dorefa(w={w}, a={a}, g={g}{', ' + options if options else ''})"
    own = Format(g, Rounding.STOCHASTIC)
    activation, gradient = Format(8), Format(16, Rounding.STOCHASTIC) if scale == "sample" else own
    ends = Recipe(
        f"{name}'s ends",
        input=activation,
        weight=activation,
        bias=activation,
        factor=activation,
        activation=activation,
        gradient=gradient,
        strict=True,
        source=_DOREFA,
    )
    return replace(
        ends,
        name=name,
        weight=_SIGNS if w == 1 else Format(w + 1, exponent=-w),
        rule=Dorefa(bits=w),
        activated=Format(a + 1, Rounding.NEAREST_EVEN, exponent=-a),
        activation_layer="unit",
        samples=replace(own, exponent=0) if scale == "sample" else None,
        first=ends,
        last=ends,
    )


def _signs(name: str, rule: WeightRule, norm: str, g: int, source: str, ap2: str, *, drawn: bool = False) -> Recipe:
    """Signs for weights and activations, exact products between them."""
    activation, gradient = Format(8), Format(g, Rounding.STOCHASTIC)
    recipe = Recipe(
        name,
        input=activation,
        weight=_SIGNS,
        bias=activation,
        factor=activation,
        activation=activation,
        gradient=gradient,
        product=_EXACT,
        rule=rule,
        activation_layer="sign",
        normalization=_one_of("norm", norm, "batch", "shift"),
        padding=1,
        normalize_last=True,
        loss="square_hinge",
        strict=True,
        source=source,
        drawn_signs=drawn,
        ap2=ap2,
    )
    return _with_ends(recipe)


def _with_ends(recipe: Recipe) -> Recipe:
    """First layer: 8-bit input, padded with 0, sums that follow the data. Last layer: ordinary normalisation."""
    first = replace(recipe, name=f"{recipe.name}'s first", product=None, padding=0)
    last = replace(recipe, name=f"{recipe.name}'s last", normalization="batch")
    return replace(recipe, first=first, last=last)


def _grid(w: int, quant: str, scale: str, readings: dict[str, Any]) -> tuple[WeightRule, Format]:
    """Rule and format of w-bit weights."""
    if w == 1:
        return Binary(**readings), _SIGNS
    if quant == "linear":
        kind = ByLargest if scale == "max" else Clipped
        return kind(**readings), Format(w, exponent=1 - w)
    return Logarithmic(bits=w, **readings), _levels(w)


def _levels(bits: int) -> Format:
    """The grid of the powers of two of so many bits."""
    exponent, width = level_format(bits)
    return Format(width, exponent=exponent)


def _one_of(key: str, value: str, *allowed: str) -> str:
    if value not in allowed:
        raise ValueError(f"got {key}={value!r}; allowed are {' and '.join(map(repr, allowed))}")
    return value


def _bits(role: str, bits: int, low: int, high: int) -> None:
    if not (isinstance(bits, int) and low <= bits <= high):
        raise ValueError(f"got {role}={bits!r}; allowed are {low} to {high} bits")


def _differing(options: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key}={value}" for key, (value, default) in options.items() if value != default)


__all__ = ["bnn", "dorefa", "qnn"]
