from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fer_kit import metrics

FINITE = st.floats(-1e4, 1e4, width=32)
BUSY = settings(deadline=None, max_examples=50)  # a machine that trains beside the tests misses every deadline
LOGITS = arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(7)), elements=FINITE)


@BUSY
@given(LOGITS)
def test_softmax_sums_to_one_in_float64_and_log_softmax_stays_finite(logits):
    probabilities = metrics.softmax(logits)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert np.isfinite(metrics.log_softmax(logits)).all()


def test_softmax_of_huge_logits_and_without_touching_them():
    logits = np.array([[3e38, -3e38, 0, 0, 0, 0, 0]], dtype=np.float32)
    before = logits.copy()
    assert metrics.softmax(logits)[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(logits, before)


def test_of_equal_logits_the_lowest_class_wins():
    assert metrics.predicted(np.array([[1.0, 5, 5, 0, 5, 0, 0], [0.0] * 7])).tolist() == [1, 0]


def test_accuracy_and_log_loss_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]))
    assert metrics.accuracy(logits, np.array([0, 1])) == 0.5
    assert metrics.log_loss(logits, np.array([0, 1])) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2)


@pytest.mark.parametrize(("rows", "labels"), [(3, 2), (0, 0)])
def test_logits_and_labels_that_do_not_belong_together(rows, labels):
    with pytest.raises(ValueError, match="must have shape"):
        metrics.accuracy(np.zeros((rows, 7)), np.zeros(labels, dtype=np.int64))


@BUSY
@given(arrays.arrays(np.float32, st.tuples(st.integers(2, 4), st.integers(1, 5), st.just(7)), elements=FINITE))
def test_the_mean_is_that_of_the_probabilities(members):
    members = list(members)
    mean = metrics.mean_of_probabilities(members)
    assert np.isfinite(mean).all()
    expected = np.mean([metrics.softmax(member) for member in members], axis=0)
    np.testing.assert_allclose(metrics.softmax(mean), expected, rtol=1e-9, atol=1e-12)


def test_the_mean_of_one_member_is_the_member():
    close = np.array([[1e-9, 2e-9, 0, 0, 0, 0, 0]], dtype=np.float32)  # log_softmax in float32 would make a tie
    assert metrics.mean_of_probabilities([close]) is close


def test_the_mean_refuses_no_members_and_other_shapes():
    with pytest.raises(ValueError, match="no members"):
        metrics.mean_of_probabilities([])
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.mean_of_probabilities([np.zeros((2, 7)), np.zeros((3, 7))])


def test_spread_and_standard_error():
    assert metrics.spread([0.5, 0.7]) == pytest.approx(math.sqrt(0.02))
    assert math.isnan(metrics.spread([0.5]))
    assert metrics.standard_error(0.75, 100) == pytest.approx(0.0433, abs=1e-4)


def test_confusion_and_the_drawn_ones():
    labels, answers = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    counts = metrics.confusion(answers, labels, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    drawn = metrics.bootstrap_confusions(answers, labels, np.arange(5), 3, repeats=4000)
    assert drawn.shape == (4000, 3, 3) and (drawn.sum((1, 2)) == 5).all()
    np.testing.assert_allclose(drawn.mean(axis=0), counts, atol=0.06)
    one_group = metrics.bootstrap_confusions(answers, labels, np.zeros(5, int), 3, repeats=10)
    assert (one_group == counts).all()  # rows of a group come and go together


def test_both_bootstraps_give_the_same_interval():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 7, 600), rng.integers(0, 200, 600)
    answers = np.where(rng.random(600) < 0.6, labels, rng.integers(0, 7, 600))
    drawn = metrics.bootstrap_confusions(answers, labels, groups, 7)
    accuracies = np.trace(drawn, axis1=1, axis2=2) / drawn.sum((1, 2))
    expected = metrics.bootstrap_interval(answers == labels, groups)
    np.testing.assert_allclose(np.quantile(accuracies, [0.025, 0.975]), expected, atol=0.004)


def test_calibration_by_hand():
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 1e-30]]))
    found = metrics.calibration(logits, np.array([0, 1, 1, 0]), bins=10)
    assert found.rows.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]
    assert found.accuracy[9] == pytest.approx(2 / 3) and found.confidence[9] == pytest.approx(2.8 / 3)
    assert math.isnan(found.accuracy[0])
    assert found.error == pytest.approx((0.4 + 3 * (2.8 - 2) / 3) / 4)


def test_mcnemar_and_the_cluster_z():
    labels = np.zeros(20, np.int64)
    good, bad = np.tile([[1.0, 0]], (20, 1)), np.tile([[1.0, 0]], (20, 1))
    bad[:6] = [0, 1]
    alone = metrics.compare(good, bad, labels, np.arange(20), "bad")
    assert (alone.won, alone.lost, alone.difference) == (6, 0, 0.3)
    assert alone.mcnemar_p == pytest.approx(2 * 0.5**6)
    together = metrics.compare(good, bad, labels, np.maximum(np.arange(20) - 5, 0), "bad")  # six copies of one photo
    assert together.mcnemar_p == alone.mcnemar_p and together.p > 0.1 > 0.01 > alone.p
    same = metrics.compare(good, good, labels, np.arange(20), "itself")
    assert (same.z, same.p, same.mcnemar_p) == (0, 1, 1)
