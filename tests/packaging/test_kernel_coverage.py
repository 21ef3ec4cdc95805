"""The record of kernel paths can fail: a whole run that left a path out is no success, a narrow one says nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "kernels"


def coverage(**option: Any) -> Any:
    """A fresh record with the options of a command line."""
    spec = importlib.util.spec_from_file_location("kernel_coverage_under_test", FOLDER.parent / "kernel_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = {"keyword": "", "markexpr": "not slow", "lf": False, "deselect": None, **option}
    return module.KernelCoverage(SimpleNamespace(option=SimpleNamespace(**options), args=["tests"]), FOLDER)


def status(record: Any, before: int = pytest.ExitCode.OK) -> int:
    """The exit status of a session that ends with this record."""
    session = SimpleNamespace(exitstatus=before)
    record.pytest_sessionfinish(session, before)
    return int(session.exitstatus)


def test_a_whole_run_that_left_a_path_out_fails() -> None:
    record = coverage()
    record.whole, record.expected, record.ran = True, {("gemm", "c"), ("gemm", "avx2")}, {("gemm", "c")}
    assert status(record) == pytest.ExitCode.TESTS_FAILED
    record.ran.add(("gemm", "avx2"))
    assert status(record) == pytest.ExitCode.OK


def test_a_narrow_run_is_not_judged() -> None:
    record = coverage()
    record.whole, record.expected = False, {("gemm", "c")}
    assert status(record) == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("option", "left_out", "whole"),
    [
        ({}, 0, True),
        ({}, 1, False),
        ({"keyword": "gemm"}, 0, False),
        ({"markexpr": "slow"}, 0, False),
        ({"lf": True}, 0, False),
        ({"deselect": ["x"]}, 0, False),
    ],
)
def test_what_counts_as_the_whole_folder(option: dict[str, Any], left_out: int, whole: bool) -> None:
    record = coverage(**option)
    record._watch = lambda: None
    files = sorted(FOLDER.glob("test_*.py"))[left_out:]
    record.pytest_collection_finish(SimpleNamespace(items=[SimpleNamespace(path=path) for path in files]))
    assert record.whole is whole


def test_only_calls_of_kernel_tests_that_return_are_counted() -> None:
    record = coverage()
    function = record._recorder(("gemm", "c"), lambda x: 1 // x)
    assert function(1) == 1
    assert not record.ran
    record.recording = True
    with pytest.raises(ZeroDivisionError):
        function(0)
    assert not record.ran
    function(1)
    assert record.ran == {("gemm", "c")}
