"""Build a run's network again from its checkpoint alone: for evaluation, prediction and the report's histograms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnn.errors import CheckpointError, ConfigError
from qnn.training import checkpoint as checkpoints


@dataclass(frozen=True)
class Restored:
    """A network as its checkpoint holds it, in evaluation mode.

    Parameters
    ----------
    model : Module
        Takes uint8 images [N, H, W, C], gives logits [N, classes].
    sites : list of (str, Quantizer)
        All quantisation sites with the names that the traces use, those of the loss included.
    input_shape : (height, width, channels)
    classes : list of str
    identity : Identity
        Names of model and recipe, checksum of the training set, version.
    step : int
        Completed steps.
    digest : str
        The chain after that step, hexadecimal.
    file : Path
        The checkpoint that was read.
    note : str
        Empty, or why it is not the newest one.
    """

    model: Any
    sites: list[tuple[str, Any]]
    input_shape: tuple[int, int, int]
    classes: list[str]
    identity: checkpoints.Identity
    step: int
    digest: str
    file: Path
    note: str = ""


def restore(folder: Path, seed: int = 0) -> Restored:
    """Read the newest good checkpoint of a run and build its network.

    Parameters
    ----------
    folder : Path
        The run.
    seed : int
        Of the run; matters only to recipes that round weights stochastically.

    Raises
    ------
    CheckpointError
        If no checkpoint is whole, or it does not fit this version of the package.
    """
    newest, previous = folder / checkpoints.CHECKPOINT, folder / checkpoints.PREVIOUS
    note = ""
    try:
        loaded, file = checkpoints.load(newest), newest
    except CheckpointError as error:
        if not previous.exists():
            raise
        try:
            loaded, file = checkpoints.load(previous), previous
        except CheckpointError:
            raise error from None  # what is wrong with the newest is the news
        note = f"{error}. Taken instead: {previous.name}"
    return _build(loaded, file, note, seed)


def _build(loaded: checkpoints.Checkpoint, file: Path, note: str, seed: int) -> Restored:
    from qnn import models, nn, recipes

    state = loaded.state
    try:
        height, width, channels = (int(v) for v in state["input_shape"])
        classes = [str(name) for name in state["classes"]]
        recipe = recipes.parse(loaded.identity.recipe)
        model = models.build(
            loaded.identity.model,
            recipe=recipe,
            input_shape=(height, width, channels),
            classes=len(classes),
            mean=tuple(state["mean"]),
            std=tuple(state["std"]),
            seed=seed,
        )
        criterion = nn.criterion(recipe)
        run = nn.prepare(model, criterion, seed=seed)
        model.load_state_dict(loaded.part("model"))
        criterion.load_state_dict(loaded.part("criterion"))
        run.step = int(state["run_step"])
        step, digest = int(state["step"]), str(state["digest"])
    except ConfigError as error:
        raise CheckpointError(f"{file} names what this version of qnn does not know: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file} lacks what is needed to build its network again ({type(error).__name__}: {error}); "
            "only checkpoints that `qnn train` wrote have it; train the run again"
        ) from error
    model.eval()
    return Restored(
        model, list(run.sites), (height, width, channels), classes, loaded.identity, step, digest, file, note
    )


def weights_of(model: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each weight tensor with an integer copy: (module name, module, parameter: float32 master, or DFP without one)."""
    for name, module in model.named_modules():
        if hasattr(module, "weight_site") and hasattr(module, "weight"):
            yield name, module, module.weight
