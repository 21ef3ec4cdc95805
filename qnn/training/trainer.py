"""One training in progress: model, optimiser, schedule, position in the data, digest chain; moved on a step at a time.

It knows nothing of folders, events or signals: `session` adds those, and `digest` replays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qnn import data as qnn_data
from qnn import models, nn, optim, recipes
from qnn.data.dataset import Dataset
from qnn.errors import CheckpointError, ConfigError, RunError
from qnn.ops.loss import LOSS_UNIT
from qnn.training.chain import (
    PARTS,
    count_values,
    first_digest,
    hash_arrays,
    hash_each,
    next_digest,
    noise_arrays,
    site_arrays,
)
from qnn.training.checkpoint import Checkpoint, Identity
from qnn.training.checkpoint import load as load_checkpoint
from qnn.training.config import TrainConfig
from qnn.training.runs import RunFolder


@dataclass
class Sums:
    """Exact sums of the running epoch: integers, so any way of cutting the epoch gives the same."""

    loss: int = 0
    correct: int = 0
    count: int = 0
    sites: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """Mean loss in nats."""
        return self.loss * LOSS_UNIT / self.count if self.count else 0.0

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return self.correct / self.count if self.count else 0.0


@dataclass(frozen=True)
class StepRecord:
    """What one step gave.

    Parameters
    ----------
    step : int
        Completed steps, this one included.
    loss, correct, count : int
        Sum of the losses in units of 2^-20, right predictions, images.
    lr : float
        Learning rate the step used.
    digest : bytes
        The chain after the step (clause DIG-2).
    parts : dict of str to bytes
        sha256 of each part (clauses DIG-3 and DIG-4).
    exponents : list of int
        Exponent each site used.
    """

    step: int
    loss: int
    correct: int
    count: int
    lr: float
    digest: bytes
    parts: dict[str, bytes]
    exponents: list[int]


class Trainer:
    """Model, criterion, optimiser, schedule, position and chain of one training.

    Parameters
    ----------
    config : TrainConfig
        The settings.
    train_set : Dataset
        The whole training set; ``train_limit`` is applied here.

    Notes
    -----
    Bit-exactness: clauses DIG-1 to DIG-4; the chain depends on the numeric settings and the training set only, unless
    the recipe is ``fp32``.
    """

    def __init__(self, config: TrainConfig, train_set: Dataset) -> None:
        self.config = config
        self.data = limited(train_set, config.train_limit)
        self.steps_per_epoch = len(self.data) // config.batch_size
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"got batch_size = {config.batch_size} for {len(self.data)} training images; a batch must fit into the "
                f"set; choose at most {len(self.data)}"
            )
        recipe = recipes.parse(config.recipe)
        self.model = models.build(
            config.model,
            recipe=recipe,
            input_shape=tuple(self.data.images.shape[1:]),
            classes=len(self.data.classes),
            mean=self.data.mean,
            std=self.data.std,
            seed=config.seed,
        )
        self.init_checksum = _start_from(config.init, self.model) if config.init else ""
        if config.prune:
            _prune(self.model, config)
        self.criterion = nn.criterion(recipe)
        self.run = nn.prepare(self.model, self.criterion, seed=config.seed)
        self.parameters = list(self.run.named_parameters())
        self.sites = list(self.run.sites)
        self.optimizer = make_optimizer(config, self.parameters)
        self.schedule = make_schedule(config, self.steps_per_epoch)
        self.covered = recipe.is_integer
        self.epoch = 0  # completed epochs
        self.batch = 0  # completed batches of the running epoch
        self.step = 0  # completed steps
        self.sums = Sums()
        self.digest = first_digest(self.settings())

    # -- identity ------------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What d_0 is the digest of: the numeric settings and the training set (clause DIG-1)."""
        own = {**self.config.numeric(), "recipe": self.model.recipe.name}
        moments = {
            f"data_{name}_{i}": value for name in ("mean", "std") for i, value in enumerate(getattr(self.data, name))
        }
        if self.init_checksum:
            own["init_checksum"] = self.init_checksum
        return {**own, "data_checksum": self.data.checksum, "data_classes": len(self.data.classes), **moments}

    def identity(self) -> Identity:
        """What checkpoints of this training belong to."""
        return Identity(self.config.model, self.model.recipe.name, self.data.checksum)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.config.epochs

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.size for _, parameter in self.parameters)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.config.epochs

    # -- running -------------------------------------------------------------------------------------------------

    def batches(
        self, *, background: bool = True
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
        """The batches that are left of the running epoch."""
        config = self.config
        return qnn_data.batches(
            self.data,
            config.batch_size,
            config.seed,
            self.epoch,
            shuffle=True,
            augment=None if config.augment == "none" else config.augment,
            drop_last=True,
            start_batch=self.batch,
            background=background,
        )

    def train_step(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> StepRecord:
        """One step: forward, backward, update, exponents, chain.

        Raises
        ------
        RunError
            If anything is not finite; names the step and the tensor. The training cannot go on from this object then.
        """
        started = self.run.step
        lr = self.schedule(self.step)
        try:
            self.model.train()
            self.run.progress = (self.epoch + 1) / self.config.epochs
            loss = self.criterion(self.model(images), labels)
            loss.backward()
            self.optimizer.step(lr)
        except (ValueError, OverflowError) as error:
            raise self._failed(str(error)) from error
        self.optimizer.zero_grad()
        used = [site.exponent for _, site in self.sites]  # here, since the first data set the first exponents
        self.run.advance()
        self.step += 1
        self.batch += 1
        last = self.criterion.last
        if last is None:  # cannot be: the loss was just computed
            raise RunError("the criterion kept no figures of the step; it must set .last; use a loss of qnn.nn")
        self._sum(last.loss_sum, last.correct, last.count)
        parts = self._parts(labels, indices, started)
        self.digest = next_digest(self.digest, self.step, parts)
        return StepRecord(self.step, last.loss_sum, last.correct, last.count, lr, self.digest, parts, used)

    def steps(self) -> Iterator[StepRecord]:
        """Train to the end, giving the record of each step: for those who need no tests in between."""
        while not self.finished:
            for images, labels, indices in self.batches(background=False):
                yield self.train_step(images, labels, indices)
            self.end_epoch()

    def end_epoch(self) -> None:
        """Close the running epoch: its sums start anew."""
        self.epoch += 1
        self.batch = 0
        self.sums = Sums()

    def _sum(self, loss: int, correct: int, count: int) -> None:
        sums = self.sums
        sums.loss += loss
        sums.correct += correct
        sums.count += count
        for name, site in self.sites:
            total, _, overflow, _, saturated = count_values(site.counts)
            entry = sums.sites.setdefault(name, [0, 0, 0])
            entry[0] += overflow
            entry[1] += saturated
            entry[2] += total

    def _failed(self, what: str) -> RunError:
        """The error of a step, with the tensors that are not finite named."""
        named = []
        for name, parameter in self.parameters:
            for kind, array in (("weight", parameter.data), ("gradient of", parameter.grad)):
                if isinstance(array, np.ndarray) and not np.isfinite(array).all():
                    named.append(f"{kind} {name}")
        extra = f"; not finite: {', '.join(named[:6])}{' and more' if len(named) > 6 else ''}" if named else ""
        return RunError(
            f"step {self.step + 1} (epoch {self.epoch + 1}) failed: {what}{extra}; checkpoints saved before it are kept"
        )

    # -- chain ---------------------------------------------------------------------------------------------------

    def _parts(self, labels: NDArray[np.int64], indices: NDArray[np.int64], started: int) -> dict[str, bytes]:
        arrays = {**self.named_arrays(), "batch": [("indices", indices), ("labels", labels)]}
        arrays["noise"] = noise_arrays(self.sites, self.config.seed, started)
        return {part: hash_arrays(arrays[part]) for part in PARTS}

    def named_arrays(self) -> dict[str, list[tuple[str, NDArray[Any]]]]:
        """The state that the chain covers, by part and name (clause DIG-4); without batch and noise."""
        return {
            "parameters": [pair for name, parameter in self.parameters for pair in parameter.arrays(name).items()],
            "buffers": [*self.model.named_buffers(), *self.criterion.named_buffers()],
            "optimizer": sorted(self.optimizer.state_dict().items()),
            "exponents": site_arrays(self.sites),
        }

    def tensor_hashes(self) -> dict[str, dict[str, str]]:
        """One sha256 per tensor, by part: what :func:`qnn.training.digest.bisect` compares."""
        return {part: hash_each(arrays) for part, arrays in self.named_arrays().items()}

    # -- state ---------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything needed to go on, as a checkpoint."""
        groups = {
            "model": self.model.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        tensors = {f"{group}.{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "run_step": self.run.step,
            "digest": self.digest.hex(),
            "sums": vars(self.sums),
            "settings": self.config.numeric(),
            "input_shape": list(self.data.images.shape[1:]),
            "classes": list(self.data.classes),
            "mean": list(self.data.mean),
            "std": list(self.data.std),
        }
        return Checkpoint(tensors, self.identity(), state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint that belongs to this training.

        Raises
        ------
        CheckpointError
            If its tensors or its state do not fit. The training cannot be used then.
        """
        state = checkpoint.state
        try:
            self.model.load_state_dict(checkpoint.part("model"))
            self.criterion.load_state_dict(checkpoint.part("criterion"))
            self.optimizer.load_state_dict(checkpoint.part("optimizer"))
            self.step, self.epoch, self.batch = int(state["step"]), int(state["epoch"]), int(state["batch"])
            self.run.step = int(state["run_step"])
            self.digest = bytes.fromhex(state["digest"])
            self.sums = Sums(**state["sums"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the model '{self.config.model}': {error}; train again"
            ) from error


def _start_from(run: str, model: nn.Module) -> str:
    """Load the trained arrays of a run into a model of any recipe; their sha256 is part of the settings (DIG-1)."""
    try:
        loaded = load_checkpoint(RunFolder(run).checkpoint)
        nn.transfer(loaded.part("model"), model)
    except CheckpointError as error:
        raise CheckpointError(f"cannot start from the run {run} (init): {error}") from error
    parameters = [(name, np.asarray(parameter.data)) for name, parameter in model.named_parameters()]
    return hash_arrays([*parameters, *model.named_buffers()]).hex()


def _prune(model: nn.Module, config: TrainConfig) -> None:
    """Prune before the first step (clauses UPD-5 and DIG-1)."""
    if not config.init:
        raise ConfigError(
            f"got prune = {config.prune!r} without init; which weights can be spared only a trained network says; name "
            "its run as init"
        )
    try:
        nn.prune(model, config.prune)
    except ValueError as error:
        raise ConfigError(f"cannot prune before the first step: {error}") from error


def limited(dataset: Dataset, limit: int) -> Dataset:
    """The data set, or the part of it that ``train_limit`` asks for."""
    return dataset.subset(limit) if 0 < limit < len(dataset) else dataset


def make_optimizer(config: TrainConfig, parameters: list[tuple[str, Any]]) -> optim.Optimizer:
    """The optimiser that the settings name, or the update rule of a recipe that has its own."""
    if rules := [parameter.update for _, parameter in parameters if parameter.update is not None]:
        _check_unused(config, rules[0].rule.takes_rate)
        return optim.RecipeUpdate(parameters)
    if config.optimizer != "sgd":
        kind: Callable[..., optim.Optimizer] = optim.Adam
        if config.optimizer in ("adamax", "adamax-ap2"):
            store = "ap2" if config.optimizer == "adamax-ap2" else "exact"
            kind = partial(optim.ShiftAdaMax, store=store, ap2=recipes.parse(config.recipe).ap2)
        return kind(
            parameters, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon, weight_decay=config.weight_decay
        )
    return optim.SGD(parameters, momentum=config.momentum, nesterov=config.nesterov, weight_decay=config.weight_decay)


def _check_unused(config: TrainConfig, takes_rate: bool) -> None:
    """Refuse settings that were given although the recipe's own update does not read them."""
    unused = ["optimizer", "momentum", "nesterov", "weight_decay"] + (
        [] if takes_rate else ["lr", "schedule", "lr_final"]
    )
    usual = TrainConfig()
    given = {key: getattr(config, key) for key in unused if getattr(config, key) not in (getattr(usual, key), 0)}
    if given:
        key, value = next(iter(given.items()))
        raise ConfigError(
            f"got {key} = {value!r} for recipe '{config.recipe}', which moves its weights by its own rule and reads no "
            f"{', '.join(unused)}; leave it out"
        )


def make_schedule(config: TrainConfig, steps_per_epoch: int) -> optim.Schedule:
    """The schedule that the settings name."""
    total = config.epochs * steps_per_epoch
    if config.schedule == "constant":
        return optim.Constant(config.lr)
    if config.schedule == "step":
        marks = [epoch * steps_per_epoch for epoch in config.lr_milestones] or None
        return optim.Step(config.lr, total, milestones=marks, gamma=config.lr_gamma)
    if config.schedule == "exponential":
        return optim.Exponential(config.lr, total, config.lr_final or config.lr / 100)
    return optim.Cosine(config.lr, total, config.lr_final)
