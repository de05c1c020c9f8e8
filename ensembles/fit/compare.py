"""How sure a score is, and whether one blend is better than another, over rows that come in groups of twins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.metrics import Comparison, compare

Ints = NDArray[np.int64]

__all__ = ["LEVEL", "Comparison", "Score", "compare", "score"]

LEVEL = 0.95


@dataclass(frozen=True)
class Score:
    """Scores of one set of predictions; shares 0 to 1. interval: at `LEVEL`, by bootstrap over groups."""

    accuracy: float
    log_loss: float
    fold_accuracies: tuple[float, ...]
    interval: tuple[float, float]

    @property
    def spread(self) -> float | None:
        """Standard deviation over folds; None for a single one."""
        spread = metrics.spread(self.fold_accuracies)
        return None if math.isnan(spread) else spread


def score(logits: NDArray[Any], labels: Ints, folds: Ints, groups: Ints) -> Score:
    """Scores of logits (N, K) of rows with these labels, folds and groups, int64 (N,)."""
    right = metrics.predicted(logits) == labels
    return Score(
        metrics.accuracy(logits, labels),
        metrics.log_loss(logits, labels),
        tuple(float(right[folds == fold].mean()) for fold in np.unique(folds)),
        metrics.bootstrap_interval(right, groups, LEVEL),
    )
