"""``qnn predict``: what a trained network says about picture files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from qnn.cli.common import find_run, percent, print_grid, print_json
from qnn.errors import DataError


@click.command("predict", short_help="Classify picture files.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--run", metavar="RUN", help="Run folder.  [default: the latest in ./runs]")
@click.option(
    "--top", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Classes to show per picture."
)
@click.option("--invert", is_flag=True, help="Swap dark and light first: for dark strokes on white paper.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
def command(images: tuple[Path, ...], run: str | None, top: int, invert: bool, as_json: bool) -> None:
    """Say what the network of a run sees in picture files (PNG, JPEG and what else Pillow reads).

    Pictures of any size and colour are taken: they are turned upright by their EXIF mark, laid on black where they are
    transparent, made grey or RGB as the network wants, and scaled to its size with a box filter (the proportions are
    not kept). The digits of the digits and mnist sets are light strokes on black: use --invert for ink on paper.
    """
    from qnn.report.restore import restore
    from qnn.training.runs import RunFolder

    folder = RunFolder(find_run(run))
    restored = restore(folder.path, folder.config().seed)
    if restored.note:
        click.echo(restored.note, err=True)
    batch = np.stack([read_picture(path, restored.input_shape, invert) for path in images])
    chances = probabilities(restored.model, batch)
    results: list[tuple[str, list[tuple[str, float]]]] = []
    for path, row in zip(images, chances, strict=True):
        order = np.argsort(-row, kind="stable")[: min(top, len(row))]
        results.append((str(path), [(restored.classes[i], float(row[i])) for i in order]))
    if as_json:
        predictions = [
            {"image": name, "top": [{"class": said, "probability": chance} for said, chance in best]}
            for name, best in results
        ]
        print_json({"run_dir": str(folder.path), "step": restored.step, "predictions": predictions})
        return
    rows = [
        [name if place == 0 else "", said, percent(chance, 1)]
        for name, best in results
        for place, (said, chance) in enumerate(best)
    ]
    print_grid(["image", "class", "probability"], rows, numeric=[2])
    click.echo(f"run {folder.path}, step {restored.step}")


def probabilities(model: Any, batch: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Softmax of the logits [N, classes], in float64, for people to read."""
    from qnn.operation import no_grad

    with no_grad():
        logits = model(batch).numpy().astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def read_picture(path: Path, shape: tuple[int, int, int], invert: bool = False) -> NDArray[np.uint8]:
    """A picture file as uint8 [H, W, C] of the network's input shape (the rule is in the command's help).

    Raises
    ------
    DataError
        If the file is missing or no picture, or the network takes neither grey nor RGB.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise DataError(
            "got pictures to read but Pillow is not installed; it reads PNG and JPEG; install it: pip install pillow"
        ) from error
    height, width, channels = shape
    if channels not in (1, 3):
        raise DataError(
            f"got a network that takes {channels} channels; pictures have 1 (grey) or 3 (RGB); "
            "use qnn eval with an .npz file"
        )
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
                upright = _to_8_bits(np.asarray(upright, np.float64), Image)
            clear = upright.convert("RGBA")
    except FileNotFoundError as error:
        raise DataError(f"got the picture {str(path)!r}; there is no such file; check the path") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"got {str(path)!r}, which is no whole picture ({error}); allowed are PNG, JPEG and what else "
            "Pillow reads; check the file"
        ) from error
    except OSError as error:
        hint = "name a run with --run, pictures without an option" if path.is_dir() else "check it"
        raise DataError(
            f"cannot read {str(path)!r} ({error.strerror or error}); it must be a whole picture file; {hint}"
        ) from error
    ground = Image.new("RGBA", clear.size, (0, 0, 0, 255))
    flat = Image.alpha_composite(ground, clear).convert("L" if channels == 1 else "RGB")
    if invert:
        flat = ImageOps.invert(flat)
    scaled = flat.resize((width, height), Image.Resampling.BOX)
    return np.asarray(scaled, np.uint8).reshape(shape)


def _to_8_bits(values: NDArray[np.float64], image: Any) -> Any:
    """Greys of 16 bits and floats by the range of their type: 0..65535, or 0..1 when they lie there, to 0..255."""
    top = 1.0 if values.max(initial=0.0) <= 1.0 else 65535.0
    return image.fromarray(np.clip(np.floor(values * (255.0 / top) + 0.5), 0, 255).astype(np.uint8))
