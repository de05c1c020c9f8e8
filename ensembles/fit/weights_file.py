"""Weights that somebody gives: a JSON file `{"attention": 0.6, "residual": 0.4}`, or a blend.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic

SUM_TOLERANCE = 1e-6
_MOST = 1e9  # whatever does not sum to 1 is refused with its sum, which has to be a number that can be read


def read(path: Path, names: Sequence[str]) -> NDArray[np.float64]:
    """The weight of each of the members called `names`, (M,): 0 or more, summing to 1.

    Raises:
        FerKitError: unreadable, a weight missing, too many, negative or no number, or a sum that is not 1.
    """
    weights = _by_name(path, atomic.read_json(path))
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= _MOST:
            raise FerKitError(f"{path}: the weight of '{name}' is {weight!r}, allowed are numbers from 0 to 1")
        if name not in names:
            raise FerKitError(
                f"{path}: weighs '{name}', which is no member{did_you_mean(name, names)}; members are: "
                f"{', '.join(names)}"
            )
    for name in names:
        if name not in weights:
            raise FerKitError(f"{path}: no weight for '{name}'; add it (0 leaves it out), or name members by --members")
    total = math.fsum(weights.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise FerKitError(f"{path}: the weights sum to {total:.6g}, allowed is 1; divide each by {total:.6g}")
    return np.array([weights[name] for name in names], dtype=np.float64)


def pool(path: Path) -> str:
    """Which mean the weights are for: "mean" of probabilities in a blend.json that says so, else "logmean"."""
    value = atomic.read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("members"), list):
        return "logmean"
    if value.get("method") == "given":
        return "mean" if value.get("pool") == "mean" else "logmean"
    return "mean" if value.get("method") in ("mean", "greedy") else "logmean"


def _by_name(path: Path, value: Any) -> dict[str, Any]:
    """Weights by name from either form."""
    if isinstance(value, dict) and isinstance(value.get("members"), list):
        entries = value["members"]
        if all(isinstance(entry, dict) and "run" in entry and entry.get("weight") is not None for entry in entries):
            return {str(entry["run"]): entry["weight"] for entry in entries}
        raise FerKitError(f"{path}: a blend without one weight for each member (a stack?); choose one that has them")
    if not isinstance(value, dict):
        raise FerKitError(f"{path}: holds {type(value).__name__}, allowed is an object of member names and weights")
    return value
