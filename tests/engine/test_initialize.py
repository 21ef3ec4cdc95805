"""Initial weights from the kernels' noise are the ones of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn.nn import initialize
from qnn.nn.initialize import draw
from qnn.numerics import uniform

BLOCK = initialize.__globals__["_BLOCK"]


@pytest.mark.clause("INI-1")
@pytest.mark.parametrize("path", qnn.available_kernels())
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([(0,), (1,), (7, 3), (2, 2, 5, 3)]),
)
def test_every_path_draws_what_the_definition_draws(path, seed, stream, bound, shape) -> None:
    with qnn.use_kernels(path):
        found = draw(seed, stream, shape, bound)
    assert found.dtype == np.float32
    assert np.array_equal(found, uniform(seed, stream, shape, bound))


@pytest.mark.clause("INI-1")
@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_blocks_leave_no_trace(size: int) -> None:
    assert np.array_equal(draw(5, 9, (size,), 0.3), uniform(5, 9, (size,), 0.3))
