"""How sure a score is, and whether one blend is better than another, over rows that come in groups of twins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics

Ints = NDArray[np.int64]

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


@dataclass(frozen=True)
class Comparison:
    """A against B on the same rows; `difference` is A − B in accuracy, `won` rows only A has right, `lost` only B.

    z, p: cluster z of the difference and its two-sided p, to decide by. mcnemar_p: exact McNemar, which takes rows
    for independent. All of them: p is 1 where nothing differs.
    """

    against: str
    difference: float
    standard_error: float
    won: int
    lost: int
    z: float
    p: float
    mcnemar_p: float


def score(logits: NDArray[Any], labels: Ints, folds: Ints, groups: Ints) -> Score:
    """Scores of logits (N, K) of rows with these labels, folds and groups, int64 (N,)."""
    right = metrics.predicted(logits) == labels
    return Score(
        metrics.accuracy(logits, labels),
        metrics.log_loss(logits, labels),
        tuple(float(right[folds == fold].mean()) for fold in np.unique(folds)),
        metrics.bootstrap_interval(right, groups, LEVEL),
    )


def compare(a: NDArray[Any], b: NDArray[Any], labels: Ints, groups: Ints, against: str) -> Comparison:
    """Logits `a` (N, K) against `b`, called `against`.

    McNemar 1947, exact by the binomial; the cluster z is the sum of the differences of groups over its standard error.
    """
    from scipy.stats import binomtest

    right_a, right_b = metrics.predicted(a) == labels, metrics.predicted(b) == labels
    won, lost = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    difference = right_a.astype(np.float64) - right_b
    error = metrics.cluster_standard_error(difference, groups)
    mean = float(difference.mean())
    z = mean / error if error > 0 else 0.0
    return Comparison(
        against,
        mean,
        0.0 if math.isnan(error) else error,
        won,
        lost,
        z,
        math.erfc(abs(z) / math.sqrt(2)),
        float(binomtest(won, won + lost).pvalue) if won + lost else 1.0,
    )
