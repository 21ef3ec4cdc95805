"""The pool of threads: same bits for every number of threads and callers, nothing left over, forks and signals."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qnn
from qnn import _kernels as kernels

threading_part = pytest.importorskip("qnn._kernels._threading", reason="the kernels are not built")
if threading_part.POOL is None:
    pytest.skip("the pool knows no threads of this system", allow_module_level=True)

COUNTS = st.one_of(st.sampled_from([1, 2, 3, 63, 64, 65, 200]), st.integers(1, 70))


def rounded(seed: int, size: int) -> tuple[bytes, qnn.numerics.Counts]:
    """Integers and counts of an operation that has noise, and as many blocks as the pool has helpers, or more."""
    values = np.random.default_rng(seed).normal(0, 40, size).astype(np.float32)
    target = qnn.numerics.Target(0, 8, "stochastic", qnn.numerics.Noise(seed=seed))
    ints, counts = kernels.call("quantize", values, target)
    return ints.tobytes(), counts


@pytest.fixture(autouse=True)
def _number_of_threads():
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)


@given(COUNTS, st.sampled_from([0, 1, 16384, 16385, 300_001]))
def test_the_number_of_threads_changes_nothing(count: int, size: int) -> None:
    with kernels.threads(1):
        alone = rounded(3, size)
    with kernels.threads(count):
        assert rounded(3, size) == alone


def test_threads_start_when_they_are_wanted_and_never_more_than_the_pool_has() -> None:
    with kernels.threads(3):
        rounded(1, 300_001)
    assert threading_part.started() >= 2
    with kernels.threads(1000):
        rounded(1, 2_000_001)
    assert threading_part.started() <= 63  # fewer where the system gives no more


def test_callers_beside_each_other_get_their_own_results() -> None:
    """One of them has the pool, the others do their blocks themselves."""
    kernels.set_num_threads(4)
    wanted = {seed: rounded(seed, 200_001) for seed in range(4)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(30):
            if rounded(seed, 200_001) != wanted[seed]:
                wrong.append(seed)

    callers = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own() -> None:
    kernels.set_num_threads(3)
    wanted = rounded(5, 200_001)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            fresh = threading_part.started() == 0
            os._exit(0 if fresh and rounded(5, 200_001) == wanted and threading_part.started() == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert rounded(5, 200_001) == wanted


HELPERS = """
import os, time
import numpy as np
import qnn._kernels as kernels
def threads():
    return set(os.listdir("/proc/self/task"))
def fact(thread, name):
    lines = open(f"/proc/self/task/{thread}/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(name + ":"))
kernels.set_num_threads(4)
before = threads()
kernels.call("relu", np.ones(1 << 20, np.int8))
helpers = threads() - before
assert len(helpers) == 3, helpers
deadline = time.monotonic() + 30
while {fact(helper, "State") for helper in helpers} != {"S"} and time.monotonic() < deadline:
    time.sleep(0.05)
print({fact(helper, "State") for helper in helpers})
keyboard = 1 << 1  # SIGINT
print(all(int(fact(helper, "SigBlk"), 16) & keyboard for helper in helpers))
fault = 1 << 10  # SIGSEGV, for whoever reports crashes
print(any(int(fact(helper, "SigBlk"), 16) & fault for helper in helpers))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_helpers_without_work_sleep_and_leave_signals_to_the_program() -> None:
    done = subprocess.run([sys.executable, "-c", HELPERS], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["{'S'}", "True", "False"]


ROUNDED_UP = """
import ctypes, ctypes.util
import numpy as np
import qnn._kernels as kernels
library = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
kernels.set_num_threads(4)
assert library.fesetround(0x800) == 0  # upwards
kernels.call("relu", np.ones(1 << 20, np.int8))  # the helpers start here
assert library.fesetround(0) == 0
w, g = np.random.default_rng(0).normal(size=(2, 1 << 20)).astype(np.float32)
step = lambda: kernels.call("sgd", w, g, np.zeros_like(w), 0.7, 0.9)[0]
with kernels.threads(1):
    wanted = step()
print(sum(int((step() != wanted).sum()) for _ in range(20)))
"""


@pytest.mark.skipif(
    not (sys.platform.startswith("linux") and platform.machine() == "x86_64"), reason="numbers of rounding modes"
)
@pytest.mark.clause("FLT-1")
def test_helpers_have_a_mode_of_their_own() -> None:
    """A thread inherits its creator's rounding mode; helpers started in another one must round to nearest."""
    done = subprocess.run([sys.executable, "-c", ROUNDED_UP], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["0"]
