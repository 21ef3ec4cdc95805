"""Does a finished run give the same bits however its products are made? Looked at on its whole test set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from qnn.errors import FreezeError, SpecError
from qnn.training.files import write_atomically

PRODUCTS = "products.json"


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
    digest : str
        SHA-256 of all outputs, float32 little-endian, images in order; the same for all ways.
    """

    images: int
    accuracy: float
    ways: tuple[str, ...]
    digest: str


def check(folder: Path, batch_size: int = 250) -> Products:
    """Run the whole test set through a finished run's network in every way, and write ``products.json`` beside it.

    Parameters
    ----------
    folder : Path
        The run.
    batch_size : int
        Images at a time.

    Raises
    ------
    qnn.errors.SpecError
        If an output differs in any bit; names the way, and the first image.
    qnn.errors.FreezeError
        If the network is of float32 layers: those have one way only.

    Notes
    -----
    Bit-exactness: clauses LAY-11, WGT-11, BIT-12.
    """
    from qnn.inference import freeze
    from qnn.operation import no_grad
    from qnn.report.restore import restore
    from qnn.training.inputs import load_split
    from qnn.training.runs import RunFolder

    config = RunFolder(folder).config()
    model = restore(folder, config.seed).model
    test = load_split(config, "test")
    example = test.images[:1]
    ways: dict[str, Any] = {"multiply": freeze(model, example, products="multiply")}
    for products in ("shift", "xnor"):
        try:
            ways[products] = freeze(model, example, products=products)
        except FreezeError:  # no layer of that kind
            continue
    told, right = sha256(), 0
    with no_grad():
        for begin in range(0, len(test), batch_size):
            part = slice(begin, begin + batch_size)
            want = model(test.images[part]).numpy()
            for way, run in ways.items():
                different = (run(test.images[part]).view(np.uint32) != want.view(np.uint32)).any(axis=1)
                if different.any():
                    raise SpecError(
                        f"got other outputs from products={way!r} than from the layers for image "
                        f"{begin + int(different.argmax())} of {folder}; all bits must be equal: report it"
                    )
            told.update(want.astype("<f4").tobytes())
            right += int((want.argmax(axis=1) == test.labels[part]).sum())
    found = Products(len(test), right / len(test), ("layers", *ways), told.hexdigest())
    write_atomically(folder / PRODUCTS, [(json.dumps(asdict(found)) + "\n").encode()])
    return found


__all__ = ["PRODUCTS", "Products", "check"]
