"""What a sweep's options and files come to, and how far its trainings are."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fer_kit.config import recipes
from fer_kit.config.growth import work_of_epochs
from fer_kit.config.train_config import override
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec, table
from fer_kit.sweep import live, plan, progress
from fer_kit.sweep.__main__ import main
from fer_kit.sweep.plan import SweepRequest
from fer_kit.sweep.progress import FINISHED, RUNNING, WAITING, Progress
from fer_kit.sweep.training import Training
from fer_kit.train.__main__ import main as train_main
from tests.helpers import fake_runs


def runs_of(request, runs):
    return list(dict.fromkeys(training.run for training in plan.trainings_of(request, runs)))


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("0-2", (0, 1, 2)),
        ("0,2", (0, 2)),
        ("every", (0, 1, 2)),
        ("full", ((),)),
        ("every,full", (0, 1, 2, ())),
        ("0, 1+2", (0, (1, 2))),
    ],
)
def test_lists_of_folds(text, folds):
    assert fold_spec.parse_list(text, 3) == folds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all", "write every, full or every,full"),
        ("0-5", "fold 3 does not exist; choose 0 to 2"),
        ("2-0", "write 0-2"),
        ("0,0", "fold 0 is named twice"),
        ("each", "--folds each: write"),
        ("1+1", "1\\+1"),
    ],
)
def test_other_lists_of_folds_are_refused(text, message):
    with pytest.raises(FerKitError, match=message):
        fold_spec.parse_list(text, 3)


def test_recipes_seeds_settings_and_folds_are_multiplied(runs_dir):
    settings = {"a": ("mixup_alpha=0.1",), "b": ("mixup_alpha=0.2",)}
    request = SweepRequest(
        ("vgg_small", "residual"), (0, 1), "every,full", settings=settings, set=("epochs=2",), tag="t"
    )
    found = plan.trainings_of(request, runs_dir)
    assert len(found) == 2 * 2 * 2 * 4
    assert runs_of(request, runs_dir)[:4] == [
        "vgg_small-t-a", "vgg_small-t-b", "vgg_small-t-a-seed1", "vgg_small-t-b-seed1"]  # fmt: skip
    assert found[0].words()[-3:] == ["--fold", "0", "--resume"]
    assert found[0].options[:5] == ("--recipe", "vgg_small", "--set", "epochs=2", "mixup_alpha=0.1")
    work = {(one.run, one.fold): one.work for one in found}
    assert work["residual-t-a", 0] > work["vgg_small-t-a", ()] > work["vgg_small-t-a", 0] > 0


TOML = """
recipes = ["vgg_small"]
seeds = [0, 1]
folds = [0, "full"]
tag = "long"
set = {epochs = 3, drop_constant = true}
[settings.plain]
mixup_alpha = 0.0
"""
YAML = """
recipes: [vgg_small]
seeds: [0, 1]
folds: 0,full
tag: long
set: {epochs: 3, drop_constant: true}
settings: {plain: {mixup_alpha: 0.0}}
"""


def test_a_plan_in_a_file(tmp_path):
    (tmp_path / "p.toml").write_text(TOML)
    (tmp_path / "p.yaml").write_text(YAML)
    found = plan.read_file(tmp_path / "p.toml")
    assert found == plan.read_file(tmp_path / "p.yaml")
    assert found.set == ("epochs=3", "drop_constant=true") and found.folds == "0,full"
    assert found.settings == {"plain": ("mixup_alpha=0.0",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = 'x'", "unknown key 'recipe' .did you mean 'recipes'"),
        ("seeds = ['a']", "seeds = "),
        ("folds = 1.5", "folds = 1.5"),
        ("set = 3", "give a table of settings"),
        ("x = [", "cannot be read"),
        ("smoke = 1", "smoke = 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(text, message, tmp_path):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(FerKitError, match=message):
        plan.read_file(tmp_path / "p.toml")


def test_two_trainings_of_one_name_are_refused(runs_dir):
    with pytest.raises(FerKitError, match="both be residual fold 0"):
        plan.trainings_of(SweepRequest(("residual", "residual"), folds="0"), runs_dir)


def test_a_kept_plan_is_read_back_and_can_only_grow(runs_dir):
    first = plan.trainings_of(SweepRequest(("vgg_small",), folds="0"), runs_dir)
    plan.keep(runs_dir, "s", first)
    assert plan.read(runs_dir, "s") == first
    more = plan.trainings_of(SweepRequest(("vgg_small",), folds="every"), runs_dir)
    plan.keep(runs_dir, "s", more)
    plan.keep(runs_dir, "s", first)
    assert plan.read(runs_dir, "s") == more and plan.names(runs_dir) == ["s"]
    changed = [Training("vgg_small", 1, ("--recipe", "vgg_small", "--compile"))]
    with pytest.raises(FerKitError, match="vgg_small fold 1 was trained with other options"):
        plan.keep(runs_dir, "s", changed)
    with pytest.raises(FerKitError, match=r"no sweep 't'.*there are: s"):
        plan.read(runs_dir, "t")


@pytest.mark.parametrize("change", [{"fold": "x"}, {"fold": 3}, {"options": None}, {"work": []}, None])
def test_a_damaged_kept_plan_is_refused(tmp_path, change):
    one = {"run": "a", "fold": "0", "options": [], "work": 1.0, "trial": False}
    record = {"schema": 1, "trainings": {} if change is None else [one | change]}
    path = plan.path_of(tmp_path, "s")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    with pytest.raises(FerKitError, match="s.json: not a plan of a sweep .*; start the sweep again$"):
        plan.read(tmp_path, "s")


def test_time_left_follows_from_what_was_measured():
    def at(run, fold, state, epoch=0, seconds=None, work=1.0):
        return Progress(Training(run, fold, (), work), state, epoch, 10 if epoch else None, None, epoch / 10, seconds)

    found = [at("a", 0, FINISHED, 10, 100.0), at("a", 1, RUNNING, 5, 98.0), at("a", 2, WAITING)]
    left = progress.seconds_left(found)
    assert left[found[1].training] == pytest.approx(49.5) and left[found[2].training] == pytest.approx(99)
    assert progress.seconds_for_all(found, 1) == pytest.approx(148.5)
    assert progress.seconds_for_all(found, 2) == pytest.approx(99)
    other = [*found, at("b", 0, WAITING, work=3.0)]  # never measured: three times the work
    assert progress.seconds_left(other)[other[3].training] == pytest.approx(297)
    assert progress.seconds_for_all([at("a", 0, WAITING)], 1) is None
    assert "1 of 3 trainings finished, 1 running, 1 waiting, time left for all: 2 min" in live.summary(found, 1)
    assert "a       1  running    5/10                 50 s" in "\n".join(live.table(found))


def test_epochs_of_smaller_images_are_less_work(tmp_path):
    training = Training("air", 0, (), 1.0)
    folder = training.folder(tmp_path)
    folder.mkdir(parents=True)
    config = override(recipes.get("air"), ["epochs=9", "progressive_px=24"])  # 24, 24, 32, 32, 40, ... 48 pixels
    atomic.write_json(folder / "config.json", config.to_json())
    work = work_of_epochs(config)
    lines = [json.dumps({"epoch": n + 1, "seconds": 10 * work[n], "train_accuracy": 0.5}) for n in range(4)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    found = progress.look(tmp_path, training)
    assert (found.epoch, found.epochs) == (4, 9) and found.share == pytest.approx(sum(work[:4]) / sum(work))
    assert found.share < 0.3 and found.seconds == pytest.approx(10 * sum(work))
    assert progress.seconds_left([found])[training] == pytest.approx(10 * sum(work[4:]))


def test_a_dry_run_shows_every_training_and_writes_nothing(competition_dir, runs_dir, capsys):
    before = sorted(path.name for path in runs_dir.iterdir())
    words = ["--recipe", "vgg_small", "--data", str(competition_dir), "--runs", str(runs_dir), "--dry-run"]
    assert train_main(["--folds", "0-1", *words]) == 0
    shown = capsys.readouterr().out
    assert "plan of fold 0" in shown and "network  vgg: " in shown and "  epochs " in shown
    assert "vgg_small fold 1: waiting; python -m fer_kit.train --recipe vgg_small --fold 1 --resume --data " in shown
    assert "2 trainings, sweep vgg_small; nothing was trained or written" in shown
    assert sorted(path.name for path in runs_dir.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at-once", "0"], "--at-once 0: give 1 to 256, or auto"),
        (["--at-once", "few"], "'few' is not a number; give 1 or more, or auto"),
        (["--limit-minutes", "0"], "--limit-minutes 0: give a number above 0"),
        (["--device", "gpu"], "--device gpu: this machine has cpu"),
        (["--device", "cuda:99", "--dry-run"], "--device cuda:99: this machine has cpu"),
        (["--settings", "a=1"], "--settings a=1: give a new name and settings"),
        (["--plan", "p.toml", "--folds", "0"], "--plan p.toml with --folds"),
        (["--plan", "p.txt"], "give a .toml, .yaml or .yml file"),
        (["--recipes", "nothing"], "no recipe 'nothing'"),
        (["--set", "epochs=2"], "--set epochs=2 changes the recipe; name the changed run with --tag"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_kept(words, message, competition_dir, runs_dir, capsys, tmp_path):
    (tmp_path / "p.txt").touch()
    words = [str(tmp_path / word) if word == "p.txt" else word for word in words]
    assert main([*words, "--data", str(competition_dir), "--runs", str(runs_dir)]) == 2
    assert message in capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert not (runs_dir / "sweeps").exists()


def test_status_and_join_of_nothing(runs_dir, capsys):
    for words in (["status", "--runs", str(runs_dir)], ["join", str(runs_dir)]):
        assert main(words) == 2
        assert "no sweep was started here" in capsys.readouterr().err


def test_status_of_a_sweep(runs_dir, capsys):
    plan.keep(runs_dir, "s", plan.trainings_of(SweepRequest(("vgg_small",), folds="0-1"), runs_dir))
    folder = runs_dir / "vgg_small" / "fold1"
    folder.mkdir(parents=True)
    config = dataclasses.replace(recipes.get("vgg_small"), epochs=47)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 60.0, "train_accuracy": 0.25}) + "\n")
    assert main(["status", "--runs", str(runs_dir)]) == 0
    shown = capsys.readouterr().out
    assert "sweep s: 0 of 2 trainings finished, 2 waiting, time left for all: 1 h 33 min" in shown
    assert "vgg_small     1  waiting   1/47    25.00%     46 min" in shown


def test_finished_folds_with_other_settings_are_refused(runs_dir):
    asked = SweepRequest(("vgg_small",), folds="0-1", set=("epochs=2",), tag="t")
    folder = runs_dir / "vgg_small-t" / "fold1"
    digest = table.read(runs_dir / "folds.csv").digest
    fake_runs.save_fold(folder, *fake_runs.fold_parts("vgg_small-t", 1, 1, 1.5, folds_digest=digest))
    config = recipes.get("vgg_small")
    (folder / "config.json").write_text(json.dumps(dataclasses.replace(config, epochs=2).to_json()))
    assert len(plan.trainings_of(asked, runs_dir)) == 2
    (folder / "config.json").write_text(json.dumps(dataclasses.replace(config, epochs=3).to_json()))
    with pytest.raises(FerKitError, match=r"fold1 was trained with epochs=3, this command has epochs=2; .*--tag"):
        plan.trainings_of(asked, runs_dir)
    with pytest.raises(FerKitError, match=r"fold1 was trained with epochs=3, this command has epochs=2"):
        plan.trainings_of(dataclasses.replace(asked, folds="0"), runs_dir)  # the run would not be read as a whole
