"""Scores of predictions, computed in float64. Only McNemar's exact test needs scipy; all else needs numpy alone.

In all functions logits are (N, K) values before softmax, with K = 7 columns in label order, and labels are (N,)
integers from 0 to K − 1. Wrong shapes raise ValueError, since they are bugs of the caller; files are checked when they
are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CALIBRATION_BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Comparison:
    """Comparison of predictions A with predictions B on the same rows.

    against: name of B. difference: accuracy of A − accuracy of B. standard_error: of the difference, over twin groups.
    won, lost: number of rows that only A, only B predicts correctly. z, p: z statistic over twin groups and its
    two-sided p value; decide by these. mcnemar_p: p value of McNemar's exact test, which assumes independent rows.
    Without any difference both p values are 1.
    """

    against: str
    difference: float
    standard_error: float
    won: int
    lost: int
    z: float
    p: float
    mcnemar_p: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence (probability of the predicted class) and accuracy in B bins of equal width from 0 to 1.

    rows: int64 (B,), rows in each bin. confidence, accuracy: float64 (B,), means over the rows of a bin, NaN in an
    empty bin. error: expected calibration error, the mean over rows of |confidence − accuracy| of their bins (Naeini et
    al., AAAI 2015; Guo et al., ICML 2017).
    """

    rows: Ints
    confidence: Floats
    accuracy: Floats
    error: float


def log_softmax(logits: Array) -> Floats:
    """Logarithms of the class probabilities, (N, K) float64; finite for finite logits."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def softmax(logits: Array) -> Floats:
    """Class probabilities, (N, K) float64; each row sums to 1."""
    return np.exp(log_softmax(logits))


def mean_of_probabilities(members: Sequence[Array]) -> Array:
    """Mean of the members' probabilities with equal weights, as logits (N, K) float64: the logarithm of the mean.

    The mean is computed from logarithms, so that small probabilities do not become 0 and their logarithms −infinity.
    A single member is returned unchanged, so that rounding cannot change its argmax.

    Raises:
        ValueError: there are no members, or their shapes differ.
    """
    if not members:
        raise ValueError("no members to average")
    if any(member.shape != members[0].shape for member in members):
        raise ValueError(f"members differ in shape: {[member.shape for member in members]}")
    if len(members) == 1:
        return members[0]
    total = log_softmax(members[0])
    for member in members[1:]:
        np.logaddexp(total, log_softmax(member), out=total)
    return total - math.log(len(members))


def predicted(logits: Array) -> NDArray[np.int64]:
    """The class with the largest logit, (N,) int64; the lowest class number if several logits are equally large."""
    winners: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)  # argmax returns the first occurrence
    return winners


def accuracy(logits: Array, labels: Array) -> float:
    """Share of rows whose predicted class is the label, 0 to 1."""
    _check(logits, labels)
    return float(np.mean(predicted(logits) == labels))


def log_loss(logits: Array, labels: Array) -> float:
    """Mean negative log-probability (natural log) of the labels."""
    _check(logits, labels)
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def confusion(predicted: Array, labels: Array, classes: int) -> Ints:
    """Confusion matrix int64 (K, K) of predicted classes (N,) and labels (N,): label in rows, prediction in columns."""
    return np.bincount(classes * labels + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def calibration(logits: Array, labels: Array, bins: int = CALIBRATION_BINS) -> Calibration:
    """Compare the probability of the predicted class with the accuracy, in `bins` bins; see `Calibration`."""
    _check(logits, labels)
    confidence = softmax(logits).max(axis=1)
    correct = (predicted(logits) == labels).astype(np.float64)
    number = np.minimum((confidence * bins).astype(np.int64), bins - 1)  # a probability of 1 belongs to the last bin
    rows = np.bincount(number, minlength=bins).astype(np.int64)
    expected, observed = np.bincount(number, confidence, bins), np.bincount(number, correct, bins)
    error = float(np.abs(expected - observed).sum() / len(labels))
    with np.errstate(invalid="ignore"):
        return Calibration(rows, expected / rows, observed / rows, error)


def compare(a: Array, b: Array, labels: Array, groups: Array, against: str) -> Comparison:
    """Compare the accuracy of logits `a` (N, K) with that of logits `b` (N, K).

    Args:
        groups: twin group of each row, (N,).
        against: name of `b`.

    The z statistic is the mean difference divided by its standard error over groups. McNemar's test (1947) is exact,
    by the binomial distribution.
    """
    from scipy.stats import binomtest

    right_a, right_b = predicted(a) == labels, predicted(b) == labels
    won, lost = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    difference = right_a.astype(np.float64) - right_b
    error = cluster_standard_error(difference, groups)
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


def error_correlation(classes: Array, labels: Array) -> Floats:
    """Correlation of errors (1 = wrong, 0 = correct) between M members, (M, M), from predicted classes (M, N).

    The correlation with a member that is always wrong or always correct is 0.
    """
    wrong = (classes != labels).astype(np.float64)
    wrong -= wrong.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.square(wrong).sum(axis=1))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    correlation: Floats = (wrong @ wrong.T) * np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def disagreement(classes: Array) -> Floats:
    """Share of rows in which two of M members predict different classes, (M, M), from predicted classes (M, N)."""
    return np.array([(classes != member).mean(axis=1) for member in classes])


def spread(values: Sequence[float]) -> float:
    """Standard deviation over folds (n − 1 in the denominator); NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1))


def standard_error(accuracy: float, rows: int) -> float:
    """Standard error of an accuracy over `rows` independent rows, √(p(1 − p)/n).

    Rows of the same photo (twins) are not independent; with them this value is too small by about a fifth.
    """
    return math.sqrt(accuracy * (1 - accuracy) / rows)


def cluster_standard_error(values: Array, groups: Array) -> float:
    """Standard error of the mean of `values` (N,) if rows of one group are not independent; NaN for a single group.

    groups: (N,), any numbers or names that are equal for rows of one group, here twins. The estimate is the sandwich
    estimator over clusters (Liang and Zeger, Biometrika 1986): from the deviations of the groups' sums from their
    sizes times the mean.
    """
    sums, sizes = _group_sums(values, groups)
    if len(sums) < 2:
        return math.nan
    off = sums - sizes * (sums.sum() / sizes.sum())
    return float(math.sqrt(len(sums) / (len(sums) - 1) * np.square(off).sum()) / sizes.sum())


def bootstrap_interval(
    values: Array, groups: Array, level: float = 0.95, repeats: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the mean of `values` (N,): percentiles of `repeats` means over resampled groups.

    Groups with equal sum and size are interchangeable, so drawing the count of each kind from a multinomial
    distribution equals drawing the groups one by one, at a hundredth of the work. Source: Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapters 8 and 13.
    """
    sums, sizes = _resampled(np.stack(_group_sums(values, groups), axis=1), repeats, seed).T
    low, high = np.quantile(sums / sizes, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_confusions(
    predicted: Array, labels: Array, groups: Array, classes: int, repeats: int = 4000, seed: int = 0
) -> Floats:
    """Confusion matrices (repeats, K, K) over groups resampled as in `bootstrap_interval`.

    Percentiles over these matrices give the interval of any score that is computed from a confusion matrix.
    """
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    cells = classes**2 * numbers + classes * labels + predicted
    tallies = np.bincount(cells, minlength=(int(numbers.max()) + 1) * classes**2).reshape(-1, classes**2)
    return _resampled(tallies.astype(np.float64), repeats, seed).reshape(repeats, classes, classes)


def _resampled(sums: Floats, repeats: int, seed: int) -> Floats:
    """Totals (repeats, C) over G groups drawn with replacement; `sums` has the sums of each group, (G, C)."""
    kinds, counts = np.unique(sums, axis=0, return_counts=True)  # (kinds, C)
    rng = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(counts))
    totals = []
    for start in range(0, repeats, chunk):
        drawn = rng.multinomial(len(sums), counts / len(sums), size=min(chunk, repeats - start))
        totals.append(drawn.astype(np.float64) @ kinds)
    return np.concatenate(totals)


def _group_sums(values: Array, groups: Array) -> tuple[Floats, Floats]:
    """Sum of the values and number of rows of each group."""
    if values.ndim != 1 or groups.shape != values.shape or len(values) == 0:
        raise ValueError(f"values {values.shape} and groups {groups.shape} must have the same shape (N,), N > 0")
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return np.bincount(numbers, weights=values).astype(np.float64), np.bincount(numbers).astype(np.float64)


def _check(logits: Array, labels: Array) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(f"logits {logits.shape} must have shape (N, K) and labels {labels.shape} shape (N,), N > 0")
