"""The estimator before this one, for comparison: the out-of-fold accuracy of singles, and a judge's probabilities.

Singles are taken as they are out of fold, where one network predicts a row and not the mean of five. Twin rows are
judged by the networks that held the twins out, updated by the labels of the twins and calibrated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import temperature
from ensembles.twins import lookup
from ensembles.twins.pairs import TwinTable
from fer_kit import metrics

Floats = NDArray[np.float64]

STRENGTHS = np.linspace(0.0, 3.0, 61)  # of its lookup, in which only the strength was fitted


def beliefs(oof: NDArray[np.float32], test: NDArray[np.float32], by_fold: Floats, table: TwinTable) -> Floats:
    """The judge's probabilities (n, 7) of the test rows with train twins."""
    fold_of_row = np.full(table.test.count, -1)
    fold_of_row[table.test.rows] = table.folds[table.test.twins]
    unseen = metrics.log_softmax(test)
    for fold, logits in enumerate(by_fold):
        unseen[fold_of_row == fold] = logits[fold_of_row == fold]
    known = metrics.log_softmax(oof)
    calibration = temperature.fit(known[None], table.labels)
    known, unseen = temperature.scale(known[None], calibration)[0], temperature.scale(unseen[None], calibration)[0]
    inside, across = lookup.evidence_of_both(table.labels, table.train, table.groups, table.test)
    have, seen = table.train.have, table.test.have
    known, inside, labels = known[have], inside[have], table.labels[have]
    losses = [metrics.log_loss(known + strength * inside, labels) for strength in STRENGTHS]
    strength = STRENGTHS[int(np.argmin(losses))]
    updated = metrics.log_softmax(unseen[seen] + strength * across[seen])
    doubt = temperature.fit(metrics.log_softmax(known + strength * inside)[None], labels)
    return np.exp(temperature.scale(updated[None], doubt)[0])


def expected(judged: Floats, test: NDArray[np.float32], table: TwinTable) -> Floats:
    """The judge's probability that the predicted class is right, for the test rows with train twins, (n,)."""
    answers = metrics.predicted(test)[table.test.have]
    found: Floats = judged[np.arange(len(answers)), answers]
    return found


def standard_error(singles: float, found: Floats, tau: float, train_singles: float) -> float:
    """The standard error that the earlier interval was made of. singles: accuracy; found: from `expected`."""
    alone = len(found) * (1 - tau) / tau
    variance = (1 - tau) ** 2 * singles * (1 - singles) * (1 / train_singles + 1 / alone)
    variance += tau**2 * float((found * (1 - found)).mean()) / len(found)
    return math.sqrt(variance)
