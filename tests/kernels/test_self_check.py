"""A path proves itself before it is offered: the check passes what is right, finds what is wrong, and then says so."""

from __future__ import annotations

import pytest
from test_dispatch import python

import qnn._kernels as kernels
from qnn._kernels import mac

compiled = pytest.mark.skipif(len(kernels.available_kernels()) == 1, reason="no compiled kernels on this machine")


@compiled
def test_every_compiled_path_passes_the_check() -> None:
    from qnn._kernels import _mac

    for path in _mac.paths():
        assert _mac.self_check(path), path


@compiled
def test_the_check_can_fail() -> None:
    from qnn._kernels import _mac

    assert not _mac.self_check("broken")
    with pytest.raises(ValueError, match="got path 'sse9'"):
        _mac.self_check("sse9")


@compiled
def test_the_paths_that_few_machines_have_are_checked_before_they_are_offered() -> None:
    assert kernels.PATHS[: kernels.PATHS.index("avx2")] == mac.SELF_CHECKED
    assert all(mac.refusal(path) is None for path in mac.COMPILED if path in kernels.available_kernels())


REFUSED = """
import warnings
import numpy as np
import qnn._kernels as k
from qnn._kernels import mac
mac.refusal = lambda path: "it was told to fail" if path == "c" else None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    first, second = k.available_kernels(), k.available_kernels()
print(first == second, "c" in first, [str(w.message) for w in caught])
print("c" in k.TABLE["gemm"], "reference" in k.TABLE["gemm"], k.call("gemm", *[np.ones((1, 1), np.int8)] * 2)[0, 0])
"""


@compiled
def test_a_path_that_differs_is_not_offered_and_one_warning_names_it() -> None:
    lines = python(REFUSED).stdout.strip().splitlines()
    assert lines[0].startswith("True False [")
    assert lines[0].count("is not offered") == 1
    for words in ("'c'", "it was told to fail", "report"):
        assert words in lines[0]
    assert lines[1] == "False True 1"
