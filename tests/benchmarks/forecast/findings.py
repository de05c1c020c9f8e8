"""What the networks themselves show on pretended leaderboards: full fits, out-of-fold accuracy, soft targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ensembles.twins.pairs import TwinTable
from fer_kit import metrics
from tests.benchmarks.forecast.kinds import STUDENTS
from tests.benchmarks.forecast.pretend import Predicted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Findings:
    """Collects what each kind shows on each split."""

    def __init__(self) -> None:
        self.full_fit: dict[str, list[float]] = {}
        self.above_test: dict[str, list[float]] = {}
        self.students: dict[str, list[dict[str, Floats]]] = {}
        self.leaks: dict[str, list[float]] = {}

    def add(self, predicted: Mapping[str, Predicted], table: TwinTable, truth: Ints) -> None:
        """Add the kinds of one split. truth: labels of the pretended test rows, (M,)."""
        for kind, one in predicted.items():
            self.full_fit.setdefault(kind, []).append(gain_of_full_fit(one, table, truth))
            self.above_test.setdefault(kind, []).append(flattery(one, table, truth))
            if kind in STUDENTS and STUDENTS[kind].plain in predicted:
                plain = predicted[STUDENTS[kind].plain]
                self.students.setdefault(kind, []).append(gains_of_student(one, plain, table, truth))
                self.leaks.setdefault(kind, []).append(leak(one, plain, table, truth))

    def as_dict(self) -> dict[str, dict[str, dict[str, float]]]:
        """Means and their standard errors in percentage points, for the record."""
        students = {
            f"{kind}, {part}": np.concatenate([split[part] for split in splits])
            for kind, splits in self.students.items()
            for part in splits[0]
        }
        return {
            "full_fit_over_one_fold_on_singles": _points(self.full_fit),
            "out_of_fold_over_one_network_on_test_singles": _points(self.above_test),
            "soft_targets_over_labels_on_test_rows": _points(students),
            "gain_of_soft_targets_out_of_fold_over_test_singles": _points(self.leaks),
        }


def gain_of_full_fit(one: Predicted, table: TwinTable, truth: Ints) -> float:
    """Accuracy of the full fit on test rows without a train twin, minus the mean of those of the folds' networks."""
    rows = ~table.test.have
    return metrics.accuracy(one.full[rows], truth[rows]) - float(_rights_of_one(one, truth)[rows].mean())


def flattery(one: Predicted, table: TwinTable, truth: Ints) -> float:
    """Out-of-fold accuracy on train rows without a twin, minus the mean accuracy of the folds' networks on test rows
    without one: above zero where out-of-fold predictions read too well, as they may after soft targets.
    """
    train, rows = ~table.train.have, ~table.test.have
    return metrics.accuracy(one.oof[train], table.labels[train]) - float(_rights_of_one(one, truth)[rows].mean())


def gains_of_student(student: Predicted, plain: Predicted, table: TwinTable, truth: Ints) -> dict[str, Floats]:
    """Right answers on each test row, of the student minus those of the same network on labels alone, by part.

    "one network": the mean over the folds' networks; "mean": the mean of their probabilities.
    """
    singles = ~table.test.have
    found = {}
    for who, rights in (("one network", _rights_of_one), ("mean", _rights_of_mean)):
        gain = rights(student, truth) - rights(plain, truth)
        found |= {f"{who}, singles": gain[singles], f"{who}, twins": gain[~singles], f"{who}, all": gain}
    return found


def leak(student: Predicted, plain: Predicted, table: TwinTable, truth: Ints) -> float:
    """What soft targets gain on train rows without a twin, out of fold, minus what one network gains by them on test
    rows without one: above zero where the out-of-fold gain is too high, because the teacher saw the held-out labels.
    """
    return flattery(student, table, truth) - flattery(plain, table, truth)


def _rights_of_one(one: Predicted, truth: Ints) -> Floats:
    return np.mean([metrics.predicted(fold) == truth for fold in one.tests], axis=0, dtype=float)


def _rights_of_mean(one: Predicted, truth: Ints) -> Floats:
    return (metrics.predicted(metrics.mean_of_probabilities(list(one.tests))) == truth).astype(float)


def _points(found: Mapping[str, Sequence[float] | Floats]) -> dict[str, dict[str, float]]:
    values = {name: 100 * np.asarray(one, dtype=float) for name, one in found.items()}
    return {
        name: {"mean": round(float(one.mean()), 2), "error": round(float(one.std(ddof=1) / len(one) ** 0.5), 2)}
        for name, one in values.items()
        if len(one) > 1
    }
