"""Scores of predictions, in float64 whatever the logits come in; numpy only, but for the binomial of McNemar's test.

Everywhere: logits (N, K) before softmax, with K = 7 columns in label order; labels (N,) integers 0 to K − 1.
Wrong shapes raise ValueError: they are bugs of the caller, files are checked where they are read.
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


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the winning class's probability promises and what comes true, in B bins of equal width from 0 to 1.

    rows int64 (B,); confidence, accuracy float64 (B,), means over the rows of a bin, NaN in an empty one.
    error: the expected calibration error, mean over rows of |confidence − accuracy| of their bins
    (Naeini et al., AAAI 2015; Guo et al., ICML 2017).
    """

    rows: Ints
    confidence: Floats
    accuracy: Floats
    error: float


def log_softmax(logits: Array) -> Floats:
    """log of the class probabilities, (N, K) float64; finite for every finite logit."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def softmax(logits: Array) -> Floats:
    """Class probabilities, (N, K) float64, each row summing to 1."""
    return np.exp(log_softmax(logits))


def mean_of_probabilities(members: Sequence[Array]) -> Array:
    """The plain mean over members of their probabilities, as logits (N, K): the log of the mean, float64.

    Computed in logs, so that no probability is lost to 0 and its log to −infinity. One member comes back
    as it is: its argmax, rounded to float32 or not, cannot move.
    """
    if not members:
        raise ValueError("the mean of no members")
    if any(member.shape != members[0].shape for member in members):
        raise ValueError(f"members differ in shape: {[member.shape for member in members]}")
    if len(members) == 1:
        return members[0]
    total = log_softmax(members[0])
    for member in members[1:]:
        np.logaddexp(total, log_softmax(member), out=total)
    return total - math.log(len(members))


def predicted(logits: Array) -> NDArray[np.int64]:
    """The class of the largest logit, (N,) int64; of equal ones the lowest class number, always."""
    winners: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)  # numpy documents: the first occurrence
    return winners


def accuracy(logits: Array, labels: Array) -> float:
    """Share of rows whose largest logit is the label's, 0 to 1."""
    _check(logits, labels)
    return float(np.mean(predicted(logits) == labels))


def log_loss(logits: Array, labels: Array) -> float:
    """Mean negative log-probability (natural log) of the labels."""
    _check(logits, labels)
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def confusion(predicted: Array, labels: Array, classes: int) -> Ints:
    """How often each class (row) got each answer (column), int64 (K, K), of answers and labels (N,)."""
    return np.bincount(classes * labels + predicted, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def calibration(logits: Array, labels: Array, bins: int = CALIBRATION_BINS) -> Calibration:
    """How far the probability of the predicted class can be believed; see `Calibration`."""
    _check(logits, labels)
    sure = softmax(logits).max(axis=1)
    right = (predicted(logits) == labels).astype(np.float64)
    number = np.minimum((sure * bins).astype(np.int64), bins - 1)  # a probability of 1 belongs to the last bin
    rows = np.bincount(number, minlength=bins).astype(np.int64)
    promised, true = np.bincount(number, sure, bins), np.bincount(number, right, bins)
    with np.errstate(invalid="ignore"):
        return Calibration(rows, promised / rows, true / rows, float(np.abs(promised - true).sum() / len(labels)))


def compare(a: Array, b: Array, labels: Array, groups: Array, against: str) -> Comparison:
    """Logits `a` (N, K) against `b`, called `against`; groups: (N,), the twins.

    McNemar 1947, exact by the binomial; the cluster z is the sum of the differences of groups over its standard error.
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


def error_correlation(answers: Array, labels: Array) -> Floats:
    """Correlation of errors (1 wrong, 0 right) between M rows of predicted classes (M, N): (M, M).

    It is 0 beside a row whose errors never vary.
    """
    wrong = (answers != labels).astype(np.float64)
    wrong -= wrong.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.square(wrong).sum(axis=1))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    correlation: Floats = (wrong @ wrong.T) * np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def disagreement(answers: Array) -> Floats:
    """Share of the N columns in which two of M rows of predicted classes (M, N) differ: (M, M)."""
    return np.array([(answers != row).mean(axis=1) for row in answers])


def spread(values: Sequence[float]) -> float:
    """Standard deviation over folds (n − 1 in the denominator); NaN for one value, which has none."""
    if len(values) < 2:
        return math.nan
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1))


def standard_error(accuracy: float, rows: int) -> float:
    """Standard error of an accuracy over `rows` independent rows, √(p(1 − p)/n).

    Rows that share a photo are not independent: over twins it is too small by about a fifth.
    """
    return math.sqrt(accuracy * (1 - accuracy) / rows)


def cluster_standard_error(values: Array, groups: Array) -> float:
    """Standard error of the mean of `values` (N,) where rows of one group are not independent; NaN for one group.

    groups: (N,) any labels that say which rows go together, here the twins. The usual sandwich over clusters
    (Liang and Zeger, Biometrika 1986): the spread of the groups' sums around what their size makes one expect.
    """
    sums, sizes = _group_sums(values, groups)
    if len(sums) < 2:
        return math.nan
    off = sums - sizes * (sums.sum() / sizes.sum())
    return float(math.sqrt(len(sums) / (len(sums) - 1) * np.square(off).sum()) / sizes.sum())


def bootstrap_interval(
    values: Array, groups: Array, level: float = 0.95, repeats: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean of `values` (N,), by drawing whole groups anew: the percentiles of `repeats` means.

    Groups of the same size and sum count the same, so that one draw of how often each kind comes (a multinomial)
    is exactly one draw of all the groups, at a hundredth of the work. Efron and Tibshirani 1993, chapters 8 and 13.
    """
    sums, sizes = _resampled(np.stack(_group_sums(values, groups), axis=1), repeats, seed).T
    low, high = np.quantile(sums / sizes, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_confusions(
    predicted: Array, labels: Array, groups: Array, classes: int, repeats: int = 4000, seed: int = 0
) -> Floats:
    """Confusion matrices (repeats, K, K) of groups drawn anew as in `bootstrap_interval`.

    Whatever is computed from a confusion matrix gets its interval from the percentiles over these.
    """
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    cells = classes**2 * numbers + classes * labels + predicted
    tallies = np.bincount(cells, minlength=(int(numbers.max()) + 1) * classes**2).reshape(-1, classes**2)
    return _resampled(tallies.astype(np.float64), repeats, seed).reshape(repeats, classes, classes)


def _resampled(sums: Floats, repeats: int, seed: int) -> Floats:
    """Totals (repeats, C) of the sums (G, C) of G groups, over G groups drawn with replacement."""
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
        raise ValueError(f"values {values.shape} and groups {groups.shape} do not belong together")
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return np.bincount(numbers, weights=values).astype(np.float64), np.bincount(numbers).astype(np.float64)


def _check(logits: Array, labels: Array) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not belong together")
