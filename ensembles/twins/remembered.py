"""The accuracy of predictions of test rows with train twins, without test labels.

Networks remember the labels of train rows, so their predictions of a twin tend to the twin's label. Out of fold nothing
is remembered, because twins are held out together. But it can be simulated there: the log-probabilities of an
out-of-fold row with twins are updated by the labels of its twins (the `evidence` of the lookup), with a weight:

    log p(y | image) + w · mean over twins of log P(twin's label | y)

At w = 0 nothing is remembered; the larger w is, the more predictions agree with the twins' labels. How often the test
predictions agree with the labels of their train twins is known. At the weight at which the simulated predictions agree
as often, their accuracy is measured on the labels of the out-of-fold rows. This holds for networks that remember much
or little, and for the predictions after a twin lookup, which agree nearly always.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensembles.twins import lookup
from ensembles.twins.pairs import TwinTable
from fer_kit import metrics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WEIGHTS = -50.0, 1000.0  # at the ends, nearly no and nearly all predictions agree with the twins' labels
STEPS = 60  # of the bisection


class Simulation:
    """Out-of-fold rows with twins, whose predictions can be made to agree with the labels of twins at any rate.

    groups: of these n rows, (n,). unseen: accuracy of their predictions without the labels of twins.
    """

    def __init__(self, oof: NDArray[np.float32], table: TwinTable) -> None:
        """oof: out-of-fold logits (N, 7), before any lookup.

        Raises:
            FerKitError: fewer than 3 groups of train rows have twins.
        """
        rows, self._test_rows = table.train.have, table.test.have
        found, test = lookup.evidence_of_both(table.labels, table.train, table.groups, table.test)
        self._log_probs, self._evidence = metrics.log_softmax(oof)[rows], found[rows]
        self._told, self._test_told = found[rows].argmax(axis=1), test[self._test_rows].argmax(axis=1)
        self._labels, self.groups = table.labels[rows], table.groups[rows]
        self.unseen = float((metrics.predicted(self._log_probs) == self._labels).mean())

    def right(self, test: NDArray[np.float32]) -> Bools:
        """Which simulated predictions are right, (n,), if they agree with twins as often as the test logits (T, 7)."""
        agreement = float((metrics.predicted(test)[self._test_rows] == self._test_told).mean())
        low, high = WEIGHTS
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if (self._simulated(middle) == self._told).mean() < agreement else (low, middle)
        right: Bools = self._simulated((low + high) / 2) == self._labels
        return right

    def _simulated(self, weight: float) -> Ints:
        return metrics.predicted(self._log_probs + weight * self._evidence)
