"""Sites whose exponent is that of the very data they round: ``BatchFormat`` and its ``BatchQuantizer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.lazy import Emitted
from qnn.numerics import (
    DFP,
    EXP_MAX,
    EXP_MIN,
    Counts,
    Target,
    batch_exponent,
    nearest_power,
    pseudo_requantize,
    saturate_symmetric,
)
from qnn.quantizer import Format, Part, Quantizer, range_of

RULES = ("bit_length", "nearest_power")


@dataclass(frozen=True)
class BatchFormat(Format):
    """A format whose exponent comes from each batch, and whose integers are symmetric: -(2^(n-1) - 1) to 2^(n-1) - 1.

    Parameters
    ----------
    bits, rounding, noise, noise_bits, r_max, exponent
        As for :class:`qnn.Format`; an exponent that is given stays, and the range is symmetric all the same.
    rule : {"bit_length", "nearest_power"}
        The data fit (NITI), or the power of two nearest to the largest magnitude becomes 1 (WAGE's Shift).
    pseudo : bool
        Round exact integers pseudo-stochastically, by their own lower bits (clause INT-4); real values, which have
        none, by `rounding` all the same.
    """

    rule: str = "bit_length"
    pseudo: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in RULES:
            raise ValueError(f"got rule={self.rule!r} for a batch's exponent; allowed are {', '.join(RULES)}")
        if self.overflow != "real":
            raise ValueError(f"got overflow={self.overflow!r}, but no count moves a batch's exponent; leave it out")

    @property
    def rule_name(self) -> str:
        return "PSEUDO_STOCHASTIC" if self.pseudo else super().rule_name

    def __str__(self) -> str:
        moves = "" if self.exponent is not None else f", {self.rule.replace('_', ' ')} of the batch"
        return f"{super().__str__()}, ±{(1 << (self.bits - 1)) - 1}{moves}"

    def site(self, role: str) -> Quantizer:
        return BatchQuantizer(role, self)


class BatchQuantizer(Quantizer):
    """A site that takes the exponent of the data it rounds; evaluation keeps that of the last training data.

    Notes
    -----
    A batch that is processed in parts has an exponent per part: the split is part of the result.
    Bit-exactness: clauses INT-1, INT-2, INT-4, INT-9 and REQ-1; nothing else may vary.
    """

    format: BatchFormat

    def _settle(self, first: Callable[[], int | None]) -> int:
        if self.format.exponent is not None or (self.initialised and not self.training):
            return self.exponent
        if (found := first()) is None:
            return self.exponent
        if self.training:
            self.exponent, self.initialised = found, True
        return found

    def product(
        self,
        shape: tuple[int, ...],
        fused: Callable[..., tuple[Any, ...]],
        exact: Callable[[Part], NDArray[Any]],
        exponent: int,
        bias: NDArray[np.int64] | None = None,
        kind: type[Emitted] | None = None,
    ) -> DFP:
        # The accumulators are needed before the exponent is known, and no kernel that sums rounds by their lower bits.
        if self.format.pseudo or (self.training and self.format.exponent is None):
            return self.requantize(exact(...), exponent, bias=bias)
        return super().product(shape, fused, exact, exponent, bias, kind)

    def _rounded(
        self, acc: NDArray[Any], exponent: int, target: Target, divisor: int, bias: NDArray[np.int64] | None
    ) -> tuple[NDArray[Any], Counts]:
        if not self.format.pseudo:
            return super()._rounded(acc, exponent, target, divisor, bias)
        return pseudo_requantize(acc, exponent, target, divisor, bias, _kernels.get("requantize"))

    def emit(
        self,
        shape: tuple[int, ...],
        make: Callable[[Target], tuple[NDArray[Any], Counts]],
        first: Callable[[], int | None],
    ) -> DFP:
        return super().emit(shape, lambda target: self._symmetric(*make(target)), first)

    def add(self, parts: Sequence[DFP]) -> DFP:
        lowest = min(p.exponent for p in parts)
        pairs = [(p.ints, p.exponent) for p in parts]
        exact = sum(p.ints.astype(object) * (1 << (p.exponent - lowest)) for p in parts)
        largest = max(abs(int(v)) for v in np.asarray(exact).ravel()) if parts[0].ints.size else 0
        return self.emit(
            parts[0].shape,
            lambda target: (
                self._rounded(np.asarray(exact), lowest, target, 1, None)
                if self.format.pseudo
                else _kernels.call("add_requantize", pairs, target)
            ),
            lambda: self._exponent(largest, lowest),
        )

    def first_of_range(
        self, accs: Iterable[NDArray[Any]], exponent: int, divisor: int = 1, bias: NDArray[np.int64] | None = None
    ) -> int | None:
        if (found := range_of(accs, bias)) is None:
            return None
        low, high = found
        halvings = (divisor & -divisor).bit_length() - 1  # powers of two belong to the exponent
        return self._exponent(max(-low, high) // (divisor >> halvings), exponent - halvings)

    def frozen_target(self) -> Target | None:
        return None  # a kernel saturates to the whole range, this site to the symmetric one

    def advance(self) -> None:
        self.counts = self._pending
        self.forget_step()

    def _counted(self, values: NDArray[np.float32], exponent: int) -> tuple[NDArray[Any], Counts]:
        return self._symmetric(*super()._counted(values, exponent))

    def _first_of_values(self, values: NDArray[np.float32]) -> int | None:
        if values.size == 0:
            return None
        low, high = _kernels.call("float_range", values)
        return self._exponent(max(-low, high), 0, shift_left=True)

    def _exponent(self, largest: Any, exponent: int, shift_left: bool = False) -> int:
        if self.format.rule == "bit_length":
            return batch_exponent(largest, exponent, self.bits, shift_left)
        if not largest:
            return self.exponent
        return min(max(exponent + nearest_power(largest) - (self.bits - 1), EXP_MIN), EXP_MAX)

    def _symmetric(self, ints: NDArray[Any], counts: Counts) -> tuple[NDArray[Any], Counts]:
        ints, changed = saturate_symmetric(ints, self.bits)
        return ints, replace(counts, saturated=counts.saturated + changed) if changed else counts


__all__ = ["RULES", "BatchFormat", "BatchQuantizer"]
