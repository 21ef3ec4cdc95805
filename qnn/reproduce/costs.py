"""What the rows of an experiment cost: bits, bytes of weights, images per second, energy by counting operations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qnn.errors import RunError
from qnn.operation import no_grad
from qnn.reproduce.experiment import Experiment, Row
from qnn.reproduce.records import RESULT, config_of, folder_of

HEADER = ["row", "weights", "activations", "gradients", "weight bytes", "train images/s", "infer images/s", "nJ/image"]

_WARM, _ROUNDS = 2, 15
_BATCH = 128  # images of an inference


@dataclass(frozen=True)
class Cost:
    """One row.

    Parameters
    ----------
    row, weights, activations, gradients : str
        Its name; the codes of its recipe's weights, what its activation layers give, the format of its gradients.
    weight_bytes : int
        Of the weights of convolutions and dense layers as codes of the recipe's width, without Huffman codes.
    training, inference : float
        Images per second, the median of interleaved rounds; inference is frozen where the recipe can be, at 128 images.
    nanojoules : float
        Of an image's multiplications and additions at 45 nm (:mod:`qnn.report.energy`).
    """

    row: str
    weights: str
    activations: str
    gradients: str
    weight_bytes: int
    training: float
    inference: float
    nanojoules: float


def costs(experiment: Experiment, root: Path, *, quick: bool = False, rounds: int = _ROUNDS) -> list[Cost]:
    """Measure the rows whose first seed has been run, all of them in turn in each round.

    Parameters
    ----------
    experiment : Experiment
    root : Path
        Folder of the runs.
    quick : bool
        Which form.
    rounds : int
        Steps and inferences per row that are timed, at least 1.

    Raises
    ------
    RunError
        If no row has been run.
    """
    seed = experiment.all_seeds(quick=quick)[0]
    rows = [row for row in experiment.rows if (folder_of(root, experiment, row, seed, quick=quick) / RESULT).exists()]
    if not rows:
        raise RunError(
            f"got no finished run of {experiment.name} below {root}; costs are those of trained networks: run "
            f"`qnn reproduce run {experiment.name}{' --quick' if quick else ''}` first, or name the folder with --runs"
        )
    measured = [_Row(experiment, row, seed, root, quick) for row in rows]
    training = _in_turn([row.train for row in measured], rounds)
    inference = _in_turn([row.infer for row in measured], rounds)
    return [row.cost(*speeds) for row, *speeds in zip(measured, training, inference, strict=True)]


def table(found: Sequence[Cost]) -> list[list[str]]:
    """Lines under :data:`HEADER`."""
    return [
        [
            c.row, c.weights, c.activations, c.gradients,
            f"{c.weight_bytes:,}", f"{c.training:,.0f}", f"{c.inference:,.0f}", f"{c.nanojoules:,.0f}",
        ]
        for c in found
    ]  # fmt: skip


class _Row:
    """A trained network with its data: one step of training, one inference."""

    def __init__(self, experiment: Experiment, row: Row, seed: int, root: Path, quick: bool) -> None:
        from qnn.report.restore import restore
        from qnn.training.evaluation import runner
        from qnn.training.inputs import load_split
        from qnn.training.trainer import Trainer

        self.row = row
        config = config_of(root, experiment, row, seed, quick=quick)
        self.model = restore(folder_of(root, experiment, row, seed, quick=quick), seed).model
        test = load_split(config, "test")
        self.images = test.images[:_BATCH]
        self._forward = runner(self.model, test)
        self._trainer = Trainer(config, load_split(config, "train"))
        self._batch = next(iter(self._trainer.batches(background=False)))

    def train(self) -> int:
        """Take a step; how many images it had."""
        self._trainer.train_step(*self._batch)
        return len(self._batch[0])

    def infer(self) -> int:
        """Classify a batch; how many images it had."""
        with no_grad():
            self._forward(self.images)
        return len(self.images)

    def cost(self, training: float, inference: float) -> Cost:
        """The row with what was timed."""
        from qnn import recipes
        from qnn.recipes.words import outputs, weight_codes
        from qnn.report import compression, energy

        recipe = recipes.parse(self.row.recipe)
        if recipe.is_integer:
            bits = compression.total(compression.layer_sizes(self.model)).quantized
        else:
            bits = 32 * sum(p.data.size for name, p in self.model.named_parameters() if p.data.ndim > 1)
        return Cost(
            self.row.name, weight_codes(recipe), outputs(recipe), str(recipe.gradient or "float32"),
            (bits + 7) // 8, training, inference,
            energy.inference_energy(self.model, self.images[:1]).picojoules / 1000,
        )  # fmt: skip


def _in_turn(actions: Sequence[Callable[[], int]], rounds: int) -> list[float]:
    """Images per second of each action: the median over rounds in which all take their turn."""
    times: list[list[float]] = [[] for _ in actions]
    for number in range(_WARM + rounds):
        for action, taken in zip(actions, times, strict=True):
            begun = time.perf_counter()
            images = action()
            if number >= _WARM:
                taken.append((time.perf_counter() - begun) / images)
    return [1 / statistics.median(taken) for taken in times]


__all__ = ["HEADER", "Cost", "costs", "table"]
