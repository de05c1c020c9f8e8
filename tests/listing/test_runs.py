"""`fer-kit runs`: lists runs, deletes those that nothing is made of, renames in all records or refuses."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors

from ensembles import blend
from fer_kit.files import atomic, lock
from fer_kit.listing import removal
from fer_kit.listing import runs as command
from fer_kit.runs import folders, predictions
from tests.helpers import fake_runs

ROOT = Path(__file__).resolve().parents[2]
FIRST_VERSION = Path(__file__).resolve().parents[1] / "fixtures" / "first_version" / "runs"
RUN = "residual-small"  # two folds, and blends/old and blends/old-twins made of it


@pytest.fixture
def old(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no ledger of submissions is
    shutil.copytree(FIRST_VERSION, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def unblended(old: Path) -> Path:
    shutil.rmtree(old / "blends")
    return old


def call(*words: str) -> int:
    return command.main(list(words))


def refused(capsys, *words: str) -> str:
    assert call(*words) == 2
    return capsys.readouterr().err


def test_runs_are_listed_with_changes_folds_accuracy_and_size(old, capsys):
    assert call() == 0
    shown = capsys.readouterr().out
    assert f"{RUN} " in shown and "2 of 2" in shown and "17.92%" in shown
    assert "residual with epochs=2 width_mult=0.125 precision=fp32" in shown
    assert call("*seed1", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run"], row["folds_done"], row["folds"]) == (f"{RUN}-seed1", ["0"], 2)
    assert row["changed"]["seed"] == 1 and row["bytes"] > 1_000
    assert "no run is like 'nix'" in refused(capsys, "nix")


def test_networks_of_nested_teachers_have_no_part_in_the_accuracy(old, capsys):
    """They are trained on fewer folds, and predict rows that the folds predict."""
    run = old / f"{RUN}-seed1"
    shutil.copytree(run / "fold0", run / "fold0+1")
    result = json.loads((run / "fold0+1/result.json").read_text())
    atomic.write_json(run / "fold0+1/result.json", {**result, "oof_accuracy": 0.99})
    assert call("*seed1", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["folds_done"] == ["0", "0+1"] and row["oof_accuracy"] == result["oof_accuracy"]


def test_a_full_fit_alone_is_listed_renamed_and_deleted(unblended, capsys):
    full = unblended / "residual-whole" / "foldall"
    shutil.copytree(unblended / RUN / "fold0", full)
    (full / "oof.npz").unlink()
    test = predictions.read(full / "test.npz")
    predictions.write(full / "test.npz", replace(test, meta={**test.meta, "fold": -1, "run": "residual-whole"}))
    result = json.loads((full / "result.json").read_text())
    result = {key: value for key, value in result.items() if not key.startswith("oof_")}
    result |= {"fold": -1, "run": "residual-whole", "test_sha256": atomic.sha256_of(full / "test.npz")}
    atomic.write_json(full / "result.json", result)
    assert call() == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("residual-whole")]
    assert "full fit" in line
    (unblended / "blends" / "foldall").mkdir(parents=True)  # a blend of this name makes no run of `blends`
    assert call("--quiet") == 0 and "blends" not in capsys.readouterr().out
    assert call("--rename", "residual-whole", "residual-all", "--yes") == 0
    assert call("--quiet") == 0 and "residual-all\n" in capsys.readouterr().out
    assert call("--delete", "residual-all", "--yes") == 0
    assert not (unblended / "residual-all").exists()


def test_a_damaged_run_is_listed_as_such_beside_the_others(old, capsys):
    (old / RUN / "fold1" / "result.json").write_text("{}")
    assert call() == 0
    shown = capsys.readouterr().out
    assert "damaged: " in shown and "fold1/result.json" in shown and "9.17%" in shown


def test_an_unfinished_fold_is_named(old, capsys):
    (old / RUN / "fold1" / "result.json").unlink()
    assert call(RUN) == 0
    assert "not finished: fold 1" in capsys.readouterr().out


def test_nothing_is_deleted_that_a_blend_is_made_of(old, capsys):
    assert "blends/old, blends/old-twins" in refused(capsys, "--delete", RUN, "--yes")
    assert (old / RUN / "fold0" / "oof.npz").exists()


def test_nothing_is_deleted_or_renamed_while_a_training_goes_on(unblended, capsys):
    with lock.held(unblended / RUN / "fold1", "busy"):
        assert "another process trains" in refused(capsys, "--delete", RUN, "--yes")
        assert "another process trains" in refused(capsys, "--rename", RUN, "residual-big", "--yes")
    assert folders.load(unblended, RUN).folds == (0, 1)


def test_a_new_fold_that_only_has_a_lock_yet_counts_as_training(unblended, capsys):
    with lock.held(unblended / RUN / "fold7", "busy"):
        assert "another process trains" in refused(capsys, "--delete", RUN, "--yes")


def test_deleting_asks_first(unblended, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert call("--delete", RUN) == 130
    assert "Delete " in (shown := capsys.readouterr().out) and "nothing was deleted" in shown
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "--yes" in refused(capsys, "--delete", RUN)
    assert (unblended / RUN).is_dir()
    before = set(unblended.iterdir())
    assert call("--delete", RUN, "--yes") == 0
    assert before - set(unblended.iterdir()) == {unblended / RUN}
    assert f"no run or blend '{RUN}'" in refused(capsys, "--delete", RUN)


def test_a_renamed_run_is_consistent(unblended, capsys):
    before = folders.load(unblended, RUN)
    assert call("--rename", RUN, "residual-big", "--yes") == 0
    assert not (unblended / RUN).exists() and folders.list_runs(unblended) == ["residual-big", f"{RUN}-seed1"]
    after = folders.load(unblended, "residual-big")
    assert (after.oof.logits == before.oof.logits).all() and after.accuracies == before.accuracies
    assert after.oof.meta == before.oof.meta | {"run": "residual-big"}
    fold = unblended / "residual-big" / "fold0"
    assert atomic.read_json(fold / "result.json")["run"] == predictions.read(fold / "test.npz").meta["run"]
    assert "--tag big " in atomic.read_json(fold / "env.json")["command"]
    trained = FIRST_VERSION / RUN / "fold0" / "model.safetensors"
    with (
        safetensors.safe_open(fold / "model.safetensors", "pt") as new,
        safetensors.safe_open(trained, "pt") as was,
    ):
        assert json.loads(new.metadata()["about"]) == json.loads(was.metadata()["about"]) | {"run": "residual-big"}
        names = list(was.keys())
        assert list(new.keys()) == names
        assert all((new.get_tensor(name) == was.get_tensor(name)).all() for name in names)
    assert [path.name for path in unblended.iterdir() if path.name.startswith(".")] == []


def test_a_blend_is_deleted_by_its_name_unless_another_is_made_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("strong", "weak"), start=1):
        fake_runs.save_run(tmp_path / "runs", name, seed=seed)
    plain = ["--method", "mean", "--temperatures", "none", "--no-pictures", "--quiet", "--members"]
    assert blend.main(["first", *plain, "strong", "weak"]) == 0
    assert blend.main(["second", *plain, "blends/first", "weak"]) == 0
    assert blend.main(["first", "--force", *plain, "blends/second", "strong"]) == 2  # a circle
    assert "'first' would contain itself" in capsys.readouterr().err
    assert command.main(["--delete", "first", "--yes"]) == 2
    assert "part of blends/second" in capsys.readouterr().err
    for name in ("second", "blends/first"):
        assert command.main(["--delete", name, "--yes"]) == 0
    assert "deleted runs/blends/first: 3 files" in capsys.readouterr().out
    assert folders.list_blends("runs") == [] and folders.list_runs("runs") == ["strong", "weak"]


def test_what_a_kill_left_is_named_and_removed_by_the_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fake_runs.save_run(tmp_path / "runs", "strong", seed=1)
    fake_runs.save_run(tmp_path / "runs", "weak", seed=2)
    program = """
import os, pathlib
from fer_kit.listing import removal
with removal.aside(pathlib.Path("runs")) as trash:
    pathlib.Path("runs/strong").rename(trash / "strong")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    [left] = removal.left_over(tmp_path / "runs")
    assert command.main([]) == 0
    assert f"note: runs/{left.name} was left by a killed --delete or --rename" in capsys.readouterr().out
    assert command.main(["--delete", "weak", "--yes"]) == 0
    assert removal.left_over(tmp_path / "runs") == []


@pytest.mark.parametrize(
    ("run", "new", "words"),
    [
        (RUN, f"{RUN}-seed1", "exists already"),
        (RUN, "big", "give residual-TAG"),
        (f"{RUN}-seed1", "residual-big", "give residual-TAG-seed1"),
        (RUN, "residual-big/1", "cannot name a folder"),
        ("residual-smal", "residual-big", f"did you mean '{RUN}'"),
    ],
)
def test_a_name_that_training_would_not_give_is_refused(unblended, capsys, run, new, words):
    assert words in refused(capsys, "--rename", run, new, "--yes")
    assert folders.load(unblended, RUN).name == RUN


def test_a_run_that_others_name_keeps_its_name(old, capsys):
    assert "blends/old, blends/old-twins" in refused(capsys, "--rename", RUN, "residual-big", "--yes")
    shutil.rmtree(old / "blends")
    path = old / f"{RUN}-seed1" / "fold0" / "result.json"
    atomic.write_json(path, atomic.read_json(path) | {"source": {"run": RUN}})
    assert f"is named by {RUN}-seed1" in refused(capsys, "--rename", RUN, "residual-big", "--yes")


def test_an_unfinished_run_keeps_its_name(unblended, capsys):
    (unblended / RUN / "fold1" / "result.json").unlink()
    assert "fold1 is not finished" in refused(capsys, "--rename", RUN, "residual-big", "--yes")


@pytest.mark.parametrize(
    "words", [["--delete", RUN, "x*"], ["--yes"], ["--delete", RUN, "--rename", "a", "b"], ["--delete", RUN, "--json"]]
)
def test_options_that_do_not_go_together_are_refused(old, capsys, words):
    refused(capsys, *words)
    assert (old / RUN).is_dir()
