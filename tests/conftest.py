"""Hypothesis profiles and pytest markers for the whole test suite."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# The helpers of tests/spec (oracle.py, generators.py) are imported by plain name, also by other test folders.
sys.path.insert(0, str(Path(__file__).resolve().parent / "spec"))

# "ci" is the default: the same examples on every run and machine, no timing. "thorough" is for nightly runs:
# HYPOTHESIS_PROFILE=thorough python -m pytest -m "slow or not slow"
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "thorough", parent=settings.get_profile("ci"), derandomize=False, deadline=timedelta(seconds=60), max_examples=2000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def load_tool() -> Callable[[str], ModuleType]:
    """A script in tools/ as a module, by its name."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).resolve().parents[1] / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"tool_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where a dataclass looks for its module
        spec.loader.exec_module(module)
        return module

    return load


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, so that ``--strict-markers`` holds wherever the tests are run from."""
    config.addinivalue_line("markers", "clause(*ids): the clauses of docs/spec that this test holds")
    config.addinivalue_line("markers", "slow: takes more than some seconds; left out of the default run")
