"""What prepared kernels refuse, on every path in the same words."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnn.numerics.dfp import Target
from qnn.numerics.rounding import Rounding


def check_prepared(target: Target, table: Any, channels: int | None = None) -> None:
    """Refuse noise, and a table that does not fit.

    Parameters
    ----------
    target : Target
    table : ndarray or None
    channels : int, optional
        How many rows the table must have.

    Raises
    ------
    ValueError
    """
    if target.rounding == Rounding.STOCHASTIC:
        raise ValueError(
            "got stochastic rounding for a prepared kernel; its noise depends on the call: use the kernel that takes "
            "the target with each call"
        )
    if table is None:
        return
    fits = isinstance(table, np.ndarray) and table.dtype == np.int8 and table.ndim == 2 and table.shape[1] == 256
    if not fits or target.bits > 8 or (channels is not None and len(table) != channels):
        got = f"{table.dtype} {table.shape}" if isinstance(table, np.ndarray) else type(table).__name__
        raise ValueError(
            f"got a table {got} for results of {target.bits} bits; allowed is an int8 array [channels, 256] where "
            "results are int8: leave it out"
        )


__all__ = ["check_prepared"]
