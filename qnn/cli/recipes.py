"""``qnn recipes``: what can be trained with, its bits, roundings and sources."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from qnn.cli.common import print_grid, print_json, print_table

if TYPE_CHECKING:
    from qnn.recipes import Recipe


@click.command("recipes", short_help="List number formats to train with.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line of stdout.")
def command(name: str | None, as_json: bool) -> None:
    """List all recipes, or say everything about one: NAME, or NAME with arguments, as in 'dfp(w=8, a=8, g=6)'."""
    from qnn import recipes

    if name is not None:
        recipe = recipes.parse(name)
        facts = {"name": recipe.name, **recipe.describe(), "source": recipe.source or "-"}
        if as_json:
            print_json(facts)
            return
        print_table(recipe.name, [(key, value) for key, value in facts.items() if key != "name"])
        return
    found = [recipes.parse(each) for each in recipes.names()]
    if as_json:
        print_json({"recipes": [{"name": r.name, **r.describe(), "source": r.source} for r in found]})
        return
    rows = [
        [f"{each}{arguments(each)}", facts["weight"], facts["activation"], facts["gradient"], recipe.source]
        for each, recipe in zip(recipes.names(), found, strict=True)
        for facts in [_short(recipe)]
    ]
    print_grid(["recipe", "weights", "activations", "gradients", "source"], rows, spare=[4])


def arguments(name: str) -> str:
    """The arguments of a recipe with their defaults."""
    from qnn.numerics import Rounding
    from qnn.recipes import BUILDERS

    told = inspect.signature(BUILDERS[name]).parameters.values()
    words = [f"{p.name}={p.default.name.lower() if isinstance(p.default, Rounding) else p.default}" for p in told]
    return f"({', '.join(words)})" if words else ""


def _short(recipe: Recipe) -> dict[str, str]:
    """Weights with their rule, activations as their layer gives them."""
    from qnn.recipes.words import outputs

    facts = recipe.describe()
    weight = f"{facts['rule']}, {facts['weight']}" if facts.get("rule") else facts["weight"]
    return {**facts, "weight": weight, "activation": outputs(recipe)}
