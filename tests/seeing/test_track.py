"""Weights & Biases: what an offline run holds, read back from its file; and that no tracker can touch a training."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ensembles import blend
from fer_kit.competition import CLASSES
from fer_kit.folds import __main__ as folds_command
from fer_kit.track import __main__ as track
from fer_kit.track import follow
from fer_kit.train import __main__ as train
from tests.helpers import fake_runs, wandb_file

RECIPE = ["--recipe", "baseline_v1", "--set", "epochs=3", "limit_rows=64", "batch_size=32", "--tag", "t"]
PRODUCTS = ("model.safetensors", "oof.npz", "test.npz")
FAKE = """
import os, sys, tempfile, time
tempfile.mkdtemp("wandb-media")  # as wandb does when it is imported
def {name}(*args, **kwargs):
    {act}
class Settings:
    model_fields = ("silent",)
    def __init__(self, **kwargs): pass
class Run:
    step, dir = 0, "."
    def __getattr__(self, name):
        {act}
if "{name}" != "init":
    init = lambda **kwargs: Run()
"""


def start(runs_dir: Path, data: Path) -> list[str]:
    return [*RECIPE, "--device", "cpu", "--data", str(data), "--runs", str(runs_dir), "--fold", "1"]


def products(runs_dir: Path) -> list[bytes]:
    return [(runs_dir / "baseline_v1-t" / "fold1" / name).read_bytes() for name in PRODUCTS]


@pytest.fixture(scope="module")
def fresh(competition_dir, tmp_path_factory):
    """Makes run folders that hold the same folds and nothing else."""

    made = tmp_path_factory.mktemp("folds") / "runs"
    place = ["--data", str(competition_dir), "--runs", str(made)]
    assert folds_command.main([*place, "--folds", "3", "--method", "exact"]) == 0
    return lambda: shutil.copytree(made, tmp_path_factory.mktemp("tracked") / "runs")


@pytest.fixture(scope="module")
def untracked(fresh, competition_dir):
    runs_dir = fresh()
    assert train.main(start(runs_dir, competition_dir)) == 0
    assert not (runs_dir / "baseline_v1-t" / "fold1" / "wandb").exists()
    return products(runs_dir)


@pytest.fixture(scope="module")
def tracked(fresh, competition_dir):
    """A run tracked offline, stopped after its first epoch and gone on with: its runs folder, and the first id."""
    runs_dir = fresh()
    command = [*start(runs_dir, competition_dir), "--wandb", "offline"]
    assert train.main([*command, "--limit-minutes", "0.0001"]) == 0
    stopped = wandb_file.read(runs_dir / "baseline_v1-t" / "fold1" / "wandb")
    assert [row["epoch"] for row in stopped.history] == [1]
    assert stopped.exit_code == 1  # W&B shows it as not finished
    assert train.main([*command, "--resume"]) == 0
    return runs_dir, stopped.id


@pytest.fixture(scope="module")
def logged(tracked):
    return wandb_file.read(tracked[0] / "baseline_v1-t" / "fold1" / "wandb")


@pytest.mark.slow
def test_same_bits_with_and_without(tracked, untracked):
    assert products(tracked[0]) == untracked


@pytest.mark.slow
def test_resuming_goes_on_in_the_same_run_which_holds_every_epoch_once(tracked, logged):
    assert logged.id == tracked[1]
    lines = (tracked[0] / "baseline_v1-t" / "fold1" / "metrics.jsonl").read_text().splitlines()
    epochs = [row for row in logged.history if "epoch" in row]
    assert [row["_step"] for row in epochs] == [row["epoch"] for row in epochs] == [1, 2, 3]
    for row, line in zip(epochs, map(json.loads, lines), strict=True):
        for ours, theirs in (("train_loss", "train/loss"), ("train_accuracy", "train/accuracy"), ("lr", "lr")):
            assert row[theirs] == line[ours]
        assert row["validation/loss"] == line["watch_loss"]
        assert row["validation/accuracy"] == line["watch_accuracy"]
        assert row["images_per_second"] == line["images_per_second"]
    assert logged.exit_code == 0


def test_names_tags_and_config(tracked, logged):
    folder = tracked[0] / "baseline_v1-t" / "fold1"
    result = json.loads((folder / "result.json").read_text())
    assert logged.project == "facial-expression-recognition"
    assert (logged.group, logged.name, logged.job_type) == ("baseline_v1", "baseline_v1-t fold 1", "cross-validation")
    assert logged.tags == ["baseline_v1", f"fer2013-{result['data_digest'][:8]}", "cross-validation"]
    config = json.loads((folder / "config.json").read_text())
    assert {key: logged.config[key] for key in config} == config
    assert logged.config["parameters"] == result["parameters"]
    assert logged.config["network"] == "BaselineV1"
    assert any("Conv2d(1, 32" in layer for layer in logged.config["layers"])
    assert logged.summary["weights_of_epoch"] == result["epoch"] and logged.summary["epoch"] == 3  # its losses' epoch
    assert logged.summary["oof_accuracy"] == logged.summary["out_of_fold/accuracy"] == result["oof_accuracy"]


def test_confusion_matrix_and_samples(tracked, logged):
    final = logged.history[-1]
    matrix = json.loads((logged.files / final["confusion_matrix_table"]["path"]).read_text())
    assert len(matrix["data"]) == 49 and {row[0] for row in matrix["data"]} == set(CLASSES)
    result = json.loads((tracked[0] / "baseline_v1-t" / "fold1" / "result.json").read_text())
    assert sum(row[2] for row in matrix["data"]) == result["oof_rows"]
    right = sum(row[2] for row in matrix["data"] if row[0] == row[1])
    assert right / result["oof_rows"] == pytest.approx(result["oof_accuracy"])

    assert final["samples"]["_type"] == "table-file"
    stored = {entry.path: entry.local_path for entry in logged.artifacts[f"run-{logged.id}-samples"].manifest.contents}
    samples = json.loads(Path(stored["samples.table.json"]).read_text())
    assert samples["columns"][:7] == ["row", "why", "face", "true", "predicted", "right", "probability"]
    assert {row[3] for row in samples["data"]} == set(CLASSES)
    mistakes = [row for row in samples["data"] if row[1] == "confident mistake"]
    assert mistakes and not any(row[5] for row in mistakes)
    assert [row[6] for row in mistakes] == sorted((row[6] for row in mistakes), reverse=True)
    assert len(samples["data"]) > 7
    for row in samples["data"]:
        with Image.open(stored[row[2]["path"]]) as face:
            assert face.size == (48, 48)


def md5(path: Path) -> str:
    return base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


def test_artifacts_hold_the_weights_and_the_predictions(tracked, logged):
    folder = tracked[0] / "baseline_v1-t" / "fold1"
    wanted = {
        "baseline_v1-t-fold1-model": ("model", ["config.json", "model.safetensors"]),
        "baseline_v1-t-fold1-predictions": ("predictions", ["oof.npz", "test.npz"]),
    }
    for name, (kind, names) in wanted.items():
        artifact = logged.artifacts[name]
        assert artifact.type == kind and not artifact.use_after_commit
        assert {entry.path: entry.digest for entry in artifact.manifest.contents} == {n: md5(folder / n) for n in names}
        assert json.loads(artifact.metadata)["oof_accuracy"] == logged.summary["oof_accuracy"]
    for artifact in logged.artifacts.values():  # what `wandb sync` will look for is still there
        assert all(Path(entry.local_path).is_file() for entry in artifact.manifest.contents)
    assert not (folder / "wandb" / "tmp").exists() and not (folder / "wandb" / "cache").exists()


@pytest.mark.slow
def test_without_a_login_it_is_kept_offline_in_the_same_run(tracked, competition_dir, monkeypatch, tmp_path, capfd):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):  # of another run, e.g. of a sweep's agent
        monkeypatch.setenv(name, "zz")
    runs_dir, first = tracked
    assert track.main(["baseline_v1-t", "--runs", str(runs_dir), "--data", str(competition_dir)]) == 0
    assert "W&B: cannot log online (" in capfd.readouterr().err
    again = wandb_file.read(runs_dir / "baseline_v1-t" / "fold1" / "wandb")
    assert again.id == first and [row.get("epoch") for row in again.history] == [1, 2, 3, None]
    assert not list((runs_dir / "baseline_v1-t" / "fold1" / "wandb").glob("run-*"))  # nothing empty to be sent


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, act, told",
    [
        ("init", "raise RuntimeError('broken tracker')", "W&B: stopped (broken tracker); the run itself"),
        ("nothing", "raise OSError('broken pipe to wandb')", "W&B: stopped (broken pipe to wandb); the run itself"),
        ("init", "os.kill(os.getpid(), 9)", ""),
        (
            "init",
            "time.sleep(600)",
            "W&B: stopped, because the upload took over 1 s; send the files with: wandb sync",
        ),
    ],
    ids=["raises at once", "raises in every call", "dies", "hangs"],
)
def test_a_broken_tracker_changes_nothing(
    name, act, told, fresh, untracked, competition_dir, monkeypatch, tmp_path, capfd
):
    (tmp_path / "wandb.py").write_text(FAKE.format(name=name, act=act))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    if "sleep" in act:
        monkeypatch.setattr(follow, "WAIT_SECONDS", 1.0)
    runs_dir = fresh()
    assert train.main([*start(runs_dir, competition_dir), "--wandb", "offline"]) == 0
    assert products(runs_dir) == untracked
    assert not list((tmp_path / "temporary").iterdir())
    assert not (runs_dir / "baseline_v1-t" / "fold1" / "wandb" / "tmp").exists()
    err = capfd.readouterr().err
    assert told in err and "Traceback" not in err


def test_a_tracker_that_cannot_be_started_is_told_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(follow.sys, "executable", str(tmp_path / "no-python"))
    with follow.following(tmp_path, "offline", None, {}):
        pass
    assert "W&B: stopped, because the tracker could not be started (" in capsys.readouterr().err


@pytest.mark.slow
def test_a_blend_is_a_run_that_uses_the_artifacts_of_its_members(tmp_path, capfd):
    for number, name in enumerate(("one", "two")):
        fake_runs.save_run(tmp_path, name, seed=number + 1)
    command = ["both", "--runs", str(tmp_path), "--method", "weights", "--data", str(tmp_path), "--wandb", "offline"]
    assert blend.main(command) == 0
    run = wandb_file.read(tmp_path / "blends" / "both" / "wandb")
    assert (run.name, run.group, run.tags) == ("blend both", "blend", ["blend-weights", "fer2013-data", "blend"])
    record = json.loads((tmp_path / "blends" / "both" / "blend.json").read_text())
    assert run.summary["oof_accuracy"] == record["oof_accuracy"]
    assert {"one", "two"} == set(run.config["members"])
    used = {name: artifact for name, artifact in run.artifacts.items() if artifact.use_after_commit}
    assert set(used) == {f"{name}-fold{fold}-predictions" for name in ("one", "two") for fold in range(3)}
    for name, artifact in used.items():
        member, fold, _ = name.split("-")
        here = {entry.path: entry.digest for entry in artifact.manifest.contents}
        assert here == {file: md5(tmp_path / member / fold / file) for file in ("oof.npz", "test.npz")}
    assert not run.artifacts["blend-both-predictions"].use_after_commit
    assert any((run.files / "media" / "images").glob("weights*.png"))


def test_a_name_that_is_nothing_is_refused(tmp_path, capsys):
    assert track.main(["attentoin", "--runs", str(tmp_path)]) == 2
    assert f"{tmp_path}: no run or blend 'attentoin'; there are no runs yet" in capsys.readouterr().err


def test_a_blend_is_found_by_both_of_its_names(tmp_path):
    for name in ("both", "run"):
        place = tmp_path / "blends" / name
        place.mkdir(parents=True)
        (place / "blend.json").write_text("{}")
    fake_runs.save_run(tmp_path, "run", seed=1)
    assert (
        track.finished_folders(tmp_path, "both")
        == track.finished_folders(tmp_path, "blends/both")
        == [tmp_path / "blends/both"]
    )
    assert track.finished_folders(tmp_path, "run") == [tmp_path / "run" / f"fold{fold}" for fold in range(3)]
    assert track.finished_folders(tmp_path, "blends/run") == [tmp_path / "blends/run"]


def test_modes_are_off_offline_and_online(capsys):
    assert train.main(["--fold", "0", "--wandb", "on"]) == 2
    assert "invalid choice: 'on' (choose from" in capsys.readouterr().err


def test_one_fold_of_a_run_is_found_by_its_name(tmp_path):
    fake_runs.save_run(tmp_path, "run", 0)
    assert track.finished_folders(tmp_path, "run/fold1") == [tmp_path / "run" / "fold1"]


def test_the_printed_command_can_be_pasted_whatever_the_folder_is_called():
    assert shlex.split(follow.sync_line(Path("my runs/a/fold0")))[2].startswith("my runs/a/fold0/")
