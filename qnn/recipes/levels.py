"""Weights of a few levels as recipes: n-BQ-NN and its companion AQE, ternary weights, DeepShift, LogQuant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import (
    alpha_schedule,
    aqe_grad,
    deepshift_ps,
    deepshift_ps_grad,
    level_format,
    level_thresholds,
    quantize_levels,
    reconstruct,
    reconstruct_grad,
    staircase_slope,
)
from qnn.numerics import (
    deepshift as deepshift_levels,
)
from qnn.numerics import (
    ternary as ternary_levels,
)
from qnn.numerics.arguments import number
from qnn.quantizer import Format, Quantizer
from qnn.recipes.arguments import checked
from qnn.recipes.dfp import dfp
from qnn.recipes.recipe import Recipe, Staircase
from qnn.tensor import Parameter, SecondParameter
from qnn.weights import BoundRule, WeightRule

Float32 = NDArray[np.float32]

_DEFAULT_THRESHOLDS: dict[int, str | tuple[float, ...]] = {2: (0.14,), 3: "paper"}
FORMS = ("reconstruct", "aqe", "ste")
_NBQ = "Chen, Liu, Liu, Zeng, IEEE TNNLS 2020, sections III-A to III-E (AQE: Chen et al., IEEE JSTSP 2020)"
_TERNARY = "Li, Zhang, Liu, Ternary weight networks, 2016, section 2"
_DEEPSHIFT = "Elhoushi et al., DeepShift, 2019, DeepShift-Q and DeepShift-PS, and their code"
_LOGQUANT = "Hubara et al., Quantized neural networks, JMLR 18, 2018, LogQuant (AP2 of each weight)"


@dataclass(frozen=True)
class LevelRule(WeightRule):
    """Power-of-two levels by thresholds: W~ = (1 - alpha) Q(W) + alpha W in training, Q(W) in evaluation.

    Parameters
    ----------
    bits : int
        1 to 5.
    thresholds : str or tuple of float
        As :func:`qnn.numerics.level_thresholds` takes them.
    relative : bool
        Thresholds are shares of the layer's largest magnitude, found anew at each step.
    form : {"reconstruct", "aqe", "ste"}
        Reconstructed weights with the gradient alpha * g; the same weights with the gradient of the AQE paper; or
        Q(W) with the gradient g.
    alpha : float or "schedule"
        Share of the latent weight, 0 to 1, or the course that the n-BQ-NN code gives it over the training.
    inclusive : bool
        A level begins at its threshold; False: above it, as in the AQE paper.

    Notes
    -----
    Bit-exactness: clauses WGT-1 to WGT-6.
    """

    bits: int = 3
    thresholds: str | tuple[float, ...] = "nearest"
    relative: bool = False
    form: str = "reconstruct"
    alpha: float | str = "schedule"
    inclusive: bool = True

    def __post_init__(self) -> None:
        level_thresholds(self.bits, self.thresholds)
        if self.form not in FORMS:
            raise ValueError(f"got form={self.form!r}; allowed are {', '.join(FORMS)}")
        share = number(self.alpha)
        if share is not None:
            object.__setattr__(self, "alpha", share)
        if self.alpha != "schedule" and (share is None or not 0.0 <= share <= 1.0):
            raise ValueError(
                f"got alpha={self.alpha!r}; allowed is 0 to 1, the share of the latent weight, or 'schedule'"
            )

    @property
    def shifts(self) -> bool:
        return True

    @property
    def keeps_scale(self) -> bool:
        return self.bits > 1 and not self.relative

    def __str__(self) -> str:
        where = "" if self.bits == 1 else f", thresholds {self.thresholds}{' of max' if self.relative else ''}"
        where += "" if self.bits == 1 or self.inclusive else " exclusive"
        share = "" if self.form == "ste" else f", alpha {self.alpha}"
        return f"{self.bits}-bit levels{where}, {self.form}{share}"

    def share(self, site: Quantizer) -> float:
        """Alpha of the running step; a site without a run counts as at the end of the training."""
        if isinstance(self.alpha, str):
            return alpha_schedule(1.0 if site.clock is None else site.clock.progress)
        return float(self.alpha)

    def inference(self, master: Float32) -> Float32:
        return quantize_levels(master, self.bits, self.thresholds, self.relative, self.inclusive)

    def training(self, master: Float32, site: Quantizer) -> Float32:
        levels = self.inference(master)
        return levels if self.form == "ste" else reconstruct(master, levels, self.share(site))

    def gradient(self, gradient: Float32, master: Float32, site: Quantizer) -> Float32:
        if self.form == "ste":
            return gradient
        if self.form == "aqe":
            return aqe_grad(gradient, master, self.share(site))
        return reconstruct_grad(gradient, self.share(site))


@dataclass(frozen=True)
class TernaryRule(WeightRule):
    """0 near zero, else plus or minus the mean of the others' magnitudes, or 1 (clause WGT-9); the gradient passes."""

    scaled: bool = True

    @property
    def bits(self) -> int:
        return 2

    @property
    def shifts(self) -> bool:
        return not self.scaled

    @property
    def keeps_scale(self) -> bool:
        return self.scaled

    def __str__(self) -> str:
        return f"ternary, {'scaled' if self.scaled else '+-1'}"

    def inference(self, master: Float32) -> Float32:
        return ternary_levels(master, self.scaled)

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return ternary_levels(master, self.scaled)


@dataclass(frozen=True)
class DeepShiftRule(WeightRule):
    """The nearest power of two in the logarithm, exponents held in range (clause WGT-8); the gradient passes."""

    bits: int = 5

    @property
    def shifts(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"{self.bits}-bit shifts"

    def inference(self, master: Float32) -> Float32:
        return deepshift_levels(master, self.bits)

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return deepshift_levels(master, self.bits)


@dataclass(frozen=True)
class DeepShiftPSRule(WeightRule):
    """Shift and sign of each weight are trained, each for itself (clause WGT-14)."""

    bits: int = 5

    @property
    def shifts(self) -> bool:
        return True

    @property
    def keeps_scale(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"{self.bits}-bit shifts, shift and sign trained"

    def bound(self, usual: float) -> float:
        assert self.limit is not None
        return self.limit

    def bind(self, weight: Parameter, site: Quantizer) -> BoundRule:
        return _ShiftAndSign(self, weight, site)


class _ShiftAndSign(BoundRule):
    """The masters of a layer are its shifts, and a second array beside them its signs."""

    def __init__(self, rule: DeepShiftPSRule, weight: Parameter, site: Quantizer) -> None:
        super().__init__(rule, site)
        self.bits = rule.bits
        self.second = self.sign = SecondParameter(weight, 1.0)
        self.sign.limit = 1.0

    def view(self, master: Float32) -> Float32:
        return deepshift_ps(master, np.asarray(self.sign.data), self.bits)

    inference = view

    def gradient(self, gradient: Float32, master: Float32) -> Float32:
        return deepshift_ps_grad(gradient, self.view(master))


@checked
def nbq(
    n: int = 3,
    a: int = 8,
    g: int = 8,
    *,
    form: str = "reconstruct",
    alpha: float | str = "schedule",
    thresholds: str | float | Sequence[float] | None = None,
    relative: bool = True,
    inclusive: bool = True,
    staircase: int | None = None,
    slope: str = "printed",
    exempt: str = "none",
) -> Recipe:
    """n-bit power-of-two weights, trained through reconstructed weights and run on exact levels.

    Parameters
    ----------
    n : int
        Bits of the weights, 1 to 5: levels 0 and +-2**-i, for n = 1 the sign.
    a, g : int
        Bits of activations (and input, biases) and of gradients, 2 to 16; the paper's hardware has a = 16.
    form : {"reconstruct", "aqe", "ste"}
        The paper's; its companion's gradient; the straight-through estimator for comparison.
    alpha : float or "schedule"
        Share of the latent weight: Algorithm 1 says constant, the authors' code lowers it from 1/2 to 0. "schedule"
        follows the run's ``progress``, which ``qnn train`` sets; a loop of your own must set ``run.progress``.
    thresholds : str or sequence of float, optional
        "paper", "truncate", "nearest", "log" or numbers, the level 1 first. The paper prints none; its code has some
        for n = 3. Without: "paper" for n = 3, for n = 2 0.14, where level 1 begins in that code, else "nearest".
    relative : bool
        Thresholds are shares of each layer's largest magnitude, as in the code.
    inclusive : bool
        A level begins at its threshold, of weights and of the staircase; False: above it, as the AQE paper has it.
    staircase : int, optional
        Activations of 1 to 5 bits of levels instead of relu.
    slope : {"printed", "derived", "straight"}
        Reading of the staircase's lambda; "straight" is 1.
    exempt : {"none", "first", "last", "both"}
        Layers that keep 8-bit weights; T-BQ quantises all, the AlexNet code spares the last.

    Notes
    -----
    Batch normalisation, biases and gradients are as in ``dfp``. Master weights are clipped to -1 .. 1. Levels of
    relative thresholds, and signs, have no scale: models normalise the outputs of such a last layer.
    Bit-exactness: clauses WGT-1 to WGT-7, WGT-10, WGT-12, and those of ``dfp``.
    """
    chosen = thresholds if thresholds is not None else _DEFAULT_THRESHOLDS.get(n, "nearest")
    if isinstance(chosen, (int, float)):  # one number, for n = 2
        chosen = (chosen,)
    kept = chosen if isinstance(chosen, str) else tuple(float(v) for v in chosen)
    staircase_slope(1, slope)
    if n == 1 and thresholds is not None:
        raise ValueError(f"got thresholds={thresholds!r} for n=1; a sign has none: leave them out")
    if not inclusive and n == 1 and staircase in (None, 1):
        raise ValueError("got inclusive=False for n=1; a sign has no threshold: leave it out")
    if form == "ste" and alpha != "schedule":
        raise ValueError(f"got alpha={alpha!r} for form='ste', which multiplies with levels alone: leave it out")
    rule = LevelRule(1.0, n, kept, relative if n > 1 else False, form, alpha, inclusive or n == 1)
    options: dict[str, tuple[Any, Any]] = {
        "form": (form, "reconstruct"),
        "alpha": (alpha, "schedule"),
        "thresholds": (kept, None),
    }
    if thresholds is None:
        del options["thresholds"]
    options |= {"relative": (relative, True), "inclusive": (inclusive, True)}
    options |= {"staircase": (staircase, None), "slope": (slope, "printed")}
    options |= {"exempt": (exempt, "none")}
    name = _name("nbq", {"n": n, "a": a, "g": g}, options)
    exponent, width = level_format(n)
    if form != "ste" and width < 8:  # reconstructed weights lie between the levels
        exponent, width = -6, 8
    stairs = None if staircase is None else Staircase(staircase, "nearest", slope, inclusive)
    return _integer(name, _NBQ, a, g, rule, Format(width, exponent=exponent), stairs, exempt)


@checked
def ternary(a: int = 8, g: int = 8, *, scaled: bool = True, exempt: str = "none") -> Recipe:
    """Ternary weights: 0 where a weight is below 0.7 of the layer's mean magnitude, else +-s.

    Parameters
    ----------
    a, g : int
        Bits of activations and gradients.
    scaled : bool
        s is the mean magnitude of the weights that are kept, rounded to 8 bits at an exponent that follows the data;
        False: s = 1, and batch normalisation takes the scale, of the outputs too.
    exempt : {"none", "first", "last", "both"}
        Layers that keep 8-bit weights.

    Notes
    -----
    Bit-exactness: clauses WGT-9, WGT-12 and those of ``dfp``.
    """
    name = _name("ternary", {"a": a, "g": g}, {"scaled": (scaled, True), "exempt": (exempt, "none")})
    weight = Format(8) if scaled else Format(2, exponent=0)
    return _integer(name, _TERNARY, a, g, TernaryRule(None, scaled), weight, None, exempt)


@checked
def deepshift(b: int = 5, a: int = 8, g: int = 8, *, form: str = "q", exempt: str = "none") -> Recipe:
    """DeepShift: each weight its sign times the nearest power of two, exponents from -(2**(b-1) - 2) to 0.

    Parameters
    ----------
    b : int
        Bits of a weight, 2 to 5; unlike ``nbq`` no weight but 0 becomes 0.
    a, g : int
        Bits of activations and gradients. The paper's fixed point has 32 bits with 16 behind the point.
    form : {"q", "ps"}
        DeepShift-Q rounds master weights; DeepShift-PS trains shift and sign of each weight, and a sign can be 0. The
        levels of PS do not keep the scale of usual weights: models normalise the outputs of such a last layer.
    exempt : {"none", "first", "last", "both"}
        Layers that keep 8-bit weights.

    Notes
    -----
    Bit-exactness: clauses WGT-8, WGT-12 and WGT-14, and those of ``dfp``.
    """
    if form not in ("q", "ps"):
        raise ValueError(f"got form={form!r}; allowed are 'q', rounded weights, and 'ps', trained shifts and signs")
    name = _name("deepshift", {"b": b, "a": a, "g": g}, {"form": (form, "q"), "exempt": (exempt, "none")})
    exponent, width = _at_least_two("b", b)
    rule = DeepShiftRule(None, b) if form == "q" else DeepShiftPSRule(max(-exponent / 2, 0.5), b)
    return _integer(name, _DEEPSHIFT, a, g, rule, Format(width, exponent=exponent), None, exempt)


@checked
def logquant(b: int = 4, a: int = 8, g: int = 8, *, staircase: int | None = None, exempt: str = "none") -> Recipe:
    """LogQuant: the nearest power of two in the logarithm, of the levels of b bits; straight-through gradient.

    Parameters
    ----------
    b : int
        Bits of a weight, 2 to 5. Weights nearer to 2**-r than to the smallest level 2**-(r-1) become 0.
    a, g : int
        Bits of activations and gradients.
    staircase : int, optional
        LogQuant of activations too, to levels of 2 to 5 bits instead of relu; straight-through where they are in
        -1 .. 1.
    exempt : {"none", "first", "last", "both"}
        Layers that keep 8-bit weights.

    Notes
    -----
    LogQuant clips AP2 to a range of scales and keeps 0; here the range is that of b-bit codes, and what lies below it
    becomes 0. The levels of ``nbq(form="ste", thresholds="log", relative=False)``.
    Bit-exactness: clauses WGT-1, WGT-2 and WGT-13, and those of ``dfp``.
    """
    options: dict[str, tuple[Any, Any]] = {"staircase": (staircase, None), "exempt": (exempt, "none")}
    name = _name("logquant", {"b": b, "a": a, "g": g}, options)
    if staircase is not None:
        _at_least_two("staircase", staircase)
    stairs = None if staircase is None else Staircase(staircase, "log", "straight")
    exponent, width = _at_least_two("b", b)
    rule = LevelRule(1.0, b, "log", False, "ste")
    return _integer(name, _LOGQUANT, a, g, rule, Format(width, exponent=exponent), stairs, exempt)


def _integer(
    name: str, source: str, a: int, g: int, rule: WeightRule, weight: Format, stairs: Staircase | None, exempt: str
) -> Recipe:
    """The recipe: as in ``dfp`` but the weights, the exempt layers, and the outputs of levels without a scale."""
    if exempt not in ("none", "first", "last", "both"):
        raise ValueError(f"got exempt={exempt!r}; allowed are none, first, last and both")
    base = dfp(8, a, g)
    return Recipe(
        name,
        input=base.input,
        weight=weight,
        bias=base.activation,
        activation=base.activation,
        gradient=base.gradient,
        strict=True,
        source=source,
        rule=rule,
        activation_layer="relu" if stairs is None else "staircase",
        first=base if exempt in ("first", "both") else None,
        last=base if exempt in ("last", "both") else None,
        factor=base.weight,
        staircase=stairs,
        normalize_last=not rule.keeps_scale and exempt not in ("last", "both"),
    )


def _at_least_two(key: str, bits: Any) -> tuple[int, int]:
    if not (isinstance(bits, int) and 2 <= bits <= 5):
        raise ValueError(f"got {key}={bits!r}; allowed are 2, 3, 4 and 5: bits of one power of two")
    return level_format(bits)


def _name(kind: str, always: dict[str, Any], options: dict[str, tuple[Any, Any]]) -> str:
    """What :func:`qnn.recipes.parse` reads back: the widths, and what differs from the default."""
    said = [f"{key}={value}" for key, value in always.items()]
    said += [f"{key}={value}" for key, (value, default) in options.items() if value != default]
    return f"{kind}({', '.join(said)})"


__all__ = ["DeepShiftPSRule", "DeepShiftRule", "LevelRule", "TernaryRule", "deepshift", "logquant", "nbq", "ternary"]
