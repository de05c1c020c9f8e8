"""Which settings of a run differ from its recipe."""

from __future__ import annotations

from typing import Any

from fer_kit.config import recipes
from fer_kit.errors import FerKitError


def differing(config: dict[str, Any]) -> list[tuple[str, Any, Any]] | None:
    """(setting, value of the run, value of the recipe) where the two differ; None if the recipe is not known.

    config: config.json of a fold.
    """
    try:
        recipe = recipes.get(str(config.get("recipe"))).to_json()
    except FerKitError:
        return None
    names = [*recipe, *(name for name in config if name not in recipe)]
    pairs = [(name, config.get(name), recipe.get(name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def in_words(config: dict[str, Any]) -> str:
    """`epochs 6 (recipe 40), lr 0.01 (recipe 0.001)`."""
    if not config:
        return "not recorded"
    found = differing(config)
    if found is None:
        return f"unknown: there is no recipe '{config.get('recipe')}' here"
    return ", ".join(f"{name} {shown(own)} (recipe {shown(usual)})" for name, own, usual in found) or "none"


def shown(value: Any) -> str:
    """A setting as `--set` takes it; `–` where it is not set."""
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
