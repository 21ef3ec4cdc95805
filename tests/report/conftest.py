"""A real small run, made-up views of any size, and a parser that checks a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnn import data, training
from qnn.report.reader import add_pictures
from qnn.report.view import RunView, SiteTrace, WeightHistogram, WorstExample
from qnn.training.config import TrainConfig
from qnn.training.runs import RunFolder

VOID = {"meta", "img", "br", "input", "link", "hr"}


@dataclass
class Page(HTMLParser):
    """A parsed page: its elements, and the complaints about its structure."""

    text: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.text)
        self.close()
        self.complaints += [f"<{name}> is never closed" for name in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element; what is not void must be closed."""
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.complaints.append(f"<{tag}> has an attribute twice")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element such as ``<path/>``."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Must close the innermost open element."""
        if not self.open or self.open.pop() != tag:
            self.complaints.append(f"</{tag}> closes nothing at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Collect the words."""
        self.words.append(data)

    def named(self, *tags: str) -> list[dict[str, str]]:
        """Attributes of all elements of these names."""
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Page]:
    """Parse a page."""
    return Page


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its worst examples' pixels; do not change it, see ``copied``."""
    folder = tmp_path_factory.mktemp("report") / "done"
    config = TrainConfig(epochs=2, batch_size=64, train_limit=192, log_every=1, out=str(folder))
    training.train(config)
    add_pictures(RunFolder(folder), data.load("digits", split="test").images)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def _site(index: int, role: str, steps: int, rng: np.random.Generator) -> SiteTrace:
    moves = rng.choice([-1, 0, 0, 0, 0, 0, 1], steps)
    overflow = rng.integers(0, 5, steps) * (rng.random(steps) < 0.1)
    return SiteTrace(
        f"net.blocks.{index}.conv.{role}",
        role,
        np.arange(1, steps + 1),
        exponents=np.clip(np.cumsum(moves) - 8, -20, 5),
        overflow=overflow,
        saturated=overflow // 2,
        total=np.full(steps, 4096),
        label=f"blocks.{index}.conv",
    )


@pytest.fixture(scope="session")
def make_view() -> Callable[..., RunView]:
    """A made-up view with so many layers, classes and steps."""

    def make(layers: int = 3, classes: int = 10, length: int = 3, per: int = 20, **changes: Any) -> RunView:
        rng = np.random.default_rng(7)
        steps = length * per
        names = changes.pop("names", [f"class {i}" for i in range(classes)])
        view = RunView(
            Path("runs/made-up"), "made-up", {"epochs": length, "recipe": "dfp8", "data": "x"}, "epochs = 3\n"
        )
        view.steps_per_epoch = per
        view.loss = [(float(i + 1), 2.3 * 0.99**i) for i in range(0, steps, 10)]
        view.lr = [(step, 0.1) for step, _ in view.loss]
        keys = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
        view.epochs = [{"epoch": e + 1, **dict.fromkeys(keys, (e + 1) / (length + 1))} for e in range(length)]
        view.sites = [
            _site(i, role, steps, rng) for i in range(layers) for role in ("weight", "activation", "gradient")
        ]
        counts = np.full(64, 9)
        view.weights = [
            WeightHistogram(f"blocks.{i}", (9, 3, 3, 9), 8, -7, counts, counts, 200, 0) for i in range(layers)
        ]
        view.classes = names
        view.confusion = rng.integers(0, 3, (classes, classes)) + 90 * np.eye(classes, dtype=np.int64)
        image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        view.worst = [WorstExample(i, names[0], names[-1], 5.0, image) for i in range(24)]
        view.finished, view.test_accuracy, view.digest = True, 0.5, "ab" * 32
        for key, value in changes.items():
            setattr(view, key, value)
        return view

    return make
