"""What would report a result under settings that never ran, or take the name of another run, is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import fer_kit
from fer_kit.errors import FerKitError
from fer_kit.files import lock
from fer_kit.train import __main__ as train

SMALL = ["--recipe", "baseline_v1", "--device", "cpu", "--fold", "1", "--tag", "t"]
SET = ["--set", "limit_rows=64", "epochs=1"]


@pytest.fixture
def place(competition_dir, runs_dir):
    return ["--data", str(competition_dir), "--runs", str(runs_dir)]


def test_a_finished_fold_with_other_settings_is_no_success(place, capsys):
    assert train.main([*SMALL, *SET, *place]) == 0
    assert train.main([*SMALL, *SET, *place, "--resume"]) == 0
    assert train.main([*SMALL, "--set", "limit_rows=64", "epochs=7", *place, "--resume"]) == 2
    error = capsys.readouterr().err
    assert "epochs=1" in error and "epochs=7" in error and "--tag" in error


def test_dry_runs_and_sweeps_refuse_at_once_what_the_training_would(place, capsys, monkeypatch):
    assert train.main([*SMALL, *SET, *place]) == 0
    monkeypatch.setattr("fer_kit.train.fold.train_fold", None)  # nothing below gets that far
    other = ["--set", "limit_rows=64", "epochs=7"]
    assert train.main([*SMALL, *SET, *place, "--dry-run"]) == 2
    assert "is finished and will not be overwritten" in capsys.readouterr().err
    sibling = [word if word != "1" else "0" for word in SMALL]
    for words in ([], ["--dry-run"]):
        assert train.main([*sibling, *other, *place, *words]) == 2
        assert "was trained with epochs=1, this command has epochs=7" in capsys.readouterr().err
        several = ["--folds" if word == "--fold" else word for word in sibling]
        assert train.main([*several, *other, *place, *words]) == 2
        assert "was trained with epochs=1, this command has epochs=7" in capsys.readouterr().err
    assert train.main([*sibling, *SET, *place, "--dry-run"]) == 0


def test_a_fold_that_another_process_trains_is_not_called_unfinished(place, runs_dir, capsys, monkeypatch):
    folder = runs_dir / "baseline_v1-t" / "fold1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert train.main([*SMALL, *SET, *place, "--dry-run"]) == 2
    assert "holds an unfinished training; continue with --resume" in capsys.readouterr().err
    monkeypatch.setattr("fer_kit.train.fold.LOCK_PATIENCE_SECONDS", 0.1)
    with lock.held(folder, "test"):
        assert train.main([*SMALL, *SET, *place]) == 2
    assert "another process trains this fold" in capsys.readouterr().err


def test_an_empty_folder_is_no_unfinished_training(place, runs_dir):
    (runs_dir / "baseline_v1-t" / "fold1").mkdir(parents=True)
    assert train.main([*SMALL, *SET, *place]) == 0


@pytest.mark.parametrize("tag", ["", "smoke", "x-smoke", "seed3", "x-seed3"])
def test_a_tag_that_reads_as_another_run_is_refused(place, capsys, tag):
    assert train.main(["--recipe", "baseline_v1", "--fold", "1", *SET, *place, f"--tag={tag}"]) == 2
    assert "--tag" in capsys.readouterr().err
    with pytest.raises(FerKitError, match="tag"):
        fer_kit.train("baseline_v1", fold=1, settings={"epochs": 1}, tag=tag, data=place[1], runs=place[3])


def test_an_empty_fold_is_not_the_full_fit(place):
    with pytest.raises(FerKitError, match="fold=''"):
        fer_kit.train("baseline_v1", fold="", data=place[1], runs=place[3])


def test_weights_of_another_fold_are_noticed_and_training_mode_changes_nothing(place, runs_dir):
    for fold in ("0", "1"):
        words = ["--recipe", "baseline_v1", "--device", "cpu", "--fold", fold, "--tag", "t"]
        assert train.main([*words, *SET, *place]) == 0
    model = fer_kit.load_model("baseline_v1-t", runs=runs_dir)
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    before = model(faces)
    model.network.train()
    np.testing.assert_array_equal(model(faces), before)
    folder = runs_dir / "baseline_v1-t"
    shutil.copy(folder / "fold1/model.safetensors", folder / "fold0/model.safetensors")
    with pytest.raises(FerKitError, match="fold0/model.safetensors: the weights of fold 1, not of fold 0"):
        fer_kit.load_model("baseline_v1-t", runs=runs_dir)
