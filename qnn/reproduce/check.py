"""Does a finished run give the same bits however its products are made? Looked at on its whole test set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qnn.errors import NoProductsError, SpecError


@dataclass(frozen=True)
class Products:
    """Outputs of one network on one test set, by the ways that its products can be made.

    Parameters
    ----------
    images : int
    accuracy : float
        Share of right predictions.
    ways : tuple of str
        "layers", the network itself, and the ``products`` of :func:`qnn.inference.freeze` that it allows.
    outputs : str
        SHA-256 of all outputs, float32 little-endian, images in order; the same for all ways.
    """

    images: int
    accuracy: float
    ways: tuple[str, ...]
    outputs: str


def check(folder: Path, batch_size: int = 250) -> Products:
    """Run the whole test set through a finished run's network in every way that it allows.

    Parameters
    ----------
    folder : Path
        The run.
    batch_size : int
        Images at a time.

    Raises
    ------
    qnn.errors.SpecError
        If an output differs in any bit; names the ways.
    qnn.errors.FreezeError
        If the network is of float32 layers: those have one way only.

    Notes
    -----
    Bit-exactness: clauses LAY-11, WGT-11, BIT-12.
    """
    from qnn.report.restore import restore
    from qnn.training import evaluate, runtime
    from qnn.training.evaluation import LAYERS
    from qnn.training.inputs import load_split
    from qnn.training.runs import RunFolder

    config = RunFolder(folder).config()
    model = restore(folder, config.seed).model
    test = load_split(config, "test")
    found = {}
    with runtime(config):
        for way in (LAYERS, "multiply", "shift", "xnor"):
            try:
                found[way] = evaluate(model, test, batch_size, way)
            except NoProductsError:
                continue
    told = found[LAYERS]
    if different := [way for way, tested in found.items() if tested.outputs != told.outputs]:
        raise SpecError(
            f"got other outputs from products {', '.join(different)} than from the layers on the test set of {folder}; "
            "all bits must be equal: report it"
        )
    return Products(len(test), told.accuracy, tuple(found), told.outputs)


__all__ = ["Products", "check"]
