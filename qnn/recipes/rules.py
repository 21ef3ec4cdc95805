"""Weight rules of the few-bit recipes: binarised, on powers of two, on a linear grid, DoReFa's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qnn.numerics import (
    Noise,
    ap2,
    binarize,
    binarize_stochastic,
    by_largest,
    by_largest_grad,
    check_exact_terms,
    dorefa_weights,
    dorefa_weights_grad,
    glorot_rate,
    log_quant,
)
from qnn.quantizer import Format, Quantizer
from qnn.weights import WeightRule

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Clipped(WeightRule):
    """Masters in -1 .. 1, first uniform there, moved with Glorot coefficients; the grid is that of the weight's format.

    Parameters
    ----------
    reading : {"nearest", "top"}
        Of AP2, where the rule or its rates take it.
    rates : {"exact", "ap2"}
        Glorot coefficients as they are, or AP2 of them.

    Notes
    -----
    Source: QNN paper, Algorithm 1 and LinearQuant. Bit-exactness: clauses BIT-3, BIT-5, UPD-3 and FMT-6.
    """

    limit: float | None = 1.0
    reading: str = "nearest"
    rates: str = "exact"

    def __str__(self) -> str:
        return "linear grid"

    def bound(self, usual: float) -> float:
        return 1.0

    def rate(self, fan_in: int, fan_out: int) -> float:
        exact = glorot_rate(fan_in, fan_out)
        return exact if self.rates == "exact" else float(ap2(np.asarray(exact, np.float32), self.reading))


@dataclass(frozen=True)
class ByLargest(Clipped):
    """LinearQuant of the masters in shares of the layer's largest magnitude, which is a constant in the gradient.

    Notes
    -----
    Source: a third-party implementation of LinearQuant. Bit-exactness: clauses BIT-3 and FMT-6.
    """

    @property
    def keeps_scale(self) -> bool:
        return False

    def __str__(self) -> str:
        return "linear grid of max"

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return by_largest(master)

    def inference(self, master: Float32) -> Float32:
        return by_largest(master)

    def gradient(self, gradient: Float32, master: Float32, site: Quantizer) -> Float32:
        return by_largest_grad(gradient, master)


@dataclass(frozen=True)
class Binary(Clipped):
    """+1 and -1; in training drawn by addressed noise where ``stochastic``, in evaluation always the sign.

    Notes
    -----
    Source: BNN paper, section 1. Bit-exactness: clauses BIT-1, BIT-2, BIT-5 and BIT-6.
    """

    stochastic: bool = False

    @property
    def bits(self) -> int:
        return 1

    @property
    def shifts(self) -> bool:
        return True

    def __str__(self) -> str:
        return "stochastic sign" if self.stochastic else "sign"

    def check(self, terms: int, product: Format | None) -> None:
        if product is not None and product.exponent is not None:
            check_exact_terms(terms, 1, product.bits)

    def training(self, master: Float32, site: Quantizer) -> Float32:
        if not self.stochastic:
            return binarize(master)
        if site.clock is None or site.stream is None:
            raise RuntimeError(
                f"{site.label} draws its signs but has no noise stream yet: call run = qnn.nn.prepare(model, "
                "criterion, seed=...) before the first step"
            )
        words = Noise("philox", site.clock.seed, site.stream, site.clock.step).u16(master.size)
        return binarize_stochastic(master, words)

    def inference(self, master: Float32) -> Float32:
        return binarize(master)


@dataclass(frozen=True)
class Logarithmic(Clipped):
    """Signed powers of two of k bits.

    Notes
    -----
    Source: QNN paper, LogQuant. Bit-exactness: clauses BIT-4 and BIT-5.
    """

    bits: int = 4

    @property
    def shifts(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"powers of two, {self.bits} bits"

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return log_quant(master, self.bits, self.reading)

    def inference(self, master: Float32) -> Float32:
        return log_quant(master, self.bits, self.reading)


@dataclass(frozen=True)
class Dorefa(WeightRule):
    """DoReFa's levels of k bits, without their constant factor.

    Notes
    -----
    Source: DoReFa-Net paper. Bit-exactness: clause BIT-7.
    """

    bits: int = 1

    def __str__(self) -> str:
        return f"DoReFa, {self.bits} bits"

    def check(self, terms: int, product: Format | None) -> None:
        if product is not None and product.exponent is not None:
            check_exact_terms(terms, 1, product.bits)

    def training(self, master: Float32, site: Quantizer) -> Float32:
        return dorefa_weights(master, self.bits)

    def inference(self, master: Float32) -> Float32:
        return dorefa_weights(master, self.bits)

    def gradient(self, gradient: Float32, master: Float32, site: Quantizer) -> Float32:
        return dorefa_weights_grad(gradient, master, self.bits)


__all__ = ["Binary", "ByLargest", "Clipped", "Dorefa", "Logarithmic"]
