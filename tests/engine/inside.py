"""Operations as a module would run them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from qnn.operation import HERE


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Run the block as if a module of this name did: what is made lazily stays so until it is asked for."""
    HERE.modules.append(name)
    try:
        yield
    finally:
        HERE.modules.pop()
