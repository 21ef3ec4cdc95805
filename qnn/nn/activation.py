"""Activations and dropout."""

from __future__ import annotations

from qnn.errors import ConfigError
from qnn.nn.drawing import Drawing
from qnn.nn.module import Module
from qnn.numerics import (
    Noise,
    dropout_kept,
    dropout_mask,
    dropout_shift,
    level_format,
    staircase_slope,
)
from qnn.ops.activation import (
    ClippedInteger,
    DrawnSignInteger,
    HardtanhFloat,
    HardtanhInteger,
    LogInteger,
    ReluClipInteger,
    ReluFloat,
    ReluInteger,
    SignInteger,
    StaircaseInteger,
    UnitInteger,
)
from qnn.ops.dropout import DropoutFloat, DropoutInteger, DropoutShift
from qnn.quantizer import Quantizer
from qnn.recipes import Recipe
from qnn.tensor import Tensor


def _refuse_another(layer: Module, kind: str) -> None:
    """Refuse a quantising activation in a recipe that defines another one, and so has formats for that one alone."""
    own = layer.recipe.activation_layer
    if own in ACTIVATIONS and own not in _EXACT and own != kind:
        raise ConfigError(
            f"got recipe {layer.recipe.name!r} for {type(layer).__name__}; the activation that it defines is "
            f"{ACTIVATIONS[own].__name__}: take qnn.nn.activation(recipe), or another recipe"
        )


class Relu(Module):
    """max(x, 0); exact on integers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(ReluInteger() if self.wants_integers(x) else ReluFloat(), x)


class Hardtanh(Module):
    """min(max(x, -1), 1); exact on integers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(HardtanhInteger() if self.wants_integers(x) else HardtanhFloat(), x)


class Sign(Drawing):
    """+1 where x >= 0, else -1; the gradient passes straight through where -1 <= x <= 1 (BNN paper, eqs. 1 and 4).

    Where the recipe says ``drawn_signs``, training draws +1 with the probability (x + 1) / 2 instead (eqs. 2 and 3,
    clause LAY-15); evaluation takes the sign.
    """

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        _refuse_another(self, "sign")

    @property
    def draws(self) -> bool:
        return self.recipe.drawn_signs

    def forward(self, x: Tensor) -> Tensor:
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; a sign gives integers: take an integer recipe")
        if not (self.draws and self.training):
            return self.run(SignInteger(), x)
        seed, stream, step, start = self.address(x.size)
        return self.run(DrawnSignInteger(Noise("philox", seed, stream, step, start)), x)


class QuantizedActivation(Module):
    """Few bits at a fixed exponent, the recipe's format ``activated``, saturated; the gradient passes straight through
    where -1 <= x <= 1 (QNN paper, LinearQuant)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        _refuse_another(self, "quantized")
        if recipe.activated is None:
            raise ValueError(f"recipe {recipe.name!r} has no format `activated`; this layer rounds to it: give it one")
        self.activation = Quantizer("activation", recipe.activated)

    def forward(self, x: Tensor) -> Tensor:
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it rounds integers: take an integer recipe")
        return self.run(ClippedInteger(self.activation), x)


class LogActivation(Module):
    """Signed powers of two of k bits, on the grid of the recipe's format ``activated``; the gradient passes straight
    through where -1 <= x <= 1 (QNN paper, LogQuant, with clause BIT-14's reading of its clip)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        _refuse_another(self, "log")
        found = recipe.activated
        bits = 0 if found is None else found.bits.bit_length()
        if found is None or not 2 <= bits <= 5 or (found.exponent, found.bits) != level_format(bits):
            raise ValueError(
                f"recipe {recipe.name!r} has the format {found} for `activated`; this layer makes powers of two of 2 "
                "to 5 bits: give it 2, 4, 8 or 16 bits at the exponent 0, -2, -6 or -14"
            )
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it gives integers: take an integer recipe")
        return self.run(LogInteger(self.bits, self.recipe.ap2), x)


class StaircaseActivation(Module):
    """Power-of-two levels with the thresholds of the recipe's ``staircase``; the gradient is lambda times the one that
    arrives where -1 <= x <= 1 (n-BQ-NN paper, section III-E)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        _refuse_another(self, "staircase")
        if recipe.staircase is None:
            raise ValueError(f"recipe {recipe.name!r} has no `staircase`; this layer needs its levels: give it one")
        self.staircase = recipe.staircase
        self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it gives integers: take an integer recipe")
        chosen = self.staircase
        slope = staircase_slope(chosen.bits, chosen.slope)
        operation = StaircaseInteger(chosen.bits, chosen.thresholds, chosen.inclusive, slope, self.gradient)
        return self.run(operation, x)


class ReluClip(Module):
    """relu, then the recipe's format ``activated``: k bits below 1; the gradient passes where 0 < x <= 1 - 2^(1-k)
    (WAGE)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        _refuse_another(self, "relu_clip")
        if recipe.activated is None:
            raise ValueError(f"recipe {recipe.name!r} has no format `activated`; this layer rounds to it: give it one")
        self.activation = recipe.activated.site("activation")

    def forward(self, x: Tensor) -> Tensor:
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it rounds integers: take an integer recipe")
        return self.run(ReluClipInteger(self.activation), x)


class UnitActivation(Module):
    """2^k levels from 0 to 1, the recipe's format ``activated`` having k + 1 bits; the gradient passes straight through
    where 0 <= x <= 1 (DoReFa-Net paper, with clause BIT-8's reading of its scale)."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        _refuse_another(self, "unit")
        found = recipe.activated
        if found is None or found.exponent != 1 - found.bits:
            raise ValueError(
                f"recipe {recipe.name!r} has the format {found} for `activated`; this layer makes k-bit levels in "
                "k + 1 bits at the exponent -k: give it Format(k + 1, exponent=-k)"
            )
        self.activation = Quantizer("activation", found)

    def forward(self, x: Tensor) -> Tensor:
        if not self.wants_integers(x):
            raise TypeError(f"got float32 as input of {self.label}; it rounds integers: take an integer recipe")
        return self.run(UnitInteger(self.activation), x)


ACTIVATIONS: dict[str, type[Module]] = {
    "relu": Relu,
    "hardtanh": Hardtanh,
    "sign": Sign,
    "quantized": QuantizedActivation,
    "log": LogActivation,
    "staircase": StaircaseActivation,
    "unit": UnitActivation,
    "relu_clip": ReluClip,
}
"""What a recipe's ``activation_layer`` may name."""
_EXACT = ("relu", "hardtanh")  # have a meaning in every recipe


def activation(recipe: Recipe) -> Module:
    """The activation layer that the recipe's networks have.

    Raises
    ------
    ValueError
        If the recipe names one that is not in :data:`ACTIVATIONS`.
    """
    return recipe.chosen("activation_layer", ACTIVATIONS)(recipe)


class Dropout(Drawing):
    """Zero elements at rate p and scale the rest by 1/(1-p), in training; the mask is addressed noise (clause LAY-4).

    Parameters
    ----------
    p : float
        0 <= p < 1; taken to a multiple of 1/65536.
    recipe : Recipe, optional
    per : {"element", "feature"}
        What a noise word decides: an element, or an index of the last axis in all samples and pixels of a step. With
        "feature" a factor that is a power of two, as 2 for p = 1/2, is added to the exponent and rounds nothing.

    Notes
    -----
    Source of "feature": NITI's code. Bit-exactness: clause LAY-4; nothing may vary.
    """

    def __init__(self, p: float = 0.5, recipe: Recipe | None = None, per: str = "element") -> None:
        super().__init__(recipe)
        if per not in ("element", "feature"):
            raise ValueError(f"got per={per!r} for dropout; allowed are 'element' and 'feature'")
        self.kept, self.per = dropout_kept(p), per
        self.shift = dropout_shift(self.kept) if per == "feature" else None
        if self.recipe.is_integer and self.shift is None:  # what never rounds needs no sites
            self.activation = self.recipe.site("activation")
            self.gradient = self.recipe.site("gradient")

    def forward(self, x: Tensor) -> Tensor:
        integer = self.wants_integers(x)
        if not self.training or self.kept == 65536:
            return x
        by_element = self.per == "element"
        # Features use no words up: every part of a batch sees the mask of its step.
        seed, stream, step, start = self.address(x.size if by_element else 0)
        keep = dropout_mask(seed, stream, step, start, x.shape if by_element else x.shape[-1:], self.kept)
        if integer and self.shift is not None:
            return self.run(DropoutShift(keep, self.shift), x)
        if integer:
            return self.run(DropoutInteger(keep, self.kept, self.activation, self.gradient), x)
        return self.run(DropoutFloat(keep, self.kept), x)


__all__ = [
    "ACTIVATIONS",
    "Dropout",
    "Hardtanh",
    "LogActivation",
    "QuantizedActivation",
    "Relu",
    "ReluClip",
    "Sign",
    "StaircaseActivation",
    "UnitActivation",
    "activation",
]
