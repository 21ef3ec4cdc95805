"""Check what the sdist and the wheel hold: ``python tools/check_dist.py dist/*``."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL_NEEDS = (
    "qnn/py.typed",
    "qnn/data/digits.npz",
    "qnn/data/DIGITS_LICENSE.txt",
    "qnn/numerics/rounding.py",
    "qnn/_kernels/_memory.pyi",
    "qnn/_kernels/_threading.pyi",
    "qnn/_kernels/_mac.pyi",
    "qnn/_kernels/_elem.pyi",
    "qnn/_kernels/_bench.pyi",
    "qnn/bench/__init__.py",
    "qnn/cli/__init__.py",
)
REFUSED_ENDINGS = (".pyx", ".c", ".h", ".pyc", ".tmp")
REFUSED_FOLDERS = ("tests/", "benchmarks/", "docs/", "tools/")
GENERATED = tuple(f"qnn/_kernels/{name}.c" for name in ("_memory", "_threading", "_mac", "_elem", "_bench"))
SDIST_NEEDS = (
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "setup.py",
    "pyproject.toml",
    "qnn/_kernels/_memory.pyx",
    "qnn/_kernels/_threading.pyx",
    "qnn/_kernels/_threading.pxi",
    "qnn/_kernels/_mac.pyx",
    "qnn/_kernels/_elem.pyx",
    "qnn/_kernels/_bench.pyx",
    "qnn/_kernels/src/qnn_epilogue.h",
    "docs/spec/02-rounding.md",
    "tests/conftest.py",
    "tools/check_clauses.py",
)


def wheel_faults(path: Path) -> list[str]:
    """What a wheel lacks or should not hold."""
    names = zipfile.ZipFile(path).namelist()
    faults = [f"lacks {need}" for need in WHEEL_NEEDS if need not in names]
    faults += [f"holds {name}" for name in names if name.endswith(REFUSED_ENDINGS) or name.startswith(REFUSED_FOLDERS)]
    if not any(name.startswith("qnn/_kernels/_mac.") and name.endswith((".so", ".pyd")) for name in names):
        faults.append("lacks the compiled kernels (is there a C compiler?)")
    if not any(name.endswith(("licenses/LICENSE", ".dist-info/LICENSE")) for name in names):
        faults.append("lacks the LICENSE")
    if path.stat().st_size > 5_000_000:
        faults.append(f"is {path.stat().st_size:,} bytes; 5,000,000 are allowed")
    return faults


def sdist_faults(path: Path) -> list[str]:
    """What an sdist lacks or should not hold."""
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    faults = [f"lacks {need}" for need in SDIST_NEEDS if need not in names]
    faults += [f"holds {name}" for name in names if name.endswith((".so", ".pyc")) or name in GENERATED]
    return faults


def main(paths: list[str]) -> int:
    """Check each file; 1 if anything is wrong."""
    kinds = {".whl": wheel_faults, ".gz": sdist_faults}
    if {Path(p).suffix for p in paths} != set(kinds):
        print(f"got {paths}; one wheel and one sdist are wanted")
        return 1
    bad = 0
    for path in map(Path, paths):
        faults = kinds[path.suffix](path)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {'; '.join(faults) if faults else 'complete'}")
        bad += len(faults)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
