"""The accuracy that a blend gains on new rows, because the mean of several networks predicts them, without labels.

Out of fold, a row is predicted by the networks of one fold; on the leaderboard by the mean over folds, seeds and full
fits, which is better. On test rows without a train twin, the probabilities of the mean are scaled by the temperature at
which the *expected* accuracy of the single folds' predictions is their accuracy out of fold, which is known. At this
temperature the expected accuracy of the mean's own predictions is read. Where the networks of all folds agree, nothing
can be gained; where they disagree, the mean follows the more probable class.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOG_LIMIT = 4.0  # log T is in [−4, 4]
STEPS = 40  # of the bisection


# Accuracy gained by training on five folds instead of four: on pretended leaderboards five kinds of quick models gain
# 0.5 to 1.1 points, a sixth 1.7 (tests/benchmarks/records/forecast.json).
FULL_FIT_GAIN, FULL_FIT_SPREAD = 0.008, 0.005


def gain_of_full_fit(folds: int) -> float:
    """Expected accuracy of a network trained on all of `folds` folds minus that of one trained on all but one.

    No data of the user tell it, so it is the gain of other models, taken as proportional to the logarithm of the rows.
    """
    return FULL_FIT_GAIN * math.log(folds / (folds - 1)) / math.log(5 / 4) if folds > 1 else 0.0


def gain(single_accuracy: float, by_fold: Floats, test: NDArray[np.float32]) -> float:
    """Expected accuracy of the blend minus that of the networks of a single fold, on the same rows.

    Args:
        single_accuracy: accuracy of the networks of a single fold on rows like these, 0 to 1.
        by_fold: log-probabilities by the networks of each fold, (K, n, 7).
        test: logits of the blend, (n, 7), which the networks of all folds have a part in.
    """
    mean = test.astype(np.float64)
    answers, single = metrics.predicted(test), by_fold.argmax(axis=2)  # (n,), (K, n)

    def expected(log_temperature: float) -> tuple[float, float]:
        """Expected accuracy of the single folds, and of the blend."""
        probabilities = metrics.softmax(mean / math.exp(log_temperature))
        rows = np.arange(len(probabilities))
        return float(probabilities[rows, single].mean()), float(probabilities[rows, answers].mean())

    found = _solve(lambda value: -expected(value)[0], -single_accuracy)
    folds, blend = expected(found)
    return blend - folds


def _solve(rising: Callable[[float], float], target: float) -> float:
    """Where `rising` reaches `target`, by bisection; the nearer end of the range if the target is outside."""
    low, high = -LOG_LIMIT, LOG_LIMIT
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2
