"""NITI, which trains in integers alone, and WAGE: recipes whose weights have an update rule of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.batch_quantizer import BatchFormat
from qnn.numerics import (
    DFP,
    SOFTMAX_BITS,
    Rounding,
    first_weights,
    glorot_bound,
    integer_update,
    mu_at,
    wage_layer,
    wage_limit,
    wage_masters,
    wage_update,
    wage_weights,
)
from qnn.numerics.arguments import whole
from qnn.operation import Array, ExactSum, Gradient
from qnn.quantizer import Format, Quantizer
from qnn.recipes.arguments import checked
from qnn.recipes.recipe import Recipe
from qnn.updates import UpdateRule, update_words
from qnn.weights import WeightRule

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class NitiUpdate(UpdateRule):
    """int8 weights without masters; the exact gradient is rounded to mu bits and subtracted.

    Parameters
    ----------
    mu : int
        Bits of the largest step, 1 to 7, up to half of the training; one less up to three quarters, then two less.
    rounding : {"psr", "stochastic"}
        Pseudo-stochastic, or by addressed noise.

    Notes
    -----
    Source: NITI. Bit-exactness: clauses INT-4 to INT-6.
    """

    mu: int = 5
    rounding: str = "psr"
    takes_rate = False

    def __post_init__(self) -> None:
        mu = whole(self.mu)
        if mu is None or not 1 <= mu <= 7:
            raise ValueError(f"got mu={self.mu!r}; allowed are 1 to 7 bits: a step is added to an 8-bit weight")
        object.__setattr__(self, "mu", mu)
        if self.rounding not in ("psr", "stochastic"):
            raise ValueError(f"got g_rounding={self.rounding!r}; allowed are 'psr' and 'stochastic'")

    def __str__(self) -> str:
        steps = ", ".join(str(mu_at(self.mu, at)) for at in (0.5, 0.75, 1.0))
        return f"integers, mu {steps} bits, {self.rounding}"

    def layer(self, recipe: Recipe, fan_in: int, fan_out: int) -> tuple[Recipe, float]:
        return recipe, glorot_bound(fan_in, fan_out)

    def first(self, values: Float32) -> Array:
        return first_weights(values)

    def step(self, weight: Array, gradient: Gradient, lr: float, site: Quantizer) -> Array:
        if not isinstance(weight, DFP) or not isinstance(gradient, ExactSum):
            raise TypeError(
                f"got a gradient of type {type(gradient).__name__} for weights of type {type(weight).__name__}; "
                "integer weights move by exact integer sums: keep float32 layers out of the net"
            )
        mu = mu_at(self.mu, site.clock.progress if site.clock is not None else 1.0)
        words = update_words(site, gradient.ints.size) if self.rounding == "stochastic" else None
        return DFP(integer_update(weight.ints, gradient.ints, mu, words), weight.exponent, weight.bits)


@checked
def niti(
    mu: int = 5,
    *,
    a_rounding: Rounding | str = Rounding.NEAREST_AWAY,
    g_rounding: str = "psr",
    noise: str = "philox",
) -> Recipe:
    """NITI: every array of a training step is one of integers, the weights too.

    Parameters
    ----------
    mu : int
        Bits of the largest weight step, 1 to 7; what NITI has instead of a learning rate.
    a_rounding : Rounding or name, or "psr"
        Of activations and errors; "psr" is pseudo-stochastic.
    g_rounding : {"psr", "stochastic"}
        Of weight gradients: pseudo-stochastic, or true stochastic rounding.
    noise : {"philox", "lfsr16"}
        Generator of the noise words.

    Notes
    -----
    Readings, each with its clause: activations and errors are shifted by the bit length of the batch's largest
    accumulator (INT-1), so that a largest value of exactly 128 is shifted too; the authors' code lets it wrap to -128.
    Their RoundShift ``x // 2**k`` ran where ``//`` truncates, so ties go away from zero (INT-3); "nearest_up" is the
    other reading, and "psr" their code of 2020 (INT-4). mu drops at 1/2 and 3/4 of the training (INT-5). No biases, no
    batch normalisation.

    Source: Wang et al., NITI, and its code. Bit-exactness: clauses INT-1 to INT-8.
    """
    pseudo = a_rounding == "psr"
    try:
        rounding = Rounding.parse(Rounding.NEAREST_AWAY if pseudo else a_rounding)
    except ValueError as error:
        raise ValueError(f"{error}, or 'psr'") from None
    update = NitiUpdate(mu, g_rounding)
    parts = [f"mu={mu}"] if mu != 5 else []
    if pseudo or rounding != Rounding.NEAREST_AWAY:
        parts.append(f"a_rounding={'psr' if pseudo else rounding.name.lower()}")
    parts += [f"g_rounding={g_rounding}"] if g_rounding != "psr" else []
    parts += [f"noise={noise}"] if noise != "philox" else []
    data = BatchFormat(8, rounding, noise, pseudo=pseudo)
    weight = Format(8, Rounding.NEAREST_EVEN, noise)
    return Recipe(
        f"niti({', '.join(parts)})" if parts else "niti",
        input=Format(8, Rounding.NEAREST_EVEN),
        weight=weight,
        bias=weight,
        activation=data,
        gradient=data,
        loss_gradient=BatchFormat(8, Rounding.STOCHASTIC, noise, exponent=4 - SOFTMAX_BITS),
        strict=True,
        source="Wang, Rasoulinezhad, Leong, So, NITI: training integer neural networks using integer-only arithmetic "
        "(2020)",
        normalization="none",
        loss="integer_cross_entropy",
        update=update,
        biases=False,
    )


@dataclass(frozen=True)
class WageLevels(WeightRule):
    """The k-bit levels of a layer's masters, divided by its alpha.

    Notes
    -----
    Source: WAGE, section 3.1. Bit-exactness: clause INT-10.
    """

    bits: int = 2
    log2_alpha: int = 0

    def __str__(self) -> str:
        return f"{self.bits}-bit levels"

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return wage_weights(master, self.bits, self.log2_alpha)

    def inference(self, master: Float32) -> Float32:
        return wage_weights(master, self.bits, self.log2_alpha)


@dataclass(frozen=True)
class WageUpdate(UpdateRule):
    """Masters on a grid of kG bits, moved by shifted gradients that noise rounds to that grid.

    Notes
    -----
    Source: WAGE, section 3.3. Bit-exactness: clauses INT-10 and INT-11.
    """

    w_bits: int = 2
    a_bits: int = 8
    g_bits: int = 8

    def __str__(self) -> str:
        return f"masters of {self.g_bits} bits, shifted gradients, stochastic"

    def layer(self, recipe: Recipe, fan_in: int, fan_out: int) -> tuple[Recipe, float]:
        bound, log2_alpha = wage_layer(fan_in, self.w_bits)
        weight = 1 - self.w_bits - log2_alpha
        own = replace(
            recipe,
            weight=Format(self.w_bits, Rounding.NEAREST_EVEN, exponent=weight),
            product=Format(16, Rounding.NEAREST_EVEN, exponent=max(1 - self.a_bits + weight, -14)),
            rule=WageLevels(bits=self.w_bits, log2_alpha=log2_alpha),
        )
        return own, bound

    def first(self, values: Float32) -> Array:
        return wage_masters(values, self.g_bits)

    def step(self, weight: Array, gradient: Gradient, lr: float, site: Quantizer) -> Array:
        real = gradient.to_float32() if isinstance(gradient, ExactSum) else gradient
        if not isinstance(weight, np.ndarray) or not isinstance(real, np.ndarray):
            raise TypeError(f"got a gradient of type {type(gradient).__name__} for masters; float32 is wanted")
        return wage_update(weight, real, lr, update_words(site, weight.size), self.w_bits, self.g_bits)


@checked
def wage(w: int = 2, a: int = 8, g: int = 8, e: int = 8, *, noise: str = "philox") -> Recipe:
    """WAGE: few levels for weights, activations, gradients and errors; shifts where others normalise.

    Parameters
    ----------
    w, a, g, e : int
        Bits of weights, activations, masters and their steps, and errors, 2 to 8 each.
    noise : {"philox", "lfsr16"}
        Generator of the noise words of the weight steps.

    Notes
    -----
    Readings, each with its clause: products are exact in 16 bits and relu, clip and rounding follow (INT-13); an error
    is rounded where the layer after sends it back, before the clip's mask (INT-9), and keeps its true exponent, which
    no later step sees; outputs are not clipped (INT-12); where the noise equals the fraction exactly a step is not
    rounded up, where the code adds a half (INT-11). Pictures are scaled by a power of two to -1 .. 1. Trains with
    ``lr = 8``, then 1, then 1/8, without momentum.

    Source: Wu, Li, Chen, Shi, Training and inference with integers in deep neural networks (2018), and its code.
    Bit-exactness: clauses INT-9 to INT-13.
    """
    widths = {"w": w, "a": a, "g": g, "e": e}
    for bits in widths.values():
        wage_limit(bits)
    parts: list[Any] = [f"{key}={bits}" for key, bits in widths.items()]
    plain = parts == ["w=2", "a=8", "g=8", "e=8"]
    parts += [f"noise={noise}"] if noise != "philox" else []
    even = Rounding.NEAREST_EVEN
    weight = Format(w, even, noise, exponent=1 - w)
    unit = BatchFormat(a, even, exponent=1 - a)
    return Recipe(
        "wage" if plain and noise == "philox" else f"wage({', '.join(parts)})",
        input=BatchFormat(a, even),
        weight=weight,
        bias=weight,
        activation=unit,
        gradient=BatchFormat(e, even, rule="nearest_power"),
        strict=True,
        source="Wu, Li, Chen, Shi, Training and inference with integers in deep neural networks (2018)",
        product=Format(16, even, exponent=max(2 - a - w, -14)),
        activated=unit,
        rule=WageLevels(bits=w),
        activation_layer="relu_clip",
        normalization="none",
        loss="sum_of_squares",
        update=WageUpdate(w, a, g),
        biases=False,
        unit_input=True,
    )


__all__ = ["NitiUpdate", "WageLevels", "WageUpdate", "niti", "wage"]
