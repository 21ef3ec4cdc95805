"""What the machine is: versions, processor, kernel paths. For ``qnn info`` and the record in a run folder."""

from __future__ import annotations

import platform
from typing import Any

PACKAGES = ("numpy", "scipy", "click", "rich", "safetensors", "pooch", "matplotlib")


def machine() -> dict[str, Any]:
    """Versions and processor as plain values; nothing that names a person or a host."""
    import numpy

    from qnn import __version__
    from qnn._kernels import allowed_cpus

    return {
        "qnn": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cpus_allowed": allowed_cpus(),
    }


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip().lower() in ("model name", "hardware", "cpu model"):
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def package_versions() -> dict[str, str]:
    """Versions of the packages that qnn stands on; ``missing`` for one that is not there."""
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
