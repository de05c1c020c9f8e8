"""A training whose disk fills up or whose folder vanishes: one sentence, and --resume ends with the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from fer_kit.files import lock
from fer_kit.folds import __main__ as folds_command
from fer_kit.runs import finished_folder
from fer_kit.train import __main__ as train
from fer_kit.train import fold
from tests.helpers.full_disk import no_file_beyond, one_line, refusing
from tests.helpers.trained import products

RECIPE = ["--recipe", "baseline_v1", "--set", "epochs=2", "batch_size=64", "--tag", "t", "--device", "cpu"]
FULL = "cannot be written (No space left on device); free space or choose another folder, then start the same command"


@pytest.fixture
def command(competition_dir: Path, runs_dir: Path) -> list[str]:
    return [*RECIPE, "--data", str(competition_dir), "--runs", str(runs_dir), "--fold", "1"]


@pytest.fixture
def folder(runs_dir: Path) -> Path:
    return runs_dir / "baseline_v1-t" / "fold1"


@pytest.fixture(scope="module")
def uninterrupted(competition_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:

    place = ["--data", str(competition_dir), "--runs", str(tmp_path_factory.mktemp("whole"))]
    assert folds_command.main([*place, "--folds", "3", "--method", "exact"]) == 0
    assert train.main([*RECIPE, *place, "--fold", "1"]) == 0
    return products(Path(place[3]) / "baseline_v1-t" / "fold1")


def ends_the_same(command: list[str], folder: Path, whole: dict[str, object]) -> None:
    assert train.main([*command, "--resume"]) == 0
    assert finished_folder.is_finished(folder) and products(folder) == whole
    assert sorted(path.name for path in folder.parent.iterdir()) == ["fold1"]  # no lock, nothing temporary
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_full_disk_at_each_write_in_turn(command, folder, uninterrupted, capsys):
    """The one training meets a full disk at every file that it writes; what was saved before is whole each time."""
    saved = None
    for name in ("config.json", "last.pt", "metrics.jsonl", "model.safetensors", "oof.npz", "test.npz", "result.json"):
        capsys.readouterr()
        with refusing(name, after=1 if name == "metrics.jsonl" else 0):
            assert train.main([*command, "--resume"]) == 2
        assert f"{name}: {FULL}" in one_line(capsys)
        assert not finished_folder.is_finished(folder) and not list(folder.parent.rglob("*.part"))
        if (folder / "last.pt").exists():
            epoch = torch.load(folder / "last.pt", weights_only=True)["epoch"]
            assert saved is None or epoch >= saved
            saved = epoch
    assert saved == 2
    ends_the_same(command, folder, uninterrupted)


@pytest.mark.slow
def test_a_checkpoint_cut_off_by_the_system_leaves_the_one_before(command, folder, uninterrupted, monkeypatch, capsys):
    """torch tells of a disk that fills up in words of its own."""
    whole = fold.save

    def save(job, state):
        if state.epoch < 2:
            return whole(job, state)
        with no_file_beyond(100_000):
            return whole(job, state)

    monkeypatch.setattr(fold, "save", save)
    assert train.main(command) == 2
    assert "last.pt: cannot be written (File too large); " in one_line(capsys)
    assert torch.load(folder / "last.pt", weights_only=True)["epoch"] == 1
    monkeypatch.setattr(fold, "save", whole)
    ends_the_same(command, folder, uninterrupted)


@pytest.mark.slow
def test_a_folder_that_vanishes_during_an_epoch_is_saved_anew(command, folder, uninterrupted, monkeypatch, capsys):
    whole = fold.save

    def save(job, state):
        if state.epoch == 2:
            shutil.rmtree(folder.parent)
        return whole(job, state)

    monkeypatch.setattr(fold, "save", save)
    assert train.main(command) == 2
    error = one_line(capsys)
    assert f"{folder}: was moved or removed during the training; epochs 1 to 2 are saved there again; continue" in error
    monkeypatch.setattr(fold, "save", whole)
    ends_the_same(command, folder, uninterrupted)


@pytest.mark.slow
def test_a_folder_that_vanishes_during_the_predictions_is_saved_anew(
    command, folder, uninterrupted, monkeypatch, capsys
):
    whole = fold.predict

    def predict(*args):
        shutil.rmtree(folder)
        return whole(*args)

    monkeypatch.setattr(fold, "predict", predict)
    assert train.main(command) == 2
    assert "was moved or removed during the training; epochs 1 to 2 are saved there again" in one_line(capsys)
    monkeypatch.setattr(fold, "predict", whole)
    ends_the_same(command, folder, uninterrupted)


def test_a_folder_that_another_process_took_is_left_to_it(command, folder, monkeypatch, capsys):
    """The run was removed and begun anew while it was still trained here."""
    whole = fold.save

    def save(job, state):
        shutil.rmtree(folder.parent)
        folder.mkdir(parents=True)
        with lock.held(folder, ""):
            return whole(job, state)

    monkeypatch.setattr(fold, "save", save)
    assert train.main(command) == 2
    assert f"{folder}: was removed, and another process trains this fold now; " in one_line(capsys)
    assert not list(folder.iterdir())


def test_a_place_that_cannot_hold_runs(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    command[command.index("--runs") + 1] = str(tmp_path / "file")
    assert train.main(command) == 2
    assert "move the file away, or choose another folder" in one_line(capsys)
