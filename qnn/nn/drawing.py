"""Layers that draw: noise words of their own, addressed by step and element."""

from __future__ import annotations

from qnn.nn.module import Module
from qnn.quantizer import Clock
from qnn.recipes import Recipe


class Drawing(Module):
    """A layer with a noise stream, which :func:`qnn.nn.prepare` gives it.

    Notes
    -----
    A second use within a step takes the words behind those of the first, so a batch may be processed in parts.
    Bit-exactness: clauses LAY-6 and NOI-1.
    """

    def __init__(self, recipe: Recipe | None = None) -> None:
        super().__init__(recipe)
        self.used = (-1, 0)
        self.clock: Clock | None = None
        self.stream: int | None = None

    @property
    def draws(self) -> bool:
        """Whether it needs a stream at all."""
        return True

    def forget_step(self) -> None:
        """Take the noise words of the step from its first again."""
        self.used = (-1, 0)

    def address(self, count: int) -> tuple[int, int, int, int]:
        """Seed, stream, step and first element of the next so many words, which then are used.

        Raises
        ------
        RuntimeError
            If the layer has no stream yet.
        """
        if self.clock is None or self.stream is None:
            raise RuntimeError(
                f"{self.label} has no noise stream yet: call run = qnn.nn.prepare(model, criterion, seed=...) before "
                f"the first step"
            )
        step = self.clock.step
        start = self.used[1] if self.used[0] == step else 0
        self.used = (step, start + count)
        return self.clock.seed, self.stream, step, start


__all__ = ["Drawing"]
