"""Intervals and tests over groups of twins, against what is known of how the rows were drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ensembles.fit import compare
from fer_kit import metrics


def logits_of(right: np.ndarray) -> np.ndarray:
    """Logits (N, 7) that answer class 0 where `right`, else class 1; all labels are 0."""
    return np.eye(7)[np.where(right, 0, 1)]


def twins(rng: np.random.Generator, groups: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are right, and their groups: one to four rows of one photo, all right or all wrong together mostly."""
    sizes = rng.integers(1, 5, groups)
    numbers = np.repeat(np.arange(groups), sizes)
    together = rng.random(groups) < share
    own = rng.random(len(numbers)) < share
    return np.where(rng.random(len(numbers)) < 0.8, together[numbers], own), numbers


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered, by_rows = 0, 0
    for repeat in range(300):
        right, groups = twins(rng, 400, 0.7)
        low, high = metrics.bootstrap_interval(right, groups, repeats=500, seed=repeat)
        covered += low <= 0.7 <= high
        low, high = metrics.bootstrap_interval(right, np.arange(len(right)), repeats=500, seed=repeat)
        by_rows += low <= 0.7 <= high
    assert 0.90 <= covered / 300 <= 0.99
    assert by_rows / 300 < 0.90, "rows are not independent, and an interval that thinks so is too short"


def test_the_interval_is_that_of_drawing_whole_groups():
    rng = np.random.default_rng(2)
    right, groups = twins(rng, 150, 0.6)
    sums, sizes = np.bincount(groups, right), np.bincount(groups)
    drawn = rng.integers(0, 150, (20_000, 150))
    slow = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    np.testing.assert_allclose(metrics.bootstrap_interval(right, groups, repeats=20_000), slow, atol=0.004)


def test_the_cluster_standard_error_is_the_spread_of_repeated_draws():
    rng = np.random.default_rng(3)
    means, errors = [], []
    for _ in range(400):
        right, groups = twins(rng, 300, 0.7)
        means.append(right.mean())
        errors.append(metrics.cluster_standard_error(right, groups))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)
    alone = metrics.cluster_standard_error(np.array([0.0, 1, 1, 1]), np.arange(4))
    assert alone == pytest.approx(math.sqrt(0.75 * 0.25 / 3)), "groups of one: the usual formula"
    assert math.isnan(metrics.cluster_standard_error(np.ones(3), np.zeros(3)))


@pytest.mark.parametrize("function", [metrics.cluster_standard_error, metrics.bootstrap_interval])
def test_values_and_groups_that_do_not_belong_together(function):
    with pytest.raises(ValueError, match=r"values \(3,\) and groups \(2,\) must have the same shape"):
        function(np.ones(3), np.ones(2))


def test_mcnemar_and_the_cluster_z_by_hand():
    labels = np.zeros(20, dtype=np.int64)
    a, b = np.ones(20, bool), np.ones(20, bool)
    a[:2], b[2:10] = False, False
    one = compare.compare(logits_of(a), logits_of(b), labels, np.arange(20), "b")
    assert (one.won, one.lost, one.difference) == (8, 2, pytest.approx(0.3))
    assert one.mcnemar_p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert one.z == pytest.approx(0.3 / one.standard_error)
    assert one.p == pytest.approx(math.erfc(one.z / math.sqrt(2)))
    in_twins = compare.compare(logits_of(a), logits_of(b), labels, np.arange(20) // 2, "b")
    assert in_twins.z < one.z and in_twins.mcnemar_p == one.mcnemar_p


def test_equal_predictions_are_not_told_apart():
    labels = np.zeros(5, dtype=np.int64)
    same = logits_of(np.array([1, 1, 0, 1, 0], bool))
    one = compare.compare(same, same, labels, np.arange(5), "itself")
    assert (one.difference, one.won, one.lost, one.z, one.p, one.mcnemar_p) == (0, 0, 0, 0, 1, 1)


def test_the_cluster_test_errs_as_often_as_it_says():
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(300):
        a, groups = twins(rng, 200, 0.7)
        b = a ^ (rng.random(200) < 0.2)[groups]  # all answers to a photo change together, for better or worse
        sign = np.where(rng.random(200) < 0.5, 1, 0)[groups] == 1
        first, second = np.where(sign, a, b), np.where(sign, b, a)
        labels = np.zeros(len(a), dtype=np.int64)
        found += compare.compare(logits_of(first), logits_of(second), labels, groups, "").p < 0.05
    assert found / 300 < 0.09


def test_scores():
    labels = np.zeros(8, dtype=np.int64)
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    one = compare.score(logits_of(right), labels, np.arange(8) // 4, np.arange(8))
    assert (one.accuracy, one.fold_accuracies) == (0.5, (0.75, 0.25))
    assert one.spread == pytest.approx(math.sqrt(0.125))
    assert one.interval[0] < 0.5 < one.interval[1]
    assert compare.score(logits_of(right), labels, np.zeros(8), np.arange(8)).spread is None
