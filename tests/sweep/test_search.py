"""A search with stub trainings: drawn, promoted, killed, gone on with, its results; and what is refused."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.files import lock
from fer_kit.listing import renaming
from fer_kit.listing import runs as list_command
from fer_kit.runs import folders
from fer_kit.sweep import __main__ as sweep_command
from fer_kit.sweep import plan, slots
from fer_kit.sweep.__main__ import main
from fer_kit.sweep.plan import SweepRequest
from fer_kit.sweep.runner import Reporter
from fer_kit.sweep.search import definition, results, space, store, worker
from fer_kit.sweep.search.worker import SearchRunner, Trials
from fer_kit.train import __main__ as train
from fer_kit.train.request import TrainRequest
from tests.helpers import fake_runs

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]

# Stands in for fer_kit.train: the accuracy after an epoch follows from lr; lr above 0.05 diverges.
STUB = """
import hashlib, json, math, pathlib, sys
from fer_kit.files import lock
words = sys.argv[1:]
after = lambda name, default=None: words[words.index(name) + 1] if name in words else default
settings = dict(word.split("=") for word in words if "=" in word)
lr, epochs = float(settings["lr"]), int(settings["epochs"])
folder = pathlib.Path(after("--runs")) / f"residual-s-trial{after('--trial')}" / f"fold{after('--fold')}"
with lock.held(folder, "another process trains this fold", 1):
    folder.mkdir(parents=True, exist_ok=True)
    if lr > 0.05:
        sys.exit("error: the loss is not finite")
    metrics = folder / "metrics.jsonl"
    history = metrics.read_text().splitlines() if metrics.exists() else []
    stop = int(after("--stop-after", epochs))
    while len(history) < min(stop, epochs):
        record = {"epoch": len(history) + 1, "seconds": 0.5, "sample_accuracy": 0.0}
        score = 0.7 - abs(math.log10(lr) + 3) / 10 + (len(history) + 1) / 100
        if len(history) + 1 == stop and "--stop-after" in words:
            record["held_out_accuracy"] = score
        history.append(json.dumps(record))
        metrics.write_text("\\n".join(history) + "\\n")
    if stop == epochs:
        for name in ("oof.npz", "test.npz"):
            (folder / name).write_bytes(b"x")
        sha = hashlib.sha256(b"x").hexdigest()
        record = {"oof_accuracy": score, "oof_sha256": sha, "test_sha256": sha, "folds": 3}
        (folder / "result.json").write_text(json.dumps(record))
"""


@pytest.fixture
def world(tmp_path, monkeypatch, runs_dir):
    """A folder with a space, folds and stub trainings."""
    (tmp_path / "stub.py").write_text(STUB)
    (tmp_path / "s.yaml").write_text("lr: {low: 1e-5, high: 1e-1, log: true}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def defined(place, trials=9, **options):
    request = TrainRequest(0, recipe="residual", settings=("epochs=9",), runs=place / "runs")
    found = space.read(place / "s.yaml")
    asked = {"score": None, "rungs": None} | options
    search = definition.define("s", request, found, "--search s.yaml", trials=trials, **asked)
    definition.keep(search, place / "s.yaml")
    return search


def runner_of(search, place, at_once=2, said=None):
    environ = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    reporter = Reporter(said.append if said is not None else lambda text: None)
    slot = [slots.Slot("the CPU", environ)] * at_once
    options = ["--runs", str(search.request.runs)]
    return SearchRunner(Trials(search), slot, options=options, reporter=reporter, module="stub")


@pytest.mark.slow
def test_a_search_is_interrupted_goes_on_and_grows(world, capsys):
    search = defined(world)
    assert (search.rungs, search.score) == ((1, 3, 9), "held-out")
    runner = runner_of(search, world)

    def meanwhile():
        if len(runner.stints) >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(meanwhile)
    before = Trials(search).store.params()
    assert 4 <= len(before) < 9
    assert before[0] == {"lr": 0.05}  # the recipe's own
    workers = [threading.Thread(target=runner_of(search, world, 1).run) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(120)
    trials = Trials(search)
    assert trials.store.params()[: len(before)] == before and len(trials.store.params()) == 9
    rows = results.rows_of(trials)
    assert [row.state for row in rows].count("finished") == 1
    assert sum(row.epoch >= 3 for row in rows) == 3
    good = [row for row in rows if row.standing.scores]
    assert all((row.state == "failed") == (row.params["lr"] > 0.05) for row in rows)
    at_first = sorted(good, key=lambda row: -row.standing.scores[0])
    assert rows[0].number == at_first[0].number
    assert all("not finite" in row.message for row in rows if row.state == "failed")

    stored = optuna.load_study(study_name="search", storage=f"sqlite:///{search.folder / 'trials.db'}")
    assert stored.best_trial.number == rows[0].number and stored.best_value == rows[0].score

    written = results.write(search, rows)
    assert [path.name for path in written] == ["results.csv", "trials.png", "best.toml"]
    assert written[1].read_bytes()[:4] == b"\x89PNG"
    assert len(written[0].read_text().splitlines()) == 10
    parsed = train.build_parser().parse_args(["--fold", "1", "--config", str(written[2])])
    asked = train.request_of(train.with_config(parsed, ["--fold", "1", "--config", str(written[2])]))
    assert asked.tag == "s-best" and asked.settings[0] == "epochs=9"
    assert float(asked.settings[1].removeprefix("lr=")) == rows[0].params["lr"]
    assert asked.recipe == "residual"

    told = "\n".join(results.worth(search, rows))
    assert f"selected from {len(good)} trials" in told and "too high" in told and "120 rows of fold 0" in told
    assert main(["status", "--runs", str(search.request.runs)]) == 0
    shown = capsys.readouterr().out
    assert "search s: " in shown and "selected from" in shown and "finished" in shown

    assert all(folders.is_trial(name) for name in folders.list_runs(search.request.runs))
    more = defined(world, trials=12)
    runner_of(more, world).run()
    assert len(Trials(more).store.params()) == 12


def test_the_same_history_draws_the_same_settings_and_stays_in_the_space(world):
    one = Trials(defined(world))
    for _ in range(12):
        one.store.add(one.store.sample(one.look(), one.search.rungs))
    params = one.store.params()
    assert len({value["lr"] for value in params}) > 10 and all(1e-5 <= value["lr"] <= 1e-1 for value in params)
    assert one.store.sample(one.look(), (1, 3, 9)) == Trials(one.search).store.sample(one.look(), (1, 3, 9))


def test_settings_without_effect_are_left_out_of_a_trial(world):
    (world / "s.yaml").write_text("optimizer: [adamw, sgd]\nmomentum: {low: 0.5, high: 0.9}\n")
    search = defined(world)
    assert search.words({"optimizer": "adamw", "momentum": 0.6}) == ["optimizer=adamw"]
    assert search.words({"optimizer": "sgd", "momentum": 0.6}) == ["optimizer=sgd", "momentum=0.6"]
    assert worker.own_values(search) == {"optimizer": "sgd", "momentum": 0.9}
    training = search.training(3, {"optimizer": "adamw", "momentum": 0.6}, 1)
    assert training.run == "residual-s-trial3" and training.words()[-2:] == ["--stop-after", "3"]
    assert search.training(3, {"optimizer": "adamw", "momentum": 0.6}, 2).until is None


def test_scores_on_watched_rows(world):
    (world / "s.yaml").write_text("lr: {low: 1e-5, high: 1e-1, log: true}\n")
    request = TrainRequest(0, recipe="baseline_v1", settings=("epochs=9",), runs=world / "runs")
    search = definition.define("s", request, space.read(world / "s.yaml"), "s", trials=3, score=None, rungs=None)
    assert search.score == "watched" and 20 <= search.rows <= 24 and "watched rows of fold 0" in search.scored_on
    folder = search.training(0, {"lr": 0.001}, 0).folder(world / "runs")
    folder.mkdir(parents=True)
    lines = [json.dumps({"epoch": n + 1, "watch_accuracy": a}) for n, a in enumerate([0.3, 0.5, 0.4])]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert search.standing(0, {"lr": 0.001}).scores == (0.3, 0.5)  # the best epoch, as early stopping keeps it


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("lr: [0.1, 0.2]", ["--trials", "0"], "--trials 0: give 1 to"),
        ("lr: [0.1, 0.2]", [], "--search needs --trials"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--folds", "0-1"], "--folds 0-1 with --search: a trial trains one fold"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--folds", "full"], "--folds full with --score held-out"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--tag", "a"], "--tag a with --search"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--recipes", "residual", "vgg"], "--recipes residual vgg with --search"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--set", "lr=0.3"], "--set lr=0.3: --search s.yaml searches lr"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--score", "watched"], "--score watched: not every trial watches"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--rungs", "9,3"], "--rungs 9,3: give rising epochs from 1 to 40"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--rungs", "50"], "--rungs 50"),
        ("lr: [0.1, 0.2]", ["--trials", "3", "--name", "a/b"], "search 'a/b' cannot name a folder"),
        ("focal_gamma: [1, 3]", ["--trials", "3"], "focal_gamma has no effect while loss=cross_entropy"),
        ("image_px: [64, 96]", ["--trials", "3"], "--search s.yaml: image_px=64: "),
    ],
)
def test_what_is_refused_in_one_line(text, words, told, world, capsys):
    (world / "s.yaml").write_text(text)
    recipe = [] if "--recipes" in words else ["--recipes", "residual"]
    assert main(["--search", "s.yaml", "--device", "cpu", *recipe, *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error
    assert not (world / "runs/sweeps").exists()


def test_options_of_a_search_without_one_and_a_dry_run(world, capsys):
    assert main(["--trials", "3"]) == 2 and "--trials 3 needs a space" in capsys.readouterr().err
    assert main(["--search", "s.yaml", "--recipes", "residual", "--trials", "9", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "compared after epochs 4, 13, 40" in told and "9 trials of residual" in told and "90 epochs in all" in told
    assert not (world / "runs/sweeps").exists()


def test_options_of_train_reach_every_trial(world):
    request = SweepRequest(recipes=("residual",), set=("epochs=9",), batch_size=256, accumulate=4, compile=True)
    (first,) = plan.requests_of(request, world / "runs")
    found = definition.define("s", first, space.read(world / "s.yaml"), "s.yaml", trials=9, score=None, rungs=None)
    definition.keep(found, world / "s.yaml")
    again = definition.read(world / "runs", "s").request
    assert (again.batch_size, again.accumulate, again.compile) == (256, 4, True)
    path = world / "runs/sweeps/searches/s/search.json"
    record = json.loads(path.read_text())
    del record["request"]["batch_size"]  # as the first searches were kept
    path.write_text(json.dumps(record))
    assert definition.read(world / "runs", "s").request.batch_size is None


def test_the_command_passes_the_options_of_train_on(world):
    args = sweep_command.build_parser().parse_args(["--search", "s.yaml", "--trials", "9", "--batch-size", "256"])
    assert sweep_command._trial_request(args).batch_size == 256


def test_a_search_cannot_change(world):
    defined(world)
    defined(world, trials=10)
    with pytest.raises(FerKitError, match="--trials 9: this search has 10"):
        defined(world)
    with pytest.raises(FerKitError, match=r"rungs \[1, 3, 9\], the command has \[2, 9\].*--name"):
        defined(world, trials=10, rungs="2")
    path = world / "runs/sweeps/searches/s/search.json"
    path.write_text('{"schema": 1}')
    with pytest.raises(FerKitError, match="not the record of a search"):
        definition.read(world / "runs", "s")
    with pytest.raises(FerKitError, match="no search 't'; there are: s"):
        definition.read(world / "runs", "t")


def test_optuna_is_not_installed(world, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert main(["--search", "s.yaml", "--trials", "3"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "pip install 'fer_kit[search]'" in told


def test_the_file_of_trials_is_locked_or_damaged(world, monkeypatch):
    monkeypatch.setattr(store, "DATABASE_SECONDS", 0.1)
    search = defined(world)
    one = Trials(search)
    one.store.add({"lr": 0.001})
    path = search.folder / "trials.db"
    other = sqlite3.connect(path)
    other.execute("begin exclusive")
    with pytest.raises(store.BusyError, match="trials.db: locked by another program"):
        one.store.add({"lr": 0.002})
    said: list[str] = []
    monkeypatch.setattr(worker, "LOCKED_SECONDS", 0.3)
    monkeypatch.setattr(worker, "LOOK_AGAIN_SECONDS", 0.1)
    with pytest.raises(store.BusyError):
        runner_of(search, world, said=said).run()
    assert sum("trying again" in text for text in said) == 1
    other.close()
    assert len(one.store.params()) == 1
    with lock.held(path, "test"), pytest.raises(store.BusyError):
        monkeypatch.setattr(store, "PATIENCE_SECONDS", 0.0)
        one.jobs(1)
    path.write_bytes(b"no database" * 999)
    with pytest.raises(FerKitError, match="not a readable file of trials.*--name"):
        Trials(search).store.params()


def test_luck():
    assert results.luck(1) == 0 and 0.5 < results.luck(2) < 0.62 and 1.98 < results.luck(30) < 2.06


def test_trials_are_listed_and_blended_only_when_asked_for(tmp_path, capsys):
    (tmp_path / "folds.csv").write_bytes(fake_runs.TABLE)
    fake_runs.save_run(tmp_path, "residual-s-trial0", 1)
    fake_runs.save_run(tmp_path, "vgg", 2)
    assert list_command.main(["--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "vgg" in shown and "residual-s-trial0" not in shown and "not shown (1)" in shown
    assert list_command.main(["--runs", str(tmp_path), "*-trial*"]) == 0
    assert "residual-s-trial0" in capsys.readouterr().out
    assert [name for name in folders.list_runs(tmp_path) if not folders.is_trial(name)] == ["vgg"]


def test_a_trial_can_be_renamed_into_a_run(tmp_path):
    fake_runs.save_run(tmp_path, "residual-s-trial0", 1)
    fold = tmp_path / "residual-s-trial0/fold0"
    words = "python -m fer_kit.train --recipe residual --tag s --trial 0 --fold 0 --resume"
    (fold / "env.json").write_text(json.dumps({"command": words}))
    record = json.loads((fold / "result.json").read_text())
    (fold / "result.json").write_text(json.dumps({**record, "recipe": "residual"}))
    told = renaming.renamed_command(fold, "residual-s-best")
    assert told == "python -m fer_kit.train --recipe residual --tag s-best --fold 0 --resume"
