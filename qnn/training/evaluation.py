"""Evaluate a model on a data set: accuracy, exact loss, confusion matrix, and the examples it does worst on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qnn.data.dataset import Dataset
from qnn.errors import FreezeError
from qnn.inference import PRODUCTS, freeze
from qnn.nn import LOSSES
from qnn.numerics.loss import LOSS_FRACTION_BITS, predict
from qnn.operation import no_grad

if TYPE_CHECKING:
    from qnn.nn import Module

WORST = 24


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a data set.

    Parameters
    ----------
    accuracy : float
        Share of right predictions.
    loss : float
        Mean of the recipe's loss (cross-entropy in nats), from an exact sum.
    confusion : int64 [C, C]
        Rows: true class; columns: predicted class.
    predictions : int64 [N]
        Predicted class per sample.
    losses : int64 [N]
        Loss per sample in units of 2^-20.
    worst : int64 [M]
        Samples of the largest loss, worst first, ties by position.
    outputs : str
        sha256 of all outputs, float32 in little-endian order, sample by sample.
    """

    accuracy: float
    loss: float
    confusion: NDArray[np.int64]
    predictions: NDArray[np.int64]
    losses: NDArray[np.int64]
    worst: NDArray[np.int64]
    outputs: str

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """The content of ``evaluation.json`` (see :mod:`qnn.training.runs`)."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "classes": list(dataset.classes),
            "confusion": self.confusion.tolist(),
            "worst": [
                {
                    "index": int(i),
                    "label": int(dataset.labels[i]),
                    "predicted": int(self.predictions[i]),
                    "loss": float(self.losses[i]) * 2.0**-LOSS_FRACTION_BITS,
                }
                for i in self.worst
            ],
        }


LAYERS = "layers"
FORMS = (*PRODUCTS, LAYERS)
"""What :func:`evaluate` may be asked for."""


def runner(
    model: Module, dataset: Dataset, products: str = "auto"
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The network from images to logits: frozen where it can be, which is faster; the same bits unless it truncates."""
    if products != LAYERS:
        try:
            return freeze(model, dataset.images[:1], products=products)
        except FreezeError:
            if products != "auto":
                raise
    return lambda images: model(images).numpy()


def evaluate(model: Module, dataset: Dataset, batch_size: int = 256, products: str = "auto") -> Evaluation:
    """Run a model over a data set in evaluation mode; the model is left in the mode it was in.

    Parameters
    ----------
    model : Module
        Takes uint8 images [N, H, W, C], gives logits [N, classes].
    dataset : Dataset
        Images and labels.
    batch_size : int
        Images at a time, at least 1.
    products : {"auto", "multiply", "xnor", "shift", "shift-truncating", "layers"}
        How the frozen network multiplies, as :func:`qnn.inference.freeze` takes it; "auto" runs layer by layer what
        cannot be frozen. "layers" does not freeze. The outputs are the same but for "shift-truncating".

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If `batch_size` is below 1, `products` is unknown, or the logits are not finite.
    qnn.errors.FreezeError
        If the network cannot be frozen with the products asked for.

    Notes
    -----
    Bit-exactness: clauses LOSS-1 to LOSS-3 and LOSS-5; in an integer recipe the batch size may vary, since exponents
    and statistics are frozen.
    """
    if batch_size < 1:
        raise ValueError(f"got batch_size {batch_size} for an evaluation; it must be at least 1; 256 is usual")
    if products not in FORMS:
        raise ValueError(f"got products={products!r} for an evaluation; allowed are {', '.join(FORMS)}")
    was_training = model.training
    model.eval()
    outputs = hashlib.sha256()
    loss = LOSSES[model.recipe.loss].function
    losses = np.empty(len(dataset), np.int64)
    predictions = np.empty(len(dataset), np.int64)
    try:
        run = runner(model, dataset, products)
        with no_grad():
            for begin in range(0, len(dataset), batch_size):
                part = slice(begin, begin + batch_size)
                logits = run(dataset.images[part])
                outputs.update(np.ascontiguousarray(logits, "<f4").data)
                losses[part], _ = loss(logits, dataset.labels[part])
                predictions[part] = predict(logits)
    finally:
        model.train(was_training)
    classes = len(dataset.classes)
    confusion = np.bincount(dataset.labels * classes + predictions, minlength=classes * classes).reshape(
        classes, classes
    )
    return Evaluation(
        accuracy=int(np.trace(confusion)) / len(dataset),
        loss=int(losses.sum()) * 2.0**-LOSS_FRACTION_BITS / len(dataset),
        confusion=confusion.astype(np.int64),
        predictions=predictions,
        losses=losses,
        worst=np.argsort(-losses, kind="stable")[:WORST],
        outputs=outputs.hexdigest(),
    )
