"""The scores that `evaluate` computes from logits, labels and twin groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.data.loading import TEST_USAGES, Answers
from fer_kit.evaluate.sources import Groups, ScoredSource, common_ids
from fer_kit.metrics import Calibration, Comparison

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
REPEATS = 2000  # bootstrap samples for every score except accuracy, whose interval uses more


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, 0 to 1. answers: rows predicted as this class; without such rows precision is 0."""

    name: str
    rows: int
    answers: int
    precision: float
    recall: float
    f1: float
    recall_interval: Interval
    f1_interval: Interval


@dataclass(frozen=True)
class Pair:
    """`rows` rows of class `true` are predicted as `answer`; `share`: their fraction of all rows of `true`."""

    true: str
    answer: str
    rows: int
    share: float


@dataclass(frozen=True, eq=False)
class Scores:
    """All scores of a set of rows, as fractions 0 to 1; intervals at `LEVEL` by bootstrap over twin groups.

    balanced_accuracy: mean recall over the classes that occur; macro_f1: mean F1 over the classes that occur or are
    predicted. confusion: int64 (7, 7), a row for each true class. confidence: mean probability of the predicted class.
    """

    rows: int
    groups: int
    accuracy: float
    interval: Interval
    balanced_accuracy: float
    balanced_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    log_loss: float
    confidence: float
    calibration: Calibration
    confusion: Ints
    classes: tuple[ClassScore, ...]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values; confidence and accuracy of an empty calibration bin are None."""
        found = self.calibration
        bins = zip(found.rows.tolist(), found.confidence.tolist(), found.accuracy.tolist(), strict=True)
        return {
            **{key: value for key, value in vars(self).items() if key not in ("calibration", "confusion", "classes")},
            "calibration_error": found.error,
            "reliability": [
                {"rows": rows, "confidence": sure if rows else None, "accuracy": true if rows else None}
                for rows, sure, true in bins
            ],
            "classes": [asdict(one) for one in self.classes],
            "confusion": self.confusion.tolist(),
            "most_confused": [asdict(pair) for pair in most_confused(self.confusion)],
        }


def scores(logits: NDArray[Any], labels: Ints, groups: Ints) -> Scores:
    """Score logits (N, 7) against labels, int64 (N,). groups: twin group of each row, int64 (N,)."""
    from sklearn.metrics import precision_recall_fscore_support

    answers = metrics.predicted(logits)
    counts = metrics.confusion(answers, labels, NUM_CLASSES)
    drawn = metrics.bootstrap_confusions(answers, labels, groups, NUM_CLASSES, REPEATS)
    balanced, macro, recalls, f1s = _from_confusions(drawn)
    precision, recall, f1, rows = precision_recall_fscore_support(
        labels, answers, labels=range(NUM_CLASSES), zero_division=0
    )
    calibration = metrics.calibration(logits, labels)
    return Scores(
        rows=len(labels),
        groups=len(np.unique(groups)),
        accuracy=metrics.accuracy(logits, labels),
        interval=metrics.bootstrap_interval(answers == labels, groups, LEVEL),
        balanced_accuracy=float(recall[rows > 0].mean()),
        balanced_interval=_interval(balanced),
        macro_f1=float(f1[(rows > 0) | (counts.sum(axis=0) > 0)].mean()),
        macro_f1_interval=_interval(macro),
        log_loss=metrics.log_loss(logits, labels),
        confidence=float(metrics.softmax(logits).max(axis=1).mean()),
        calibration=calibration,
        confusion=counts,
        classes=tuple(
            ClassScore(
                name,
                int(rows[k]),
                int(counts[:, k].sum()),
                float(precision[k]),
                float(recall[k]),
                float(f1[k]),
                _interval(recalls[:, k]),
                _interval(f1s[:, k]),
            )
            for k, name in enumerate(CLASSES)
        ),
    )


def most_confused(confusion: Ints, most: int = 8) -> list[Pair]:
    """The most frequent confusions of a true with a predicted class, at most `most`, the most frequent first."""
    wrong = confusion * ~np.eye(NUM_CLASSES, dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    totals = confusion.sum(axis=1)
    pairs = [divmod(int(place), NUM_CLASSES) for place in order]
    return [
        Pair(CLASSES[true], CLASSES[answer], int(wrong[true, answer]), float(wrong[true, answer] / totals[true]))
        for true, answer in pairs
        if wrong[true, answer]
    ]


def confident_mistakes(logits: NDArray[Any], labels: Ints, groups: Ints, each: int) -> Ints:
    """Positions of the wrong rows with the highest probability, at most `each` of every true class, class by class.

    The highest probability comes first. Of each twin group only one row counts, so that one photo cannot fill a sheet.
    """
    sure = metrics.softmax(logits).max(axis=1)
    wrong = np.flatnonzero(metrics.predicted(logits) != labels)
    order = wrong[np.argsort(-sure[wrong], kind="stable")]
    order = order[np.sort(np.unique(groups[order], return_index=True)[1])]
    chosen = [order[labels[order] == label][:each] for label in range(NUM_CLASSES)]
    return np.asarray(np.concatenate(chosen), np.int64)


def compare_all(sources: Sequence[ScoredSource], groups: Groups) -> dict[str, Any] | None:
    """Compare each two sources on the rows common to all: McNemar test and cluster z; None without a common row.

    Returns:
        A JSON object: number of common rows, accuracy of each source on them, and each pair, the better source first.
    """
    ids = common_ids(sources)
    if not len(ids):
        return None
    at = [np.searchsorted(source.oof.ids, ids) for source in sources]
    logits = [source.oof.logits[rows] for source, rows in zip(sources, at, strict=True)]
    labels, numbers = sources[0].labels[at[0]], groups.of(ids)
    accuracy = [metrics.accuracy(one, labels) for one in logits]
    pairs = []
    for a, b in itertools.combinations(np.argsort([-value for value in accuracy], kind="stable").tolist(), 2):
        found: Comparison = metrics.compare(logits[a], logits[b], labels, numbers, sources[b].name)
        pairs.append({"source": sources[a].name, **asdict(found)})
    named = {source.name: value for source, value in zip(sources, accuracy, strict=True)}
    return {"rows": len(ids), "accuracy": named, "pairs": pairs}


def on_test(source: ScoredSource, answers: Answers, groups: Groups) -> list[dict[str, Any]]:
    """Scores on the test rows of each usage, and, if twins are known, on the rows without a train twin, as JSON."""
    lines = []
    twinned = groups.has_train_twin
    numbers = source.test.ids if groups.test is None else groups.test
    for usage in TEST_USAGES[1:]:
        parts = {"all": answers.usage == usage}
        if twinned is not None:
            parts["without a train twin"] = parts["all"] & ~twinned
        for part, rows in parts.items():
            if rows.any():
                found = scores(source.test.logits[rows], answers.labels[rows], numbers[rows])
                lines.append({"source": source.name, "usage": usage, "part": part, **found.to_json()})
    return lines


def _from_confusions(counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Balanced accuracy and macro F1 (R,), recall and F1 of each class (R, 7), from confusion matrices (R, 7, 7)."""
    right = np.diagonal(counts, axis1=1, axis2=2)
    rows, answers = counts.sum(axis=2), counts.sum(axis=1)
    recall = right / np.maximum(rows, 1)
    f1 = 2 * right / np.maximum(rows + answers, 1)
    there, seen = rows > 0, rows + answers > 0
    return (recall * there).sum(1) / there.sum(1), (f1 * seen).sum(1) / seen.sum(1), recall, f1


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
