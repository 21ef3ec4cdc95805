"""What ``qnn bench`` measures: one module per group, timing, peaks, peers and checksums beside them.

A group is a module with ``TITLE``, a sentence, and ``rows(plan)``, which yields the rows of its table as they are
measured. Nothing of this is imported by ``import qnn``, and no result of the package depends on it.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["GROUPS", "group"]

GROUPS = ("gemm", "conv", "shift", "xnor", "quantize", "noise", "train", "inference")
"""The groups in the order in which all of them run."""


def group(name: str) -> ModuleType:
    """The module of a group.

    Raises
    ------
    ValueError
        If there is no such group; the message lists those that there are.
    """
    if name not in GROUPS:
        raise ValueError(f"got the group {name!r}; allowed are {', '.join(GROUPS)}; take one of these or none for all")
    return importlib.import_module(f"qnn.bench.{name}")
