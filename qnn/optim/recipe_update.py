"""The optimiser of recipes that move their weights themselves: it asks every parameter's update rule for a step."""

from __future__ import annotations

from collections.abc import Iterable

from qnn.operation import Array
from qnn.optim.optimizers import Optimizer, check_rate
from qnn.tensor import Parameter


class RecipeUpdate(Optimizer):
    """Steps by the update rules of the recipe, such as NITI's integer update; it keeps no state.

    Parameters
    ----------
    parameters : iterable of (str, Parameter)
        As ``model.named_parameters()`` gives them; each has a rule.

    Raises
    ------
    ValueError
        If a parameter has no rule: such recipes have weights alone, no biases and no batch norm.

    Notes
    -----
    Bit-exactness: the clause of the rule (INT-5, INT-11); nothing may vary.
    """

    def __init__(self, parameters: Iterable[tuple[str, Parameter]]) -> None:
        super().__init__(parameters)
        free = [name for name, parameter in self.parameters.items() if parameter.update is None]
        if free:
            raise ValueError(
                f"got {len(free)} parameters without an update rule, '{free[0]}' first; this optimiser moves weights "
                "of recipes such as niti and wage; build all layers with the recipe and leave biases and batch norm out"
            )

    def step(self, lr: float) -> None:
        """Move every parameter that has a gradient; if one cannot be moved, none is.

        Parameters
        ----------
        lr : float
            Learning rate of this step, finite and at least 0; NITI's rule has mu in its place.

        Raises
        ------
        TypeError, ValueError
            If the learning rate is no number, or one out of range.
        """
        check_rate(lr)
        made: list[tuple[Parameter, Array]] = []
        for name, parameter in self.parameters.items():
            if parameter.exact_grad is None or parameter.update is None:
                continue
            try:
                made.append((parameter, parameter.update.step(parameter.data, parameter.exact_grad, lr)))
            except (OverflowError, ValueError, TypeError) as error:
                raise type(error)(f"parameter '{name}': {error}") from error
        for parameter, data in made:
            parameter.data = data


__all__ = ["RecipeUpdate"]
