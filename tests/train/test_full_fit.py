"""The full fit: every row is trained on, no row is out of fold; and the weight that it takes in a blend."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ensembles import blend
from fer_kit import metrics
from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import deal, fold_spec, splits
from fer_kit.runs import finished_folder, folders, predictions
from fer_kit.train import __main__ as train

RECIPE = ["--recipe", "baseline_v1", "--set", "epochs=1", "early_stop_epochs=0", "--tag", "f", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(competition_dir, tmp_path_factory):
    """A run with three folds and a full fit."""
    runs_dir = tmp_path_factory.mktemp("full") / "runs"
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert folds_command.main([*place, "--folds", "3", "--method", "exact"]) == 0
    for fold in ("0", "1", "2", "all"):
        assert train.main([*RECIPE, *place, "--fold", fold]) == 0
    return runs_dir


def test_typed_filed_and_seeded():
    assert [fold_spec.parse(text) for text in ("3", "all", "3+1")] == [3, (), (1, 3)]
    names = [fold_spec.folder_name(fold) for fold in (3, (), (1, 3))]
    assert names == ["fold3", "foldall", "fold1+3"]
    assert [fold_spec.recorded(fold) for fold in (3, (), (1, 3))] == [3, -1, [1, 3]]
    every = [*range(5), (), *((a, b) for a in range(5) for b in range(a + 1, 5))]
    assert len({fold_spec.seed_number(fold, 5) for fold in every}) == len(every)


@pytest.mark.parametrize("text", ["1+1", "1+2+3", "-1", "01", "every", "", "1+", "1.0"])
def test_other_folds_are_refused(text, capsys):
    assert train.main(["--fold", text, "--dry-run"] if text != "-1" else ["--fold=-1", "--dry-run"]) == 2
    assert re.search(
        r"is no fold; give its number, e.g. 3, or full, or two as 1\+3|means several folds; write --folds",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("recipe", ["residual", "baseline_v1"])
def test_rows_of_each_kind_of_split(recipe, runs_dir):
    table = deal.read(runs_dir / "folds.csv")
    config = override(recipes.get(recipe), ["batch_size=16"])
    for fold in (1, (), (0, 2)):
        parts = splits.split(table, fold, config)
        rows = np.concatenate([parts.train, parts.watch, parts.out])
        np.testing.assert_array_equal(np.sort(rows), table.ids)
        np.testing.assert_array_equal(parts.out, np.flatnonzero(np.isin(table.folds, fold_spec.left_out(fold))))
        assert (len(parts.watch) > 0) == config.watches
        assert not set(table.groups[parts.train]) & set(table.groups[parts.watch])


@pytest.mark.slow
def test_a_full_fit_predicts_test_rows_and_nothing_else(trained):
    folder = trained / "baseline_v1-f" / "foldall"
    assert finished_folder.is_finished(folder)
    assert not (folder / "oof.npz").exists()
    result = json.loads((folder / "result.json").read_text())
    assert (result["fold"], result["oof_rows"]) == (-1, 0) and "oof_accuracy" not in result
    assert predictions.read(folder / "test.npz").meta["fold"] == -1
    assert "360 rows to train on" in (folder / "log.txt").read_text()
    run = folders.load(trained, "baseline_v1-f")
    assert run.folds == (0, 1, 2) and len(run.oof) == 360  # the run is its folds, as before


@pytest.mark.slow
def test_it_takes_the_weight_of_its_folds(trained, capsys):
    run = folders.load(trained, "baseline_v1-f")
    full = predictions.read(trained / "baseline_v1-f" / "foldall" / "test.npz")
    plain = ["--runs", str(trained), "--method", "mean", "--temperatures", "none", "--no-pictures"]
    for name, how in (("folds", "off"), ("full", "instead"), ("both", "beside")):
        assert blend.main([name, *plain, "--full-fit", how]) == 0
        shown = capsys.readouterr().out
        assert ("full fit" in shown) == (how != "off")
    blends = {name: folders.load_blend(trained, name) for name in ("folds", "full", "both")}
    assert len({made.record.config_digest for made in blends.values()}) == 3
    assert len({made.record.oof_sha256 for made in blends.values()}) == 3  # meta differ
    for made in blends.values():
        np.testing.assert_array_equal(made.oof.logits, run.oof.logits)  # scores are those of the folds
    np.testing.assert_array_equal(blends["folds"].test.logits, run.test.logits)
    np.testing.assert_array_equal(blends["full"].test.logits, full.logits)
    expected = (3 * metrics.softmax(run.test.logits) + metrics.softmax(full.logits)) / 4
    np.testing.assert_allclose(metrics.softmax(blends["both"].test.logits), expected, rtol=1e-5)
    told = blends["full"].record.full_fit
    assert (told.how, list(told.sha256)) == ("instead", ["baseline_v1-f"])


def test_a_full_fit_of_something_else_is_refused(trained, tmp_path, capsys):
    import shutil

    copy = tmp_path / "runs"
    shutil.copytree(trained, copy)
    folder = copy / "baseline_v1-f" / "foldall"
    test = predictions.read(folder / "test.npz")
    other = {**test.meta, "config_digest": "another"}
    predictions.write(folder / "test.npz", predictions.Predictions(test.ids, test.logits, other))
    plain = ["--runs", str(copy), "--no-pictures", "--full-fit", "instead"]
    assert blend.main(["x", *plain]) == 2  # the finished mark no longer fits
    assert "no member has a finished full fit; train one with --fold all" in capsys.readouterr().err
    result = json.loads((folder / "result.json").read_text())
    from fer_kit.files import atomic

    atomic.write_json(folder / "result.json", {**result, "test_sha256": atomic.sha256_of(folder / "test.npz")})
    assert blend.main(["x", *plain]) == 2
    assert "foldall: config_digest differs" in capsys.readouterr().err
