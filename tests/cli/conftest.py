"""A small trained run, a click runner that keeps stdout and stderr apart, and real subprocesses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import qnn
from qnn.cli import cli

SMALL = ["--model", "mlp", "--train-limit", "128", "--epochs", "2", "--batch-size", "64", "--log-every", "1"]
Invoke = Callable[..., Result]


def _runner() -> CliRunner:
    try:
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]  # click 8.1
    except TypeError:
        return CliRunner()


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Flags of a training that takes a second."""
    return list(SMALL)


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """Run the command line in this process; nothing may escape as an exception."""

    def run(*words: object, **options: Any) -> Result:
        result = _runner().invoke(cli, [str(word) for word in words], **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.stdout + result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Path:
    """The folder of a finished run; do not change it, see ``copied``."""
    folder = tmp_path_factory.mktemp("cli") / "done"
    result = invoke("train", *SMALL, "--out", folder)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run to damage."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of a subprocess that uses this checkout."""
    root = str(Path(qnn.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def real(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a process of its own."""

    def run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        env = {**environment, **options.pop("env", {})}
        command = [sys.executable, "-m", "qnn", *(str(word) for word in words)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False, **options)

    return run
