"""What the leaderboard will say: out-of-fold rows have no twins in training, but test rows do.

    forecast = (1 − τ) · accuracy on singles + τ · accuracy with twins seen

τ is the share of the test rows with a train twin, from the images alone. Singles are train rows without a twin. The
accuracy with twins seen cannot be read off out-of-fold rows, whose twins are held out with them, so it is what one
should expect of the blend's answers on the test rows with twins, by a judge who does not know the blend: the networks
of the one fold that did *not* see the row's twins, calibrated and then updated by the twins' labels as learned on train
pairs (see `twin_lookup`). No test label is used, and nothing is chosen by it.

Out of fold a row is answered by the network of one fold, on the leaderboard by the mean of all folds, which is a little
better; how much, only labels could tell. So the forecast is rather too low than too high.
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
    """Shares 0 to 1. seen_share: τ. singles: cross-fitted accuracy on train rows without a twin; twins_unseen: on
    the others. twins_seen: expected on test rows with a train twin. interval: at 95%, for the score of this many test
    rows: it covers the noise of train and test rows, not a judge that is wrong.
    """

    seen_share: float
    singles: float
    twins_unseen: float
    twins_seen: float
    accuracy: float
    interval: tuple[float, float]

    def sentence(self, what: str = "leaderboard forecast") -> str:
        """In one line."""
        low, high = self.interval
        return (
            f"{what}: {self.accuracy:.2%}, {LEVEL:.0%} interval {low:.2%} to {high:.2%} = {1 - self.seen_share:.3f} × "
            f"{self.singles:.2%} on singles + {self.seen_share:.3f} × {self.twins_seen:.2%} on rows whose twins were "
            f"trained on ({self.twins_unseen:.2%} where they were not)"
        )


@dataclass(frozen=True, eq=False)
class Judge:
    """What to believe about the test rows with train twins: beliefs float64 (n, 7) about the rows `seen` (M,)."""

    seen: Bools
    beliefs: Floats

    def expected(self, test_logits: NDArray[np.float32]) -> Floats:
        """How probably the answers by test_logits (M, 7) are right, (n,)."""
        answers = metrics.predicted(test_logits)[self.seen]
        expected: Floats = self.beliefs[np.arange(len(answers)), answers]
        return expected


def judge(members: Sequence[Member], table: TwinTable) -> Judge:
    """The judge that the runs among `members`, and in the blends among them, make together.

    Raises:
        FerKitError: there is no run, whose folds could be told apart; or too few twins to learn from.
    """
    parts = _runs_of(members)
    if not parts:
        raise FerKitError("no run is among the members, so no fold is known whose networks did not see a row's twins")
    seen = table.test.have
    oof = metrics.log_softmax(metrics.mean_of_probabilities([part.oof.logits for part in parts]))
    unseen = metrics.log_softmax(metrics.mean_of_probabilities([_by_unseen_fold(part, table) for part in parts]))
    calibration = temperature.fit(oof[None], table.labels)
    oof, unseen = temperature.scale(oof[None], calibration)[0], temperature.scale(unseen[None], calibration)[0]
    learned = lookup.fit(oof, table.labels, table.train, table.groups)
    beliefs = learned.apply(unseen, table.test)[seen]
    # sharper than right by 2 points on FER2013's train pairs until it is calibrated once more, on rows it never saw
    held, _ = lookup.held_out(oof, table.labels, table.train, table.groups)
    have = table.train.have
    doubt = temperature.fit(held[have][None], table.labels[have])
    return Judge(seen, np.exp(temperature.scale(beliefs[None], doubt)[0]))


def forecast(
    oof_logits: NDArray[np.float32], test_logits: NDArray[np.float32], judged: Judge, table: TwinTable
) -> Forecast:
    """The forecast for a blend: cross-fitted logits of the train rows (N, 7), and logits of the test rows (M, 7).

    For a blend with twin lookup give its logits after the lookup: singles are the same with and without.
    """
    right = (metrics.predicted(oof_logits) == table.labels).astype(np.float64)
    single = ~table.train.have
    if not single.any() or single.all() or not judged.seen.any() or judged.seen.all():
        raise FerKitError("no forecast: among the train or the test rows all or none have twins; they are two cases")
    tau, singles = table.seen_share, float(right[single].mean())
    expected = judged.expected(test_logits)
    accuracy = (1 - tau) * singles + tau * float(expected.mean())
    alone = len(judged.seen) - len(expected)
    # of the train singles, of the test singles, and of the test rows with twins
    variance = (1 - tau) ** 2 * singles * (1 - singles) * (1 / int(single.sum()) + 1 / alone)
    variance += tau**2 * float((expected * (1 - expected)).mean()) / len(expected)
    reach = _NORMAL_95 * math.sqrt(variance)
    unseen = float(right[~single].mean())
    return Forecast(tau, singles, unseen, float(expected.mean()), accuracy, (accuracy - reach, accuracy + reach))


def _runs_of(members: Sequence[Member]) -> list[Member]:
    """The runs among the members, and those that blends among them were fitted to."""
    found = {}
    for member in members:
        inside = [member] if member.kind == RUN else _runs_of(member.parts)
        found.update({tuple(source.path.resolve() for source in part.sources): part for part in inside})
    return list(found.values())


def _by_unseen_fold(run: Member, table: TwinTable) -> NDArray[np.float64]:
    """Test logits (M, 7), for rows with train twins of the networks whose fold held these twins out."""
    fold_of_row = np.full(table.test.count, -1)
    fold_of_row[table.test.rows] = table.folds[table.test.twins]
    logits = run.test.logits.astype(np.float64)
    for fold in np.unique(fold_of_row[fold_of_row >= 0]):
        rows = fold_of_row == fold
        seeds = [predictions.read(source.path / f"fold{fold}" / TEST).logits[rows] for source in run.sources]
        logits[rows] = metrics.mean_of_probabilities(seeds)
    return logits
