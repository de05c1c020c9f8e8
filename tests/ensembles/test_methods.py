from __future__ import annotations

import numpy as np
import pytest

from ensembles.fit import greedy, methods, temperature
from fer_kit import metrics
from tests.helpers import drawn_members

EVERY = [*methods.METHODS.values(), methods.SINGLE]
IDS = [*methods.METHODS, "single"]


@pytest.fixture(scope="module")
def uneven():
    """Four members, from good to bad, and the labels."""
    logits, labels = drawn_members.truth(1500)
    return drawn_members.members(logits, [0.5, 0.7, 1.5, 4.0]), labels


# temperatures


def test_temperatures_find_known_faults():
    logits, labels = drawn_members.truth(20_000)
    faults = [0.25, 0.5, 2.0, 4.0]
    found = temperature.fit(np.array([metrics.log_softmax(logits * fault) for fault in faults]), labels)
    np.testing.assert_allclose(found, faults, rtol=0.04)


def test_a_calibrated_member_keeps_temperature_one_and_its_bits():
    logits, labels = drawn_members.truth(4000, seed=4)
    member = metrics.log_softmax(logits)[None]
    found = temperature.fit(member, labels)
    assert found.tolist() == [1.0]
    np.testing.assert_array_equal(temperature.scale(member, found), member)


def test_the_temperature_has_the_least_log_loss(uneven):
    members, labels = uneven
    found = temperature.fit(members, labels)
    for member, best in zip(members, found, strict=True):
        losses = [metrics.log_loss(member / (best * by), labels) for by in (0.98, 1.0, 1.02)]
        assert min(losses) == losses[1]


def test_temperatures_of_members_that_know_all_or_nothing_stay_in_bounds():
    labels = np.arange(70) % 7
    sure = metrics.log_softmax(5.0 * np.eye(7)[labels])
    flat = np.full((70, 7), -np.log(7))
    wrong = metrics.log_softmax(50.0 * np.eye(7)[(labels + 1) % 7])
    low, one, high = np.log(temperature.fit(np.array([sure, flat, wrong]), labels))
    assert -3 <= low < -1.5 and one == 0 and 2.999 < high <= 3


def test_scaled_log_probabilities_are_those_of_scaled_logits(uneven):
    members, _ = uneven
    scaled = temperature.scale(members, np.array([0.1, 1.0, 3.0, 20.0]))
    for member, values, by in zip(members, scaled, (0.1, 1.0, 3.0, 20.0), strict=True):
        np.testing.assert_allclose(values, metrics.log_softmax(member / by), atol=1e-12)


# the methods


@pytest.mark.parametrize("method", EVERY, ids=IDS)
def test_every_method_gives_log_probabilities_and_is_the_same_every_time(uneven, method):
    members, labels = uneven
    fitted, again = method.fit(members, labels), method.fit(members.copy(), labels)
    blended = fitted.apply(members[:, :200])
    assert blended.dtype == np.float64 and blended.shape == (200, 7)
    np.testing.assert_allclose(np.exp(blended).sum(axis=1), 1, rtol=1e-9)
    np.testing.assert_array_equal(blended, again.apply(members[:, :200]))
    if fitted.shares is not None:
        assert fitted.shares.sum() == pytest.approx(1) and (fitted.shares >= 0).all()


@pytest.mark.parametrize("method", EVERY, ids=IDS)
def test_logits_at_the_limit_of_float16_neither_overflow_nor_change_the_order(method):
    labels = np.arange(140) % 7
    limit = np.where(np.eye(7)[labels] > 0, 65504, -65504).astype(np.float16)
    near = limit * np.float16(0.999)
    members = np.array([metrics.log_softmax(limit), metrics.log_softmax(near)])
    scaled = temperature.scale(members, temperature.fit(members, labels))
    blended = method.fit(scaled, labels).apply(scaled)
    assert np.isfinite(blended.astype(np.float32)).all()
    np.testing.assert_array_equal(metrics.predicted(blended), labels)


@pytest.mark.parametrize("method", EVERY, ids=IDS)
def test_members_in_another_order_give_the_same_answers(uneven, method):
    members, labels = uneven
    order = [2, 0, 3, 1]
    blended = method.fit(members, labels).apply(members)
    other = method.fit(members[order], labels).apply(members[order])
    if method.fit is methods.fit_greedy:  # its bags are drawn by position: the command puts members in order first
        return
    np.testing.assert_array_equal(metrics.predicted(blended), metrics.predicted(other))


def objective(weights, members, labels):
    loss = metrics.log_loss(np.tensordot(weights, members, 1), labels)
    return loss + methods.PULL * len(weights) / 2 * np.square(weights - 1 / len(weights)).sum()


def test_weights_are_at_the_optimum(uneven):
    members, labels = uneven
    fitted = methods.fit_weights(members, labels)
    weights = fitted.weights * fitted.sharpness
    for member in range(4):
        step = 1e-5 * (np.arange(4) == member)
        slope = (objective(weights + step, members, labels) - objective(weights - step, members, labels)) / 2e-5
        assert abs(slope) < 1e-4 if weights[member] > 0 else slope > -1e-4
    assert fitted.weights[0] > fitted.weights[2] > fitted.weights[3]


def test_equal_members_get_equal_weights(uneven):
    members, labels = uneven
    weights = methods.fit_weights(np.repeat(members[:1], 5, axis=0), labels).weights
    np.testing.assert_allclose(weights, 0.2, atol=1e-6)


def test_members_that_only_harm_leave_the_plain_mean():
    labels = np.arange(700) % 7
    wrong = metrics.log_softmax(9.0 * np.eye(7)[(labels + 1) % 7])
    fitted = methods.fit_weights(np.array([wrong, wrong * 1.0]), labels)
    np.testing.assert_allclose(fitted.weights, 0.5)
    assert np.isfinite(fitted.apply(np.array([wrong, wrong]))).all()


def test_a_mean_of_probabilities_is_one(uneven):
    members, labels = uneven
    expected = np.exp(members).mean(axis=0)
    np.testing.assert_allclose(np.exp(methods.fit_mean(members, labels).apply(members)), expected, rtol=1e-12)
    uneven_weights = methods.Weighted(np.array([0.5, 0.0, 0.25, 0.25]), of_logs=False)
    expected = np.tensordot([0.5, 0, 0.25, 0.25], np.exp(members), 1)
    np.testing.assert_allclose(np.exp(uneven_weights.apply(members)), expected, rtol=1e-12)


def test_a_stack_answers_with_the_classes_it_has_seen(uneven):
    members, labels = uneven
    for seen in ([0, 2, 5], [1, 6]):
        rows = np.isin(labels, seen)
        fitted = methods.fit_stack(members[:, rows], labels[rows])
        answers = metrics.predicted(fitted.apply(members[:, rows]))
        assert set(answers) == set(seen) and np.mean(answers == labels[rows]) > 0.6


def test_the_single_member_is_the_best_one(uneven):
    members, labels = uneven
    assert methods.fit_single(members[[3, 0, 1]], labels).weights.tolist() == [0, 1, 0]
    assert methods.fit_single(members[[0, 0]], labels).weights.tolist() == [1, 0]


# greedy selection


def test_greedy_rows_left_out_are_settled_for_every_mean(uneven):
    members, labels = uneven
    leads = greedy._leads(members[:2], labels)
    assert 0 < leads.shape[2] < len(labels)
    rng = np.random.default_rng(0)
    settled = None
    for _ in range(10):
        weights = rng.dirichlet(np.ones(2))
        blended = np.log(np.tensordot(weights, np.exp(members[:2]), 1))
        right = int((metrics.predicted(blended) == labels).sum())
        still_open = int((np.tensordot(weights, leads, 1).min(axis=0) > 0).sum())
        assert settled in (None, right - still_open)
        settled = right - still_open


def test_greedy_prefers_members_in_use_on_ties_and_then_log_loss():
    nothing_open = np.empty((3, 6, 0))  # every row is settled, so that all candidates tie
    odd = np.arange(70) % 2 == 1
    one, other = np.where(odd, 0.5, 0.9), np.where(odd, 0.89, 0.5)  # together they would have less log loss
    counts = greedy._climb(nothing_open, np.stack([np.full(70, 0.4), one, other]), np.arange(3))
    assert (counts > 0).tolist() == [False, True, False]


def test_greedy_is_not_led_astray_by_the_useless():
    logits, labels = drawn_members.truth(3000)
    good = drawn_members.members(logits, [0.5, 0.6])
    both = np.concatenate([good, drawn_members.useless(8, 3000)])
    both = temperature.scale(both, temperature.fit(both[:, :1500], labels[:1500]))
    fitted = methods.fit_greedy(both[:, :1500], labels[:1500])
    seen, new = (
        metrics.accuracy(fitted.apply(both[:, rows]), labels[rows]) for rows in (slice(1500), slice(1500, None))
    )
    plain = metrics.accuracy(methods.fit_mean(good, labels).apply(good[:, 1500:]), labels[1500:])
    assert new > plain - 0.01 and seen > new - 0.03
    assert fitted.weights[:2].max() > 1 / 10
