"""Blending drawn members: weights against the way of most notebooks, and the whole choice cross-fitted."""

from __future__ import annotations

import statistics
from typing import Any
from unittest import mock

import numpy as np
import scipy.optimize

from ensembles.fit import methods
from ensembles.fit.crossfit import AUTO
from fer_kit import metrics
from tests.benchmarks import bench_blend, bench_record, limits
from tests.benchmarks.clocks import WALL
from tests.benchmarks.rows import Found, Plan, Row, ratio

FLOOR = 1e-15  # the notebooks' clip


def measure(plan: Plan) -> Found:
    log_probs, labels = bench_blend.draw(plan.members, plan.rows)
    probs = np.exp(log_probs)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    calls: list[int] = []
    rounds = min(plan.rounds, 3)
    for _ in range(rounds):
        fitted, wall, cpu = bench_blend.timed(lambda: fit_counted(log_probs, labels, calls))
        ours.append((wall, cpu))
        weights, wall, cpu = bench_blend.timed(lambda: notebook_weights(probs, labels))
        theirs.append((wall, cpu))
    accuracy = {
        "ours": metrics.accuracy(fitted.apply(log_probs), labels),
        "notebook": metrics.accuracy(np.tensordot(weights, probs, 1), labels),
    }
    # an evaluation reads all members twice: for the blend, and for the gradient
    passes = 2 * calls[-1] * log_probs.nbytes / limits.copy_rate(plan.clock)
    which = 0 if plan.clock == WALL else 1
    mine, other = ([one[which] for one in times] for times in (ours, theirs))
    rows = [
        Row(
            f"weights of {plan.members} members × {plan.rows:,} rows",
            statistics.median(mine),
            plan.seconds,
            "scipy's SLSQP on log loss of mixed probabilities, without a gradient, as in notebooks",
            statistics.median(other),
            ratio(other, mine),
            f"the members' bytes read twice for each of the {calls[-1]} evaluations, at the rate of a copy, measured",
            passes,
        )
    ]
    words = ("--members", str(plan.members), "--rows", str(plan.rows))
    whole = bench_record.run_arm("bench_blend", AUTO, *words)
    rows.append(
        Row(
            f"{plan.members} members, method chosen, all cross-fitted",
            whole["crossfit_seconds" if plan.clock == WALL else "crossfit_cpu_seconds"],
            plan.seconds,
            peak_mb=whole["peak_mb"],
        )
    )
    return Found(rows, {"ours": ours, "notebook": theirs, "accuracy": accuracy, "evaluations": calls, "auto": whole})


def fit_counted(log_probs: np.ndarray, labels: np.ndarray, calls: list[int]) -> methods.Fitted:
    """`fit_weights`; the number of its evaluations is added to `calls`."""
    minimize = scipy.optimize.minimize

    def counted(*args: Any, **options: Any) -> Any:
        found = minimize(*args, **options)
        calls.append(int(found.nfev))
        return found

    with mock.patch.object(scipy.optimize, "minimize", counted):
        return methods.fit_weights(log_probs, labels)


def notebook_weights(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights (M,) that sum to 1, by SLSQP from uniform ones with gradients by differences."""
    members, rows, classes = probs.shape
    table, right = probs.reshape(members, -1), np.arange(rows)

    def loss(weights: np.ndarray) -> float:
        mixed = (weights @ table).reshape(rows, classes)
        return float(-np.log(np.clip(mixed[right, labels], FLOOR, 1)).mean())

    start, sums_to_one = np.full(members, 1 / members), {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    bounds = [(0, 1)] * members
    found = scipy.optimize.minimize(loss, start, method="SLSQP", bounds=bounds, constraints=[sums_to_one])
    weights: np.ndarray = found.x
    return weights
