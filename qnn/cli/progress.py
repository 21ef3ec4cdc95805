"""Live progress of a training on stderr: a moving bar on a terminal, one plain line an epoch anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from qnn.cli.common import console
from qnn.training.config import TrainConfig


class Progress:
    """Shows the events of a training; use it as a context manager and pass :meth:`event` as ``on_event``.

    Parameters
    ----------
    config : TrainConfig
        The settings, for the headline.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.live: Any = None
        self.task: Any = None
        self.speed = 0.0
        self.steps_per_epoch = 1
        self.closed = False
        self.run_dir = ""

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.live = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(compact=True),
                console=console(err=True),
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def event(self, event: dict[str, Any]) -> None:
        """Show one event (see :mod:`qnn.training.runs`)."""
        handler = getattr(self, f"_{event['kind']}", None)
        if handler is not None and not self.closed:
            try:
                handler(event)
            except BrokenPipeError:  # nobody reads stderr any more: train on in silence
                self.closed = True

    def say(self, text: str) -> None:
        """One line above the bar, or on plain stderr."""
        if self.live is not None:
            self.live.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)

    def _start(self, event: dict[str, Any]) -> None:
        self.steps_per_epoch = int(event["steps_per_epoch"])
        what = f"{event['model']} in {event['recipe']} on {event['data']}"
        self.say(
            f"{what}: {event['n_train']:,} images, {event['parameters']:,} parameters, "
            f"{event['epochs']} epoch{'s' if event['epochs'] != 1 else ''}, seed {event['seed']}"
        )
        self.run_dir = str(event.get("run_dir", ""))
        self.say(f"kernels {event['kernels']}, threads {event['threads']}, run folder {self.run_dir}")
        if event.get("resumed"):
            self.say(f"going on after step {event['step']} of {event['total_steps']}")
        if self.live is not None:
            self.task = self.live.add_task("epoch", total=event["total_steps"], completed=event["step"], state="")

    def _step(self, event: dict[str, Any]) -> None:
        if self.live is not None and self.task is not None:
            speed = f"{event['images_per_second']:,.0f} images/s"
            state = f"loss {event['loss']:.4f}  batch {100 * event['accuracy']:.1f} %  {speed}"
            title = f"epoch {event['epoch']}/{self.config.epochs}"
            self.live.update(self.task, completed=event["step"], state=state, description=title)

    def _epoch(self, event: dict[str, Any]) -> None:
        width = len(str(self.config.epochs))
        self.say(
            f"epoch {event['epoch']:>{width}}/{self.config.epochs}  loss {event['train_loss']:.4f}  "
            f"train {100 * event['train_accuracy']:6.2f} %  test {100 * event['test_accuracy']:6.2f} %  "
            f"{event['seconds']:.1f} s  {event['images_per_second']:,.0f} images/s"
        )
        if self.live is not None and self.task is not None:
            self.live.update(self.task, completed=event["step"])
