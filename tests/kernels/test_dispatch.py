"""The dispatch table: choosing, forcing, falling through, threads, the environment, and what show_runtime says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import qnn
import qnn._kernels as kernels

PACKAGE_PARENT = Path(qnn.__file__).resolve().parents[1]
compiled = pytest.mark.skipif(len(kernels.available_kernels()) == 1, reason="no compiled kernels on this machine")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a fresh interpreter that finds the same qnn."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("QNN_", "OMP_"))}
    env.update(environment, PYTHONPATH=str(PACKAGE_PARENT))
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """The last line that was printed; a traceback is shown when there is none."""
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


@pytest.fixture
def fake_operation() -> Iterator[str]:
    """An operation that says which of its paths ran; it has no avx2 version."""
    kernels.TABLE["fake"] = {"reference": lambda: "reference", "c": lambda: "c"}
    kernels._active.clear()
    yield "fake"
    del kernels.TABLE["fake"]
    kernels._active.clear()


def test_every_operation_has_a_definition() -> None:
    assert kernels.TABLE
    for operation, row in kernels.TABLE.items():
        assert "reference" in row, operation
        assert set(row) <= set(kernels.PATHS), operation


def test_available_kernels_are_in_order_and_end_with_the_reference() -> None:
    available = kernels.available_kernels()
    assert available[-1] == "reference"
    assert available == [path for path in kernels.PATHS if path in available]


def test_use_kernels_restores_the_path_also_after_an_error() -> None:
    before = kernels.active_path()
    with kernels.use_kernels("reference"):
        assert kernels.active_path() == "reference"
        assert kernels.active_path("gemm") == "reference"
    assert kernels.active_path() == before
    with pytest.raises(KeyError), kernels.use_kernels("reference"):
        kernels.call("no_such_operation")
    assert kernels.active_path() == before


def test_use_kernels_nests_and_works_as_a_plain_call() -> None:
    for path in kernels.available_kernels():
        kernels.use_kernels(path)
        assert kernels.active_path() == path
        with kernels.use_kernels("reference"):
            with kernels.use_kernels(path):
                assert kernels.active_path() == path
            assert kernels.active_path() == "reference"
        assert kernels.active_path() == path


def test_a_missing_version_falls_to_the_next_slower_one(fake_operation: str) -> None:
    for path in kernels.available_kernels():
        with kernels.use_kernels(path):
            wanted = "reference" if path == "reference" else "c"
            assert kernels.active_path(fake_operation) == wanted
            assert kernels.call(fake_operation) == wanted
            assert kernels.get(fake_operation)() == wanted
            assert kernels.runtime_info()["operations"][fake_operation] == wanted


@pytest.mark.parametrize("path", ["vnni", "avx512", "AMX", "AVX2", "", "auto"])
def test_an_unknown_path_is_refused_with_the_list(path: str) -> None:
    before = kernels.active_path()
    with pytest.raises(ValueError, match=f"got '{path}'.*available.*reference"):
        kernels.use_kernels(path)
    assert kernels.active_path() == before


def test_wrong_types_and_names() -> None:
    with pytest.raises(TypeError, match="must be a string"):
        kernels.use_kernels(2)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="the table has"):
        kernels.call("no_such_operation")
    with pytest.raises(KeyError, match="the table has"):
        kernels.active_path("no_such_operation")


@pytest.mark.parametrize("count", [0, -1, 1025])
def test_thread_numbers_out_of_range(count: int) -> None:
    before = kernels.get_num_threads()
    with pytest.raises(ValueError, match="allowed are 1 to 1024"):
        kernels.set_num_threads(count)
    with pytest.raises(ValueError, match="allowed are 1 to 1024"):
        kernels.threads(count)
    assert kernels.get_num_threads() == before


@pytest.mark.parametrize("count", [True, 1.0, "2", None])
def test_thread_numbers_of_another_type(count: object) -> None:
    with pytest.raises(TypeError, match="must be an integer"):
        kernels.set_num_threads(count)  # type: ignore[arg-type]


def test_threads_restores_the_number() -> None:
    kernels.set_num_threads(2)
    with kernels.threads(np.int64(5)):
        assert kernels.get_num_threads() == 5
        with kernels.threads(1):
            assert kernels.get_num_threads() == 1
        assert kernels.get_num_threads() == 5
    assert kernels.get_num_threads() == 2


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"QNN_NUM_THREADS": "3"}, "3"),
        ({"QNN_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3"),
        ({"OMP_NUM_THREADS": "5"}, "5"),
        ({"OMP_NUM_THREADS": "4,2"}, "4"),
        ({"OMP_NUM_THREADS": "0", "QNN_NUM_THREADS": "2"}, "2"),
    ],
)
def test_threads_from_the_environment(environment: dict[str, str], wanted: str) -> None:
    assert last_line(python("import qnn._kernels as k; print(k.get_num_threads())", **environment)) == wanted


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity masks")
def test_threads_follow_the_processors_that_are_allowed() -> None:
    code = """
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import qnn._kernels as k
print(k.get_num_threads())
"""
    assert last_line(python(code)) == "1"


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "100000"])
def test_a_wrong_number_in_the_environment_is_an_error_at_the_first_use(value: str) -> None:
    code = """
import qnn._kernels as k
try:
    k.get_num_threads()
except ValueError as error:
    print(error)
"""
    line = last_line(python(code, QNN_NUM_THREADS=value))
    assert value in line
    assert "QNN_NUM_THREADS" in line
    assert "1 to 1024" in line


@pytest.mark.parametrize("path", kernels.available_kernels())
def test_a_path_from_the_environment(path: str) -> None:
    assert last_line(python("import qnn._kernels as k; print(k.active_path('gemm'))", QNN_KERNELS=path)) == path


def test_a_wrong_path_in_the_environment_is_an_error_at_the_first_use() -> None:
    code = """
import numpy as np
import qnn._kernels as k
for attempt in range(2):
    try:
        k.call("gemm", np.ones((1, 1), np.int8), np.ones((1, 1), np.int8))
    except ValueError as error:
        print(error)
with k.use_kernels("reference"):
    print(k.call("gemm", np.ones((1, 1), np.int8), np.ones((1, 1), np.int8))[0, 0])
"""
    lines = python(code, QNN_KERNELS="sse9").stdout.strip().splitlines()
    assert lines[0] == lines[1]
    assert "got 'sse9' for QNN_KERNELS" in lines[0]
    assert ", ".join(kernels.available_kernels()) in lines[0]
    assert lines[2] == "1"


WITHOUT_EXTENSIONS = """
import sys, warnings
sys.modules["qnn._kernels._mac"] = None     # importing it raises ImportError, as on a machine without a compiler
sys.modules["qnn._kernels._elem"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import qnn._kernels as k
    import qnn
print(len([w for w in caught if "compiled kernels" in str(w.message)]), *[str(w.message) for w in caught][:1])
print(k.available_kernels(), k.active_path("gemm"), k.runtime_info()["compiler"])
"""


def test_without_compiled_kernels_one_warning_says_what_to_do() -> None:
    lines = python(WITHOUT_EXTENSIONS).stdout.strip().splitlines()
    assert lines[0].startswith("1 ")
    # A source folder that was not built hides an installed package; there the advice is another one.
    what_to_do = "build_ext --inplace" if (PACKAGE_PARENT / "setup.py").exists() else "reinstall"
    for words in ("C compiler", "QNN_KERNELS=reference", what_to_do):
        assert words in lines[0]
    assert lines[1].startswith("['reference'] reference none")


def test_the_warning_is_not_given_when_the_reference_was_asked_for() -> None:
    assert python(WITHOUT_EXTENSIONS, QNN_KERNELS="reference").stdout.strip().splitlines()[0] == "0"


def test_show_runtime_prints_what_it_returns() -> None:
    out = io.StringIO()
    info = kernels.show_runtime(file=out)
    text = out.getvalue()
    assert info["qnn"] == qnn.__version__
    assert info["threads"] == kernels.get_num_threads()
    assert set(info["operations"]) == set(kernels.TABLE)
    for words in (qnn.__version__, info["compiler"], info["path"], "gemm", "threads", np.__version__):
        assert words in text


@compiled
def test_show_runtime_names_compiler_and_processor() -> None:
    info = kernels.runtime_info()
    assert "none" not in info["compiler"]
    assert ("avx2" in info["cpu_features"]) == ("avx2" in info["available"])
    if "emulated" in info["compiler"]:
        assert info["available"][:2] == ["amx", "avx512vnni"]
        return
    vnni = {"avx2", "avx512f", "avx512bw", "avx512vl", "avx512vnni"}
    for path, features in {"avx512vnni": vnni, "amx": vnni | {"amx-tile", "amx-int8", "amx-permission"}}.items():
        assert path not in info["available"] or features <= set(info["cpu_features"])


def test_importing_the_kernels_brings_in_nothing_heavy() -> None:
    code = "import sys, qnn._kernels; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(last_line(python(code)).split())
    assert "numpy" in loaded
    assert not loaded & {"scipy", "matplotlib", "rich", "click", "pooch", "safetensors"}
