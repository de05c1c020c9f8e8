from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import finished_folder, folders, predictions
from fer_kit.runs.predictions import Predictions
from tests.helpers import fake_runs
from tests.helpers.fake_runs import FOLD_OF_ROW, FOLDS, LABELS, ROWS, TEST_ROWS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in, so that messages hold 'runs/…'."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(message, *args, **kwargs):
    with pytest.raises(FerKitError, match="^" + re.escape(message)) as error:
        folders.load(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def rewrite(folder, file, **changes):
    """Replace parts of a prediction file and mend its hash, as careful hands would."""
    part = predictions.read(folder / file)
    values = {"ids": part.ids, "logits": part.logits, "meta": part.meta, "labels": part.labels, **changes}
    predictions.write(folder / file, Predictions(**values))
    key = {"oof.npz": "oof_sha256", "test.npz": "test_sha256"}[file]
    edit(folder, **{key: atomic.sha256_of(folder / file)})


def edit(folder, **changes):
    atomic.write_json(folder / "result.json", atomic.read_json(folder / "result.json") | changes)


# names


def test_run_names():
    assert folders.run_name("attention") == "attention"
    assert folders.run_name("attention", "lr1e-4") == "attention-lr1e-4"
    assert folders.run_name("timm/resnet50.a1_in1k", "big") == "timm_resnet50.a1_in1k-big"


@pytest.mark.parametrize("tag", ["", "a b", "../up", "a/b", ".hidden", "-dash", "end.", "ä", "a\n", "x" * 101])
def test_tags_that_cannot_name_a_folder(tag):
    with pytest.raises(FerKitError, match=r"^tag '(?s:.*)' cannot name a folder; allowed are letters, digits"):
        folders.run_name("attention", tag)


@pytest.mark.parametrize("name", ["blends", "cache"])
def test_names_that_are_taken(name):
    with pytest.raises(FerKitError, match=f"^blend '{name}' cannot name a folder"):
        folders.safe_name(name, "blend")


def test_a_recipe_name_with_a_colon_is_refused():
    with pytest.raises(FerKitError, match="recipe 'timm_hf:x' cannot name a folder"):
        folders.run_name("timm/hf:x")


# what is there


def test_listing_runs_leaves_out_what_is_no_run(here):
    assert folders.list_runs("runs") == []
    fake_runs.save_run(here / "runs", "b", seed=1)
    fake_runs.save_run(here / "runs", "a", seed=2)
    for name in ("blends/x", "cache/fold0", "notes", "c/fold01", "c/folder0"):
        (here / "runs" / name).mkdir(parents=True)
    (here / "runs" / "folds.csv").touch()
    assert folders.list_runs("runs") == ["a", "b"]
    assert folders.list_blends("runs") == []


def test_finished_means_the_very_files_of_the_result(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1) / "fold0"
    assert folder == folders.fold_folder(here / "runs", "a", 0)
    assert finished_folder.is_finished(folder)
    assert not finished_folder.is_finished(here / "nowhere")
    predictions.write(folder / "test.npz", predictions.read(folder / "oof.npz"))
    assert not finished_folder.is_finished(folder)
    (folder / "result.json").write_text("{")
    assert not finished_folder.is_finished(folder)


def test_status(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert folders.status("runs", "a") == folders.Status("a", FOLDS, (0, 1, 2), ())
    fake_runs.unfinish(here / "runs", "a", 1)
    state = folders.status("runs", "a")
    assert state == folders.Status("a", FOLDS, (0, 2), (1,)) and not state.complete
    fake_runs.unfinish(here / "runs", "a", 0, 2)
    assert folders.status("runs", "a") == folders.Status("a", None, (), ())
    assert not folders.status("runs", "a").complete


# a whole run


def test_a_run_read_back(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    run = folders.load("runs", "a")
    assert (run.name, run.folds, run.count) == ("a", (0, 1, 2), FOLDS)
    np.testing.assert_array_equal(run.oof.ids, np.arange(ROWS))
    np.testing.assert_array_equal(run.oof.labels, LABELS)
    np.testing.assert_array_equal(run.fold_of_row, FOLD_OF_ROW)
    parts = [fake_runs.fold_parts("a", fold, 1, 1.5) for fold in range(FOLDS)]
    for fold, (oof, _) in enumerate(parts):
        np.testing.assert_array_equal(run.oof.logits[fold == FOLD_OF_ROW], oof.logits)
        assert run.accuracies[fold] == metrics.accuracy(oof.logits, oof.labels)
    mean = np.mean([metrics.softmax(test.logits) for _, test in parts], axis=0)
    np.testing.assert_allclose(metrics.softmax(run.test.logits), mean, rtol=1e-5)
    assert run.test.logits.dtype == np.float32 and len(run.test) == TEST_ROWS and run.test.labels is None
    assert run.test.meta == run.oof.meta == fake_runs.meta("a", fold=[0, 1, 2], epoch=[4, 4, 4])
    assert set(run.sha256) == {f"fold{fold}/{file}.npz" for fold in range(FOLDS) for file in ("oof", "test")}


def test_some_folds_when_asked(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    fake_runs.remove(here / "runs", "a", 1)
    run = folders.load("runs", "a", allow_partial=True)
    assert run.folds == (0, 2) and run.count == FOLDS
    np.testing.assert_array_equal(run.oof.ids, np.flatnonzero(FOLD_OF_ROW != 1))
    np.testing.assert_array_equal(np.unique(run.fold_of_row), [0, 2])


def test_one_fold_keeps_its_test_logits_to_the_bit(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    fake_runs.remove(here / "runs", "a", 1, 2)
    _, test = fake_runs.fold_parts("a", 0, 1, 1.5)
    np.testing.assert_array_equal(folders.load("runs", "a", allow_partial=True).test.logits, test.logits)


def test_missing_folds_name_the_command(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    fake_runs.remove(here / "runs", "a", 2)
    command = "python -m fer_kit.train --recipe a --fold"
    message = f"runs/a: fold 2 of 3 not finished; finish with: {command} 2"
    assert refused(message, "runs", "a") == message
    fake_runs.unfinish(here / "runs", "a", 1)
    message = f"runs/a: folds 1, 2 of 3 not finished; finish with: {command} 1 --resume, and so on"
    assert refused(message, "runs", "a") == message


def test_the_command_is_that_of_a_sister_fold(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1)
    fake_runs.unfinish(here / "runs", "a", 2)
    typed = "python -m fer_kit.train --fold={} --set 'lr=1e-4' --tag x{}"
    for fold in range(FOLDS):
        atomic.write_json(folder / f"fold{fold}/env.json", {"command": typed.format(fold, " --restart")})
    command = typed.replace("=", " ", 1).format(2, " --resume")
    assert refused("runs/a: fold 2 of 3 not finished; finish with: ", "runs", "a").endswith(f"finish with: {command}")


def test_no_finished_fold(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    fake_runs.unfinish(here / "runs", "a", 0, 1, 2)
    (here / "runs/a/fold0/env.json").unlink()
    message = (
        "runs/a: folds 0, 1, 2 not finished; finish with: "
        "python -m fer_kit.train --fold 0 (with the options of the other folds) --resume, and so on"
    )
    for allow_partial in (False, True):
        assert refused(message, "runs", "a", allow_partial=allow_partial) == message


def test_no_such_run(here):
    refused("runs: no such folder; ", "runs", "a")
    fake_runs.save_run(here / "runs", "attention", seed=1)
    refused("runs: no run 'atention' (did you mean 'attention'?); there are: attention", "runs", "atention")
    refused("runs: no run 'blends'; there are: attention", "runs", "blends")
    fake_runs.remove(here / "runs", "attention", 0, 1, 2)
    refused("runs: no run 'attention'; there are no runs yet", "runs", "attention")


def test_files_that_changed_or_went_after_the_finish(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1) / "fold1"
    predictions.write(folder / "oof.npz", predictions.read(folder.parent / "fold0" / "oof.npz"))
    refused("runs/a/fold1/oof.npz: changed since result.json was written", "runs", "a")
    (folder / "test.npz").unlink()
    (folder / "oof.npz").unlink()
    refused("runs/a/fold1/oof.npz: missing, but result.json has its hash", "runs", "a")
    (folder / "result.json").write_text("[]")
    refused("runs/a/fold1/result.json: not a JSON object", "runs", "a")
    (folder / "result.json").write_text("{")
    refused("runs/a/fold1/result.json: not a readable JSON file", "runs", "a")


def test_rows_mixed_up_are_caught_by_the_stored_accuracy(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1) / "fold1"
    part = predictions.read(folder / "oof.npz")
    rewrite(folder, "oof.npz", logits=part.logits[::-1].copy())
    refused("runs/a/fold1/result.json: oof_accuracy is 0.", "runs", "a")


def test_the_stored_accuracy_may_differ_by_rounding_only(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1) / "fold1"
    score = atomic.read_json(folder / "result.json")["oof_accuracy"]
    edit(folder, oof_accuracy=score + 5e-7)
    folders.load("runs", "a")
    edit(folder, oof_accuracy=score + 2e-6)
    refused(f"runs/a/fold1/result.json: oof_accuracy is {score + 2e-6:.6f}, but the rows of oof.npz give", "runs", "a")
    (folder / "result.json").write_text((folder / "result.json").read_text().replace(f"{score + 2e-6}", "NaN"))
    refused("runs/a/fold1/result.json: not a readable JSON file (NaN is not a finite number)", "runs", "a")


def test_folds_at_odds(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1) / "fold1"
    edit(folder, folds=4)
    refused("runs/a: some folds are of 3 folds, some of 4; ", "runs", "a")
    edit(folder, folds="3")
    refused("runs/a/fold1/result.json: 'folds' is '3', allowed is int; make this folder again", "runs", "a")
    edit(folder, folds=3, config_digest="other")
    refused("runs/a/fold1/oof.npz: config_digest differs from that in result.json; ", "runs", "a")
    fake_runs.save_fold(folder, *fake_runs.fold_parts("a", 1, 1, 1.5, folds_digest="other"))
    refused("runs/a: folds_digest differs: folds in a fold 0, other in a fold 1", "runs", "a")
    fake_runs.save_fold(folder, *fake_runs.fold_parts("a", 0, 1, 1.5))
    refused("runs/a/fold1/oof.npz: holds fold 0; ", "runs", "a")


def test_a_fold_beyond_the_count(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1)
    shutil.copytree(folder / "fold2", folder / "fold3")
    refused("runs/a: fold 3 is outside its 3 folds, 0 to 2; ", "runs", "a")


def test_test_files_of_other_rows_or_another_run(here):
    folder = fake_runs.save_run(here / "runs", "a", seed=1) / "fold1"
    part = predictions.read(folder / "test.npz")
    rewrite(folder, "test.npz", ids=part.ids + 1)
    refused("runs/a: test.npz of fold 1 has other rows than that of fold 0; ", "runs", "a")
    rewrite(folder, "test.npz", ids=part.ids, meta=part.meta | {"run": "b"})
    refused("runs/a: run differs: a in a fold [0, 1, 2], b in b fold 1", "runs", "a")


def test_out_of_fold_rows_without_labels(here):
    fake_runs.save_run(here / "runs", "a", seed=1)
    for fold in range(FOLDS):
        rewrite(here / f"runs/a/fold{fold}", "oof.npz", labels=None)
    refused("runs/a: the oof.npz files have no labels; ", "runs", "a")
