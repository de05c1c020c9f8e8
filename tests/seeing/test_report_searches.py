"""The section on searches for settings: read from what a search keeps, never trusted, damage named."""

from __future__ import annotations

import csv
import html
import re

import pytest

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.report.section import Content
from fer_kit.report.sections import searches
from tests.helpers import fake_runs

SPACE = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "mixup_alpha": {"low": 0.0, "high": 0.4},
    "schedule": {"choices": ["cosine", "one_cycle"]},
}
TRIALS = [  # lr, mixup_alpha, schedule, scores, state
    (0.001, 0.2, "cosine", (0.61, 0.66), "finished"),
    (0.004, "", "one_cycle", (0.58, ""), "out"),
    (0.0003, 0.1, "<b>", (0.55, ""), "out"),
    (0.002, 0.3, "cosine", ("", ""), "waiting"),
]


@pytest.fixture
def folder(tmp_path):
    """A search of four trials as `fer-kit sweep` keeps it."""
    place = tmp_path / "runs/sweeps/searches/first"
    place.mkdir(parents=True)
    record = {"schema": 1, "trials": 4, "score": "held-out", "rows": 5742, "fold": "0", "rungs": [4, 12]}
    atomic.write_json(place / "search.json", {**record, "space": SPACE, "request": {"recipe": "vgg_small"}})
    with (place / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["trial", "run", *SPACE, "score_epoch_4", "score_epoch_12", "epochs", "seconds", "state", "message"]
        )
        for number, (*values, scores, state) in enumerate(TRIALS):
            writer.writerow([number, f"vgg_small-first-trial{number}", *values, *scores, 4, 1.0, state, ""])
    (place / "best.toml").write_text("recipe = 'vgg_small'\n")
    (tmp_path / "runs/folds.csv").write_bytes(fake_runs.TABLE)
    return place


def content(folder) -> Content:
    """Only what the section reads."""

    class Options:
        runs_dir, runs_option = folder.parents[2], " --runs elsewhere"

    return type("Content", (), {"options": Options})()


def test_the_best_trial_its_worth_and_a_chart_of_each_setting(folder):
    part = searches.build(content(folder))
    [search] = part.found
    assert [trial.number for trial in search.trials] == [0, 1, 2, 3] and len(search.scored) == 3
    shown = searches.as_html(part)
    words = html.unescape(re.sub(r"<[^>]+>", "", shown))
    assert "Best: trial 0, 66.00% on 5,742 held-out rows of fold 0 after all 12 epochs." in words
    assert "selected from 3 trials, so it is too high" in words
    told = "The folds that no trial was scored on, with these settings: fer-kit train --config"
    assert re.search(told + r" \S+/first/best\.toml --folds 1,2 --runs elsewhere", words)
    assert sorted(part.charts) == [f"search-first-{name}.svg" for name in SPACE]
    assert part.charts["search-first-lr.svg"].count("<circle") == 3  # the trial without a score has no dot
    assert part.charts["search-first-mixup_alpha.svg"].count("<circle") == 2  # it has no effect in trial 1
    assert ">cosine</text>" in part.charts["search-first-schedule.svg"]
    ticks = re.findall(r">([\d.]+)</text>", part.charts["search-first-lr.svg"])
    assert {"0.0005", "0.001", "0.002"} <= set(ticks)
    assert shown.count("<b>") == 0 and "&lt;b&gt;" in shown


def test_without_a_search_a_sentence(tmp_path):
    part = searches.build(content(tmp_path / "runs/sweeps/searches/none"))
    assert part.found == [] and "No search for settings yet" in searches.as_html(part)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("search.json", "[]"),
        ("search.json", '{"space": {"lr": 3}, "rungs": [4], "score": "watched", "rows": 1, "fold": "0"}'),
        ("search.json", '{"space": {"lr": {}}, "rungs": [4], "score": "held-out", "rows": 1, "fold": "x"}'),
        ("search.json", "{"),
        ("results.csv", "trial,run\n0,x\n"),
        ("results.csv", "trial,run,lr,mixup_alpha,schedule,score_epoch_4,score_epoch_12,state\nx,x,1,1,1,.5,.5,out\n"),
        ("results.csv", "trial,run,lr,mixup_alpha,schedule,score_epoch_4,score_epoch_12,state\n0,x,1,1,1,nan,,out\n"),
        ("results.csv", "\udcff"),
    ],
)
def test_damage_is_named_and_the_page_goes_on(folder, name, text):
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FerKitError):
        searches.read(folder)
    part = searches.build(content(folder))
    assert part.found == [] and [which for which, _ in part.damaged] == ["first"]
    assert "Not shown" in searches.as_html(part) and len(part.notes) == 1


def test_a_search_without_its_table_yet(folder):
    (folder / "results.csv").unlink()
    part = searches.build(content(folder))
    assert "fer-kit sweep status writes it" in part.notes[0]
