"""Banner et al.'s 8-bit training on this package's formats: range batch norm and gradients of two widths."""

from __future__ import annotations

from dataclasses import replace

from qnn.numerics import Rounding
from qnn.quantizer import Format
from qnn.recipes.arguments import checked
from qnn.recipes.dfp import dfp
from qnn.recipes.recipe import Recipe


@checked
def banner8(wide: int = 16, *, norm: str = "range") -> Recipe:
    """8-bit training with range batch norm and gradient bifurcation (Banner et al. 2018).

    Parameters
    ----------
    wide : int
        Bits of the gradients that make weight gradients, 8 to 16; the copies that make the gradients of inputs have 8,
        stochastically rounded.
    norm : {"range", "range_paper"}
        Range batch norm as in the authors' code, or by the formula of their paper (INT-14).

    Notes
    -----
    Of the paper: range batch norm (INT-14 to INT-16) and the two widths of gradients (INT-17; the wide copy is an
    integer, its rounding NEAREST_EVEN). Not of it: the affine quantiser, whose place the formats of this package take,
    with their exponents and ties to even. In the authors' code the number of chunks is passed where `stochastic`
    stands, so that activations get noise by accident; here they get none.

    Source: Banner, Hubara, Hoffer, Soudry, Scalable methods for 8-bit training of neural networks (2018), and its code.
    Bit-exactness: clauses INT-14 to INT-17, EXP, RND, REQ and NOI.
    """
    if not 8 <= wide <= 16:
        raise ValueError(f"got wide={wide}; allowed are 8 to 16 bits: the copy for weight gradients is the wider one")
    if norm not in ("range", "range_paper"):
        raise ValueError(f"got norm={norm!r}; allowed are 'range' (the code) and 'range_paper'")
    parts = [f"wide={wide}"] if wide != 16 else []
    parts += [f"norm={norm}"] if norm != "range" else []
    even = Rounding.NEAREST_EVEN
    base = dfp(w_rounding=even, a_rounding=even, norm=norm)
    return replace(
        base,
        name=f"banner8({', '.join(parts)})" if parts else "banner8",
        source="Banner, Hubara, Hoffer, Soudry, Scalable methods for 8-bit training of neural networks (2018)",
        gradient=Format(wide, even),
        split=Format(8, Rounding.STOCHASTIC),
    )


__all__ = ["banner8"]
