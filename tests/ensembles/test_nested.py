"""Blends inside of blends: what was fitted inside is fitted anew, however many layers lie between; and full fits."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from ensembles import blend, full_fit, members
from ensembles.fit import crossfit, value
from ensembles.rows import common_rows
from fer_kit import metrics
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import folders, predictions
from fer_kit.runs.predictions import Predictions
from tests.helpers import fake_runs
from tests.helpers.blending import refused, run

WEIGHTS = ("--method", "weights", "--no-pictures")
LAYERS = {  # blends that fit nothing themselves, of the blend 'inner', which does
    "one": ("--members", "inner"),
    "even": ("--members", "inner", "third"),
    "deep": ("--members", "one", "strong"),
}


@pytest.fixture
def three(two):
    fake_runs.save_run(two, "third", seed=3)
    return two


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_that_fits_nothing_does_not_hide_what_was_fitted_below(three, capsys, layer):
    run(capsys, "inner", "--members", "weak", "third", options=WEIGHTS)
    assert run(capsys, "one", *LAYERS["one"])[0] == 0
    if layer != "one":
        run(capsys, layer, *LAYERS[layer])
    record = folders.load_blend(three, layer).record
    assert record.learned is True
    if layer == "deep":  # blends that were written before this was handed on
        atomic.write_json(three / "blends/deep/blend.json", {**record.to_json(), "learned": False})
    found = members.load(three, [three / "blends" / layer, three / "weak"])
    made = crossfit.cross_fit(found, common_rows(three, found), True, None, "logmean")
    stored, anew = made.log_probs()[0], made.log_probs(frozenset({0}))[0]
    held = fake_runs.FOLD_OF_ROW == 0
    np.testing.assert_allclose(anew[held], stored[held], atol=1e-5)  # they never saw fold 0
    assert np.abs(anew[~held] - stored[~held]).max(axis=1).min() > 1e-5  # the stored ones did
    assert run(capsys, "outer", "--members", layer, "weak", options=())[0] == 0


def test_blends_that_fitted_nothing_are_taken_as_they_are(three, capsys):
    run(capsys, "even", "--members", "weak", "third")
    fake_runs.save_run(three, "weak", seed=9)
    assert run(capsys, "outer", "--members", "even", "strong", options=WEIGHTS)[0] == 0
    assert folders.load_blend(three, "even").record.learned is False


def test_a_blend_that_fitted_nothing_is_no_part_of_itself_either(three, capsys):
    run(capsys, "inner", "--members", "weak", "third")
    run(capsys, "outer", "--members", "inner", "strong")
    run(capsys, "outermost", "--members", "outer", "weak")
    itself = "blend 'inner' would contain itself through its member 'blends/{}'"
    refused(capsys, itself.format("outer"), "inner", "--members", "outer", "weak", "--force")
    refused(capsys, itself.format("outermost"), "inner", "--members", "outermost", "third", "--force")
    out = run(capsys, "noted", "--members", "outermost", "third")[1]
    assert "note: 'third' is a member and also a part of 'blends/outermost'" in out


def save_full_fit(runs_dir, name):
    """A full fit of the run `name`, whose test predictions are those of the folds in reverse order."""
    test = folders.load(runs_dir, name).test
    folder = folders.fold_folder(runs_dir, name, fold_spec.ALL)
    told = {**predictions.read(runs_dir / name / "fold0/test.npz").meta, "fold": fold_spec.FULL}
    full = Predictions(test.ids, test.logits[::-1].copy(), told)
    predictions.write(folder / "test.npz", full)
    sha256 = atomic.sha256_of(folder / "test.npz")
    atomic.write_json(folder / "result.json", {"fold": fold_spec.FULL, "test_sha256": sha256})
    return full


@pytest.mark.parametrize(
    ("names", "how", "expected"),
    [
        (("strong",), "instead", True),
        (("strong",), "beside", False),
        (("strong", "weak"), "off", False),
        (("strong", "weak"), "instead", None),
        (("blends/full",), "off", True),
        (("blends/full", "weak"), "off", None),
        (("blends/outer",), "off", True),
        (("blends/partly",), "off", None),
    ],
)
def test_blends_tell_whether_full_fits_alone_predict_the_test_rows(three, capsys, names, how, expected):
    """The forecast differs: the mean of several folds gains more than one network of all rows."""
    save_full_fit(three, "strong")
    assert run(capsys, "full", "--members", "strong", "--full-fit", "instead")[0] == 0
    assert run(capsys, "outer", "--members", "full")[0] == 0
    assert run(capsys, "partly", "--members", "strong", "third", "--full-fit", "instead")[0] == 0
    found, full = full_fit.with_full_fits(three, members.load(three, [three / name for name in names]), how)
    assert full_fit.alone(found, how, full) is expected
    bare = [dataclasses.replace(member, parts=()) for member in found]  # blends whose own members are gone
    assert full_fit.alone(bare, how, full) is (False if names == ("blends/outer",) else expected)


def test_the_full_fit_of_one_member_and_the_folds_of_the_other(two, capsys):
    full = save_full_fit(two, "strong")
    code, out, _ = run(capsys, "all", "--full-fit", "instead")
    assert code == 0
    assert "the full fit of strong instead of the mean of the folds; only by their folds: weak;" in out
    weak = folders.load(two, "weak").test.logits
    made = metrics.softmax(folders.load_blend(two, "all").test.logits)
    expected = (metrics.softmax(full.logits) + metrics.softmax(weak)) / 2
    np.testing.assert_allclose(made, expected, rtol=1e-5)


@pytest.mark.parametrize(("drop", "told"), [((0,), False), ((1,), True)])
def test_the_one_member_that_a_blend_comes_to_is_not_to_be_dropped(two, capsys, monkeypatch, drop, told):
    """Folds may choose otherwise, and be better off without it."""
    monkeypatch.setattr(
        crossfit.CrossFit, "choose", lambda self, unseen=crossfit.NOTHING: "mean" if unseen else "single"
    )
    values = value.member_values
    monkeypatch.setattr(value, "member_values", lambda *given: dataclasses.replace(values(*given), drop=drop))
    code, out, _ = run(capsys, "all", options=("--no-pictures",))
    assert code == 0 and "auto chose single" in out and ("to drop: " in out) == told
    assert folders.load_blend(two, "all").record.drop == (("weak",) if told else ())


def test_given_weights_are_held_against_the_plain_mean(two, capsys, tmp_path):
    (tmp_path / "w.json").write_text('{"weak": 0.25, "strong": 0.75}')
    code, out, _ = run(capsys, "all", options=("--weights", "w.json", "--no-pictures"))
    assert code == 0 and "against the mean of all: " in out and "→ given" in out
    assert "if they were fitted to these rows, this score and the forecast are too high" in out
    assert "cross-fitted out" not in out and "more than chance" not in out
    record = folders.load_blend(two, "all").record
    assert [line.method for line in record.methods] == ["given", "mean"]
    assert [one.against for one in record.comparisons] == ["'strong', the best member", "the mean of all"]


@pytest.mark.parametrize(
    ("made_by", "pool"), [("mean", "mean"), ("greedy", "mean"), ("weights", "logmean"), ("logmean", "logmean")]
)
def test_the_weights_of_a_blend_are_taken_for_the_mean_that_it_was_made_by(two, capsys, made_by, pool):
    run(capsys, "first", options=("--method", made_by, "--no-pictures"))
    options = ("--weights", "runs/blends/first/blend.json", "--no-pictures")
    assert run(capsys, "again", options=options)[0] == 0
    first, again = folders.load_blend(two, "first"), folders.load_blend(two, "again")
    assert (again.record.asked, again.record.pool) == ("given", pool)
    np.testing.assert_array_equal(first.test.logits.argmax(1), again.test.logits.argmax(1))
    options = ("--weights", "runs/blends/again/blend.json", "--no-pictures")
    assert run(capsys, "third", options=options)[0] == 0
    assert json.loads((two / "blends/third/blend.json").read_text())["pool"] == pool
    assert blend.main(["fourth", *options, "--method", "logmean"]) == 0
    assert folders.load_blend(two, "fourth").record.pool == "logmean"
