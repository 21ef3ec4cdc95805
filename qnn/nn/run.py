"""``prepare``: give every layer its name and every quantisation site its noise stream; ``Run`` moves them from
step to step."""

from __future__ import annotations

from collections.abc import Iterator

from qnn.nn.drawing import Drawing
from qnn.nn.initialize import initialize
from qnn.nn.module import Module
from qnn.quantizer import Clock, Quantizer
from qnn.tensor import Parameter


class Run:
    """The modules of one training run, their seed and their step.

    Attributes
    ----------
    seed, step : int
        Two parts of every noise address; ``step`` counts finished steps. Setting it forgets what the step has counted
        and the noise it has used, so ``run.step = run.step`` starts a step anew that an error broke off.

    Notes
    -----
    Streams are numbered 0, 1, 2, ... over the sites of the modules in order of definition, then over layers that draw:
    dropout, and signs where a recipe draws them.
    Bit-exactness: clauses LAY-6 to LAY-8 and NOI-1.
    """

    def __init__(self, modules: tuple[Module, ...], seed: int) -> None:
        if not (isinstance(seed, int) and 0 <= seed < 2**64):
            raise ValueError(f"got seed={seed!r}; allowed are integers from 0 to 2^64 - 1")
        self.modules = modules
        self._clock = Clock(seed, 0)
        self.sites: list[tuple[str, Quantizer]] = []
        for module in modules:
            module.assign_names()
            for name, site in module.named_sites():
                site.name = name if module is modules[0] else f"{type(module).__name__.lower()}.{name}"
                site.clock, site.stream = self._clock, len(self.sites)
                self.sites.append((site.name, site))
        self._drawing = [c for module in modules for c in module.modules() if isinstance(c, Drawing) and c.draws]
        for stream, child in enumerate(self._drawing, start=len(self.sites)):
            child.clock, child.stream = self._clock, stream
        self.step = 0  # forgets what ran before

    @property
    def seed(self) -> int:
        """Seed of all noise of the run."""
        return self._clock.seed

    @property
    def step(self) -> int:
        """Finished steps."""
        return self._clock.step

    @step.setter
    def step(self, value: int) -> None:
        if not (isinstance(value, int) and 0 <= value < 2**32):
            raise ValueError(
                f"got step={value!r}; allowed are integers from 0 to 2^32 - 1 (a noise address has 32 bits for it)"
            )
        self._clock.step = value
        for _, site in self.sites:
            site.forget_step()
        for child in self._drawing:
            child.forget_step()

    @property
    def progress(self) -> float:
        """Share of the training that is done when the running epoch ends, above 0, at most 1; weight rules read it."""
        return self._clock.progress

    @progress.setter
    def progress(self, value: float) -> None:
        if not 0.0 < value <= 1.0:
            raise ValueError(f"got progress={value!r}; allowed is 0 < progress <= 1: (epoch + 1) / epochs")
        self._clock.progress = float(value)

    def advance(self) -> None:
        """End a step: every exponent moves by the counts of the step, and the noise of the next step begins."""
        for _, site in self.sites:
            site.advance()
        self._clock.step += 1

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Trained arrays of all modules."""
        for module in self.modules:
            yield from module.named_parameters()


def prepare(*modules: Module, seed: int) -> Run:
    """Name the layers and sites of ``modules`` (model first, then the loss) and start a run.

    Parameters
    ----------
    *modules : Module
    seed : int
        0 to 2^64 - 1; decides all stochastic rounding and dropout of the run, and the initial weights that were not
        drawn or loaded yet.

    Returns
    -------
    Run
        Call ``run.advance()`` after each ``optimizer.step()``.

    Examples
    --------
    >>> import qnn
    >>> recipe = qnn.recipes.dfp8()
    >>> model = qnn.nn.Sequential(qnn.nn.Quantize(recipe), qnn.nn.Linear(4, 2, recipe=recipe))
    >>> loss = qnn.nn.CrossEntropyLoss(recipe)
    >>> run = qnn.nn.prepare(model, loss, seed=1)
    >>> run.step
    0
    """
    if not modules or not all(isinstance(m, Module) for m in modules):
        raise TypeError(
            "got something that is no Module for prepare(); pass the model, then the loss: prepare(model, "
            "criterion, seed=1)"
        )
    run = Run(modules, seed)
    initialize(*modules, seed=seed)
    return run


__all__ = ["Run", "prepare"]
