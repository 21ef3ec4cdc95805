"""Records which kernel paths tests/kernels really ran, prints that, and fails a whole run that left one out."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

Pair = tuple[str, str]


class KernelCoverage:
    """A pytest plugin around the dispatch table; works with and without pytest-xdist.

    Parameters
    ----------
    config : pytest.Config
    folder : Path
        The folder of the kernel tests; calls made by other tests do not count.
    """

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.expected: set[Pair] = set()
        self.ran: set[Pair] = set()
        self.whole = False
        self.recording = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note whether the whole folder was selected, and start to watch the table."""
        files = {item.path for item in session.items if self.folder in item.path.parents}
        if not files:
            return
        option = self.config.option
        narrowed = (
            option.keyword or option.markexpr not in ("", "not slow") or getattr(option, "lf", False) or option.deselect
        )
        narrowed = narrowed or any("::" in arg for arg in self.config.args)
        self.whole = not narrowed and files >= set(self.folder.glob("test_*.py"))
        self._watch()

    def _watch(self) -> None:
        """Put a recorder around every function of the table."""
        from qnn import _kernels

        _kernels.available_kernels()  # paths that do not prove themselves on this machine leave the table first
        for operation, row in _kernels.TABLE.items():
            for path in row:
                self.expected.add((operation, path))
                row[path] = self._recorder((operation, path), row[path])
        _kernels._active.clear()  # chosen again, with the recorders, at the next call

    def _recorder(self, pair: Pair, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def record(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if self.recording:  # a call that raised has shown nothing
                self.ran.add(pair)
            return result

        return record

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Count only what the kernel tests themselves call."""
        self.recording = self.folder in item.path.parents
        try:
            return (yield)
        finally:
            self.recording = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """Take over what a worker of pytest-xdist recorded."""
        found = getattr(node, "workeroutput", {}).get("qnn_kernel_coverage")
        if found:
            self.ran |= {tuple(pair) for pair in found["ran"]}
            self.expected |= {tuple(pair) for pair in found["expected"]}
            self.whole = self.whole or found["whole"]

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Hand the record to the controller, or judge it."""
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["qnn_kernel_coverage"] = {
                "ran": sorted(self.ran),
                "expected": sorted(self.expected),
                "whole": self.whole,
            }
            return
        if self.whole and exitstatus == pytest.ExitCode.OK and self.expected - self.ran:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the covered paths, operations with the same paths together, and what is missing."""
        if not self.ran and not self.whole:
            return
        paths: dict[str, list[str]] = defaultdict(list)
        for operation, path in sorted(self.ran):
            paths[operation].append(path)
        groups: dict[str, list[str]] = defaultdict(list)
        for operation, names in paths.items():
            groups[", ".join(names)].append(operation)
        terminalreporter.section("kernel paths covered by tests/kernels")
        for names, operations in sorted(groups.items()):
            terminalreporter.write_line(f"{names}: {', '.join(operations)}")
        missing = sorted(self.expected - self.ran)
        if self.whole and missing:
            terminalreporter.write_line(
                "FAILED: available on this machine but not run: "
                + ", ".join(f"{op} on {path}" for op, path in missing),
                red=True,
            )
