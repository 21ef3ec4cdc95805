"""The data set that a run's settings name, cut to squares where its pictures and its network want that."""

from __future__ import annotations

from pathlib import Path

from qnn import data as qnn_data
from qnn import models
from qnn.data.dataset import Dataset
from qnn.data.folder import needs_crop
from qnn.training.config import TrainConfig


def load_split(config: TrainConfig, split: str) -> Dataset:
    """The training or test part of the data set.

    Parameters
    ----------
    config : TrainConfig
        Its ``crop`` is the side of the squares. If that is 0 and the network was published for pictures of one side
        (``qnn.models.picture_side``), a folder whose pictures differ in size or are larger is cut to that side.
    split : {"train", "test"}

    Raises
    ------
    DataError
        As :func:`qnn.data.load`.
    """
    side = config.crop or models.picture_side(config.model)
    own = config.data not in qnn_data.names()
    if not config.crop and not (side and own and needs_crop(Path(config.data).expanduser(), side)):
        side = None
    return qnn_data.load(config.data, split=split, crop=side)


__all__ = ["load_split"]
