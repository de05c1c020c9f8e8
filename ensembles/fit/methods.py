"""The blending methods: each has a function `fit(log_probs, labels)` that gives a `Fitted`, which blends any rows.

Arrays: log_probs float64 (M, N, K), the temperature-scaled log-probabilities of M members; labels int64 (N,).
Members are sorted (`members.by_recipe`), so that the order of arguments has no effect.

Left out on purpose: means of ranks, which do not compare classes of one row; negative weights; and optimisation of
accuracy by gradients, which are zero nearly everywhere.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.greedy import select
from fer_kit import metrics
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.files import atomic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PULL = 1e-2  # λ of the penalty that pulls weights to uniform
STACK_PULL = 0.1  # λ of the penalty λ/2·‖coefficients‖² added to the mean log loss
STACK_FLOOR = -20.0  # smaller log-probabilities are raised to this, or a single row could dominate a regression
STACK_STEPS = 500


class Fitted(Protocol):
    """A fitted method, for any rows of the same members."""

    def apply(self, log_probs: Floats) -> Floats:
        """The blend's log-probabilities (N, K) from those of the members (M, N, K)."""

    @property
    def shares(self) -> Floats | None:
        """The weight of each member, (M,), summing to 1; None if the method has no weights."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """A weighted mean of probabilities, or (of_logs) of log-probabilities times `sharpness`, which keeps the argmax."""

    weights: Floats
    of_logs: bool
    sharpness: float = 1.0

    @property
    def shares(self) -> Floats:
        """The weights."""
        return self.weights

    def apply(self, log_probs: Floats) -> Floats:
        """The blend's log-probabilities, computed in logs so that small probabilities do not underflow to 0."""
        used = np.flatnonzero(self.weights)
        if self.of_logs:
            total = np.zeros(log_probs.shape[1:])
            for member in used:
                total += (self.weights[member] * self.sharpness) * log_probs[member]
            return metrics.log_softmax(total)
        total = log_probs[used[0]] + np.log(self.weights[used[0]])
        for member in used[1:]:
            np.logaddexp(total, log_probs[member] + np.log(self.weights[member]), out=total)
        return total


@dataclass(frozen=True, eq=False)
class Stacked:
    """Multinomial regression on the log-probabilities of all members: coefficients (K, M·K), intercepts (K,)."""

    coefficients: Floats
    intercepts: Floats
    shares: None = None

    def apply(self, log_probs: Floats) -> Floats:
        """The log-probabilities of the regression, (N, K)."""
        return metrics.log_softmax(_features(log_probs) @ self.coefficients.T + self.intercepts)


def fit_mean(log_probs: Floats, labels: Ints) -> Weighted:
    """The plain mean of probabilities."""
    return Weighted(_uniform(len(log_probs)), of_logs=False)


def fit_log_mean(log_probs: Floats, labels: Ints) -> Weighted:
    """The plain mean of log-probabilities (geometric mean of probabilities)."""
    return Weighted(_uniform(len(log_probs)), of_logs=True)


def fit_weights(log_probs: Floats, labels: Ints) -> Weighted:
    """Non-negative weights on log-probabilities that minimise log loss + λ·M/2·‖w − 1/M‖².

    The penalty pulls to uniform weights and gives similar members similar weights. The sum of the weights is not
    constrained and acts as a common sharpness. The problem is convex; solver: L-BFGS-B (Byrd et al. 1995) with the
    exact gradient, started at uniform weights.
    """
    from scipy.optimize import minimize

    members, rows, classes = log_probs.shape
    table = np.ascontiguousarray(log_probs.transpose(0, 2, 1)).reshape(members, classes * rows)  # contiguous sums
    of_label = log_probs[:, np.arange(rows), labels].mean(axis=1)  # (M,)

    def objective(weights: Floats) -> tuple[float, Floats]:
        log_p = (weights @ table).reshape(classes, rows)
        top = log_p.max(axis=0)
        log_p -= top
        np.exp(log_p, out=log_p)
        total = log_p.sum(axis=0)
        loss = float((np.log(total) + top).mean()) - float(weights @ of_label)
        log_p /= total * rows
        off = weights - 1 / members
        gradient = table @ log_p.reshape(-1) - of_label + PULL * members * off
        return loss + PULL * members / 2 * float(off @ off), gradient

    found = minimize(objective, _uniform(members), jac=True, method="L-BFGS-B", bounds=[(0, None)] * members).x
    total = float(found.sum())
    if total <= 0:  # all weights are 0: uniform predictions have the least loss
        return fit_log_mean(log_probs, labels)
    return Weighted(found / total, of_logs=True, sharpness=total)


def fit_greedy(log_probs: Floats, labels: Ints) -> Weighted:
    """Greedy selection with replacement and bagging, by accuracy (Caruana et al. 2004; see `ensembles.fit.greedy`)."""
    return Weighted(select(log_probs, labels), of_logs=False)


def fit_stack(log_probs: Floats, labels: Ints) -> Stacked:
    """Multinomial regression on log-probabilities with an L2 penalty (Wolpert 1992; scikit-learn)."""
    from sklearn.linear_model import LogisticRegression

    classes = log_probs.shape[2]
    model = LogisticRegression(C=1 / (STACK_PULL * len(labels)), max_iter=STACK_STEPS, tol=1e-3)
    with warnings.catch_warnings():  # scikit-learn 1.6 passes an option that scipy 1.18 has removed
        warnings.filterwarnings("ignore", "Unknown solver options: iprint")
        model.fit(_features(log_probs), labels)
    coefficients = np.zeros((classes, log_probs.shape[0] * classes))
    intercepts = np.full(classes, STACK_FLOOR)  # a class without rows is never predicted
    if len(model.classes_) == 2:  # then scikit-learn has a single row of coefficients
        coefficients[model.classes_[1]] = model.coef_[0]
        intercepts[model.classes_] = 0.0, model.intercept_[0]
    else:
        coefficients[model.classes_] = model.coef_
        intercepts[model.classes_] = model.intercept_
    return Stacked(coefficients, intercepts)


def fit_single(log_probs: Floats, labels: Ints) -> Weighted:
    """The member with the best accuracy; ties are broken by log loss, then by order."""
    rows = np.arange(len(labels))
    score = [(metrics.accuracy(member, labels), float(member[rows, labels].sum())) for member in log_probs]
    weights = np.zeros(len(log_probs))
    weights[max(range(len(score)), key=lambda member: (*score[member], -member))] = 1.0
    return Weighted(weights, of_logs=True)


def given(weights: Floats, of_logs: bool) -> Callable[[Floats, Ints], Fitted]:
    """The fit function of weights (M,) from a file, which fits nothing."""
    return lambda log_probs, labels: Weighted(weights, of_logs)


@dataclass(frozen=True)
class Method:
    """A blending method: its fit function and its description."""

    fit: Callable[[Floats, Ints], Fitted]
    about: str


# the simplest first: `auto` takes the first within one standard error of the best
METHODS = {
    "mean": Method(fit_mean, "mean of probabilities"),
    "logmean": Method(fit_log_mean, "mean of log-probabilities"),
    "weights": Method(fit_weights, "non-negative weights on log-probabilities, pulled to uniform"),
    "greedy": Method(fit_greedy, "greedy selection with replacement, bagged"),
    "stack": Method(fit_stack, "multinomial regression on log-probabilities"),
}
SINGLE = Method(fit_single, "the best single member")


def _uniform(members: int) -> Floats:
    return np.full(members, 1 / members)


def _features(log_probs: Floats) -> Floats:
    """The features of the regression, (N, M·K): the log-probabilities of all members, raised to the floor."""
    members, rows, classes = log_probs.shape
    features = np.maximum(log_probs, STACK_FLOOR).transpose(1, 0, 2)
    return np.ascontiguousarray(features).reshape(rows, members * classes)


SUM_TOLERANCE = 1e-6
_MOST = 1e9  # larger weights are refused, so that the sum in the error text stays readable


def read(path: Path, names: Sequence[str]) -> NDArray[np.float64]:
    """Read the weights of the members `names`: float64 (M,), 0 or more, summing to 1.

    Raises:
        FerKitError: the file is not readable; a weight is missing, is not a member's, or is not a number from 0; or
            the weights do not sum to 1.
    """
    weights = _by_name(path, atomic.read_json(path))
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= _MOST:
            raise FerKitError(f"{path}: the weight of '{name}' is {weight!r}, allowed are numbers from 0 to 1")
        if name not in names:
            raise FerKitError(
                f"{path}: has a weight for '{name}', which is not a member{did_you_mean(name, names)}; members are: "
                f"{', '.join(names)}"
            )
    for name in names:
        if name not in weights:
            raise FerKitError(
                f"{path}: no weight for '{name}'; add a weight (0 leaves the member out), or choose members with "
                "--members"
            )
    total = math.fsum(weights.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise FerKitError(f"{path}: the weights sum to {total:.6g}, allowed is 1; divide each by {total:.6g}")
    return np.array([weights[name] for name in names], dtype=np.float64)


def pool(path: Path) -> str:
    """The kind of mean that the weights apply to: "mean" if a blend.json says mean of probabilities, else "logmean"."""
    value = atomic.read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("members"), list):
        return "logmean"
    if value.get("method") == "given":
        return "mean" if value.get("pool") == "mean" else "logmean"
    return "mean" if value.get("method") in ("mean", "greedy") else "logmean"


def _by_name(path: Path, value: Any) -> dict[str, Any]:
    """Weights by member name, from a blend.json or from {member: weight}."""
    if isinstance(value, dict) and isinstance(value.get("members"), list):
        entries = value["members"]
        if all(isinstance(entry, dict) and "run" in entry and entry.get("weight") is not None for entry in entries):
            return {str(entry["run"]): entry["weight"] for entry in entries}
        raise FerKitError(
            f"{path}: this blend has no weight for each member (stack has none); take a blend of another method"
        )
    if not isinstance(value, dict):
        raise FerKitError(f"{path}: holds a {type(value).__name__}, allowed is an object {{member: weight}}")
    return value
