"""Training as a run: settings, folder, checkpoints, digests; interruptible, resumable, the same bits each time."""

from __future__ import annotations

from qnn.training.config import TrainConfig
from qnn.training.control import resume, runtime, train
from qnn.training.evaluation import Evaluation, evaluate
from qnn.training.session import OnEvent, Result

__all__ = ["Evaluation", "OnEvent", "Result", "TrainConfig", "evaluate", "resume", "runtime", "train"]
