"""Greedy ensemble selection with replacement and bagging (Caruana et al., ICML 2004).

A bag is a random half of the members plus the best member, so that no bag has only weak members. Starting with an empty
sum, each step adds the member whose probabilities give the sum the best accuracy; the best ensemble of all steps is
kept. The weight of a member is the number of times it was added, averaged over bags. Ties are broken by members already
in the ensemble, then by log loss (as in AutoGluon).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensembles.fit import temperature

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BAGS, STEPS, SEED = 10, 25, 0
PATIENCE = 8  # steps without a better ensemble that end a bag


def select(log_probs: Floats, labels: Ints) -> Floats:
    """Weights (M,), summing to 1, of a mean of probabilities. log_probs: float64 (M, N, K); labels: int64 (N,)."""
    members = len(log_probs)
    of_label = np.exp(log_probs[:, np.arange(len(labels)), labels])  # (M, N)
    lead = _leads(log_probs, labels)
    rng = np.random.default_rng(SEED)
    size = min(members, max(2, (members + 1) // 2))
    best = int(np.argmax([int(np.count_nonzero(ahead.min(axis=0, initial=np.inf) > 0)) for ahead in lead]))
    bags = [np.union1d(rng.choice(members, size, replace=False), [best]) for _ in range(BAGS)]
    counts = np.array(temperature.over(lambda bag: _climb(lead, of_label, bag), bags))  # (bags, M)
    weights: Floats = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights / weights.sum()


def _leads(log_probs: Floats, labels: Ints) -> Floats:
    """The label's probability minus that of each other class, (M, K − 1, rows), for the rows that can differ.

    A mean predicts a row correctly if all its leads are positive. Rows that every member has right, or for which every
    member prefers the same wrong class to the label, have the same result for every mean and are left out.
    """
    members, rows, classes = log_probs.shape
    others = np.array([[c for c in range(classes) if c != label] for label in range(classes)])[labels]  # (N, K − 1)
    leads = np.empty((members, classes - 1, rows))
    always_right, always_behind = np.ones(rows, bool), np.ones((classes - 1, rows), bool)
    for member in range(members):
        probabilities = np.exp(log_probs[member])
        ahead = probabilities[np.arange(rows), labels] - np.take_along_axis(probabilities, others, 1).T
        leads[member] = ahead
        always_right &= (ahead > 0).all(axis=0)
        always_behind &= ahead <= 0
    return np.ascontiguousarray(leads[:, :, ~(always_right | always_behind.any(axis=0))])


def _climb(lead: Floats, of_label: Floats, bag: NDArray[np.intp]) -> Floats:
    """The number of times each member of `bag` is in the best ensemble, (M,)."""
    counts, best_counts = np.zeros(len(lead)), np.zeros(len(lead))
    total, total_of_label = np.zeros(lead.shape[1:]), np.zeros(of_label.shape[1])
    candidate = np.empty_like(total)
    best, best_step = (-1, -np.inf), 0
    for step in range(1, STEPS + 1):
        right = []
        for member in bag:
            np.add(total, lead[member], out=candidate)
            right.append(int(np.count_nonzero(candidate.min(axis=0, initial=np.inf) > 0)))
        tied = bag[np.array(right) == max(right)]
        in_use = tied[counts[tied] > 0]
        tied = in_use if len(in_use) else tied
        likelihood = [_log_likelihood(total_of_label + of_label[member], step) for member in tied]
        chosen, at = tied[int(np.argmax(likelihood))], max(likelihood)
        counts[chosen] += 1
        total += lead[chosen]
        total_of_label += of_label[chosen]
        if (max(right), at) > best:
            best, best_step, best_counts = (max(right), at), step, counts.copy()
        elif step - best_step >= PATIENCE:
            break
    return best_counts


def _log_likelihood(summed: Floats, count: int) -> float:
    """Sum of log of the label's mean probability; probability 0 is replaced by the smallest normal number."""
    return float(np.log(np.maximum(summed / count, np.finfo(np.float64).tiny)).sum())
