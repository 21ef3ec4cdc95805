"""Operations as a module would run them, and results made at once instead of when they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from qnn.lazy import Emitted
from qnn.numerics import DFP
from qnn.operation import HERE
from qnn.quantizer import Quantizer


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Run the block as if a module of this name did: what is made lazily stays so until it is asked for."""
    HERE.modules.append(name)
    try:
        yield
    finally:
        HERE.modules.pop()


def at_once(self: Quantizer, kind: type[Emitted], *how: Any) -> DFP:
    """In the place of ``Quantizer.emit_lazily``."""
    return self.emit(*how)
