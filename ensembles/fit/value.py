"""The value of each member to a blend, and which members can be dropped.

The value of a member is the cross-fitted score of the blend minus that of the blend without the member. The weights of
the others are rescaled and not fitted again: sixty fits for sixty members would take minutes for the same conclusions.
A stack has no weights; here the mean of log-probabilities takes its place.
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

NEARLY_ALL = 1 - 1e-6  # above this weight, subtracting a member would leave only rounding errors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MemberValues:
    """The values of M members.

    accuracy, log_loss: float64 (M,), what the cross-fitted score loses without each member; positive if the member
    helps. error: standard error of `accuracy`, (M,), clustered by twin group. drop: positions of members that can be
    dropped. whole, without: accuracy and log loss with all members, and without those in `drop`.
    """

    accuracy: Floats
    error: Floats
    log_loss: Floats
    whole: tuple[float, float]
    drop: tuple[int, ...]
    without: tuple[float, float]


def member_values(rows: CrossFit, method: str) -> MemberValues:
    """The value of each member to the blend by `method`, and the members that can be dropped.

    Members that help neither accuracy nor log loss are dropped together if neither score gets worse; else only the
    least valuable of them is dropped.
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
    """The weights and temperatures of the fit that holds out `fold`."""
    model = rows.model(method, frozenset({fold}))
    if isinstance(model.fitted, Weighted):
        return model.fitted, model.temperatures
    return fit_log_mean(rows.log_probs(), rows.labels), model.temperatures


def _sum(pool: Weighted, part: Floats) -> Floats:
    """The weighted sum over the members of `part` (M, N, K), of log-probabilities or of probabilities: (N, K)."""
    total = np.zeros(part.shape[1:])
    for weight, member in zip(pool.weights, part, strict=True):
        total += weight * (member if pool.of_logs else np.exp(member))
    return total


def _finished(pool: Weighted, total: Floats) -> Floats:
    """Log-probabilities of `pool` from the weighted sum `total` (N, K)."""
    if pool.of_logs:
        return metrics.log_softmax(total * pool.sharpness)
    return np.log(np.maximum(total, np.finfo(np.float64).tiny))


def _minus(pool: Weighted, total: Floats, part: Floats, member: int) -> Floats:
    """Log-probabilities of `pool` without one member, by subtraction from `total`; weight 0 changes no bit."""
    weight = pool.weights[member]
    taken = part[member] if pool.of_logs else np.exp(part[member])
    return _finished(pool, (total - weight * taken) / (1 - weight))


def _less(pool: Weighted, left_out: Sequence[int]) -> Weighted:
    """`pool` without some members, with rescaled weights; uniform weights if those of the others are all 0."""
    if not left_out:
        return pool
    weights = pool.weights.copy()
    weights[list(left_out)] = 0.0
    if weights.sum() <= 0:
        weights = np.ones_like(weights)
        weights[list(left_out)] = 0.0
    return replace(pool, weights=weights / weights.sum())
