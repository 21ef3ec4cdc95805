"""A run of the benchmark as one JSON document, and the cells of its tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qnn.bench.plan import Plan, cache_bytes
from qnn.bench.rows import Row

__all__ = ["HEADER", "NUMERIC", "SCHEMA", "cells", "document"]

SCHEMA = 1
"""Version of the JSON; it grows when a name changes its meaning or goes."""

HEADER = [
    *("work", "what", "path", "thr", "ns/unit", "images/s", "GOPS", "GB/s", "of peak", "of traffic"),
    *("ratio", "memory", "checksum"),
]
NUMERIC = (3, 4, 5, 6, 7, 8, 9, 10, 11)


def document(
    plan: Plan, machine: dict[str, Any], groups: dict[str, list[Row]], versions: dict[str, Any]
) -> dict[str, Any]:
    """Everything that was measured.

    Parameters
    ----------
    plan : Plan
    machine : dict
        Versions and processor.
    groups : dict
        {group: rows}; groups that an interruption cut short have the rows that were done.
    versions : dict
        Of the peers; None for one that is missing.
    """
    rows = [row for found in groups.values() for row in found]
    for row in rows:  # against the highest peak of the whole run
        top = plan.peaks.highest(row.peak, row.threads) if row.peak else None
        if top and row.ns_per_unit:
            row.peak_fraction = 1e9 / row.ns_per_unit / top
    return {
        "schema": SCHEMA,
        "machine": {**machine, "cache_l2": cache_bytes(2), "cache_l3": cache_bytes(3)},
        "settings": {
            "quick": plan.quick,
            "threads": list(plan.threads),
            "paths": list(plan.paths),
            "peers": plan.peers,
            "turns": plan.turns,
            "seconds_per_case": plan.budget,
        },
        "peers": versions,
        "peaks": plan.peaks.plain(),
        "notes": list(plan.notes),
        "same": all(row.same is not False for row in rows),
        "groups": {name: [row.plain() for row in found] for name, found in groups.items()},
    }


def number(value: float | None) -> str:
    """Three digits that count, without powers of ten."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def share(value: float | None) -> str:
    """Per cent without decimals."""
    return "-" if value is None else f"{100 * value:.0f} %"


def cells(rows: Iterable[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a table; columns that no row fills are left out.

    Parameters
    ----------
    rows : iterable of dict
        As in the JSON.
    """
    found = []
    for row in rows:
        memory = row["memory_growth"]
        checksum = row["checksum"] or "-"
        found.append(
            [
                row["work"],
                row["variant"],
                row["path"] or "-",
                str(row["threads"]),
                "-" if row["unit"] == "image" else number(row["ns_per_unit"]),
                number(row["extra"].get("images_per_second")),
                number(row["gops"]),
                number(row["gbytes_per_second"]),
                share(row["peak_fraction"]),
                share(row["traffic_fraction"]),
                "-" if row["ratio"] is None else f"{row['ratio']:.2f}x",
                f"{memory / 2**20:,.0f} MiB" if memory else "-",
                f"{checksum} DIFFERS" if row["same"] is False else checksum,
            ]
        )
    used = [i for i in range(len(HEADER)) if any(line[i] != "-" for line in found)]
    return [HEADER[i] for i in used], [[line[i] for i in used] for line in found]
