"""Learning rates over a run, as float32 numbers that are the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .elementary import cos_pi, exp64, log64, power64

KINDS = ("constant", "step", "cosine", "exponential")


def lr(
    kind: str,
    base_lr: float,
    step: int,
    total_steps: int,
    *,
    final_lr: float = 0.0,
    milestones: Sequence[int] | None = None,
    gamma: float = 0.1,
) -> np.float32:
    """Learning rate of step ``step`` (0 is the first) of ``total_steps``.

    Computed in binary64 in the order written and rounded once to float32; ``t = min(step, total_steps)``:

    - constant: ``base_lr``
    - step: ``base_lr * power64(gamma, number of milestones <= step)``
    - cosine: ``final_lr + (base_lr - final_lr) * (0.5 * (1 + cos_pi(t, total_steps)))``
    - exponential: ``base_lr * exp64(log64(f32(final_lr / base_lr)) * (t / total_steps))``

    Parameters
    ----------
    kind : one of ``KINDS``
    base_lr : positive, at the start
    final_lr : at the end (cosine, exponential; the latter needs a positive one)
    milestones : steps at which the rate is multiplied by ``gamma``; default half and three quarters of the run

    Raises
    ------
    ValueError
        For an unknown kind or a number out of range.

    Notes
    -----
    Bit-exactness: clauses SCH-1 to SCH-4; nothing may vary.
    """
    _check(kind, base_lr, step, total_steps, final_lr)
    t = min(step, total_steps)
    if kind == "constant":
        return np.float32(base_lr)
    if kind == "step":
        marks = (total_steps // 2, 3 * total_steps // 4) if milestones is None else milestones
        return np.float32(base_lr * power64(gamma, sum(1 for mark in marks if mark <= step)))
    if kind == "cosine":
        return np.float32(final_lr + (base_lr - final_lr) * (0.5 * (1.0 + cos_pi(t, total_steps))))
    ratio = np.float64(np.float32(final_lr / base_lr))
    return np.float32(base_lr * float(exp64(log64(np.asarray(ratio)) * (t / total_steps))))


def _check(kind: str, base_lr: float, step: int, total_steps: int, final_lr: float) -> None:
    if kind not in KINDS:
        raise ValueError(f"got the schedule {kind!r}; allowed are {', '.join(KINDS)}; choose one")
    if not (math.isfinite(base_lr) and base_lr > 0):
        raise ValueError(f"got the learning rate {base_lr}; it must be positive and finite; 0.1 is a usual start")
    if step < 0 or total_steps < 1:
        raise ValueError(
            f"got step {step} of {total_steps}; steps count from 0, and a run has at least 1; check the run length"
        )
    if not (math.isfinite(final_lr) and final_lr >= 0):
        raise ValueError(f"got the final learning rate {final_lr}; it must be finite and not negative; 0 is usual")
    if kind == "exponential" and not 2.0**-126 <= final_lr / base_lr < 2.0**127:
        raise ValueError(
            f"got the final learning rate {final_lr} for the exponential schedule; it must be positive, as a falling "
            "exponential never reaches 0; pass for instance final_lr=1e-4"
        )
