"""Data sets: read, checked, fetched, and cut into batches whose order and augmentation are addressed, hence
repeatable."""

from __future__ import annotations

from qnn.data.batching import Batches, batches
from qnn.data.dataset import Dataset
from qnn.data.download import get
from qnn.data.listing import CatalogueRow, CheckRow, catalogue, check
from qnn.data.loading import load
from qnn.data.locate import data_root
from qnn.data.registry import names

__all__ = [
    "Batches",
    "CatalogueRow",
    "CheckRow",
    "Dataset",
    "batches",
    "catalogue",
    "check",
    "data_root",
    "get",
    "load",
    "names",
]
