"""Scores with confidence intervals, and comparisons of two blends, over rows in groups of twins."""

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
    """Scores of a set of predictions; accuracies 0 to 1. interval: at `LEVEL`, by bootstrap over groups."""

    accuracy: float
    log_loss: float
    fold_accuracies: tuple[float, ...]
    interval: tuple[float, float]

    @property
    def spread(self) -> float | None:
        """Standard deviation of the accuracy over folds; None for a single fold."""
        spread = metrics.spread(self.fold_accuracies)
        return None if math.isnan(spread) else spread


def score(logits: NDArray[Any], labels: Ints, folds: Ints, groups: Ints) -> Score:
    """Score logits (N, K). labels, folds, groups: of each row, int64 (N,)."""
    right = metrics.predicted(logits) == labels
    return Score(
        metrics.accuracy(logits, labels),
        metrics.log_loss(logits, labels),
        tuple(float(right[folds == fold].mean()) for fold in np.unique(folds)),
        metrics.bootstrap_interval(right, groups, LEVEL),
    )
