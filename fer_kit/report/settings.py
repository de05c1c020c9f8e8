"""The settings of a run as text, and those that differ from its recipe."""

from __future__ import annotations

from typing import Any

from fer_kit.config import recipes
from fer_kit.config.train_config import from_json
from fer_kit.errors import FerKitError


def in_words(config: dict[str, Any]) -> str:
    """`epochs 6 (recipe 40), lr 0.01 (recipe 0.001)`. config: config.json of a fold; {} if missing."""
    if not config:
        return "not recorded"
    try:
        found = recipes.changed(from_json(config, "config.json"))
    except FerKitError as error:
        return f"unknown: {error}"
    return ", ".join(f"{name} {shown(own)} (recipe {shown(usual)})" for name, own, usual in found) or "none"


def shown(value: Any) -> str:
    """A value as `--set` takes it; `–` for None."""
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
