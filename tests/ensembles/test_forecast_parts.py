"""The parts of the forecast by hand and on drawn networks: averaging, remembered twins, predictions fold by fold."""

from __future__ import annotations

import numpy as np
import pytest

from ensembles import blend, members
from ensembles.rows import common_rows
from ensembles.twins import averaging, fold_tests, forecast
from ensembles.twins.pairs import TwinTable, among, towards
from ensembles.twins.remembered import Simulation
from fer_kit import metrics
from tests.helpers import fake_runs, twin_world


def networks(rows, own, seed=0):
    """Labels, and log-probabilities of five networks with shared and own noise, each (5, rows, 7)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, rows)
    logits = 1.6 * np.eye(7)[labels] + rng.normal(size=(rows, 7)) + own * rng.normal(size=(5, rows, 7))
    return labels, np.stack([metrics.log_softmax(one) for one in logits])


@pytest.mark.parametrize("own", [0.3, 0.8, 1.2])
def test_the_gain_of_averaging_is_found_without_labels(own):
    labels, by_fold = networks(20_000, own)
    mean = metrics.mean_of_probabilities(list(by_fold))
    single = np.mean([metrics.accuracy(one, labels) for one in by_fold])
    truth = metrics.accuracy(mean, labels) - single
    assert averaging.gain(single, by_fold, mean.astype(np.float32)) == pytest.approx(truth, rel=0.15, abs=0.005)


def test_networks_that_agree_gain_nothing():
    _, by_fold = networks(500, 0.5)
    same = np.repeat(by_fold[:1], 5, axis=0)
    assert averaging.gain(0.6, same, same[0].astype(np.float32)) == pytest.approx(0, abs=1e-9)


def test_full_fits_gain_by_the_share_of_rows_they_add():
    five, ten = averaging.gain_of_full_fit(5), averaging.gain_of_full_fit(10)
    assert five == averaging.FULL_FIT_GAIN and five / 2 < 2 * ten < 2 * five
    assert averaging.gain_of_full_fit(1) == 0


def drawn_twins(wrong=0.1):
    world = twin_world.draw(rows=3000, test_rows=1500, wrong=wrong, seed=7)
    keys = [np.array([f"{photo:032x}" for photo in photos], "S32") for photos in (world.photos, world.test_photos)]
    inside = among(world.photos, world.labels, keys[0])
    across = towards(world.test_photos, keys[1], world.photos, world.labels, keys[0])
    return world, TwinTable(world.photos, world.labels, world.folds, inside, across)


@pytest.mark.parametrize("memory", [0.0, 1.0, 3.0])
def test_memory_is_simulated_at_the_rate_of_the_test_predictions(memory):
    world, table = drawn_twins()
    rng = np.random.default_rng(1)
    oof = (rng.normal(size=(3000, 7)) + 1.2 * np.eye(7)[world.labels]).astype(np.float32)
    test = rng.normal(size=(1500, 7)) + 1.2 * np.eye(7)[world.test_labels]
    np.add.at(test, (table.test.rows, table.test.labels), memory * table.test.shares)
    simulation, have = Simulation(oof, table), table.test.have
    truth = metrics.accuracy(test[have], world.test_labels[have])
    error = metrics.standard_error(truth, int(have.sum()))
    assert simulation.right(test.astype(np.float32)).mean() == pytest.approx(truth, abs=3 * error)


def test_intervals_of_halves_are_wider_and_own_errors_are_in_both():
    part = forecast.Part(0.7, 0.003, 0.004, 5000)
    whole, half = part.variance(), part.variance(0.5)
    assert whole == pytest.approx(0.7 * 0.3 / 5000 + 0.003**2 + 0.004**2)
    assert half - whole == pytest.approx(0.7 * 0.3 / 5000)


def test_the_folds_of_a_blend_are_blended_as_its_test_rows_are(tmp_path):
    runs_dir = tmp_path / "runs"
    for seed, name in enumerate("ab"):
        fake_runs.save_run(runs_dir, name, seed=seed)
    options = ["--runs", str(runs_dir), "--no-pictures"]
    assert blend.main(["inner", *options, "--members", "a", "b", "--method", "logmean", "--temperatures", "none"]) == 0
    found = members.load(runs_dir, [runs_dir / "a", runs_dir / "b", runs_dir / "blends/inner"])
    rows = common_rows(runs_dir, found)
    by_fold = fold_tests.of_members(found, rows)
    assert by_fold.shape[:2] == (len(rows.fold_numbers), 3)
    expected = metrics.log_softmax(by_fold[1, :2].mean(axis=0))
    np.testing.assert_allclose(by_fold[1, 2], expected, atol=1e-9)
    np.testing.assert_allclose(
        metrics.mean_of_probabilities(list(by_fold[:, 0])), metrics.log_softmax(found[0].test.logits), atol=1e-5
    )
    outside = members.Member("theirs", members.FILES, found[0].oof, found[0].test, ())
    kept = fold_tests.of_members([found[0], outside], rows)[:, 1]
    assert all(np.array_equal(one, metrics.log_softmax(outside.test.logits)) for one in kept)
