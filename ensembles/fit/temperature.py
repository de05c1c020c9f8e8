"""Temperature scaling: log-probabilities of each member divided by T, fitted to log loss (Guo et al., ICML 2017).

Arrays: log_probs float64 (M, N, K), log-probabilities of M members; labels int64 (N,).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOG_LIMIT = 3.0  # log T is in [−3, 3]; outside, a member is useless or perfect, and T has no meaning
CLOSE = 1e-7  # relative step at which Newton's method has converged
STEPS = 60  # bisection alone needs 25


def fit(log_probs: Floats, labels: Ints) -> Floats:
    """The temperature of each member, (M,): the one with the least log loss, or 1 if scaling does not help.

    Scaling helps if it gains more than one unit of log-likelihood over all rows, the gain that Akaike's criterion
    requires of one more parameter.
    """
    return np.array(over(lambda member: _fit_one(member, labels), log_probs), dtype=np.float64)


def scale(log_probs: Floats, temperatures: Floats) -> Floats:
    """Log-probabilities (M, N, K) scaled by `temperatures` (M,) and normalised; temperature 1 changes no bit."""
    scaled = np.empty_like(log_probs)
    ones = np.ones(log_probs.shape[2])

    def scale_one(member: int) -> None:
        temperature = temperatures[member]
        if temperature == 1.0:
            scaled[member] = log_probs[member]
            return
        np.divide(log_probs[member], temperature, out=scaled[member])
        # exp needs no subtraction of the maximum: the largest log-probability of a row is between −log K and 0
        scaled[member] -= np.log(np.exp(scaled[member]) @ ones)[:, None]

    over(scale_one, range(len(log_probs)))
    return scaled


def _fit_one(log_probs: Floats, labels: Ints) -> float:
    """Newton's method in 1/T, in which log loss is convex; steps outside the bisection bracket are replaced."""
    columns = np.ascontiguousarray(log_probs.T)  # (K, N), contiguous for sums over classes
    of_label = float(columns[labels, np.arange(len(labels))].mean())
    low, high = math.exp(-LOG_LIMIT), math.exp(LOG_LIMIT)
    inverse = 1.0
    loss_at_one = None
    loss = math.inf
    for _ in range(STEPS):
        loss, slope, bend = _loss(columns, of_label, inverse)
        loss_at_one = loss if loss_at_one is None else loss_at_one
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / bend if bend > 0 else (low if slope > 0 else high)
        following = step if low < step < high else math.sqrt(low * high)
        if slope == 0 or abs(following - inverse) <= CLOSE * inverse:
            break
        inverse = following
    assert loss_at_one is not None
    return 1 / inverse if (loss_at_one - loss) * len(labels) > 1.0 else 1.0


def _loss(columns: Any, of_label: float, inverse: float) -> tuple[float, float, float]:
    """Mean log loss at 1/T = inverse, and its first two derivatives."""
    powers = columns * inverse
    top = powers.max(axis=0)
    powers -= top
    np.exp(powers, out=powers)
    total = powers.sum(axis=0)
    mean = (powers * columns).sum(axis=0) / total
    off = columns - mean  # centred first, so that no large squares cancel
    bend = float(((powers * off * off).sum(axis=0) / total).mean())
    loss = float((np.log(total) + top).mean()) - inverse * of_label
    return loss, float(mean.mean()) - of_label, bend


T = TypeVar("T")
R = TypeVar("R")


def over(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of each item, in order, on OMP_NUM_THREADS threads (by default one for each core)."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(limit) if limit.isdigit() and int(limit) > 0 else os.cpu_count() or 1
    if threads == 1:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # here, because it loads logging, which --help does not need

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
