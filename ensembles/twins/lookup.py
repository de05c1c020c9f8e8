"""Twin lookup: a Bayesian update of predictions by the labels of a row's train twins.

    log p(y | image, twins) = t · log p(y | image) + s · mean over twins of log P(twin's label | y)

P is the confusion matrix of twins' labels, a 7×7 matrix for copies of the same pixels and another for other twins,
counted on train pairs with Laplace smoothing. The formula has the mean over twins and not the sum, because twins of one
photo are not independent: on FER2013's train pairs the log loss is .66 at best with the sum, .40 with the mean. The
trust t and the strength s minimise log loss on train rows whose networks were not trained on the twins. P, t and s are
fitted to train pairs alone. t is smaller than 1 even for calibrated networks, because networks and twins' labels are
mistaken on the same photos. What else was tried is in tests/benchmarks/records/lookup.json.

Train rows are updated by a lookup fitted without their group, with `PARTS` parts of whole groups.
"""

from __future__ import annotations

from collections.abc import Sequence
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
LAPLACE = 1.0  # added to each cell of the confusion matrix


@dataclass(frozen=True, eq=False)
class Lookup:
    """A fitted lookup. confusion: P(twin's label | label) of near and exact twins, float64 (2, 7, 7).

    strength: s; 0: twins are ignored; 1: all twins count as one independent observation. trust: t.
    """

    confusion: Floats
    strength: float
    trust: float = 1.0

    def apply(self, log_probs: Floats, pairs: Pairs) -> Floats:
        """Updated log-probabilities (N, 7); rows without twins do not change by a bit."""
        updated = log_probs.copy()
        have = pairs.have
        found = evidence(self.confusion, pairs)[have]
        updated[have] = metrics.log_softmax(self.trust * log_probs[have] + self.strength * found)
        return updated


@dataclass(frozen=True)
class Gain:
    """The effect of the lookup on rows with known labels.

    rows, with_twins: number of rows, and of those with twins. before, after, twins_before, twins_after: accuracy of all
    rows, and of rows with twins, before and after the lookup. interval: of `difference`, at `LEVEL`, by bootstrap over
    groups. changed: rows with another predicted class; won, lost: rows right only after, only before. strength: mean
    over the parts.
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
    """Mean over a row's twins of log P(twin's label | y), for each class y: (N, 7), zeros for rows without twins."""
    found = np.zeros((pairs.count, NUM_CLASSES))
    terms = np.log(confusion)[pairs.exact.astype(np.int64), :, pairs.labels]  # (P, 7)
    np.add.at(found, pairs.rows, terms * pairs.shares[:, None])
    return found


def fit(log_probs: Floats, labels: Ints, pairs: Pairs, groups: Ints) -> Lookup:
    """Fit a lookup to train rows. log_probs: out-of-fold log-probabilities (N, 7); labels, groups: int64 (N,).

    Raises:
        FerKitError: fewer than 3 groups have pairs.
    """
    return _fit(log_probs, labels, pairs, _parts(pairs, groups), None)


def held_out(log_probs: Floats, labels: Ints, pairs: Pairs, groups: Ints) -> tuple[Floats, float]:
    """Update each row by a lookup fitted without its group.

    Returns:
        Log-probabilities (N, 7), and the mean strength.

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
        f"{found.twins_before:.2%} → {found.twins_after:.2%} on these; {found.changed:,} predictions changed: "
        f"{found.won:,} from wrong to right, {found.lost:,} from right to wrong"
    )


def evidence_of_both(labels: Ints, pairs: Pairs, groups: Ints, test_pairs: Pairs) -> tuple[Floats, Floats]:
    """The `evidence` of train rows, (N, 7), and of test rows, (T, 7).

    The confusion of a train row is counted without its group, that of a test row on all train pairs.

    Raises:
        FerKitError: as `fit`.
    """
    parts = _parts(pairs, groups)
    counts = _counts(labels, pairs, parts)
    total = counts.sum(axis=0)
    found = np.zeros((pairs.count, NUM_CLASSES))
    for part in range(len(counts)):
        rows = parts == part
        found[rows] = evidence(_confusion(total - counts[part]), pairs)[rows]
    return found, evidence(_confusion(total), test_pairs)


def _parts(pairs: Pairs, groups: Ints) -> Ints:
    """The part of each row, (N,), the same for all rows of a group; groups with pairs are spread evenly over parts."""
    paired = np.unique(groups[pairs.rows])
    if len(paired) < 3:
        raise FerKitError(
            f"{len(paired)} groups of train rows have twins of this kind, but fitting needs at least 3; drop --twins, "
            "or make folds with near twins with python -m fer_kit.folds"
        )
    return np.searchsorted(paired, groups) % min(PARTS, len(paired))


def _fit(log_probs: Floats, labels: Ints, pairs: Pairs, parts: Ints, unseen: int | None) -> Lookup:
    """Fit a lookup without part `unseen`; its weights are fitted to rows held out from the confusion matrix."""
    counts = _counts(labels, pairs, parts)
    allowed = [part for part in range(len(counts)) if part != unseen]
    total = counts[allowed].sum(axis=0)
    order, told = [], []
    for part in allowed:
        rows = pairs.have & (parts == part)
        order.append(np.flatnonzero(rows))
        told.append(evidence(_confusion(total - counts[part]), pairs)[rows])
    rows_in_order = np.concatenate(order)
    terms = np.stack([log_probs[rows_in_order], np.concatenate(told)])  # (2, n, 7)
    trust, strength = fit_weights(terms, labels[rows_in_order], [(0, None)] * 2)
    return Lookup(_confusion(total), float(strength), float(trust))


def fit_weights(terms: Floats, labels: Ints, bounds: Sequence[tuple[float | None, float | None]]) -> Floats:
    """The weights (T,) of `terms` (T, n, 7) in a sum of log-probabilities that minimise log loss; convex.

    labels: (n,). bounds: lowest and highest weight of each term; None for no bound.
    """
    from scipy.optimize import minimize

    at = np.arange(len(labels))

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_p = metrics.log_softmax(np.tensordot(weights, terms, 1))
        off = np.exp(log_p)
        off[at, labels] -= 1.0
        return float(-log_p[at, labels].mean()), np.tensordot(terms, off, 2) / len(labels)

    weights: Floats = minimize(loss, np.ones(len(terms)), jac=True, method="L-BFGS-B", bounds=bounds).x
    return weights


def _counts(labels: Ints, pairs: Pairs, parts: Ints) -> Floats:
    """Confusion counts (parts, 2, 7, 7) of near and exact twins; each row counts once."""
    counts = np.zeros((int(parts.max()) + 1, 2, NUM_CLASSES, NUM_CLASSES))
    where = parts[pairs.rows], pairs.exact.astype(np.int64), labels[pairs.rows], pairs.labels
    np.add.at(counts, where, pairs.shares)
    return counts


def _confusion(counts: Floats) -> Floats:
    smoothed = counts + LAPLACE
    result: Floats = smoothed / smoothed.sum(axis=2, keepdims=True)
    return result
