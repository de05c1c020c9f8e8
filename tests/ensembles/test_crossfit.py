"""Nothing that was fitted ever saw the rows it is scored on: walked, and measured on members drawn from a truth."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles.fit import crossfit, value
from ensembles.fit.crossfit import AUTO, CrossFit, Inner
from ensembles.fit.methods import METHODS, Method, Weighted, fit_mean
from fer_kit import metrics
from tests.helpers import drawn_members

ROWS, FOLDS = 900, 5
FOLD_OF_ROW = np.arange(ROWS) // 2 % FOLDS
GROUPS = np.arange(ROWS) // 2


def fits(members, labels, **options):
    rows = len(labels)
    return CrossFit(members, labels, np.arange(rows) // 2 % FOLDS, np.arange(rows) // 2, **options)


@pytest.fixture(scope="module")
def drawn():
    logits, labels = drawn_members.truth(ROWS)
    return drawn_members.members(logits, [0.5, 1.0, 2.0]), labels


class Spy:
    """A method that remembers which rows it was fitted to; rows are told by a mark in the log-probabilities."""

    def __init__(self):
        self.fits = []

    def __call__(self, log_probs, labels):
        self.fits.append(np.round(log_probs[0, :, 0] * 1000).astype(int))
        return Weighted(np.full(len(log_probs), 1 / len(log_probs)), of_logs=False)


def test_a_fold_is_held_out_from_its_fits_and_from_its_choice(drawn):
    members, labels = drawn
    marked = members.copy()
    marked[0, :, 0] = np.arange(ROWS) / 1000
    spy = Spy()
    made = fits(marked, labels, tempered=False, methods={"one": Method(spy, ""), "two": Method(spy, "")})
    made.held_out(["one"])
    assert len(spy.fits) == FOLDS
    for fold, rows in enumerate(spy.fits):
        np.testing.assert_array_equal(rows, np.flatnonzero(fold != FOLD_OF_ROW))
    spy.fits.clear()
    made.choose(frozenset({3}))
    assert len(spy.fits) == 4 + 4, "four pairs of folds for one and for two"
    for rows in spy.fits:
        assert not (FOLD_OF_ROW[rows] == 3).any() and len(set(FOLD_OF_ROW[rows])) == 3
    spy.fits.clear()
    made.held_out([AUTO])
    assert all(len(set(FOLD_OF_ROW[rows])) in (3, 4) for rows in spy.fits)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*METHODS, AUTO])
def test_labels_of_a_fold_move_nothing_that_scores_it(drawn, method):
    members, labels = drawn
    lies = np.where(FOLD_OF_ROW == 2, (labels + 3) % 7, labels)
    true, lied = (fits(members, answers).held_out([method])[method] for answers in (labels, lies))
    np.testing.assert_array_equal(true[FOLD_OF_ROW == 2], lied[FOLD_OF_ROW == 2])
    if method not in ("mean", "logmean"):
        assert not np.array_equal(true[FOLD_OF_ROW != 2], lied[FOLD_OF_ROW != 2])


@pytest.mark.slow
@pytest.mark.parametrize(("inside", "outside"), [("weights", "weights"), ("stack", AUTO), (AUTO, "weights")])
def test_a_blend_inside_a_blend_leaks_nothing(drawn, inside, outside):
    members, labels = drawn

    def outer(answers):
        inner = fits(members[:2], answers)
        stored = inner.held_out([inside])[inside]
        return fits(np.stack([stored, members[2]]), answers, inner={0: Inner(inner, inside)})

    lies = np.where(FOLD_OF_ROW == 2, (labels + 3) % 7, labels)
    true, lied = outer(labels), outer(lies)
    without = frozenset({2})
    np.testing.assert_array_equal(true.log_probs(without), lied.log_probs(without))
    mine, theirs = (rows.held_out([outside])[outside] for rows in (true, lied))
    np.testing.assert_array_equal(mine[FOLD_OF_ROW == 2], theirs[FOLD_OF_ROW == 2])
    assert not np.array_equal(true.log_probs(), lied.log_probs()), "the stored rows do know the fold"


def test_inner_rows_of_the_fold_that_is_scored_are_the_stored_ones(drawn):
    members, labels = drawn
    inner = fits(members[:2], labels)
    stored = inner.held_out(["weights"])["weights"]
    outer = fits(np.stack([stored, members[2]]), labels, inner={0: Inner(inner, "weights")})
    rows = FOLD_OF_ROW == 1
    np.testing.assert_array_equal(outer.log_probs(frozenset({1}))[0, rows], stored[rows])
    assert np.isfinite(outer.log_probs(frozenset({1, 2, 3, 4}))).all(), "one fold left: fitted to itself"


# honesty, measured


@pytest.mark.slow
def test_useless_members_do_not_raise_the_cross_fitted_score():
    logits, labels = drawn_members.truth(800, seed=3)
    good = drawn_members.members(logits, [1.0])
    made = fits(np.concatenate([good, drawn_members.useless(60, 800)]), labels)
    alone = metrics.predicted(good[0]) == labels
    for method, blended in made.held_out([*METHODS, AUTO]).items():
        gain = (metrics.predicted(blended) == labels).astype(float) - alone
        assert gain.mean() <= 2 * metrics.cluster_standard_error(gain, made.groups) + 1e-12, method
    assert made.choose() == crossfit.ONE


@pytest.mark.slow
def test_only_useless_members_score_no_better_than_the_commonest_class():
    _, labels = drawn_members.truth(800, seed=5)
    made = fits(drawn_members.useless(60, 800), labels)
    names = ["weights", "greedy", "stack"]
    for method, blended in made.held_out(names).items():
        right = (metrics.predicted(blended) == labels).astype(float)
        chance = np.bincount(labels).max() / len(labels)
        assert right.mean() <= chance + 3 * metrics.cluster_standard_error(right, made.groups), method
        fitted = metrics.accuracy(made.model(method).apply(made.log_probs()), labels)
        assert method == "weights" or fitted > right.mean() + 0.04, "the optimism that cross-fitting takes away"


# the choice


def right(*shares, rows=1000):
    """Rows that candidates have right: the first `share` of them each."""
    return {f"m{number}": np.arange(rows) < share * rows for number, share in enumerate(shares)}


def test_the_simplest_within_one_standard_error_is_chosen():
    groups = np.arange(1000)
    assert crossfit.simplest(right(0.700, 0.701), groups) == "m0"
    assert crossfit.simplest(right(0.700, 0.720), groups) == "m1"
    assert crossfit.simplest(right(0.720, 0.700), groups) == "m0"
    assert crossfit.simplest(right(0.700, 0.7195, 0.720), groups) == "m1"
    apart = right(0.700, 0.700)
    apart["m1"][700:708] = True  # eight rows won, four lost
    apart["m1"][:4] = False
    assert crossfit.simplest(apart, groups) == "m1"
    assert crossfit.simplest(apart, groups // 4) == "m0", "four rows of one photo are one piece of evidence"


def test_the_best_member_alone_is_the_way_out(drawn):
    members, labels = drawn
    worse = Method(lambda log_probs, labels: Weighted(np.array([0.0, 0.0, 1.0]), of_logs=True), "")
    made = fits(members, labels, methods={"worse": worse})
    assert made.choose() == crossfit.ONE
    assert made.model(AUTO).fitted.shares.tolist() == [1, 0, 0]
    alike = drawn_members.members(drawn_members.truth(ROWS)[0], [0.8, 0.8, 0.8])
    assert fits(alike, labels, methods={"mean": Method(fit_mean, "")}).choose() == "mean"


def test_with_too_few_folds_to_choose_the_simplest_is_taken(drawn):
    members, labels = drawn
    assert fits(members, labels).choose(frozenset({0, 1, 2, 3})) == "mean"


# the value of members


@pytest.mark.parametrize("method", ["mean", "logmean", "weights", "stack"])
def test_the_value_of_a_member_is_what_the_blend_loses_without_it(drawn, method):
    members, labels = drawn
    made = fits(members, labels)
    found = value.member_values(made, method)
    if method in ("mean", "logmean"):
        for member in range(3):
            rest = fits(np.delete(members, member, axis=0), labels).held_out([method])[method]
            whole = made.held_out([method])[method]
            gain = metrics.accuracy(whole, labels) - metrics.accuracy(rest, labels)
            assert found.accuracy[member] == pytest.approx(gain, abs=1e-12)
            differ = (metrics.predicted(whole) == labels).astype(float) - (metrics.predicted(rest) == labels)
            assert found.error[member] == pytest.approx(metrics.cluster_standard_error(differ, made.groups))
            loss = metrics.log_loss(rest, labels) - metrics.log_loss(whole, labels)
            assert found.log_loss[member] == pytest.approx(loss, abs=1e-9)
    assert found.log_loss[0] == max(found.log_loss)


def test_the_useless_are_the_ones_to_drop(drawn):
    members, labels = drawn
    made = fits(np.concatenate([members[:2], drawn_members.useless(3, ROWS)]), labels)
    found = value.member_values(made, "mean")
    assert set(found.drop) <= {2, 3, 4} and found.drop
    assert found.without[0] >= found.whole[0] and found.without[1] <= found.whole[1]


def test_error_correlation_and_disagreement(drawn):
    members, labels = drawn
    answers = np.array([metrics.predicted(member) for member in members])
    correlation = metrics.error_correlation(answers, labels)
    wrong = answers != labels
    np.testing.assert_allclose(correlation, np.corrcoef(wrong), atol=1e-12)
    apart = metrics.disagreement(answers)
    assert apart[0, 1] == np.mean(answers[0] != answers[1]) == apart[1, 0]
    assert apart.diagonal().tolist() == [0, 0, 0]
    with_perfect = metrics.error_correlation(np.concatenate([labels[None], answers]), labels)
    assert with_perfect[0].tolist() == [1, 0, 0, 0]
