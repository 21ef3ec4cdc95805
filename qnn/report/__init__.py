"""The HTML report of a run and the comparison of several: self-contained files drawn from run folders alone."""

from __future__ import annotations

import os
from pathlib import Path

from qnn.errors import RunError

__all__ = ["write_report"]

REPORT = "report.html"


def write_report(run_dir: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """Draw a run's report.

    Parameters
    ----------
    run_dir : path-like
        The run folder; the report uses nothing else.
    path : path-like, optional
        Where to write; ``report.html`` in the folder when left out.

    Returns
    -------
    Path
        The file. It is replaced whole or not at all.

    Raises
    ------
    RunError
        If `run_dir` is no run, or the file cannot be written.
    """
    from qnn.report.page import render
    from qnn.report.reader import read_run

    target = Path(path) if path is not None else Path(run_dir) / REPORT
    return write_page(target, render(read_run(Path(run_dir))))


def write_page(target: Path, text: str) -> Path:
    """Write an HTML file atomically.

    Raises
    ------
    RunError
        If the system refuses.
    """
    from qnn.training.files import write_atomically

    try:
        write_atomically(target, [text.encode("utf-8")])
    except OSError as error:
        raise RunError(
            f"cannot write {target}: {error.strerror or error}; "
            "name a file in a folder that you may write to, with --out"
        ) from error
    return target
