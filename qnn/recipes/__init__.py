"""Recipes: ``fp32``, ``dfp8`` (the DFP paper), ``dfp(...)``, few levels, few bits; ``parse`` reads their names."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable
from typing import Any

from qnn.errors import ConfigError
from qnn.quantizer import Format, Quantizer
from qnn.recipes.banner import banner8
from qnn.recipes.dfp import dfp, dfp8, fp32
from qnn.recipes.few_bits import bnn, dorefa, qnn
from qnn.recipes.integer import niti, wage
from qnn.recipes.levels import deepshift, logquant, nbq, ternary
from qnn.recipes.recipe import Recipe, Staircase

BUILDERS: dict[str, Callable[..., Recipe]] = {
    "fp32": fp32,
    "dfp8": dfp8,
    "dfp": dfp,
    "nbq": nbq,
    "ternary": ternary,
    "deepshift": deepshift,
    "logquant": logquant,
    "bnn": bnn,
    "qnn": qnn,
    "dorefa": dorefa,
    "niti": niti,
    "wage": wage,
    "banner8": banner8,
}
"""Recipes by name; each takes arguments with defaults."""


def names() -> list[str]:
    """Recipes that :func:`parse` knows; ``dfp`` takes arguments, as in ``dfp(w=8, a=8, g=6)``."""
    return list(BUILDERS)


def parse(text: str | Recipe) -> Recipe:
    """Read a recipe from its name, optionally with arguments as in ``"dfp(w=4, a=8, g=8, g_rounding='floor')"``.

    Parameters
    ----------
    text : str or Recipe
        A Recipe is returned as it is.

    Raises
    ------
    qnn.errors.ConfigError
        For an unknown name (the nearest is suggested), unknown argument or value.
    """
    if isinstance(text, Recipe):
        return text
    if not isinstance(text, str):
        raise TypeError(f"got a recipe of type {type(text).__name__}; allowed is text such as 'dfp8', or a Recipe")
    name, bracket, rest = text.strip().partition("(")
    name = name.strip()
    if name not in BUILDERS:
        near = difflib.get_close_matches(name, BUILDERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"got recipe {text!r}; known are {', '.join(BUILDERS)}{hint}")
    if bracket and not rest.rstrip().endswith(")"):
        raise ConfigError(f"got recipe {text!r}, whose bracket is not closed; write it like 'dfp(w=8, a=8, g=8)'")
    arguments = _arguments(rest.rstrip()[:-1] if bracket else "", text)
    allowed = inspect.signature(BUILDERS[name]).parameters
    for argument in arguments:
        if argument not in allowed:
            near = difflib.get_close_matches(argument, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"got recipe {text!r} with the argument {argument!r}; {name} takes {', '.join(allowed) or 'none'}{hint}"
            )
    try:
        return BUILDERS[name](**arguments)
    except TypeError as error:
        raise ConfigError(f"got recipe {text!r}: {error}; see help(qnn.recipes.{name}) for what it takes") from error
    except ValueError as error:
        raise ConfigError(f"got recipe {text!r}: {error}") from error


def _arguments(inside: str, text: str) -> dict[str, Any]:
    """Read ``key=value`` pairs; a bare word as a value is a name (``g_rounding=floor``), but true and false."""
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
    except SyntaxError:
        raise ConfigError(f"got recipe {text!r}, which cannot be read; write it like 'dfp(w=8, a=8, g=8)'") from None
    if not isinstance(call, ast.Call) or call.args:
        raise ConfigError(f"got recipe {text!r}; its arguments need names, as in 'dfp(w=8, a=8, g=8)'")
    values: dict[str, Any] = {}
    for item in call.keywords:
        if item.arg is None:
            raise ConfigError(f"got recipe {text!r}; its arguments are plain key=value pairs")
        if isinstance(item.value, ast.Name):
            values[item.arg] = _BOOLS.get(item.value.id, item.value.id)
        elif isinstance(item.value, ast.Constant):
            values[item.arg] = item.value.value
        elif isinstance(item.value, ast.Tuple) and all(_is_number(part) for part in item.value.elts):
            values[item.arg] = tuple(part.value for part in item.value.elts)  # type: ignore[attr-defined]
        else:
            raise ConfigError(
                f"got recipe {text!r}; the value of {item.arg!r} must be a number, a name, True, False, "
                "None, or numbers in brackets"
            )
    return values


_BOOLS = {"true": True, "false": False}
"""Words that other languages write for Python's; no recipe has such a name as a value."""


def _is_number(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant) and type(part.value) in (int, float)


__all__ = [
    "Format",
    "Quantizer",
    "Recipe",
    "Staircase",
    "banner8",
    "bnn",
    "deepshift",
    "dfp",
    "dfp8",
    "dorefa",
    "fp32",
    "logquant",
    "names",
    "nbq",
    "niti",
    "parse",
    "qnn",
    "ternary",
    "wage",
]
