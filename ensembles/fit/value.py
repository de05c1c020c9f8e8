"""What each member is worth to a blend, how alike the members err, and which of them the blend does without.

A member's value is the cross-fitted score of the blend minus that of the blend without it. The others keep their
shares of the rest: fitting sixty blends anew for sixty members would take minutes and tell the same. A stack has no
shares, and stands in for itself as the mean of log-probabilities here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import temperature
from ensembles.fit.crossfit import CrossFit
from ensembles.fit.methods import Weighted, fit_log_mean
from fer_kit import metrics

NEARLY_ALL = 1 - 1e-6  # of the weight: taking it off by subtraction would leave rounding errors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MemberValues:
    """accuracy, log_loss: (M,), what the cross-fitted score loses without each member; positive: it helps.

    error: (M,), standard error of `accuracy`, over groups of twins: values this small are noise.
    drop: positions of members that the blend does without. without: its accuracy and log loss then, beside
    `whole`, those with all members.
    """

    accuracy: Floats
    error: Floats
    log_loss: Floats
    whole: tuple[float, float]
    drop: tuple[int, ...]
    without: tuple[float, float]


def member_values(rows: CrossFit, method: str) -> MemberValues:
    """The value of each member to `method`, and a suggestion of which to drop.

    Members that help neither accuracy nor log loss are dropped together if that costs neither; else the
    least valuable one alone.
    """
    pools, parts = [], []
    for fold in rows.numbers:
        pool, temperatures = _pool(rows, method, fold)
        at = np.flatnonzero(rows.folds == fold)
        pools.append(pool)
        parts.append((at, temperature.scale(rows.log_probs(frozenset({fold}))[:, at], temperatures)))
    order = np.concatenate([at for at, _ in parts])
    labels, groups = rows.labels[order], rows.groups[order]

    def scores(made: Floats) -> tuple[float, float]:
        return metrics.accuracy(made, labels), metrics.log_loss(made, labels)

    def blend_without(left_out: Sequence[int]) -> Floats:
        return np.concatenate([_less(pool, left_out).apply(part) for pool, (_, part) in zip(pools, parts, strict=True)])

    sums = [_sum(pool, part) for pool, (_, part) in zip(pools, parts, strict=True)]

    def blend_less_one(member: int) -> Floats:
        if any(pool.weights[member] > NEARLY_ALL for pool in pools):
            return blend_without((member,))
        return np.concatenate(
            [_minus(pool, total, part, member) for pool, total, (_, part) in zip(pools, sums, parts, strict=True)]
        )

    blended = np.concatenate([_finished(pool, total) for pool, total in zip(pools, sums, strict=True)])
    right = (metrics.predicted(blended) == labels).astype(np.float64)

    def value_of(member: int) -> tuple[float, float, float]:
        made = blend_less_one(member)
        gain = right - (metrics.predicted(made) == labels)
        return float(gain.mean()), metrics.cluster_standard_error(gain, groups), metrics.log_loss(made, labels)

    whole = scores(blended)
    accuracy, error, alone = np.array(temperature.over(value_of, range(len(rows)))).T  # (M,) each
    loss = alone - whole[1]
    useless = [int(member) for member in np.flatnonzero((accuracy <= 0) & (loss <= 0))]
    drop, without = tuple(useless), whole
    if len(useless) == len(rows):
        drop = ()
    if drop:
        without = scores(blend_without(drop))
        if without[0] < whole[0] or without[1] > whole[1]:
            drop = (min(useless, key=lambda member: (loss[member], accuracy[member], member)),)
            without = scores(blend_without(drop))
    return MemberValues(accuracy, error, loss, whole, drop, without)


def _pool(rows: CrossFit, method: str, fold: int) -> tuple[Weighted, Floats]:
    """The shares that the fit without `fold` gives, and its temperatures."""
    model = rows.model(method, frozenset({fold}))
    if isinstance(model.fitted, Weighted):
        return model.fitted, model.temperatures
    return fit_log_mean(rows.log_probs(), rows.labels), model.temperatures


def _sum(pool: Weighted, part: Floats) -> Floats:
    """What the members of `part` (M, N, K) add up to: log-probabilities times weights, or probabilities."""
    total = np.zeros(part.shape[1:])
    for weight, member in zip(pool.weights, part, strict=True):
        total += weight * (member if pool.of_logs else np.exp(member))
    return total


def _finished(pool: Weighted, total: Floats) -> Floats:
    """Log-probabilities of `pool` from what its members add up to."""
    if pool.of_logs:
        return metrics.log_softmax(total * pool.sharpness)
    return np.log(np.maximum(total, np.finfo(np.float64).tiny))


def _minus(pool: Weighted, total: Floats, part: Floats, member: int) -> Floats:
    """Log-probabilities of `pool` without one member, by taking it off `total`; to the bit `pool` at weight 0."""
    weight = pool.weights[member]
    taken = part[member] if pool.of_logs else np.exp(part[member])
    return _finished(pool, (total - weight * taken) / (1 - weight))


def _less(pool: Weighted, left_out: Sequence[int]) -> Weighted:
    """`pool` without some members; uniform over the others where they had nothing."""
    if not left_out:
        return pool
    weights = pool.weights.copy()
    weights[list(left_out)] = 0.0
    if weights.sum() <= 0:
        weights = np.ones_like(weights)
        weights[list(left_out)] = 0.0
    return replace(pool, weights=weights / weights.sum())
