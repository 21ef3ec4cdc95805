"""Makes the helpers of the kernel tests importable by plain name, and the runs under the sanitizers short."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import qnn._kernels as kernels

sys.path.insert(0, str(Path(__file__).resolve().parent))

# tools/sanitize.sh sets this: every memory access is checked then, and a few examples of each test show a fault.
EXAMPLES = os.environ.get("QNN_TEST_EXAMPLES")
if EXAMPLES:
    settings.register_profile("short", parent=settings.get_profile("ci"), max_examples=int(EXAMPLES))
    settings.load_profile("short")


@pytest.fixture(autouse=True, scope="module")
def _same_choice_afterwards() -> Iterator[None]:
    """Leave path and threads as they were, whatever a test did."""
    path, count = kernels.active_path(), kernels.get_num_threads()
    yield
    kernels.use_kernels(path)
    kernels.set_num_threads(count)
