"""Types of a recipe's arguments, read from its signature, so that all recipes take and refuse the same."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Union, get_args, get_origin, get_type_hints

import numpy as np

from qnn.numerics.arguments import number, whole
from qnn.recipes.recipe import Recipe

P = ParamSpec("P")

_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Sequence: "a sequence of numbers",
    str: "a name",
    type(None): "None",
}


def checked(builder: Callable[P, Recipe]) -> Callable[P, Recipe]:
    """Refuse arguments of types that the signature does not name; NumPy's numbers become Python's.

    A bool is no number, and nothing but a bool is one. Names and roundings are left to the builder, which lists them,
    and so are arguments that it does not have.
    """
    parameters = inspect.signature(builder).parameters
    hints = get_type_hints(builder)
    kinds = {key: _kinds(hints[key]) for key in parameters}

    def taken(key: str, value: Any) -> Any:
        if key not in kinds or not kinds[key] & {bool, int, float}:
            return value
        found = _taken(kinds[key], value)
        if found is _NOTHING:
            words = [words for kind, words in _WORDS.items() if kind in kinds[key]]
            allowed = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
            raise TypeError(
                f"got {key}={value!r} for the recipe {builder.__name__}; allowed is {allowed}: change it, or leave it "
                f"out, which means {parameters[key].default!r}"
            )
        return found

    @functools.wraps(builder)
    def build(*args: P.args, **kwargs: P.kwargs) -> Recipe:
        named = [taken(key, value) for key, value in zip(parameters, args, strict=False)]
        named += args[len(named) :]  # too many: the builder says so
        return builder(*named, **{key: taken(key, value) for key, value in kwargs.items()})

    return build


_NOTHING = object()


def _kinds(hint: Any) -> set[Any]:
    """The types that a hint names; ``Sequence[float]`` counts as Sequence."""
    if get_origin(hint) in (Union, types.UnionType):
        return set[Any]().union(*map(_kinds, get_args(hint)))
    return {Sequence} if get_origin(hint) is Sequence else {hint}


def _taken(kinds: set[Any], value: Any) -> Any:
    """The value in one of the types, or _NOTHING."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value) if bool in kinds else _NOTHING
    if (value is None and type(None) in kinds) or (isinstance(value, str) and str in kinds):
        return value
    found = number(value) if float in kinds else whole(value) if int in kinds else None
    if found is None and Sequence in kinds and isinstance(value, (list, tuple, np.ndarray)) and np.iterable(value):
        series = tuple(number(part) for part in value)
        return _NOTHING if None in series else series
    return _NOTHING if found is None else found


__all__ = ["checked"]
