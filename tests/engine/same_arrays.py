"""Equal results of two runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def same_arrays(got: dict[str, NDArray], wanted: dict[str, NDArray]) -> None:
    """The same names and, without a tolerance, the same values."""
    assert got.keys() == wanted.keys()
    for name, values in got.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
