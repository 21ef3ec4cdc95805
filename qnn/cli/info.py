"""``qnn info``: what is installed and what runs: versions, processor, kernel paths, data sets."""

from __future__ import annotations

from typing import Any

import click

from qnn.cli.common import print_json, print_table


@click.command("info", short_help="Show versions, processor, kernel paths and data sets.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--kernels", "operations", is_flag=True, help="Also the path of every operation.")
def command(as_json: bool, operations: bool) -> None:
    """Show versions, processor, kernel paths, threads and the data sets that are here."""
    facts = collect(operations)
    if as_json:
        print_json(facts)
        return
    rows = [
        ("qnn", f"{facts['qnn']} on Python {facts['python']}, {facts['system']}"),
        ("processor", f"{facts['cpu']}, {facts['cpus_allowed']} usable"),
        ("kernel paths", f"{', '.join(facts['kernel_paths'])}; in use: {facts['kernels']}"),
        ("threads", str(facts["threads"])),
        ("data folder", facts["data_folder"]),
        ("data sets here", ", ".join(facts["data"]) or "none"),
        ("models", ", ".join(facts["models"])),
        ("recipes", ", ".join(facts["recipes"])),
        ("packages", ", ".join(f"{name} {version}" for name, version in facts["packages"].items())),
    ]
    print_table("qnn info", rows)
    if operations:
        print_table("path of each operation", facts["operations"].items())


def collect(operations: bool) -> dict[str, Any]:
    """The facts as plain values."""
    from qnn import _kernels, models, recipes
    from qnn.cli.machine import machine, package_versions
    from qnn.errors import ConfigError

    try:
        path, threads = _kernels.active_path(), _kernels.get_num_threads()
    except (ValueError, TypeError) as error:  # a wrong value in the environment
        raise ConfigError(str(error)) from error
    folder, found = data_here()
    facts = {
        **machine(),
        "kernels": path,
        "kernel_paths": list(_kernels.available_kernels()),
        "threads": threads,
        "data_folder": folder,
        "data": found,
        "models": models.names(),
        "recipes": recipes.names(),
        "packages": package_versions(),
    }
    if operations:
        facts["operations"] = {operation: _kernels.active_path(operation) for operation in sorted(_kernels.TABLE)}
    return facts


def data_here() -> tuple[str, list[str]]:
    """The data folder, and the names of the data sets that are on this machine."""
    from qnn import data

    return str(data.data_root()), [row.name for row in data.catalogue() if row.state in ("present", "built in")]
