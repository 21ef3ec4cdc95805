"""DFP tensors whose integers are made when they are first asked for: what comes next may need less than them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, Target
from qnn.numerics.batchnorm import Sums

Ints = NDArray[Any]
L = TypeVar("L", bound="Lazy")
Make = Callable[..., tuple[Any, ...]]


class Lazy(DFP):
    """A DFP tensor without its integers yet; who looks at ``ints`` has them made, and it is a plain DFP from then on.

    It computes from arrays that are not its own, so it is not for everybody: operations that do not say they take one
    (``takes_lazy``) and kept gradients get a :func:`plain` one, and before hooks run or the outermost module returns,
    all that waits is made. A module that writes into an array must have used what was made of it before.
    """

    _shape: tuple[int, ...]

    def __new__(cls, *values: Any, **named: Any) -> DFP:  # type: ignore[misc]
        """A plain DFP: what ``dataclasses.replace`` and ``type(x)(...)`` mean."""
        return DFP(*values, **named)

    @classmethod
    def _without_integers(cls: type[L], shape: tuple[int, ...], exponent: int, bits: int, **more: Any) -> L:
        self = object.__new__(cls)
        vars(self).update(_shape=shape, exponent=exponent, bits=bits, **more)
        return self

    def _make(self) -> Ints:
        """The integers."""
        raise NotImplementedError(f"{type(self).__name__} defines no _make()")

    @property
    def ints(self) -> Ints:
        """The integers."""
        made = self._make()
        self._become(made)
        return made

    def _become(self, ints: Ints) -> None:
        """A plain tensor of these integers."""
        exponent, bits = self.exponent, self.bits
        vars(self).clear()  # and with it what they were made of
        vars(self).update(ints=ints, exponent=exponent, bits=bits)
        object.__setattr__(self, "__class__", DFP)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self._shape

    def __reduce__(self) -> tuple[Any, ...]:
        return DFP, (self.ints, self.exponent, self.bits)


class Site(Protocol):
    """Where integers are emitted, and their counts add up."""

    def finish(self, emitted: Emitted, *more: Any) -> tuple[Any, ...]:
        """Run the kernel of a tensor that this site emitted; gives all that it made but the counts."""


class Emitted(Lazy):
    """What a quantisation site emits. The kinds of it say what their kernels have for who asks first."""

    site: Site
    target: Target
    make: Make

    @classmethod
    def by(cls, site: Site, shape: tuple[int, ...], target: Target, make: Make) -> Emitted:
        """Of the site; ``make(target)`` gives integers and counts, ``make(target, *more)`` what the kind says."""
        self = cls._without_integers(shape, target.exponent, target.bits, site=site, target=target, make=make)
        _HERE.waiting[id(self)] = self
        return self

    def _finish(self, *more: Any) -> tuple[Any, ...]:
        """All that the kernel makes, but the counts."""
        _HERE.waiting.pop(id(self), None)
        return self.site.finish(self, *more)

    def _make(self) -> Ints:
        ints: Ints = self._finish()[0]
        return ints


class _Here(threading.local):
    """What waits in this thread; others may train nets of their own."""

    def __init__(self) -> None:
        self.waiting: dict[int, Emitted] = {}


_HERE = _Here()


def forget_waiting() -> None:
    """Leave alone what an earlier call of a module left, as one that failed did."""
    _HERE.waiting.clear()


def make_waiting() -> None:
    """Make the integers of all that was emitted and not yet used: the arrays they come from may change now."""
    waiting = _HERE.waiting
    for emitted in tuple(waiting.values()):
        if id(emitted) in waiting:  # not made with another one
            plain(emitted)


class Rectifying(Emitted):
    """``make(target, True)`` gives the integers after a ReLU.

    Bit-exactness: clause LAY-2; a ReLU in the kernel is one after it.
    """

    def rectified(self) -> Ints:
        """``max(ints, 0)``; the integers themselves are not made for it."""
        ints: Ints = self._finish(True)[0]
        return ints


class Adding(Rectifying):
    """A sum; ``make(target, False, output)`` gives it where a ReLU's output is positive, else 0.

    Bit-exactness: clauses REQ-7 and LAY-2; the mask is one after the sum.
    """

    def masked(self, output: Ints) -> Ints:
        """``relu_grad(ints, output)``; the integers themselves are not made for it."""
        ints: Ints = self._finish(False, output)[0]
        return ints


class Summing(Emitted):
    """``make(target, True)`` gives the sums of each channel, too.

    Bit-exactness: clause BN-1; nothing may vary.
    """

    def summed(self) -> Sums:
        """``channel_sums`` of the integers, which are made with them."""
        ints, sums = self._finish(True)
        self._become(ints)
        return sums[0], sums[1]


class Scaling(Emitted):
    """``make(target, *scale)`` gives what a scale layer makes of the integers, too.

    Bit-exactness: clauses BN-5 and BN-8; nothing may vary.
    """

    def scaled(self, *scale: Any) -> tuple[Any, ...]:
        """What the kernel ``scale`` gives for the integers, which are made with it, and its other arguments."""
        ints, *scaled = self._finish(*scale)
        self._become(ints)
        return tuple(scaled)


class Masked(Lazy):
    """A gradient where a ReLU's output is positive, else 0. The scale layer masks while it multiplies.

    Bit-exactness: clause LAY-2; nothing may vary.
    """

    gradient: DFP
    output: Ints

    @classmethod
    def by(cls, gradient: DFP, output: Ints) -> Masked:
        """Of the gradient, by the ReLU's output."""
        exponent, bits = gradient.exponent, gradient.bits
        return cls._without_integers(gradient.shape, exponent, bits, gradient=gradient, output=output)

    def _make(self) -> Ints:
        gradient = self.gradient
        if isinstance(gradient, Adding):
            return gradient.masked(self.output)
        return np.asarray(_kernels.call("relu_grad", gradient.ints, self.output))


def plain(data: Any) -> Any:
    """The same object; a lazy tensor has its integers then, and is a DFP like any other."""
    if isinstance(data, Lazy):
        _ = data.ints
    return data


__all__ = [
    "Adding",
    "Emitted",
    "Lazy",
    "Masked",
    "Rectifying",
    "Scaling",
    "Summing",
    "forget_waiting",
    "make_waiting",
    "plain",
]
