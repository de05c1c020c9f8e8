"""Forecast of the leaderboard accuracy. Networks are trained on twins of test rows, but not on twins of held-out rows.

    forecast = (1 − τ) · accuracy on singles + τ · expected accuracy on test rows with a train twin

τ is the share of the test rows with a train twin, known from the images. Singles are train rows without a twin. The
accuracy on rows whose twins were in the train set cannot be measured on out-of-fold rows, whose twins are held out with
them. It is estimated as the mean probability of the blend's predictions on these test rows. The probabilities come from
networks other than the whole blend: for each row, those of the fold that held out its twins, calibrated and then
updated by the labels of the twins (see `ensembles.twins.lookup`). No test label is used, and nothing is chosen by the
forecast.

Out of fold, a row is predicted by the network of one fold, on the leaderboard by the mean of all folds, which is
slightly better. The size of this effect is unknown without test labels, so the forecast tends to be too low.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import temperature
from ensembles.fit.compare import LEVEL
from ensembles.members import RUN, Member
from ensembles.twins import lookup
from ensembles.twins.pairs import TwinTable
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.runs import predictions
from fer_kit.runs.folders import TEST

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Forecast:
    """A leaderboard forecast; all values are fractions 0 to 1.

    seen_share: τ. singles, twins_unseen: cross-fitted accuracy on train rows without and with a twin. twins_seen:
    expected accuracy on test rows with a train twin. accuracy: the forecast. interval: at 95%, for the score on this
    number of test rows; it covers the sampling noise of train and test rows, but not wrong probabilities of the judge.
    """

    seen_share: float
    singles: float
    twins_unseen: float
    twins_seen: float
    accuracy: float
    interval: tuple[float, float]

    def sentence(self, what: str = "leaderboard forecast") -> str:
        """The forecast in one line."""
        low, high = self.interval
        return (
            f"{what}: {self.accuracy:.2%}, {LEVEL:.0%} interval {low:.2%} to {high:.2%} = {1 - self.seen_share:.3f} × "
            f"{self.singles:.2%} on rows without twins + {self.seen_share:.3f} × {self.twins_seen:.2%} on rows with "
            f"twins in the train set ({self.twins_unseen:.2%} if their twins are held out)"
        )


@dataclass(frozen=True, eq=False)
class Judge:
    """Class probabilities of the test rows with train twins. seen: which rows, bool (M,). beliefs: float64 (n, 7)."""

    seen: Bools
    beliefs: Floats

    def expected(self, test_logits: NDArray[np.float32]) -> Floats:
        """The probability that the predicted class of test_logits (M, 7) is correct, for the n rows `seen`: (n,)."""
        answers = metrics.predicted(test_logits)[self.seen]
        expected: Floats = self.beliefs[np.arange(len(answers)), answers]
        return expected


def judge(members: Sequence[Member], table: TwinTable) -> Judge:
    """The probabilities by all runs among `members`, and among the members of blends.

    Raises:
        FerKitError: no member is a run, so that the networks of a fold are unknown; or there are too few twins.
    """
    parts = _runs_of(members)
    if not parts:
        raise FerKitError(
            "no member is a run, so the networks that were not trained on the twins of a row are unknown; blend runs"
        )
    seen = table.test.have
    oof = metrics.log_softmax(metrics.mean_of_probabilities([part.oof.logits for part in parts]))
    unseen = metrics.log_softmax(metrics.mean_of_probabilities([_by_unseen_fold(part, table) for part in parts]))
    calibration = temperature.fit(oof[None], table.labels)
    oof, unseen = temperature.scale(oof[None], calibration)[0], temperature.scale(unseen[None], calibration)[0]
    learned = lookup.fit(oof, table.labels, table.train, table.groups)
    beliefs = learned.apply(unseen, table.test)[seen]
    # overconfident by 2 points on FER2013's train pairs, so calibrated again on held-out rows
    held, _ = lookup.held_out(oof, table.labels, table.train, table.groups)
    have = table.train.have
    doubt = temperature.fit(held[have][None], table.labels[have])
    return Judge(seen, np.exp(temperature.scale(beliefs[None], doubt)[0]))


def forecast(
    oof_logits: NDArray[np.float32], test_logits: NDArray[np.float32], judged: Judge, table: TwinTable
) -> Forecast:
    """The forecast of a blend. oof_logits: cross-fitted, (N, 7). test_logits: (M, 7), after the lookup, if any.

    A lookup does not change singles, so `oof_logits` before and after it differ only in `twins_unseen`.

    Raises:
        FerKitError: all or none of the train rows, or of the test rows, have twins.
    """
    right = (metrics.predicted(oof_logits) == table.labels).astype(np.float64)
    single = ~table.train.have
    if not single.any() or single.all() or not judged.seen.any() or judged.seen.all():
        raise FerKitError("all or none of the train rows, or of the test rows, have twins; a forecast needs both kinds")
    tau, singles = table.seen_share, float(right[single].mean())
    expected = judged.expected(test_logits)
    accuracy = (1 - tau) * singles + tau * float(expected.mean())
    alone = len(judged.seen) - len(expected)
    # variances of the train singles, of the test singles, and of the test rows with twins
    variance = (1 - tau) ** 2 * singles * (1 - singles) * (1 / int(single.sum()) + 1 / alone)
    variance += tau**2 * float((expected * (1 - expected)).mean()) / len(expected)
    reach = _NORMAL_95 * math.sqrt(variance)
    unseen = float(right[~single].mean())
    return Forecast(tau, singles, unseen, float(expected.mean()), accuracy, (accuracy - reach, accuracy + reach))


def _runs_of(members: Sequence[Member]) -> list[Member]:
    """The runs among the members and, recursively, among the members of blends."""
    found = {}
    for member in members:
        inside = [member] if member.kind == RUN else _runs_of(member.parts)
        found.update({tuple(source.path.resolve() for source in part.sources): part for part in inside})
    return list(found.values())


def _by_unseen_fold(run: Member, table: TwinTable) -> NDArray[np.float64]:
    """Test logits (M, 7) of a run; rows with train twins are predicted by the networks that held out these twins."""
    fold_of_row = np.full(table.test.count, -1)
    fold_of_row[table.test.rows] = table.folds[table.test.twins]
    logits = run.test.logits.astype(np.float64)
    for fold in np.unique(fold_of_row[fold_of_row >= 0]):
        rows = fold_of_row == fold
        seeds = [predictions.read(source.path / f"fold{fold}" / TEST).logits[rows] for source in run.sources]
        logits[rows] = metrics.mean_of_probabilities(seeds)
    return logits
