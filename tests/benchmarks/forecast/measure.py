"""Forecast against truth on one pretended leaderboard: one model of one or two kinds, part by part, old and new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ensembles.fit.crossfit import CrossFit
from ensembles.twins import forecast as product
from ensembles.twins import lookup
from ensembles.twins.fold_tests import of_blend
from ensembles.twins.pairs import TwinTable
from fer_kit import metrics
from tests.benchmarks.forecast import earlier
from tests.benchmarks.forecast.pretend import Predicted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTS = ("singles", "twins", "lookup", "all", "all with lookup")
OFF, INSTEAD, BESIDE = "", "instead", "beside"


@dataclass(frozen=True)
class Model:
    """A model of the benchmark: kinds of quick models, their blend's method, and how a full fit is used."""

    name: str
    kinds: tuple[str, ...]
    method: str = "mean"
    full_fit: str = OFF


MODELS = (
    Model("kernel ridge", ("ridge",)),
    Model("nearest neighbours", ("neighbours",)),
    Model("network on gradients", ("mlp",)),
    Model("memorising network on gradients", ("mlp_memory",)),
    Model("convolutions", ("net",)),
    Model("convolutions that memorise", ("net_memory",)),
    Model("blend of convolutions and network", ("net", "mlp"), "weights"),
    Model("blend with the memorising network", ("net", "mlp_memory")),
    Model("convolutions, full fit instead", ("net",), full_fit=INSTEAD),
    Model("memorising network, full fit beside", ("mlp_memory",), full_fit=BESIDE),
    Model("convolutions on soft targets", ("net_student",)),
    Model("convolutions on soft targets of memory", ("net_student_of_memory",)),
    Model("convolutions on soft targets of a network of all rows", ("net_student_of_seen",)),
)


@dataclass(frozen=True)
class Case:
    """A forecast and its truth, 0 to 1, with the standard errors of the intervals; sampling_error: without the
    estimator's own error. halves: the truth of two random halves of the test rows.
    """

    model: str
    split: int
    part: str
    truth: float
    forecast: float
    earlier: float
    error: float
    earlier_error: float | None = None
    sampling_error: float | None = None
    halves: tuple[float, float] | None = None
    half_error: float | None = None


def measure(model: Model, split: int, predicted: Sequence[Predicted], table: TwinTable, truth: Ints) -> list[Case]:
    """The cases of all parts. predicted: of the model's kinds. truth: labels of the pretended test rows, (M,)."""
    oof, test, by_fold = _predict(model, predicted, table)
    looked_up = test.copy()
    learned = lookup.fit(metrics.log_softmax(oof), table.labels, table.train, table.groups)
    have = table.test.have
    looked_up[have] = learned.apply(metrics.log_softmax(test), table.test)[have].astype(np.float32)
    full = model.full_fit == INSTEAD
    singles = product.on_singles(oof, test, by_fold, table, full)
    simulation = product.Simulation(oof, table)
    judged = earlier.beliefs(oof, test, by_fold, table)
    old_singles = metrics.accuracy(oof[~table.train.have], table.labels[~table.train.have])
    cases = [_part(model, split, "singles", test, truth, ~have, singles, old_singles)]
    for name, logits, whole in (("twins", test, None), ("lookup", looked_up, looked_up)):
        part = product.on_twins(simulation, logits, table, whole is not None)
        old = earlier.expected(judged, logits, table)
        cases.append(_part(model, split, name, logits, truth, have, part, float(old.mean())))
        made = product.forecast(oof, test, by_fold, table, looked_up=whole, full_fit=full)
        total = "all" if whole is None else "all with lookup"
        cases.append(
            _total(model, split, total, made, logits, truth, (old_singles, old), int((~table.train.have).sum()))
        )
    return cases


def as_dict(case: Case) -> dict[str, object]:
    """The case for the record, rounded to what matters."""
    values = {
        key: np.round(value, 6).tolist() if isinstance(value, float | tuple) else value
        for key, value in asdict(case).items()
    }
    return {key: value for key, value in values.items() if value is not None}


def _part(
    model: Model,
    split: int,
    name: str,
    logits: NDArray[np.float32],
    truth: Ints,
    rows: NDArray[np.bool_],
    part: product.Part,
    old: float,
) -> Case:
    score = metrics.accuracy(logits[rows], truth[rows])
    sampling = (part.variance() - part.own_error**2) ** 0.5
    return Case(model.name, split, name, score, part.accuracy, old, part.variance() ** 0.5, sampling_error=sampling)


def _total(
    model: Model,
    split: int,
    name: str,
    made: product.Forecast,
    logits: NDArray[np.float32],
    truth: Ints,
    old: tuple[float, Floats],
    train_rows: int,
) -> Case:
    """The case of all test rows. old: the earlier accuracy on singles, and the judge's probabilities."""
    right, tau, (old_singles, found) = metrics.predicted(logits) == truth, made.seen_share, old
    half = np.random.default_rng(split).permutation(len(right)) % 2 == 0
    return Case(
        model.name,
        split,
        name,
        float(right.mean()),
        made.accuracy,
        (1 - tau) * old_singles + tau * float(found.mean()),
        made.standard_error,
        earlier_error=earlier.standard_error(old_singles, found, tau, (1 - tau) * train_rows),
        halves=(float(right[half].mean()), float(right[~half].mean())),
        half_error=made.half_error,
    )


def _predict(
    model: Model, predicted: Sequence[Predicted], table: TwinTable
) -> tuple[NDArray[np.float32], NDArray[np.float32], Floats]:
    """Out-of-fold logits (N, 7), test logits (M, 7) and log-probabilities by fold (K, M, 7), as in the product."""
    oofs = np.stack([metrics.log_softmax(one.oof) for one in predicted])
    folds = np.stack([[metrics.log_softmax(fold) for fold in one.tests] for one in predicted], axis=1)
    tests = np.stack([_test(model, one) for one in predicted])
    if len(predicted) == 1:
        return predicted[0].oof, tests[0].astype(np.float32), folds[:, 0]
    fits = CrossFit(oofs, table.labels, table.folds, table.groups)
    fitted = fits.model(model.method)
    oof = fits.held_out([model.method])[model.method].astype(np.float32)
    return oof, fitted.apply(tests).astype(np.float32), of_blend(fitted, folds)


def _test(model: Model, one: Predicted) -> Floats:
    """Test log-probabilities (M, 7) of one kind: by its folds, its full fit, or both."""
    if model.full_fit == INSTEAD:
        return metrics.log_softmax(one.full)
    networks = [*one.tests, one.full] if model.full_fit == BESIDE else list(one.tests)
    return metrics.log_softmax(metrics.mean_of_probabilities(networks))
