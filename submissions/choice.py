"""Which files to send, or to pick at the end: the best by forecast, and those that differ most among the near ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A submission that can be sent or picked.

    forecast, error: leaderboard forecast and its standard error, 0 to 1. classes: predicted classes of the M test rows,
    (M,), any type. right: which out-of-fold rows are predicted right, (N,); None if unknown.
    """

    name: str
    forecast: float
    error: float
    classes: NDArray[np.generic]
    right: Bools | None = None


@dataclass(frozen=True)
class Chosen:
    """A choice with its reason. changed: test rows that differ from the first choice. gain: see `gain_of_better`."""

    candidate: Candidate
    changed: int
    gain: float | None
    reason: str


def choose(candidates: Sequence[Candidate], count: int) -> list[Chosen]:
    """At most `count` candidates: first the one with the best forecast, ties by name.

    Each further one is among those within one standard error of the best; of these, the one whose nearest choice so
    far is farthest, in rows that differ.
    """
    ordered = sorted(candidates, key=lambda one: (-one.forecast, one.name))
    if not ordered or count < 1:
        return []
    best = ordered[0]
    chosen = [Chosen(best, 0, None, "best by forecast")]
    near = [one for one in ordered[1:] if best.forecast - one.forecast <= best.error]
    while near and len(chosen) < count:
        apart = {id(one): min(changed(one, other.candidate) for other in chosen) for one in near}
        one = max(near, key=lambda one: (apart[id(one)], one.forecast))
        near.remove(one)
        if not apart[id(one)]:
            break
        behind = 100 * (best.forecast - one.forecast)
        reason = f"differs most among {len(near) + 1} within {100 * best.error:.2f} points (1 se); {behind:.2f} behind"
        chosen.append(Chosen(one, changed(one, best), gain_of_better(best, one), reason))
    return chosen


def changed(one: Candidate, other: Candidate) -> int:
    """The number of test rows that are predicted differently."""
    return int((one.classes != other.classes).sum())


def gain_of_better(first: Candidate, second: Candidate) -> float | None:
    """The expected score of the better of two on half of the test rows, minus that of the first; None if unknown.

    The share of rows where exactly one of the two is right is that of the out-of-fold rows. The difference of the two
    scores is taken as normal, with mean μ and standard deviation σ; then the better of the two gains
    E[max(0, difference)] = μ·Φ(μ/σ) + σ·φ(μ/σ).
    """
    if first.right is None or second.right is None or first.right.shape != second.right.shape:
        return None
    mean = second.forecast - first.forecast
    unequal = float((first.right != second.right).mean())
    sigma = math.sqrt(max(unequal - mean**2, 0.0) / (len(first.classes) / 2))
    if sigma == 0:
        return max(0.0, mean)
    z = mean / sigma
    return mean * 0.5 * math.erfc(-z / math.sqrt(2)) + sigma * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
