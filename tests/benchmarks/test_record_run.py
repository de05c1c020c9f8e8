"""The record run: its plan fits, its slots keep the deadline, its figures add up."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from fer_kit.errors import FerKitError
from tests.benchmarks import record, record_slots, record_speed, record_summary
from tests.benchmarks.record_plan import LEAST, MOST, RESERVE, Job, Speed, Wish, epochs_of, plan, total_seconds

ROWS = 22_967
WISHES = [Wish("residual", 40, ROWS), Wish("wide", 60, ROWS), Wish("vgg", 40, ROWS)]
SPEEDS = {
    "residual": Speed(6, 60_000, 5, 12),
    "wide": Speed(6, 20_000, 8, 12),
    "vgg": Speed(6, 90_000, 4, 12),
}


@pytest.mark.parametrize("seconds", [240, 480, 1_000, 4_000])
def test_the_plan_fits_and_uses_the_time(seconds):
    jobs = plan(WISHES, SPEEDS, 5, seconds)
    chosen = [wish for wish in WISHES if any(job.recipe == wish.recipe for job in jobs)]
    stretches = {job.epochs / wish.epochs for wish in chosen for job in jobs if job.recipe == wish.recipe}
    assert LEAST - 1 / 40 <= min(stretches) <= max(stretches) <= MOST
    assert max(stretches) - min(stretches) < 1 / 40  # whole epochs are the only difference
    assert all({job.fold for job in jobs if job.recipe == wish.recipe} == set(range(5)) for wish in chosen)
    planned = total_seconds(chosen, SPEEDS, 5, min(stretches)) * len({job.seed for job in jobs})
    assert 0.8 * seconds < planned <= (1 - RESERVE) * seconds or max(stretches) == MOST
    assert len(set(jobs)) == len(jobs)


def test_the_last_recipe_goes_first_where_time_is_short():
    assert {job.recipe for job in plan(WISHES, SPEEDS, 5, 200)} < {"residual", "wide", "vgg"}
    assert {job.recipe for job in plan(WISHES, SPEEDS, 5, 110)} == {"residual"}
    with pytest.raises(FerKitError, match=r"0\.5 minutes of training are too few: 5 folds of residual at half its 40"):
        plan(WISHES, SPEEDS, 5, 30)


def test_time_to_spare_buys_seeds_of_everything():
    jobs = plan(WISHES[:1], SPEEDS, 5, 3_000)
    assert {job.epochs for job in jobs} == {epochs_of(WISHES[0], MOST)}
    seeds = {job.seed for job in jobs}
    assert len(seeds) > 2 and len(jobs) == 5 * len(seeds)
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)


# Stands in for fer_kit.train: fold 3 fails, fold 4 outlasts any deadline.
STUB = """
import hashlib, json, pathlib, sys, time
words = dict(zip(sys.argv[1:], [*sys.argv[2:], ""]))
fold, recipe = words["--fold"], words["--recipe"]
folder = pathlib.Path(words["--runs"]) / f"{recipe}-{words['--tag']}" / f"fold{fold}"
time.sleep(60 if fold == "4" else 0.1)
if fold == "3":
    sys.exit("error: no luck")
folder.mkdir(parents=True)
for name in ("oof.npz", "test.npz"):
    (folder / name).touch()
sha256 = hashlib.sha256(b"").hexdigest()
(folder / "result.json").write_text(json.dumps(dict(oof_accuracy=.7, oof_log_loss=1, train_seconds=.1,
    predict_seconds=0, images_per_second=1, oof_sha256=sha256, test_sha256=sha256)))
"""


@pytest.mark.slow
def test_slots_run_side_by_side_and_nothing_outlasts_the_deadline(tmp_path, monkeypatch, capsys):
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(record_slots, "GRACE_SECONDS", 0.1)
    place = record_slots.Place(tmp_path / "data", tmp_path / "runs", "cpu")
    jobs = [Job("residual", 9, fold, 0) for fold in (4, 3, 0, 1)] + [Job("vgg", 9, 4, 0), Job("vgg", 9, 0, 0)]
    done = record_slots.train_all(jobs, 2, place, time.monotonic() + 8, module="stub")
    ends = {(one["recipe"], one["fold"]): one["end"] for one in done}
    assert ends == {
        ("residual", 0): "finished",
        ("residual", 1): "finished",
        ("residual", 3): "failed",
        ("residual", 4): "out of time",
        ("vgg", 4): "out of time",
        ("vgg", 0): "not begun",
    }
    assert next(one for one in done if one["fold"] == 3)["last_line"] == "error: no luck"
    assert {one["slot"] for one in done if "slot" in one} == {0, 1}
    assert all(one["from"] < one["to"] for one in done if "to" in one)
    assert "residual fold 0: 70.00%" in capsys.readouterr().out


def test_the_training_names_a_run_of_its_own(tmp_path):
    place = record_slots.Place(tmp_path / "data", tmp_path / "runs", "cuda")
    training = record_slots.training_of(Job("residual", 120, 3, 1), place)
    assert (training.run, training.fold) == ("residual-record-seed1", 3)
    words = " ".join(training.words())
    assert words == "--recipe residual --set epochs=120 seed=1 --tag record-seed1 --fold 3 --resume"
    place = dataclasses.replace(place, weights={"residual": "/r.pth"})
    assert "--weights /r.pth" in " ".join(record_slots.training_of(Job("residual", 120, 3, 1), place).words())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0.5"], "--minutes 0.5: the blend alone is given 45 seconds; give more"),
        (["--minutes", "9", "--at-once", "2", "0"], "--at-once 0: no training would ever begin; give 1 or more"),
        (["--minutes", "9", "--weights", "vgg.pth"], "--weights vgg.pth: give RECIPE=FILE, a recipe of residual, vgg"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(words, message, tmp_path, capsys):
    assert record.cli.run(record.build_parser, record.body, [*words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_number_or_a_recipe_that_does_not_fit_is_left_out(monkeypatch, tmp_path, capsys):
    def together(recipe, device, number, seconds, folder, rows):
        if number > 3 or recipe == "vgg":
            raise FerKitError(f"measuring {recipe} with {number} at once failed: out of memory")
        return Speed(number, 100.0 * number, 1.0, 1.0)

    monkeypatch.setattr(record_speed, "together", together)
    asked = ["--minutes", "9", "--recipes", "residual", "vgg", "wide", "--at-once", "6", "1", "3"]
    words = [*asked, "--out", str(tmp_path)]
    found, left_out = record.measure(record.build_parser().parse_args(words), 100, 5)
    assert {recipe: speed.at_once for recipe, speed in found.items()} == {"residual": 3, "wide": 3}
    assert left_out == {"vgg": "measuring vgg with 3 at once failed: out of memory"}
    assert "6 at once will not do: measuring residual" in capsys.readouterr().out


@pytest.mark.parametrize(("recipes", "best"), [(["wide"], 1), (["wide", "vgg"], 2)])
def test_slots_that_would_stand_empty_count_in_the_best_number(recipes, best, monkeypatch, tmp_path):
    speeds = {1: 100.0, 2: 115.0}  # five trainings leave one of six places in two slots empty, ten leave none
    measured = {number: Speed(number, images, 1.0, 1.0) for number, images in speeds.items()}
    monkeypatch.setattr(record_speed, "together", lambda recipe, device, number, *_: measured[number])
    words = ["--minutes", "9", "--recipes", *recipes, "--at-once", "1", "2", "--out", str(tmp_path)]
    found, _ = record.measure(record.build_parser().parse_args(words), 100, 5)
    assert {speed.at_once for speed in found.values()} == {best}


def test_processes_that_measure_a_recipe_of_timm_find_each_other(tmp_path):
    go, ready = record_speed.marks("timm/test_resnet", 2, tmp_path)
    assert len({go, *ready}) == 3 and {path.parent for path in (go, *ready)} == {tmp_path}


def ended(recipe, fold, accuracy, **more):
    record = {"recipe": recipe, "fold": fold, "seed": 0, "epochs": 9, "end": "finished", "oof_accuracy": accuracy}
    return record | {"train_seconds": 60.0, "predict_seconds": 5.0, "images_per_second": 100.0, **more}


def test_the_figures_of_a_record():
    done = [ended("residual", fold, 0.70 + 0.01 * fold, **{"from": 0.0, "to": 70.0}) for fold in range(3)]
    done += [ended("vgg", 0, 0.9, **{"from": 70.0, "to": 140.0}), {"recipe": "vgg", "fold": 1, "seed": 0,
             "epochs": 9, "end": "out of time", "from": 70.0, "to": 100.0}]  # fmt: skip
    found = record_summary.scores(done, 3, 20.0)
    assert list(found["runs"]) == ["residual seed 0"]  # vgg lacks folds
    assert found["runs"]["residual seed 0"]["mean"] == pytest.approx(0.71)
    assert found["minutes_to"] == {"70%": 1.5, "72%": None}  # 20 s before, its last fold 70 s after
    spent = record_summary.seconds(done, 3, (0.0, 10.0, 20.0, 160.0, 170.0))
    shares = spent["share_of_slots"]
    assert spent["total"] == 170.0 and sum(shares.values()) == pytest.approx(1.0, abs=2e-3)
    assert shares["train"] == pytest.approx(4 * 60 / 420, abs=1e-3)
    assert shares["unfinished"] == pytest.approx(30 / 420, abs=1e-3)
    text = record_summary.tell({**found, "seconds": spent})
    assert spent["share_of_total"] == pytest.approx(4 * 60 / (3 * 170), abs=1e-3)
    assert "71.00% ± 1.00%" in text and "minutes to 70%: 1.5" in text and "minutes to 72%: not reached" in text
    assert json.dumps(found)
