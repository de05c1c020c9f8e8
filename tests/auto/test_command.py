"""`fer-kit auto` as a command: what it refuses, and a whole run on a drawn competition."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fer_kit.auto import __main__ as auto
from fer_kit.auto import plan, record, rounds, worth
from fer_kit.auto.plan import Member, Plan
from fer_kit.auto.steps import Places
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders
from fer_kit.sweep.runner import Stint
from fer_kit.sweep.training import Training
from submissions.__main__ import main as submissions
from tests.helpers import fake_runs

FEW = [  # equally good, so that both are planned
    dataclasses.replace(one, epochs=1, accuracy=64.0)
    for one in worth.WORTH
    if one.recipe in ("residual_tiny", "vgg_tiny")
]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the arguments --hours --minutes is required"),
        (["--minutes", "0"], "--minutes 0: give 0.1 to 10080"),
        (["--hours", "1000"], "--hours 1000: give 0.0017 to 168"),
        (["--hours", "1", "--recipes", "vgg_smal"], "no recipe 'vgg_smal' (did you mean 'vgg_small'?)"),
        (["--hours", "1", "--recipes", "vgg", "vgg"], "--recipes vgg vgg: name each recipe once"),
        (["--hours", "1", "--weights", "vgg.pth"], "--weights vgg.pth: give RECIPE=FROM with a recipe of vgg_small, "),
        (["--hours", "1", "--name", "../x"], "--name '../x' cannot name a folder"),
        (["--hours", "1", "--at-once", "0"], "--at-once 0: give 1 to 256, or auto"),
        (["--hours", "1", "--folds", "4"], "--folds 4: "),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    words, message, competition_dir, runs_dir, capsys, monkeypatch
):
    monkeypatch.chdir(runs_dir.parent)
    before = sorted(runs_dir.rglob("*"))
    assert auto.main([*words, "--data", str(competition_dir), "--runs", str(runs_dir)]) == 2
    assert message in capsys.readouterr().err
    assert [path for path in sorted(runs_dir.rglob("*")) if "auto" not in path.parts] == before


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--hours", "2"], "auto-2h"),
        (["--hours", "0.5"], "auto-30m"),
        (["--minutes", "0.4"], "auto-24s"),
        (["--minutes", "9", "--name", "x"], "x"),
    ],
)
def test_the_name_follows_from_the_time(words, name):
    assert auto.name_of(auto.build_parser().parse_args(words)) == name


@pytest.mark.parametrize(
    ("words", "there"), [([], False), (["--twins", "near"], True), (["--recipes", "air_large"], True)]
)
def test_a_recipe_measured_on_soft_targets_alone_needs_a_second_round_or_its_name(words, there):
    candidates = auto.candidates_of(auto.build_parser().parse_args(["--hours", "1", *words]))
    large = [one for one in candidates if one.recipe == "air_large"]
    assert bool(large) == there and all(one.on_labels == ("--recipes" in words) for one in large)


def test_another_time_or_a_file_that_is_there_is_refused(runs_dir, competition_dir, capsys, monkeypatch):
    monkeypatch.chdir(runs_dir.parent)
    place = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    atomic.write_json(record.path_of(runs_dir, "x"), {"schema": 1, "minutes": 9, "state": "begun"})
    assert auto.main(["--minutes", "8", "--name", "x", *place]) == 2
    assert "was made for 9 minutes, not 8; give another --name" in capsys.readouterr().err
    atomic.write_json(record.path_of(runs_dir, "x"), {"schema": 7})
    assert auto.main(["--minutes", "8", "--name", "x", *place]) == 2
    assert "x.json: not a record of this version" in capsys.readouterr().err
    Path("mine.csv").write_text("0\n")
    assert auto.main(["--minutes", "8", "--name", "y", "--out", "mine.csv", *place]) == 2
    assert "mine.csv is there already; give another --name or --out" in capsys.readouterr().err


def test_where_the_time_went(runs_dir):
    trainings = [Training("a", fold, ()) for fold in range(3)]
    stints = [Stint(training, fold % 2, 10.0 + fold, 60.0 + fold) for fold, training in enumerate(trainings[:2])]
    done = record.trainings_of(runs_dir, trainings, stints, 10.0)
    assert [one["end"] for one in done] == ["unfinished", "unfinished", "not begun"]
    assert (done[1]["slot"], done[1]["from"], done[1]["to"]) == (1, 1.0, 51.0)
    done[0] |= {"end": "finished", "train_seconds": 40.0, "predict_seconds": 5.0, "oof_accuracy": 0.5}
    shares = record.shares_of(done, 2, 100.0)
    assert shares == {"train": 0.2, "predict": 0.025, "start": 0.025, "unfinished": 0.25, "idle": 0.5}
    assert record.runs_of(done, 3) == {}


def test_device_and_versions_are_those_of_a_finished_training(runs_dir):
    trainings = [Training("a", fold, ()) for fold in range(3)]
    assert record.environment_of(runs_dir, trainings) == {}
    for fold in (1, 2):
        fake_runs.save_fold(trainings[fold].folder(runs_dir), *fake_runs.fold_parts("a", fold, 1, 1.0))
    (trainings[1].folder(runs_dir) / "env.json").write_text("[]")
    told = {"device": "cpu", "precision": "bf16", "versions": {"torch": "3"}}
    atomic.write_json(trainings[2].folder(runs_dir) / "env.json", told | {"command": "x"})
    assert record.environment_of(runs_dir, trainings) == told


def test_without_a_complete_run_of_the_second_round_the_first_one_is_taken(tmp_path, capsys):
    """As where the time was over in the second round; nothing is lost, and it is said."""
    member = Member("air", 0, 50, 60.0, 1.0)
    places = Places(tmp_path, tmp_path, tmp_path / "out.csv", {})
    planned = rounds.rounds_of(Plan((member,), "rotations", 2, 600.0, 68.0, member), fake_runs.FOLDS, "x", places)
    with pytest.raises(FerKitError, match=rf"no run finished its {fake_runs.FOLDS} folds"):
        rounds.complete(planned, fake_runs.FOLDS, places)
    fake_runs.save_run(tmp_path, "air-x", seed=1)
    capsys.readouterr()
    assert rounds.complete(planned, fake_runs.FOLDS, places) == ["air-x"]
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("left out  air-x-again: ") and told[1].startswith("takes     air-x in its place")
    fake_runs.save_run(tmp_path, "air-x-again", seed=2)
    assert rounds.complete(planned, fake_runs.FOLDS, places) == ["air-x-again"]


@pytest.mark.slow
def test_from_the_data_to_a_checked_submission(competition_dir, tmp_path, monkeypatch, capfd):
    """The command with few epochs; a second time it has nothing to do; after an interruption it goes on."""
    words = few_epochs(monkeypatch, tmp_path, competition_dir)
    with monkeypatch.context() as before_the_blend:
        before_the_blend.setattr(auto.steps, "blend_and_build", interrupted)
        assert auto.main(words) == 130
    capfd.readouterr()
    assert auto.main(words) == 0
    shown = capfd.readouterr().out
    assert "resumed   runs/auto/t.json" in shown and "finished already" not in shown
    kept = atomic.read_json(Path("runs/auto/t.json"))
    assert kept["state"] == "finished" and set(kept["parts"]) == set(record.PARTS)
    assert sum(kept["shares"].values()) == pytest.approx(1.0, abs=5e-3)
    assert set(kept["runs"]) == {f"{one.recipe}-t" for one in FEW}
    log = Path("runs/sweeps/logs/vgg_tiny-t-fold0.txt").read_text()
    assert "out-of-fold accuracy" in log and "finished: runs/vgg_tiny-t/fold0" in log
    assert folders.load_blend("runs", "t").record.forecast is not None
    assert submissions(["check", kept["submission"], "--data", str(competition_dir)]) == 0
    assert auto.main(words) == 0
    assert f"finished  {kept['submission']}; give another --name" in capfd.readouterr().out


@pytest.mark.slow
def test_a_second_round_on_soft_targets(competition_dir, tmp_path, monkeypatch, capfd):
    """After an interruption between the rounds the command goes on with the second one."""
    words = [*few_epochs(monkeypatch, tmp_path, competition_dir), "--twins", "near"]
    with monkeypatch.context() as between_rounds:
        between_rounds.setattr(rounds, "shell", interrupted)
        assert auto.main(words) == 130
    assert folders.status("runs", "residual_tiny-t").complete and not Path("runs/targets").exists()
    capfd.readouterr()
    assert auto.main(words) == 0
    assert "resumed   runs/auto/t.json" in capfd.readouterr().out
    kept = atomic.read_json(Path("runs/auto/t.json"))
    assert kept["state"] == "finished" and sum(kept["shares"].values()) == pytest.approx(1.0, abs=5e-3)
    teacher, students = "residual_tiny-t", {f"{one.recipe}-t-again" for one in FEW}
    assert set(kept["runs"]) == {teacher, *students} and len(kept["trainings"]) == 9
    log = Path("runs/sweeps/logs/vgg_tiny-t-again-fold0.txt").read_text()
    assert "out-of-fold accuracy" in log and "finished: runs/vgg_tiny-t-again/fold0" in log
    assert atomic.read_json(Path("runs/vgg_tiny-t-again/fold0/config.json"))["targets"].startswith("t@")
    assert {member.run for member in folders.load_blend("runs", "t").record.members} == students
    assert folders.load_blend("runs", "t-twins").record.forecast is not None
    told = record.tell(atomic.read_json(record.path_of(Path("runs"), "t")))
    assert "% out of fold with the labels of near twins, " in told and "leaderboard forecast: " in told
    assert submissions(["check", kept["submission"], "--data", str(competition_dir)]) == 0


@pytest.mark.slow
def test_one_round_on_soft_targets_by_the_network_that_ships(competition_dir, tmp_path, monkeypatch, capfd):
    words = [*few_epochs(monkeypatch, tmp_path, competition_dir), "--twins", "near", "--shipped"]
    assert auto.main(words) == 0
    assert "plan      soft targets by the network that ships, then " in capfd.readouterr().out
    kept = atomic.read_json(Path("runs/auto/t.json"))
    students = {f"{one.recipe}-t" for one in FEW}
    assert kept["state"] == "finished" and set(kept["runs"]) == students and len(kept["trainings"]) == 3 * len(FEW)
    for run in students:
        assert atomic.read_json(Path(f"runs/{run}/fold0/config.json"))["targets"].startswith("t@")
    assert submissions(["check", kept["submission"], "--data", str(competition_dir)]) == 0


def few_epochs(monkeypatch: pytest.MonkeyPatch, folder: Path, data: Path) -> list[str]:
    """The options of a short run in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(worth, "WORTH", tuple(FEW))
    monkeypatch.setattr(plan, "MOST_SEEDS", 1)
    return ["--minutes", "600", "--name", "t", "--folds", "3", "--at-once", "2", "--data", str(data)]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
