"""Data sets: read, checked, fetched, and cut into batches whose order and augmentation are addressed, hence
repeatable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qnn.data.batching import Batches, batches
from qnn.data.dataset import Dataset
from qnn.data.listing import CatalogueRow, CheckRow, catalogue, check
from qnn.data.loading import load
from qnn.data.locate import data_root
from qnn.data.pictures import Pictures
from qnn.data.registry import names

if TYPE_CHECKING:
    from qnn.data.download import get


def __getattr__(name: str) -> Any:
    """Load what fetches data sets when it is first asked for; archives and transfers are no part of a quick import."""
    if name == "get":
        from qnn.data.download import get

        return get
    raise AttributeError(f"module 'qnn.data' has no attribute {name!r}")


__all__ = [
    "Batches",
    "CatalogueRow",
    "CheckRow",
    "Dataset",
    "Pictures",
    "batches",
    "catalogue",
    "check",
    "data_root",
    "get",
    "load",
    "names",
]
