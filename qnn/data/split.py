"""Divides samples by a fixed addressed permutation: automatic test sets and subsets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qnn.data.messages import problem
from qnn.numerics.initial import permutation

SPLIT_STREAM = 0xFFFF0002
_SPLIT_SEED = 0
_STEP_TEST, _STEP_SUBSET = 0, 1


def split_positions(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of training and test samples of a data set that comes in one piece.

    The first ``ceil(n / 5)`` places of the permutation addressed by (seed 0, SPLIT_STREAM, step 0) are the test set;
    both sets keep the samples' order. So the division depends on ``n`` alone and is the same on every machine.

    Raises
    ------
    DataError
        If there are fewer than two samples.

    Notes
    -----
    Bit-exactness: clause DAT-5; nothing may vary.
    """
    if n < 2:
        raise problem(
            f"{n} samples to divide into a training and a test set", "at least 2", "add samples or a test set"
        )
    order = np.asarray(permutation(_SPLIT_SEED, SPLIT_STREAM, _STEP_TEST, n), dtype=np.int64)
    held_out = -(-n // 5)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def subset_positions(n: int, wanted: int) -> NDArray[np.int64]:
    """Return ``wanted`` of ``n`` positions, ascending: the first places of the permutation addressed by step 1.

    Notes
    -----
    Bit-exactness: clause DAT-5; nothing may vary.
    """
    order = np.asarray(permutation(_SPLIT_SEED, SPLIT_STREAM, _STEP_SUBSET, n), dtype=np.int64)
    return np.sort(order[:wanted])
