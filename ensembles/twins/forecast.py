"""Forecast of the leaderboard accuracy of a blend, part by part, without a test label.

    forecast = (1 − τ) · accuracy on singles + τ · accuracy on test rows with a train twin

τ is the share of the test rows with a train twin, known from the images. Singles are rows without one: their accuracy
is measured out of fold, and the gain of averaging is added (`ensembles.twins.averaging`). On rows whose twins were in
the train set, the accuracy is that of out-of-fold rows on which the same memory is simulated
(`ensembles.twins.remembered`). Nothing is chosen by the forecast, and no leaderboard score has a part in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.compare import LEVEL
from ensembles.twins.averaging import FULL_FIT_SPREAD, gain, gain_of_full_fit
from ensembles.twins.pairs import TwinTable
from ensembles.twins.remembered import Simulation
from fer_kit import metrics
from fer_kit.errors import FerKitError

Floats = NDArray[np.float64]

# The estimators' own errors, beyond the sampling noise of the rows. The root mean square of their bias over models is
# 0.22, 0.10 and 0.21 points on pretended leaderboards (tests/benchmarks/records/forecast.json). Rounded up, because
# networks that are trained to the end are other models.
ERROR_SINGLES, ERROR_TWINS, ERROR_LOOKUP = 0.003, 0.003, 0.004

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Forecast:
    """A leaderboard forecast; all values are fractions 0 to 1.

    seen_share: τ. singles, twins_seen: expected accuracy on test rows without and with a train twin. single_network,
    twins_unseen: cross-fitted out-of-fold accuracy on train rows without and with a twin, each predicted by the
    networks of one fold. accuracy: the forecast. interval: at 95%, for the score on all test rows; it covers the
    sampling noise of train and test rows and the estimators' own errors. half_interval: for the public or the private
    score, which are each of half the test rows. standard_error, half_error: the standard errors of both.
    """

    seen_share: float
    singles: float
    twins_unseen: float
    twins_seen: float
    accuracy: float
    interval: tuple[float, float]
    single_network: float
    half_interval: tuple[float, float]
    standard_error: float
    half_error: float

    def sentence(self, what: str = "leaderboard forecast") -> str:
        """The forecast in one line."""
        low, high = self.interval
        return (
            f"{what}: {self.accuracy:.2%}, {LEVEL:.0%} interval {low:.2%} to {high:.2%} = {1 - self.seen_share:.3f} × "
            f"{self.singles:.2%} on rows without twins ({self.single_network:.2%} out of fold) + {self.seen_share:.3f} "
            f"× {self.twins_seen:.2%} on rows with twins in the train set ({self.twins_unseen:.2%} out of fold)"
        )

    def halves(self) -> str:
        """The interval of a public or private score, in one line."""
        low, high = self.half_interval
        return f"public or private score, each of half the test rows: {LEVEL:.0%} interval {low:.2%} to {high:.2%}"


@dataclass(frozen=True, eq=False)
class Part:
    """The forecast accuracy of a part of the test rows.

    train_error: standard error from the sampling of train rows. own_error: of the estimator. rows: test rows.
    """

    accuracy: float
    train_error: float
    own_error: float
    rows: int

    def variance(self, share: float = 1.0) -> float:
        """Variance of forecast − score if the score is on this share of the rows."""
        sampling = self.accuracy * (1 - self.accuracy) / (share * self.rows)
        return sampling + self.train_error**2 + self.own_error**2


def on_singles(
    oof: NDArray[np.float32], test: NDArray[np.float32], by_fold: Floats, table: TwinTable, full_fit: bool = False
) -> Part:
    """The forecast on test rows without a train twin; arguments as in `forecast`.

    Raises:
        FerKitError: all or none of the train rows, or of the test rows, have twins.
    """
    train, rows = ~table.train.have, ~table.test.have
    if not train.any() or train.all() or not rows.any() or rows.all():
        raise FerKitError("all or none of the train rows, or of the test rows, have twins; a forecast needs both kinds")
    single = metrics.accuracy(oof[train], table.labels[train])
    gained, own_error = gain_of_full_fit(len(by_fold)), math.hypot(ERROR_SINGLES, FULL_FIT_SPREAD)
    if not full_fit:
        gained, own_error = gain(single, by_fold[:, rows], test[rows]), ERROR_SINGLES
    accuracy = min(1.0, max(0.0, single + gained))
    return Part(accuracy, metrics.standard_error(single, int(train.sum())), own_error, int(rows.sum()))


def on_twins(simulation: Simulation, test: NDArray[np.float32], table: TwinTable, looked_up: bool) -> Part:
    """The forecast on test rows with a train twin."""
    right = simulation.right(test).astype(np.float64)
    error = metrics.cluster_standard_error(right, simulation.groups)
    return Part(float(right.mean()), error, ERROR_LOOKUP if looked_up else ERROR_TWINS, int(table.test.have.sum()))


def forecast(
    oof: NDArray[np.float32],
    test: NDArray[np.float32],
    by_fold: Floats,
    table: TwinTable,
    *,
    looked_up: NDArray[np.float32] | None = None,
    full_fit: bool = False,
) -> Forecast:
    """The forecast of a blend.

    Args:
        oof: cross-fitted logits before a lookup, (N, 7).
        test: logits before a lookup, (T, 7).
        by_fold: log-probabilities of the test rows by the networks of each fold, (K, T, 7), as `fold_tests.of_blend`.
        looked_up: test logits after a twin lookup, (T, 7), for the forecast of the blend with lookup.
        full_fit: whether only full fits predict the test rows, in place of the folds of all members.

    Raises:
        FerKitError: all or none of the train rows, or of the test rows, have twins; or too few groups have twins.
    """
    singles = on_singles(oof, test, by_fold, table, full_fit)
    simulation = Simulation(oof, table)
    twins = on_twins(simulation, test if looked_up is None else looked_up, table, looked_up is not None)
    tau = table.seen_share
    accuracy = (1 - tau) * singles.accuracy + tau * twins.accuracy

    def error(share: float) -> float:
        return math.sqrt((1 - tau) ** 2 * singles.variance(share) + tau**2 * twins.variance(share))

    def interval(share: float) -> tuple[float, float]:
        reach = _NORMAL_95 * error(share)
        return accuracy - reach, accuracy + reach

    return Forecast(
        seen_share=tau,
        singles=singles.accuracy,
        twins_unseen=simulation.unseen,
        twins_seen=twins.accuracy,
        accuracy=accuracy,
        interval=interval(1.0),
        single_network=metrics.accuracy(oof[~table.train.have], table.labels[~table.train.have]),
        half_interval=interval(0.5),
        standard_error=error(1.0),
        half_error=error(0.5),
    )
