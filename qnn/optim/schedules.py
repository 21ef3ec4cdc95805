"""Learning-rate schedules: the rate of a step from its number; the arithmetic is clauses SCH of the specification."""

from __future__ import annotations

from collections.abc import Sequence

from qnn.numerics import schedule


class Schedule:
    """A learning rate as a pure function of the number of completed steps.

    Parameters
    ----------
    lr : float
        The rate at step 0, positive.
    total : int
        Steps of the whole training, at least 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    kind = "constant"

    def __init__(self, lr: float, total: int = 1) -> None:
        self.lr = float(lr)
        self.total = int(total)
        self(0)  # the specification checks the numbers; better here than at the first step

    def __call__(self, step: int) -> float:
        """The rate of the step that follows `step` completed ones: a float32 number.

        Raises
        ------
        ValueError
            If `step` is negative.
        """
        return float(schedule.lr(self.kind, self.lr, step, self.total))


class Constant(Schedule):
    """The same rate throughout (clause SCH-1)."""


class Step(Schedule):
    """A rate that drops by the factor `gamma` at each milestone (clause SCH-2).

    Parameters
    ----------
    lr, total
        As for :class:`Schedule`.
    milestones : sequence of int, optional
        Steps at which the rate drops; by default half and three quarters of `total`.
    gamma : float
        The factor.

    Notes
    -----
    Bit-exactness: clause SCH-2; nothing may vary.

    Examples
    --------
    >>> [Step(1.0, total=6, milestones=[2, 4], gamma=0.5)(step) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    kind = "step"

    def __init__(self, lr: float, total: int, milestones: Sequence[int] | None = None, gamma: float = 0.1) -> None:
        if not 0.0 < gamma <= 1.0:
            raise ValueError(f"got gamma {gamma} for a schedule; it must be above 0 and at most 1; 0.1 is usual")
        self.milestones = None if milestones is None else tuple(int(mark) for mark in milestones)
        self.gamma = float(gamma)
        super().__init__(lr, total)

    def __call__(self, step: int) -> float:
        return float(schedule.lr(self.kind, self.lr, step, self.total, milestones=self.milestones, gamma=self.gamma))


class Cosine(Schedule):
    """Half a cosine from `lr` to `final` over `total` steps, and `final` after (clause SCH-3).

    Parameters
    ----------
    lr, total
        As for :class:`Schedule`.
    final : float
        The rate from step `total` on.

    Notes
    -----
    Bit-exactness: clause SCH-3; nothing may vary.

    Examples
    --------
    >>> [Cosine(1.0, total=2)(step) for step in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """

    kind = "cosine"

    def __init__(self, lr: float, total: int, final: float = 0.0) -> None:
        self.final = float(final)
        super().__init__(lr, total)

    def __call__(self, step: int) -> float:
        return float(schedule.lr(self.kind, self.lr, step, self.total, final_lr=self.final))


class Exponential(Cosine):
    """An exponential from `lr` to `final`, which is above 0, over `total` steps (clause SCH-4).

    Notes
    -----
    Bit-exactness: clause SCH-4; nothing may vary.
    """

    kind = "exponential"
