"""The benchmark of forecasts: its splits are fair, its models run at a tiny size, its table says what is off."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.forecast import findings, kinds, measure, pretend, summary
from tests.benchmarks.forecast.kinds import KINDS, STUDENTS, Faces, Student, convolutions
from tests.helpers import twin_world

WORLD = twin_world.draw(rows=800, test_rows=8)


def keys():
    return np.array([f"{photo:032x}" for photo in WORLD.photos], "S32")


def test_splits_partition_the_rows_and_folds_keep_twins_together():
    parts = [pretend.split(WORLD.labels, WORLD.photos, number) for number in range(pretend.SPLITS)]
    assert sorted(np.concatenate([one.test for one in parts]).tolist()) == list(range(800))
    for one in parts[:1]:
        assert not set(one.rest) & set(one.test)
        assert len({(group, fold) for group, fold in zip(WORLD.photos[one.rest], one.folds, strict=True)}) == len(
            set(WORLD.photos[one.rest])
        )
        table = pretend.twins_of(one, WORLD.labels, WORLD.photos, keys())
        assert table.test.have.tolist() == np.isin(WORLD.photos[one.test], WORLD.photos[one.rest]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("model", measure.MODELS, ids=lambda model: model.name)
def test_drawn_networks_are_forecast_part_by_part(model):
    one = pretend.split(WORLD.labels, WORLD.photos, 0)
    table = pretend.twins_of(one, WORLD.labels, WORLD.photos, keys())
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(800, 7)) + 1.5 * np.eye(7)[WORLD.labels]

    def drawn(rows):
        return (shared[rows] + 0.5 * rng.normal(size=(len(rows), 7))).astype(np.float32)

    tests = np.stack([drawn(one.test) for _ in range(pretend.FOLDS)])
    predicted = [pretend.Predicted(drawn(one.rest), tests, drawn(one.test)) for _ in model.kinds]
    cases = measure.measure(model, 0, predicted, table, WORLD.labels[one.test])
    assert [case.part for case in cases] == ["singles", "twins", "all", "lookup", "all with lookup"]
    assert all(0 < case.forecast < 1 and 0 < case.truth < 1 and case.error > 0 for case in cases)
    found = summary.summary(cases)
    assert summary.table(found)[2].split()[-1] in ("100%", "0%")
    assert set(found["parts"]) == set(measure.PARTS)


def test_bias_spread_and_coverage_by_hand():
    def case(split, forecast, truth):
        return measure.Case("m", split, "singles", truth, forecast, truth - 0.02, 0.01, sampling_error=0.0)

    found = summary._of_part([case(0, 0.51, 0.5), case(1, 0.53, 0.5)])
    assert (found["bias"], found["earlier_bias"], found["covered"]) == (2.0, -2.0, 0.5)
    assert found["rms"] == found["own_error"] == pytest.approx(100 * np.sqrt((0.01**2 + 0.03**2) / 2), abs=1e-4)


def test_targets_are_labels_or_their_mean_with_the_shares_of_teachers():
    faces = Faces(np.zeros((2, 48, 48), np.uint8), np.array([3, 0]))
    assert kinds._targets(faces, None) is faces.labels
    shares = np.full((2, 7), 1 / 7, np.float32)
    found = kinds._targets(faces, shares)
    np.testing.assert_allclose(found, 0.5 * np.eye(7)[[3, 0]] + 0.5 / 7, atol=1e-6)


def test_flattery_is_what_out_of_fold_reads_above_the_test_rows():
    one = pretend.split(WORLD.labels, WORLD.photos, 0)
    table = pretend.twins_of(one, WORLD.labels, WORLD.photos, keys())
    right, truth = np.eye(7, dtype=np.float32), WORLD.labels[one.test]
    wrong = right[(truth + 1) % 7]
    tests = np.stack([right[truth], wrong, wrong, wrong, wrong])
    made = pretend.Predicted(right[table.labels], tests, wrong)
    assert findings.flattery(made, table, truth) == pytest.approx(0.8)


def test_gains_of_a_student_are_paired_by_row_and_part():
    one = pretend.split(WORLD.labels, WORLD.photos, 0)
    table = pretend.twins_of(one, WORLD.labels, WORLD.photos, keys())
    right, truth = np.eye(7, dtype=np.float32), WORLD.labels[one.test]
    wrong = right[(truth + 1) % 7]
    plain = pretend.Predicted(right[table.labels], np.stack([right[truth], wrong]), wrong)
    student = pretend.Predicted(right[table.labels], np.stack([right[truth], right[truth]]), wrong)
    found = findings.gains_of_student(student, plain, table, truth)
    collected = findings.Findings()
    for _ in range(2):
        collected.add({"net": plain, "net_student": student}, table, truth)
    points = collected.as_dict()["soft_targets_over_labels_on_test_rows"]
    assert points["net_student, one network, all"] == {"mean": 50.0, "error": 0.0}
    assert set(found) == {f"{who}, {part}" for who in ("one network", "mean") for part in ("singles", "twins", "all")}
    assert found["one network, all"].tolist() == [0.5] * len(truth)
    assert len(found["mean, twins"]) == table.test.have.sum()
    assert findings.leak(student, plain, table, truth) == pytest.approx(-0.5)  # same out of fold, better on test rows


@pytest.mark.slow
def test_quick_models_learn_and_are_kept(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 320)
    stripes = np.indices((48, 48))[0][None] * (labels[:, None, None] + 1) * 12
    faces = Faces((stripes + rng.integers(0, 40, (320, 48, 48))).astype(np.uint8), labels)
    monkeypatch.setattr(kinds, "RIDGE_FEATURES", 64)
    monkeypatch.setattr(pretend, "FOLDS", 2)
    monkeypatch.setitem(KINDS, "net", convolutions((8,), 4, 0.1, True))
    one = pretend.split(labels, np.arange(320), 0)
    for kind in ("ridge", "neighbours", "net"):
        made = pretend.predictions(tmp_path, kind, one, faces)
        assert (made.oof.argmax(1) == labels[one.rest]).mean() > 0.2, kind
        again = pretend.predictions(tmp_path, kind, one, faces)
        np.testing.assert_array_equal(again.tests, made.tests)
    monkeypatch.setitem(STUDENTS, "student", Student(convolutions((8,), 40, 0.1, True), ("ridge", "net"), "net"))
    student = pretend.predictions(tmp_path, "student", one, faces)
    assert (student.oof.argmax(1) == labels[one.rest]).mean() > 0.2
    seen = pretend.predictions(tmp_path, "net_seen", one, faces)
    np.testing.assert_array_equal(seen.full, pretend.predictions(tmp_path, "net", one, faces).full)
    assert (seen.tests == seen.full).all() and seen.oof.shape == student.oof.shape
    assert not np.array_equal(student.oof, made.oof)
    with pytest.raises(ValueError, match="another split"):
        pretend.predictions(tmp_path, "ridge", pretend.Split(0, one.rest, one.test, one.folds + 1), faces)
