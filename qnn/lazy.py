"""DFP tensors whose integers are made when they are first asked for: what comes next may need less than them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qnn import _kernels
from qnn.numerics import DFP, Counts, Target

Ints = NDArray[Any]
Make = Callable[[Target, bool], tuple[Ints, Counts]]


class Lazy(DFP):
    """A DFP tensor without its integers yet; who looks at ``ints`` has them made, once.

    It computes from arrays that are not its own, so it is not for everybody: operations that do not say they take one
    (``takes_lazy``), hooks of gradients and kept gradients get a :func:`plain` DFP, and what the outermost module
    returns has its integers. A copy or a pickle is plain.
    """

    _shape: tuple[int, ...]
    _ints: Ints | None

    def __init__(self, shape: tuple[int, ...], exponent: int, bits: int) -> None:
        self._set(_shape=shape, exponent=exponent, bits=bits, _ints=None)

    def _set(self, **values: Any) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)  # frozen like every DFP

    def _make(self) -> Ints:
        """The integers."""
        raise NotImplementedError(f"{type(self).__name__} defines no _make()")

    @property
    def ints(self) -> Ints:
        """The integers."""
        made = self._ints
        if made is None:
            made = self._make()
            self._set(_ints=made)
        return made

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self._shape

    def __reduce__(self) -> tuple[Any, ...]:
        return DFP, (self.ints, self.exponent, self.bits)


class Site(Protocol):
    """Where integers are emitted, and their counts add up."""

    def finish(self, emitted: Emitted, rectify: bool) -> Ints:
        """Run the kernel of a tensor that this site emitted."""


class Emitted(Lazy):
    """What a quantisation site emits; a ReLU that asks first gets its own integers from the same kernel.

    Parameters
    ----------
    site : Site
    shape : tuple of int
    target : Target
    make : callable
        ``make(target, rectify)`` gives integers and counts, after a ReLU if ``rectify``.

    Notes
    -----
    Bit-exactness: clause LAY-2; a ReLU in the kernel is one after it.
    """

    site: Site
    target: Target
    make: Make | None

    def __init__(self, site: Site, shape: tuple[int, ...], target: Target, make: Make) -> None:
        super().__init__(shape, target.exponent, target.bits)
        self._set(site=site, target=target, make=make)

    def _make(self) -> Ints:
        made = self.site.finish(self, False)
        self._set(make=None)  # and with it what it was made of
        return made

    def rectified(self) -> Ints:
        """``max(ints, 0)``; the integers themselves are not made for it."""
        if self._ints is None:
            return self.site.finish(self, True)
        return np.asarray(_kernels.call("relu", self._ints))


class Masked(Lazy):
    """A gradient where a ReLU's output is positive, else 0. The scale layer masks while it multiplies.

    Parameters
    ----------
    gradient : DFP
    output : ndarray of int8 or int16
        The ReLU's output.

    Notes
    -----
    Bit-exactness: clause LAY-2; nothing may vary.
    """

    gradient: DFP
    output: Ints

    def __init__(self, gradient: DFP, output: Ints) -> None:
        super().__init__(gradient.shape, gradient.exponent, gradient.bits)
        self._set(gradient=gradient, output=output)

    def _make(self) -> Ints:
        return np.asarray(_kernels.call("relu_grad", self.gradient.ints, self.output))

    @property
    def unmasked(self) -> tuple[Ints, Ints | None]:
        """Integers and the output that masks them, which is None where the integers are made already."""
        return (self.gradient.ints, self.output) if self._ints is None else (self._ints, None)


def plain(data: Any) -> Any:
    """A lazy tensor as a DFP with its integers; anything else as it is."""
    return DFP(data.ints, data.exponent, data.bits) if isinstance(data, Lazy) else data


__all__ = ["Emitted", "Lazy", "Masked", "plain"]
