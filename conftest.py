"""Decides which copy of qnn the tests run, so that a run in the checkout never skips the compiled kernels by accident.

1. The checkout, if its extensions are built in place.
2. Otherwise an installed qnn that has them; the checkout is then taken off the import path.
3. Otherwise, with a C compiler at hand, the run is refused: the kernels would go untested. QNN_KERNELS=reference says
   that testing the reference path alone is meant.
4. Without a compiler: the checkout, on the reference path.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXTENSIONS = ("_memory", "_mac", "_elem", "_bench")


def missing_extensions(package: Path) -> list[str]:
    """Return the extensions that are not built in this copy of the package."""
    endings = importlib.machinery.EXTENSION_SUFFIXES
    return [name for name in EXTENSIONS if not any((package / "_kernels" / (name + end)).exists() for end in endings)]


def without_checkout() -> list[str]:
    """Return sys.path without the entries that mean the checkout."""
    return [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]


def installed_package() -> Path | None:
    """Return the folder of a qnn that is installed outside the checkout, if there is one."""
    spec = importlib.machinery.PathFinder.find_spec("qnn", without_checkout())
    return Path(spec.origin).resolve().parent if spec is not None and spec.origin else None


def is_stale(package: Path) -> bool:
    """Whether a source of the extensions in this copy was changed after they were built."""
    folder = package / "_kernels"
    sources = [*folder.glob("*.px[di]"), *folder.glob("*.pyx"), *folder.glob("src/*.[ch]")]
    built = [path for end in importlib.machinery.EXTENSION_SUFFIXES for path in folder.glob(f"_*{end}")]
    return max(path.stat().st_mtime for path in sources) > max(path.stat().st_mtime for path in built)


def c_compiler() -> str | None:
    """Return a C compiler of this machine."""
    configured = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "").split()
    return next((found for name in [*configured[:1], "cc", "gcc", "clang"] if (found := shutil.which(name))), None)


def choose() -> str:
    """Arrange sys.path and return one line that says what is tested."""
    checkout_missing = missing_extensions(HERE / "qnn")
    installed = installed_package()
    if not checkout_missing:
        sys.path[:] = [str(HERE), *without_checkout()]
        stale = ", which are OLDER than their sources: run python setup.py build_ext --inplace"
        return "qnn: the checkout, with its compiled kernels" + (stale if is_stale(HERE / "qnn") else "")
    if installed is not None and not missing_extensions(installed):
        sys.path[:] = without_checkout()
        os.environ["PYTHONSAFEPATH"] = "1"  # so that the processes that tests start see the same copy,
        if sys.version_info < (3, 11):  # also where Python does not know that variable
            os.chdir(HERE / "tests")
        return f"qnn: installed in {installed.parent}, with its compiled kernels"
    compiler = c_compiler()
    if compiler and os.environ.get("QNN_KERNELS") != "reference":
        # Not an exception: while conftest files are loaded, pytest would bury the message under its own trace.
        print(
            f"ERROR: got a checkout without its compiled kernels ({', '.join(checkout_missing)} missing) although a C "
            f"compiler is there ({compiler}); the tests must exercise them. Build them with `python setup.py build_ext "
            "--inplace` (needs cython and numpy) or install the package with `pip install .`; to test the reference "
            "path alone set QNN_KERNELS=reference.",
            file=sys.stderr,
        )
        raise SystemExit(int(pytest.ExitCode.USAGE_ERROR))
    sys.path[:] = [str(HERE), *without_checkout()]
    return "qnn: the checkout, on the reference path" + ("" if compiler else " (no C compiler on this machine)")


def load_coverage() -> type:
    """Import tests/kernel_coverage.py by its place; the tests folder is no package."""
    spec = importlib.util.spec_from_file_location("qnn_kernel_coverage", HERE / "tests" / "kernel_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.KernelCoverage


CHOSEN = choose() if "qnn" not in sys.modules else f"qnn: {sys.modules['qnn'].__file__}, imported before the tests"


def pytest_configure(config: pytest.Config) -> None:
    """Register the record of kernel paths."""
    config.pluginmanager.register(load_coverage()(config, HERE / "tests" / "kernels"), "qnn-kernel-coverage")


def pytest_report_header() -> str:
    """Say at the top which qnn is tested."""
    return CHOSEN
