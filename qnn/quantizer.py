"""Quantisation sites: a ``Quantizer`` owns one place's format, rounding, exponent, noise stream and counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.errors import SiteError
from qnn.lazy import Adding, Emitted, plain
from qnn.numerics import (
    DFP,
    EXP_MAX,
    EXP_MIN,
    INTEGER_OVERFLOW_BITS,
    Counts,
    Noise,
    Rounding,
    Target,
    first_exponent_float,
    first_exponent_int,
    integer_overflow,
    next_exponent,
    round_samples,
)
from qnn.numerics.arguments import number, whole
from qnn.operation import current_module
from qnn.tensor import Parameter

Part = slice | EllipsisType
"""Some samples of a batch."""

_PART = 1 << 17  # elements

ROLES = ("input", "weight", "bias", "activation", "gradient")


@dataclass(frozen=True)
class Format:
    """How the values of one role become integers.

    Parameters
    ----------
    bits : int
        Width n, 2 to 16.
    rounding : Rounding
        One of the nine numbered rules (clause RND-1).
    noise : {"philox", "lfsr16"}
        Generator of the words that ``STOCHASTIC`` adds (clause NOI-1).
    noise_bits : int
        Random bits r per element, 1 to 16 (clause SR-1).
    r_max : float
        Overflow rate above which the exponent grows (clause EXP-7); 0 in the paper.
    exponent : int, optional
        An exponent that never moves, -64 to 63, for values whose grid is known, such as +-1; None follows the data.
    overflow : {"real", "integer"}
        What counts as overflow: values outside ``[-2**(n-1), 2**(n-1))``, or outside the range of the integers, which
        ends at ``2**(n-1) - 1`` (clause EXP-1); the latter takes 2 to 14 bits and makes every result three times.
    """

    bits: int = 8
    rounding: Rounding = Rounding.NEAREST_DOWN
    noise: str = "philox"
    noise_bits: int = 16
    r_max: float = 0.0
    exponent: int | None = None
    overflow: str = "real"

    def __post_init__(self) -> None:
        bits, noise_bits, exponent, r_max = *map(whole, (self.bits, self.noise_bits, self.exponent)), number(self.r_max)
        if bits is None or not 2 <= bits <= 16:
            raise ValueError(
                f"got bits={self.bits!r} for a format; allowed are 2 to 16: choose a width a DFP tensor has"
            )
        object.__setattr__(self, "rounding", Rounding.parse(self.rounding))
        if self.noise not in ("philox", "lfsr16"):
            raise ValueError(f"got noise={self.noise!r}; allowed are 'philox' and 'lfsr16'")
        if noise_bits is None or not 1 <= noise_bits <= 16:
            raise ValueError(f"got noise_bits={self.noise_bits!r}; allowed are 1 to 16")
        if r_max is None or not 0.0 <= r_max < 1.0:
            raise ValueError(
                f"got r_max={self.r_max!r}; allowed is 0 <= r_max < 1: it is a rate of overflowing entries"
            )
        if self.exponent is not None and (exponent is None or not EXP_MIN <= exponent <= EXP_MAX):
            raise ValueError(f"got exponent={self.exponent!r}; allowed are {EXP_MIN} to {EXP_MAX}, or None to follow")
        if self.overflow not in ("real", "integer"):
            raise ValueError(f"got overflow={self.overflow!r}; allowed are 'real' and 'integer'")
        if self.overflow == "integer" and bits > INTEGER_OVERFLOW_BITS:
            raise ValueError(
                f"got overflow='integer' with {bits} bits; allowed are 2 to {INTEGER_OVERFLOW_BITS}: it is counted on "
                "a finer result of 16 bits; take fewer bits, or overflow='real'"
            )
        for key, value in (("bits", bits), ("noise_bits", noise_bits), ("r_max", r_max), ("exponent", exponent)):
            object.__setattr__(self, key, value)

    def site(self, role: str) -> Quantizer:
        """A new site of this format."""
        return Quantizer(role, self)

    def __str__(self) -> str:
        fixed = "" if self.exponent is None else f"·2^{self.exponent}"
        counted = ", overflow of integers" if self.overflow == "integer" else ""
        return f"int{self.bits}{fixed} {self.rule_name}{self._noise_name()}{counted}"

    @property
    def rule_name(self) -> str:
        """What rounds, in capitals."""
        return self.rounding.name

    def _noise_name(self) -> str:
        """Generator and random bits; the LFSR's name has its 16 already."""
        if self.rounding != Rounding.STOCHASTIC:
            return ""
        if self.noise == "lfsr16":
            return "/lfsr16" + (f" of {self.noise_bits} bits" if self.noise_bits < 16 else "")
        return f"/{self.noise}{self.noise_bits}"


@dataclass
class Clock:
    """What all sites of a run share: seed and number of the step, the two parts of every noise address, and progress.

    ``progress`` is the share of the training that will be done when the running epoch ends, above 0 and at most 1; the
    schedules of weight rules read it.
    """

    seed: int = 0
    step: int = 0
    progress: float = 1.0


@dataclass
class Quantizer:
    """One quantisation site.

    Parameters
    ----------
    role : {"input", "weight", "bias", "activation", "gradient"}
        What passes here.
    format : Format
        Width, rounding rule, noise and overflow rate.
    name : str
        Dotted place in the model, set by :func:`qnn.nn.prepare`.

    Notes
    -----
    Within a step every use quantises with the same exponent, and the counts of all uses add up; :meth:`advance` then
    applies the exponent rule once (clause EXP-6). Noise words are addressed by (seed, step, stream, element), where
    elements of a second use within the step follow those of the first, so a batch may be processed in parts.

    Bit-exactness: clauses LAY-6, EXP-2, EXP-5, NOI-1, FMT-6 and REQ-1; the first exponent comes from the first data.
    """

    role: str
    format: Format
    name: str = ""
    exponent: int = 0
    initialised: bool = False
    training: bool = True
    clock: Clock | None = None
    stream: int | None = None
    counts: Counts | None = None
    _pending: Counts | None = None
    _used: int = 0
    _awaited: list[Emitted] = field(default_factory=list, repr=False, compare=False)  # whose counts are not there yet
    _copies: dict[tuple[int, bool, int | None], DFP] = field(default_factory=dict, repr=False)
    _version: int | None = None
    _quiet: dict[int, Target] = field(default_factory=dict, repr=False, compare=False)  # without noise, by exponent

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"got role {self.role!r}; allowed are {', '.join(ROLES)}")
        if not isinstance(self.format, Format):
            raise TypeError(f"got the format {self.format!r}; allowed is a Format, for instance qnn.Format(bits=8)")
        if self.format.exponent is not None:
            self.exponent, self.initialised = self.format.exponent, True
        elif not self.initialised:
            self.exponent = 3 - self.format.bits

    @property
    def bits(self) -> int:
        """Width n of the integers."""
        return self.format.bits

    @property
    def rounding(self) -> Rounding:
        """Rounding rule."""
        return self.format.rounding

    # --- producing integers ---
    def quantize(self, values: NDArray[np.float32]) -> DFP:
        """Quantise real values of any shape (clause FMT-6); the first data fixes the first exponent."""
        exponent = self._settle(lambda: self._first_of_values(values))
        ints, counts = self._counted(values, exponent)
        self._record(counts, values.shape)
        return DFP(ints, exponent, self.format.bits)

    def requantize(
        self, acc: NDArray[Any], exponent: int, divisor: int = 1, bias: NDArray[np.int64] | None = None
    ) -> DFP:
        """Requantise exact accumulators at ``exponent`` (clause REQ-1)."""
        return self.emit(
            acc.shape,
            lambda target: self._rounded(acc, exponent, target, divisor, bias),
            lambda: self.first_of_range((acc[part] for part in parts(acc.shape)), exponent, divisor, bias),
        )

    def _rounded(
        self, acc: NDArray[Any], exponent: int, target: Target, divisor: int, bias: NDArray[np.int64] | None
    ) -> tuple[NDArray[Any], Counts]:
        return _kernels.call("requantize", acc, exponent, target, divisor, bias)

    def samples(self, x: DFP) -> DFP:
        """Each sample rounded to this site's bits below its own largest magnitude, at the exponent of x (BIT-13)."""
        requantize = _kernels.get("requantize")
        ints, counts = round_samples(x.ints, self.bits, self._noise(), requantize)
        self._record(counts, x.shape)
        return DFP(ints, x.exponent, x.bits)

    def add(self, parts: Sequence[DFP]) -> DFP:
        """Exact sum of DFP tensors of one shape, rounded once (clause REQ-7)."""
        pairs = [(p.ints, p.exponent) for p in parts]
        make = partial(_kernels.call, "add_requantize", pairs)
        return self.emit_lazily(Adding, parts[0].shape, make, lambda: _first_of_sum(parts, self.bits))

    def product(
        self,
        shape: tuple[int, ...],
        fused: Callable[..., tuple[Any, ...]],
        exact: Callable[[Part], NDArray[Any]],
        exponent: int,
        bias: NDArray[np.int64] | None = None,
        kind: type[Emitted] | None = None,
    ) -> DFP:
        """This site's integers of a product: ``fused(target)`` rounds as it sums, ``exact(part)`` gives the
        accumulators of some samples at ``exponent`` without the bias; lazily as :meth:`emit_lazily` does it where a
        kind is given."""

        def first() -> int | None:
            return self.first_of_range(map(exact, parts(shape)), exponent, bias=bias)

        return self.emit(shape, fused, first) if kind is None else self.emit_lazily(kind, shape, fused, first)

    def emit(
        self,
        shape: tuple[int, ...],
        make: Callable[[Target], tuple[NDArray[Any], Counts]],
        first: Callable[[], int | None],
    ) -> DFP:
        """Let a kernel write this site's integers.

        ``make(target)`` writes and counts. ``first()`` finds a first exponent and runs only while the site has
        seen no data; it returns None for all-zero data, which leaves the default.
        """
        exponent = self._settle(first)
        ints, counts = self._made(make, exponent)
        self._record(counts, shape)
        return DFP(ints, exponent, self.format.bits)

    @property
    def emits_as_made(self) -> bool:
        """Whether what the kernel makes is what :meth:`emit` gives: another class's own may do more."""
        return type(self).emit is Quantizer.emit

    def emit_lazily(
        self,
        kind: type[Emitted],
        shape: tuple[int, ...],
        make: Callable[..., tuple[Any, ...]],
        first: Callable[[], int | None],
    ) -> DFP:
        """As :meth:`emit`, but the kernel runs when the integers are first asked for, or the step ends.

        ``make(target)`` writes and counts; the kind says what it can do beside that. Exponent, noise address and counts
        are those of the step in which this is called.
        """
        # Outside of a module nobody would say when the arrays may change; counts by integers come from several results.
        if not current_module() or self.format.overflow == "integer" or not self.emits_as_made:
            return self.emit(shape, make, first)
        emitted = kind.by(self, shape, self._target(self._settle(first)), make)
        if self.training:
            self._awaited.append(emitted)
            self._used += math.prod(shape)
        return emitted

    def finish(self, emitted: Emitted, *more: Any) -> tuple[Any, ...]:
        """Run the kernel of what :meth:`emit_lazily` gave; its counts are taken once, within their step."""
        awaited = emitted in self._awaited
        if awaited:
            self._awaited.remove(emitted)
        try:
            ints, counts, *others = emitted.make(emitted.target, *more)
        except SiteError:  # of another site, whose tensor was made with it
            raise
        except ValueError as error:
            raise SiteError(f"{self.label}: {error}") from error
        if awaited:
            self._add(counts)
        return ints, *others

    def _made(
        self, make: Callable[[Target], tuple[NDArray[Any], Counts]], exponent: int
    ) -> tuple[NDArray[Any], Counts]:
        try:
            ints, counts = make(self._target(exponent))
            if self.training and self.format.overflow == "integer":
                counts = integer_overflow(counts, exponent, self.bits, make)
        except SiteError:
            raise
        except ValueError as error:
            raise SiteError(f"{self.label}: {error}") from error
        return ints, counts

    def _settle(self, first: Callable[[], int | None]) -> int:
        """Exponent of this step; in training the first data that is not all zero fixes it."""
        if self.initialised or (found := first()) is None:
            return self.exponent
        if self.training:
            self.exponent, self.initialised = found, True
        return found

    def frozen_target(self) -> Target | None:
        """Where a kernel of a frozen network rounds to: this site's exponent as it stands, without noise.

        None where a kernel's rounding is not all that the site does.

        Raises
        ------
        ValueError
            If the site rounds stochastically: its words depend on the step.
        """
        if self.rounding == Rounding.STOCHASTIC:
            raise ValueError(f"{self.label} rounds stochastically; a target without noise is for the other rules")
        return Target(self.exponent, self.bits, self.rounding, None)

    def _target(self, exponent: int) -> Target:
        bits, rounding = self.format.bits, self.format.rounding
        if rounding is Rounding.STOCHASTIC:
            return Target(exponent, bits, rounding, self._noise())
        kept = self._quiet.get(exponent)
        if kept is None or kept.bits != bits or kept.rounding is not rounding:
            kept = self._quiet[exponent] = Target(exponent, bits, rounding)
        return kept

    def _record(self, counts: Counts, shape: tuple[int, ...]) -> None:
        if self.training:
            self._add(counts)
            self._used += math.prod(shape)

    def _add(self, counts: Counts) -> None:
        self._pending = counts if self._pending is None else self._pending + counts

    def first_of_range(
        self, accs: Iterable[NDArray[Any]], exponent: int, divisor: int = 1, bias: NDArray[np.int64] | None = None
    ) -> int | None:
        """Smallest exponent without overflow for exact accumulators that come in parts, the bias of their channel added
        (clause EXP-5)."""
        found = range_of(accs, bias)
        return None if found is None else first_exponent_int(*found, exponent, self.bits, divisor)

    def parameter(
        self,
        master: Parameter,
        at_least: int | None = None,
        view: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> DFP:
        """Integers of a master weight, made once per step (clause LAY-7), or per version in evaluation.

        Parameters
        ----------
        master : Parameter
            float32 array.
        at_least : int, optional
            Lower bound of the exponent: a bias is not finer than the accumulator it is added to (clause REQ-6).
        view : callable, optional
            What the weights are for this use, from the master's array; by default the array itself. A view may differ
            between training and evaluation.
        """
        version = master.version
        # Evaluation in the middle of a step takes the integers of the step, unless it sees other weights.
        if self._copies:
            for mode in (self.training, True) if view is None else (self.training,):
                if (copy := self._copies.get((version, mode, at_least))) is not None:
                    return copy
        if self.training and self._version not in (None, version):
            raise RuntimeError(
                f"{self.label}: the parameter changed but the step did not; exponents move once per step: "
                "call run.advance() after optimizer.step()"
            )
        values = np.ascontiguousarray(master.data if view is None else view(np.asarray(master.data)), np.float32)
        own = self._settle(lambda: self._first_of_values(values))
        exponent = own if at_least is None else max(own, at_least)
        ints, counts = self._counted(values, exponent)
        if exponent != own:  # the exponent rule looks at the site's own exponent, not at the accumulator's grid
            _, counts = self._counted(values, own)
        self._record(counts, values.shape)
        copy = DFP(ints, exponent, self.bits)
        if self.training:
            self._version = version
        current = {key: old for key, old in self._copies.items() if key[0] == version} if self._copies else {}
        self._copies = {**current, (version, self.training, at_least): copy}
        return copy

    def _counted(self, values: NDArray[np.float32], exponent: int) -> tuple[NDArray[Any], Counts]:
        return self._made(partial(_kernels.call, "quantize", values), exponent)

    def _first_of_values(self, values: NDArray[np.float32]) -> int | None:
        """Smallest exponent without overflow for real values (clause EXP-5)."""
        try:
            low, high = _kernels.call("float_range", values)
        except ValueError as error:
            raise ValueError(f"{self.label}: {error}") from error
        return first_exponent_float(low, high, self.bits)

    def _noise(self) -> Noise | None:
        form, clock = self.format, self.clock
        if form.rounding != Rounding.STOCHASTIC:
            return None
        if clock is None or self.stream is None:
            raise RuntimeError(
                f"{self.label} rounds stochastically but has no noise stream yet: call run = qnn.nn.prepare(model, "
                f"criterion, seed=...) before the first step"
            )
        return Noise(form.noise, clock.seed, self.stream, clock.step, self._used, form.noise_bits)

    # --- time and state ---
    def advance(self) -> None:
        """End the step: the counts of its data give the next exponent (clause EXP-2)."""
        if self._awaited:
            self._finish_awaited()
        counts = self.counts = self._pending
        if counts is not None and self.initialised and self.format.exponent is None:
            self.exponent = next_exponent(counts, self.exponent, self.format.r_max)
        self.forget_step()

    def _finish_awaited(self) -> None:
        """What nobody has looked at counts, too."""
        for emitted in tuple(self._awaited):
            plain(emitted)

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which would otherwise wait for the same tensors."""
        self._finish_awaited()
        return vars(self).copy()

    def forget_step(self) -> None:
        """Drop the counts of a step that will not be finished, and take its noise from the first word again."""
        self._pending, self._used, self._version = None, 0, None
        if self._copies:
            self._copies = {}
        if self._awaited:
            self._awaited.clear()

    @property
    def label(self) -> str:
        """Name for messages."""
        return f"site {self.name or '(unnamed)'} ({self.role})"

    def state(self) -> NDArray[np.int64]:
        """``[exponent, initialised]``."""
        return np.array([self.exponent, int(self.initialised)], np.int64)

    def check_state(self, state: NDArray[np.int64]) -> None:
        """Refuse with a ValueError what is no state of this site."""
        if state.shape != (2,) or state.dtype != np.int64 or int(state[1]) not in (0, 1):
            raise ValueError(f"got {state!r} as state of {self.label}; it must be int64 [exponent, initialised]")
        if not EXP_MIN <= int(state[0]) <= EXP_MAX:
            raise ValueError(f"got exponent {state[0]} for {self.label}; allowed are {EXP_MIN} to {EXP_MAX}")
        if self.format.exponent is not None and tuple(state) != (self.format.exponent, 1):
            raise ValueError(
                f"got {state!r} as state of {self.label}, whose exponent is fixed at {self.format.exponent}"
            )

    def load_state(self, state: NDArray[np.int64]) -> None:
        """Restore what :meth:`state` gave."""
        self.check_state(state)
        self.exponent, self.initialised = int(state[0]), bool(state[1])
        self.forget_step()


def parts(shape: tuple[int, ...]) -> Iterator[Part]:
    """Some samples after the other, so that what is made of them only to find its range stays small."""
    if len(shape) < 2 or math.prod(shape) <= _PART:  # one axis is that of the channels
        yield ...
        return
    samples = max(1, _PART // math.prod(shape[1:]))
    for first in range(0, shape[0], samples):
        yield slice(first, first + samples)


def range_of(accs: Iterable[NDArray[Any]], bias: NDArray[np.int64] | None) -> tuple[int, int] | None:
    """Least and largest of exact accumulators, the bias of their channel added; None where there are none."""
    ends: list[int] = []
    for acc in accs:
        if acc.size:
            whole = acc if bias is None else acc.astype(np.int64) + bias
            ends += _kernels.call("int_range", np.ascontiguousarray(whole))
    return (min(ends), max(ends)) if ends else None


def _first_of_sum(terms: Sequence[DFP], bits: int) -> int | None:
    """Smallest exponent at which the exact sum of the terms does not overflow (clause EXP-5)."""
    if terms[0].ints.size == 0:
        return None
    lowest = min(t.exponent for t in terms)
    spread = max(t.exponent for t in terms) - lowest
    dtype = np.int64 if spread + 16 + len(terms).bit_length() < 63 else object
    ends = []
    for part in parts(terms[0].shape):
        total = np.asarray(sum(t.ints[part].astype(dtype) * (1 << (t.exponent - lowest)) for t in terms))
        ends += [int(total.min()), int(total.max())]
    return first_exponent_int(min(ends), max(ends), lowest, bits)


__all__ = ["ROLES", "Clock", "Format", "Part", "Quantizer", "parts", "range_of"]
