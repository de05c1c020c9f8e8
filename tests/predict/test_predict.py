"""Predicting again with other views: a run of its own that everything else accepts, and a source that stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ensembles import blend, members
from fer_kit.config import train_config
from fer_kit.engine import device, loop
from fer_kit.files import atomic, lock
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import fold_spec
from fer_kit.models import weights
from fer_kit.predict import __main__ as predict
from fer_kit.predict import again
from fer_kit.runs import finished_folder, predictions
from fer_kit.runs import folders as runs
from fer_kit.train import __main__ as train

RECIPE = ["--recipe", "baseline_v1", "--set", "epochs=1", "early_stop_epochs=0", "--tag", "t", "--device", "cpu"]


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): atomic.sha256_of(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(competition_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with every fold and the full fit of one run."""

    runs_dir = tmp_path_factory.mktemp("runs")
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    assert folds_command.main([*place, "--folds", "3", "--method", "exact"]) == 0
    for fold in ("0", "1", "2", "all"):
        assert train.main([*RECIPE, *place, "--fold", fold]) == 0
    return runs_dir


@pytest.fixture
def place(trained: Path, competition_dir: Path, tmp_path: Path) -> list[str]:
    """The options that name a copy of it and its data."""
    import shutil

    shutil.copytree(trained, tmp_path / "runs")
    return ["--data", str(competition_dir), "--runs", str(tmp_path / "runs"), "--device", "cpu"]


@pytest.mark.slow
def test_all_finished_folds_become_a_run_of_its_own_and_the_source_stays(place, tmp_path, capsys):
    runs_dir = tmp_path / "runs"
    before = contents(runs_dir / "baseline_v1-t")
    assert predict.main(["baseline_v1-t", "--views", "flip_shifts", *place]) == 0
    out = capsys.readouterr().out
    assert contents(runs_dir / "baseline_v1-t") == before
    new, old = runs.load(runs_dir, "baseline_v1-t-flip_shifts"), runs.load(runs_dir, "baseline_v1-t")
    assert new.folds == (0, 1, 2) and np.array_equal(new.oof.ids, old.oof.ids)
    assert new.oof.meta["views"] == new.test.meta["views"] == "flip_shifts"
    assert new.oof.meta["config_digest"] != old.oof.meta["config_digest"]
    assert not np.array_equal(new.oof.logits, old.oof.logits)
    assert (
        f"fold0: out-of-fold accuracy {new.accuracies[0]:.2%} with flip_shifts, {old.accuracies[0]:.2%} with flip"
        in out
    )
    assert f"{runs.fold_folder(runs_dir, new.name, fold_spec.ALL)}: full fit, " in out

    folder, source = new.folder / "fold1", old.folder / "fold1"
    settings = train_config.from_json(atomic.read_json(folder / "config.json"), "")
    assert settings.views == "flip_shifts" and settings.digest == new.oof.meta["config_digest"]
    result, was = atomic.read_json(folder / "result.json"), atomic.read_json(source / "result.json")
    assert result["source"] == {
        "run": "baseline_v1-t",
        "views": "flip",
        "config_digest": was["config_digest"],
        "weights_sha256": atomic.sha256_of(source / "model.safetensors"),
    }
    assert result["epoch"] == was["epoch"] and result["run"] == new.name
    assert {path.name for path in folder.iterdir()} == {path.name for path in source.iterdir()}
    command = atomic.read_json(folder / "env.json")["command"]
    assert command.startswith("python -m fer_kit.predict baseline_v1-t --views flip_shifts --runs")
    assert command.endswith("--fold 1")
    predict.build_parser().parse_args(command.split()[3:])


@pytest.mark.slow
def test_the_logits_are_those_of_the_saved_network(place, tmp_path, competition_dir):
    from fer_kit import models
    from fer_kit.data import loading

    assert predict.main(["baseline_v1-t", "--views", "none", "--tag", "plain", "--fold", "2", *place]) == 0
    folder = tmp_path / "runs" / "baseline_v1-t-plain" / "fold2"
    net = models.build(train_config.from_json(atomic.read_json(folder / "config.json"), ""))
    weights.load_weights(folder / "model.safetensors", net)
    oof = predictions.read(folder / "oof.npz")
    images = loading.load(competition_dir, tmp_path / "runs" / "cache").train.images[oof.ids]
    exact = device.choose_precision("fp32", torch.device("cpu"))
    expected = loop.predict(net, torch.from_numpy(np.array(images)), "none", exact)
    np.testing.assert_allclose(oof.logits, expected, rtol=1e-4, atol=1e-5)


def test_the_same_views_again_give_the_bits_of_training(place, tmp_path):
    """There and back: with the recipe's views, a fold is predicted as it was when it was trained."""
    words = ["--fold", "0", *place]
    assert predict.main(["baseline_v1-t", "--views", "none", "--tag", "plain", *words]) == 0
    assert predict.main(["baseline_v1-t-plain", "--views", "flip", "--tag", "back", *words]) == 0
    back, first = (tmp_path / "runs" / name / "fold0" for name in ("baseline_v1-t-plain-back", "baseline_v1-t"))
    for file in ("oof.npz", "test.npz"):
        one, other = predictions.read(back / file), predictions.read(first / file)
        assert np.array_equal(one.logits, other.logits)
        assert one.meta["config_digest"] == other.meta["config_digest"]


@pytest.mark.slow
def test_a_blend_takes_both(place, tmp_path):
    runs_dir = tmp_path / "runs"
    assert predict.main(["baseline_v1-t", "--views", "rotations", *place]) == 0
    both = members.load(runs_dir, [runs_dir / "baseline_v1-t", runs_dir / "baseline_v1-t-rotations"])
    assert len(members.by_recipe(both)) == 2  # not two seeds of one recipe
    words = ["both", "--members", "baseline_v1-t*", "--method", "mean", "--full-fit", "beside", "--runs", str(runs_dir)]
    assert blend.main([*words, "--data", place[1]]) == 0


def test_what_is_there_stays_and_what_is_missing_is_added(place, tmp_path, capsys, monkeypatch):
    runs_dir = tmp_path / "runs"
    (runs_dir / "baseline_v1-t" / "fold1" / "result.json").rename(tmp_path / "result.json")
    assert predict.main(["baseline_v1-t", "--views", "none", *place]) == 0
    assert "not finished: fold1" in capsys.readouterr().out
    before = contents(runs_dir / "baseline_v1-t-none")
    (tmp_path / "result.json").rename(runs_dir / "baseline_v1-t" / "fold1" / "result.json")

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(again.atomic, "write_json", fails)
    assert predict.main(["baseline_v1-t", "--views", "none", *place]) == 130
    monkeypatch.undo()
    assert contents(runs_dir / "baseline_v1-t-none") == before  # nothing half
    assert not runs.status(runs_dir, "baseline_v1-t-none").complete
    message = runs.unfinished_message(runs_dir, runs.status(runs_dir, "baseline_v1-t-none"))
    assert "fold 1 of 3 not finished; finish with: python -m fer_kit.predict baseline_v1-t --views none" in message
    assert message.endswith("--fold 1")
    assert predict.main(["baseline_v1-t", "--views", "none", *place]) == 0
    assert "fold0 is finished already; nothing to do" in capsys.readouterr().out
    assert runs.status(runs_dir, "baseline_v1-t-none").complete
    assert before.items() <= contents(runs_dir / "baseline_v1-t-none").items()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["baseline_v1-s", "--views", "none"],
            "no run 'baseline_v1-s' (did you mean 'baseline_v1-t'?); there are: base",
        ),
        (["baseline_v1-t", "--views", "flip"], "fold0 was predicted with --views flip already"),
        (["baseline_v1-t", "--views", "none", "--fold", "7"], "fold7 is not a finished fold; train it first"),
        (["baseline_v1-t", "--views", "none", "--tag", "../x"], "tag '../x' cannot name a folder"),
        (["baseline_v1-t", "--views", "some"], "argument --views: invalid choice: 'some'"),
        (
            ["baseline_v1-t", "--views", "none", "--tag", "taken"],
            "fold0 holds another run; name the new run with --tag",
        ),
    ],
)
def test_refusals(place, tmp_path, words, message, capsys):
    taken = tmp_path / "runs" / "baseline_v1-t-taken" / "fold0"
    taken.mkdir(parents=True)
    assert predict.main([*words, *place]) == 2
    assert message in capsys.readouterr().err
    assert list(taken.iterdir()) == []


def test_a_second_process_is_turned_away_and_what_a_kill_left_is_removed(place, tmp_path, capsys):
    target = tmp_path / "runs" / "baseline_v1-t-rotations" / "fold0"
    left = target.with_name(".fold0.abc.part")
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    command = ["baseline_v1-t", "--views", "rotations", "--fold", "0", *place]
    with lock.held(target, ""):  # each opening of its file has a lock of its own, also in one process
        assert predict.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "fold0: another process predicts or trains this fold; try again when that process ends" in error
    assert predict.main(command) == 0
    assert [path.name for path in target.parent.iterdir()] == ["fold0"] and finished_folder.is_finished(target)


def test_what_another_process_has_just_predicted_stays(place, tmp_path, capsys, monkeypatch):
    command = ["baseline_v1-t", "--views", "rotations", "--fold", "0", *place]
    held = lock.held

    def other_first(target, refusal):
        monkeypatch.setattr(lock, "held", held)
        assert predict.main(command) == 0  # it ends between the first look and the lock
        return held(target, refusal)

    monkeypatch.setattr(lock, "held", other_first)
    assert predict.main(command) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "fold0: out-of-fold accuracy" in first and second.endswith("fold0 is finished already; nothing to do")


def test_other_data_folds_or_configs_are_refused(place, tmp_path, capsys):
    folder = tmp_path / "runs" / "baseline_v1-t" / "fold0"
    for name, key, message in (
        ("result.json", "data_digest", "data_digest is 0123, "),
        ("config.json", "lr", "config.json: not the config"),
    ):
        kept = (folder / name).read_text()
        (folder / name).write_text(json.dumps(json.loads(kept) | {key: "0123" if key != "lr" else 0.5}))
        assert predict.main(["baseline_v1-t", "--views", "none", "--fold", "0", *place]) == 2
        assert message in capsys.readouterr().err
        (folder / name).write_text(kept)


def test_a_source_trained_anew_is_not_taken_for_the_old_one(place, tmp_path, capsys):
    command = ["baseline_v1-t", "--views", "none", "--fold", "0", *place]
    assert predict.main(command) == 0
    folders = [tmp_path / "runs" / name / "fold0" for name in ("baseline_v1-t", "baseline_v1-t-none")]
    (folders[0] / "model.safetensors").write_bytes(b"of a later training")
    before = contents(folders[1])
    assert predict.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"was predicted by other weights than {folders[0]} has now" in error
    assert contents(folders[1]) == before
    (folders[0] / "model.safetensors").unlink()  # what was predicted stays good
    assert predict.main(command) == 0
    assert "fold0 is finished already; nothing to do" in capsys.readouterr().out
