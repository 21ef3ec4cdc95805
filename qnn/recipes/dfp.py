"""The DFP paper's recipe, and dynamic fixed point in general with every width and rule choosable."""

from __future__ import annotations

from qnn.numerics import Rounding
from qnn.quantizer import Format
from qnn.recipes.arguments import checked
from qnn.recipes.recipe import Recipe

_PAPER = "Su, Zhou, Feng, Zhang, J. Semicond. 41, 022404 (2020)"


@checked
def fp32() -> Recipe:
    """Everything in float32 on NumPy's BLAS: the baseline, and the one recipe that does not promise its bits."""
    return Recipe("fp32", source="baseline")


@checked
def dfp(
    w: int = 8,
    a: int = 8,
    g: int = 8,
    *,
    w_rounding: Rounding | str = Rounding.NEAREST_DOWN,
    a_rounding: Rounding | str = Rounding.NEAREST_DOWN,
    g_rounding: Rounding | str = Rounding.STOCHASTIC,
    noise: str = "philox",
    noise_bits: int = 16,
    r_max: float = 0.0,
    overflow: str = "real",
    last_bits: int | None = None,
    norm: str = "batch",
    strict: bool = True,
) -> Recipe:
    """Dynamic fixed point with chosen widths and rounding rules.

    Parameters
    ----------
    w, a, g : int
        Bits of weights (and biases), activations (and input) and gradients, 2 to 16.
    w_rounding, a_rounding, g_rounding : Rounding or name
        Rule per role.
    noise, noise_bits
        Generator and random bits of stochastic rounding.
    r_max : float
        Overflow rate that the exponent rule tolerates.
    overflow : {"real", "integer"}
        Whether values between the largest integer and the next one fit, or count as overflow (EXP-1); "integer" takes
        formats of up to 14 bits, and the time of three products for each.
    last_bits : int, optional
        Width of the last layer.
    norm : {"batch", "range", "range_paper", "none"}
        Normalisation of networks; "range" is Banner et al.'s code, "range_paper" their formula (INT-14).
    strict : bool
        Refuse operations that leave integers.

    Returns
    -------
    Recipe
        Its name spells out every choice that differs from the default.

    Notes
    -----
    Source: Su et al. 2020, sections 2 and 3.
    Bit-exactness: clauses EXP, RND, REQ, NOI.
    """
    rules = {"w": Rounding.parse(w_rounding), "a": Rounding.parse(a_rounding), "g": Rounding.parse(g_rounding)}
    defaults = {"w": Rounding.NEAREST_DOWN, "a": Rounding.NEAREST_DOWN, "g": Rounding.STOCHASTIC}
    parts = [f"w={w}", f"a={a}", f"g={g}"]
    parts += [f"{k}_rounding={rules[k].name.lower()}" for k in "wag" if rules[k] != defaults[k]]
    options = {"noise": (noise, "philox"), "noise_bits": (noise_bits, 16), "r_max": (r_max, 0.0)}
    options["overflow"] = (overflow, "real")
    options |= {"last_bits": (last_bits, None), "norm": (norm, "batch"), "strict": (strict, True)}
    parts += [f"{key}={value}" for key, (value, default) in options.items() if value != default]
    name = "dfp8" if parts == ["w=8", "a=8", "g=8"] else f"dfp({', '.join(parts)})"
    if norm not in ("batch", "range", "range_paper", "none"):
        raise ValueError(
            f"got norm={norm!r}; allowed are 'batch', 'range' (Banner et al.'s code), 'range_paper' and 'none'"
        )

    def made(bits: int, role: str) -> Format:
        return Format(bits, rules[role], noise, noise_bits, r_max, overflow=overflow)

    weight, activation, gradient = made(w, "w"), made(a, "a"), made(g, "g")
    if last_bits is not None and 2 <= last_bits <= 16:
        made(last_bits, "w")  # refuses a width that these overflows cannot be counted for
    return Recipe(
        name,
        input=activation,
        weight=weight,
        bias=weight,
        activation=activation,
        gradient=gradient,
        last_bits=last_bits,
        strict=strict,
        source=_PAPER,
        normalization=norm,
    )


@checked
def dfp8(*, last_bits: int | None = None, strict: bool = True) -> Recipe:
    """The DFP paper's 8-bit training: W and A with NEAREST_DOWN, gradients with SR, fp32 master weights and momentum.

    Parameters
    ----------
    last_bits : int, optional
        16 gives the paper's ImageNet setting of the last layer.
    strict : bool
        Refuse operations that leave integers.
    """
    return dfp(last_bits=last_bits, strict=strict)


__all__ = ["dfp", "dfp8", "fp32"]
