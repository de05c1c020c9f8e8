"""Twin lookup: a Bayes update of predictions by the labels of a row's train twins.

    log p(y | image, twins) = log p(y | image) + s · mean over twins of log P(twin's label | y)

P is the confusion of twins' labels, 7×7 for copies of the same pixels and 7×7 for other twins, counted on train pairs
with Laplace's one added to each cell. The mean and not the sum, because twins of one photo are no independent
witnesses: with the sum, log loss on FER2013's train pairs is .66 at best, with the mean .40. The strength s is the one
with the least log loss on train rows whose networks did not see the twins; all of it is learned from train pairs alone.

A row is always updated by what was learned without its group, in `PARTS` parts of whole groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.compare import LEVEL
from ensembles.twins.pairs import Pairs
from fer_kit import metrics
from fer_kit.competition import NUM_CLASSES
from fer_kit.errors import FerKitError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTS = 5
STRENGTHS = np.linspace(0.0, 3.0, 61)  # 0: twins say nothing; 1: as much as one independent witness
LAPLACE = 1.0  # added to each cell of the confusion


@dataclass(frozen=True, eq=False)
class Lookup:
    """What was learned: confusion float64 (2, 7, 7), P(twin's label | label) of near and of exact twins; strength."""

    confusion: Floats
    strength: float

    def apply(self, log_probs: Floats, pairs: Pairs) -> Floats:
        """Updated log-probabilities (N, 7) of rows with these pairs; rows without twins stay to the bit."""
        updated = log_probs.copy()
        have = pairs.have
        updated[have] = metrics.log_softmax(log_probs[have] + self.strength * evidence(self.confusion, pairs)[have])
        return updated


@dataclass(frozen=True)
class Gain:
    """What the lookup changes on rows with known labels: accuracies of all `rows` and of the `with_twins` among them.

    interval: of `difference` over all rows, at `LEVEL`, by bootstrap over groups. changed: other answers than before;
    won, lost: right after and not before, and the reverse. strength: the mean over the parts.
    """

    rows: int
    with_twins: int
    before: float
    after: float
    twins_before: float
    twins_after: float
    interval: tuple[float, float]
    changed: int
    won: int
    lost: int
    strength: float

    @property
    def difference(self) -> float:
        """Gain in accuracy over all rows."""
        return self.after - self.before


def evidence(confusion: Floats, pairs: Pairs) -> Floats:
    """Mean over a row's twins of log P(twin's label | y), (N, 7) over y; zeros for rows without twins."""
    found = np.zeros((pairs.count, NUM_CLASSES))
    terms = np.log(confusion)[pairs.exact.astype(np.int64), :, pairs.labels]  # (P, 7)
    np.add.at(found, pairs.rows, terms * pairs.shares[:, None])
    return found


def fit(log_probs: Floats, labels: Ints, pairs: Pairs, groups: Ints) -> Lookup:
    """Learn from train rows: log_probs (N, 7) by networks that did not see the row; labels, groups int64 (N,).

    Raises:
        FerKitError: no pairs, or all of them in one group.
    """
    return _fit(log_probs, labels, pairs, _parts(pairs, groups), None)


def held_out(log_probs: Floats, labels: Ints, pairs: Pairs, groups: Ints) -> tuple[Floats, float]:
    """Each row updated by a lookup that never saw its group: log-probabilities (N, 7), and the mean strength.

    Raises:
        FerKitError: as `fit`.
    """
    parts = _parts(pairs, groups)
    updated, strengths = log_probs.copy(), []
    for part in np.unique(parts[pairs.rows]):
        learned = _fit(log_probs, labels, pairs, parts, int(part))
        rows = parts == part
        updated[rows] = learned.apply(log_probs, pairs)[rows]
        strengths.append(learned.strength)
    return updated, float(np.mean(strengths))


def gain(before: Floats, after: Floats, strength: float, labels: Ints, pairs: Pairs, groups: Ints) -> Gain:
    """Compare logits `after` the lookup with those `before`, both (N, 7)."""
    old, new = metrics.predicted(before), metrics.predicted(after)
    right_old, right_new, have = old == labels, new == labels, pairs.have
    return Gain(
        rows=len(labels),
        with_twins=int(have.sum()),
        before=float(right_old.mean()),
        after=float(right_new.mean()),
        twins_before=float(right_old[have].mean()),
        twins_after=float(right_new[have].mean()),
        interval=metrics.bootstrap_interval(right_new.astype(np.float64) - right_old, groups, LEVEL),
        changed=int((old != new).sum()),
        won=int((right_new & ~right_old).sum()),
        lost=int((right_old & ~right_new).sum()),
        strength=strength,
    )


def gain_line(found: Gain) -> str:
    """The gain in one line."""
    low, high = found.interval
    return (
        f"{found.before:.2%} → {found.after:.2%} ({100 * found.difference:+.2f} points, {LEVEL:.0%} interval "
        f"{100 * low:+.2f} to {100 * high:+.2f}), {found.with_twins:,} of {found.rows:,} rows have twins: "
        f"{found.twins_before:.2%} → {found.twins_after:.2%} on these; {found.changed:,} answers changed, "
        f"{found.won:,} rows won, {found.lost:,} lost"
    )


def _parts(pairs: Pairs, groups: Ints) -> Ints:
    """The part of each row, whole groups together, (N,); groups with pairs are dealt out evenly by their numbers."""
    paired = np.unique(groups[pairs.rows])
    if len(paired) < 3:
        raise FerKitError(
            f"{len(paired)} groups of train rows have twins of this kind, too few to learn from: 3 are needed; leave "
            "--twins off, or make folds that know near twins with python -m fer_kit.folds"
        )
    return np.searchsorted(paired, groups) % min(PARTS, len(paired))


def _fit(log_probs: Floats, labels: Ints, pairs: Pairs, parts: Ints, unseen: int | None) -> Lookup:
    """A lookup that saw no row of part `unseen`; the strength is itself chosen on rows the confusion never saw."""
    counts = np.zeros((int(parts.max()) + 1, 2, NUM_CLASSES, NUM_CLASSES))
    where = parts[pairs.rows], pairs.exact.astype(np.int64), labels[pairs.rows], pairs.labels
    np.add.at(counts, where, pairs.shares)
    allowed = [part for part in range(len(counts)) if part != unseen]
    total = counts[allowed].sum(axis=0)
    have = pairs.have
    loss = np.zeros(len(STRENGTHS))
    for part in allowed:
        rows = have & (parts == part)
        found = evidence(_confusion(total - counts[part]), pairs)[rows]
        for number, strength in enumerate(STRENGTHS):
            log_p = metrics.log_softmax(log_probs[rows] + strength * found)
            loss[number] -= log_p[np.arange(len(log_p)), labels[rows]].sum()
    return Lookup(_confusion(total), float(STRENGTHS[loss.argmin()]))


def _confusion(counts: Floats) -> Floats:
    smoothed = counts + LAPLACE
    result: Floats = smoothed / smoothed.sum(axis=2, keepdims=True)
    return result
