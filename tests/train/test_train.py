"""The train command: what it writes, what it refuses, and that stopping it in any way loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_kit.engine import loop
from fer_kit.files import atomic
from fer_kit.runs import finished_folder, predictions
from fer_kit.train import __main__ as train
from fer_kit.train import checkpoints, fold
from tests.helpers.trained import FILES, products


@pytest.mark.slow
def test_a_finished_folder_holds_what_the_design_says(command, runs_dir, competition_dir, capsys):
    assert train.main(command) == 0
    folder = runs_dir / "deep_v3-t" / "fold1"
    assert {path.name for path in folder.iterdir()} == FILES
    assert finished_folder.is_finished(folder)

    oof, test = predictions.read(folder / "oof.npz"), predictions.read(folder / "test.npz")
    from fer_kit.data import loading
    from fer_kit.folds import deal

    table = deal.read(runs_dir / "folds.csv")
    competition = loading.load(competition_dir, runs_dir / "cache")
    assert np.array_equal(oof.ids, table.rows_out(1))
    assert np.array_equal(oof.labels, competition.train.labels[oof.ids])
    assert np.array_equal(test.ids, competition.test.ids) and test.labels is None
    result = json.loads((folder / "result.json").read_text())
    assert result["folds_digest"] == table.digest == oof.meta["folds_digest"]
    assert result["data_digest"] == competition.digest
    env = json.loads((folder / "env.json").read_text())
    assert env["command"].startswith("python -m fer_kit.train --recipe deep_v3 --set epochs=3")
    assert {"torch", "timm", "numpy", "python"} <= set(env["versions"])
    out = capsys.readouterr().out
    assert "epoch   3/3" in out and "images/s" in out and "finished:" in out
    assert "watched" in out  # deep_v3 stops early, on rows cut from the training folds


@pytest.mark.slow
def test_a_finished_run_is_never_written_again(command, runs_dir, capsys):
    assert train.main(command) == 0
    before = products(runs_dir / "deep_v3-t" / "fold1")
    assert train.main([*command, "--resume"]) == 0
    assert "is finished already; nothing to do" in capsys.readouterr().out
    for flags in ([], ["--restart"]):
        assert train.main([*command, *flags]) == 2
        assert "is finished and will not be overwritten; name a new run with --tag" in capsys.readouterr().err
    assert products(runs_dir / "deep_v3-t" / "fold1") == before


@pytest.mark.slow
def test_the_time_limit_stops_at_an_epochs_end_and_resuming_ends_the_same(command, runs_dir, uninterrupted, capsys):
    assert train.main([*command, "--limit-minutes", "0.0001"]) == 0
    out = capsys.readouterr().out
    assert "time limit of 0.0001 minutes: stopped after epoch 1, saved; continue with --resume" in out
    folder = runs_dir / "deep_v3-t" / "fold1"
    assert not finished_folder.is_finished(folder) and (folder / "last.pt").exists()
    assert train.main(command) == 2
    error = capsys.readouterr().err
    assert "holds an unfinished training" in error and "--resume" in error and "--restart" in error
    assert train.main([*command, "--resume"]) == 0
    assert "after epoch 1 of 3" in capsys.readouterr().out
    assert products(folder) == uninterrupted


@pytest.mark.slow
def test_a_time_limit_that_is_over_after_the_last_epoch_lets_it_predict(command, runs_dir, capsys):
    short = ["epochs=1" if word == "epochs=3" else word for word in command]
    assert short != command and train.main([*short, "--limit-minutes", "0.0001"]) == 0
    assert "time limit" not in capsys.readouterr().out and finished_folder.is_finished(runs_dir / "deep_v3-t" / "fold1")


@pytest.mark.slow
def test_finish_at_limit_leaves_out_the_remaining_epochs(command, runs_dir, capsys):
    assert train.main([*command, "--limit-minutes", "0.0001", "--finish-at-limit"]) == 0
    assert "the last 2 of 3 epochs are left out" in capsys.readouterr().out
    folder = runs_dir / "deep_v3-t" / "fold1"
    result = atomic.read_json(folder / "result.json")
    assert finished_folder.is_finished(folder) and (result["epochs_trained"], result["epoch"]) == (1, 1)
    assert train.main([*command, "--fold", "2", "--finish-at-limit"]) == 2
    assert "add --limit-minutes M" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoints_by_time(command, runs_dir, uninterrupted, monkeypatch, capsys):
    """Ctrl-C in the third epoch, while only the first is saved: the epochs since then are trained again."""
    saves, whole, step = [], checkpoints.save, loop.train_epoch

    def save(path, state, identity):
        saves.append(state.epoch)
        whole(path, state, identity)

    def interrupted(state, *args):
        if state.epoch == 2:
            raise KeyboardInterrupt
        return step(state, *args)

    monkeypatch.setattr(checkpoints, "save", save)
    monkeypatch.setattr(loop, "train_epoch", interrupted)
    assert train.main([*command, "--save-seconds", "1000"]) == 130
    assert "no epoch is saved yet" in capsys.readouterr().out and saves == []
    monkeypatch.setattr(loop, "train_epoch", step)
    assert train.main([*command, "--save-seconds", "1000", "--resume"]) == 0
    assert saves == [3] and products(runs_dir / "deep_v3-t" / "fold1") == uninterrupted


@pytest.mark.slow
def test_ctrl_c_is_130_and_resumable(command, runs_dir, uninterrupted, monkeypatch, capsys):
    whole = loop.train_epoch

    def interrupted(state, *args):
        if state.epoch == 2:
            raise KeyboardInterrupt
        return whole(state, *args)

    monkeypatch.setattr(loop, "train_epoch", interrupted)
    assert train.main(command) == 130
    assert "interrupted; epochs 1 to 2 are saved; continue with --resume" in capsys.readouterr().out
    monkeypatch.setattr(loop, "train_epoch", whole)
    assert train.main([*command, "--resume"]) == 0
    assert products(runs_dir / "deep_v3-t" / "fold1") == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "words"),
    [
        (0, "interrupted; no epoch is saved yet; --resume"),  # the watched rows of epoch 1
        (1, "interrupted; no epoch is saved yet; --resume"),  # the sample of epoch 1
        (2, "interrupted; epoch 1 is saved; continue with --resume"),
        (6, "interrupted; epochs 1 to 3 are saved; continue with --resume"),  # the predictions at the end
    ],
)
def test_ctrl_c_tells_what_is_saved_and_not_what_was_trained(
    command, runs_dir, uninterrupted, monkeypatch, capsys, before, words
):
    whole, calls = loop.predict, iter(range(100))

    def interrupted(*args):
        if next(calls) == before:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(loop, "predict", interrupted)
    assert train.main(command) == 130
    assert words in capsys.readouterr().out
    assert train.main([*command, "--resume"]) == 0
    assert products(runs_dir / "deep_v3-t" / "fold1") == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["save_weights", "write", "write_json"])
def test_a_failure_while_finishing_leaves_no_finished_mark(command, runs_dir, uninterrupted, monkeypatch, moment):
    """Each write of the end fails once; the run is not finished, resumes, and ends the same."""
    module = {"save_weights": fold.weights, "write": fold.predictions, "write_json": fold.atomic}[moment]
    real = getattr(module, moment)

    def fails(path, *args):
        if moment != "write_json" or Path(path).name == "result.json":
            raise OSError("no more disk")
        return real(path, *args)

    monkeypatch.setattr(module, moment, fails)
    with pytest.raises(OSError, match="no more disk"):
        train.main(command)
    folder = runs_dir / "deep_v3-t" / "fold1"
    assert not finished_folder.is_finished(folder)
    monkeypatch.setattr(module, moment, real)
    assert train.main([*command, "--resume"]) == 0
    assert products(folder) == uninterrupted


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing(command, runs_dir, uninterrupted):
    """The real thing, from outside: killed at three moments, then left to finish."""
    folder = runs_dir / "deep_v3-t" / "fold1"
    program = [sys.executable, "-m", "fer_kit.train", *command, "--resume"]
    for epochs_before in (0, 1):
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = folder / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
            if folder.exists() and done >= epochs_before:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not finished_folder.is_finished(folder)
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert products(folder) == uninterrupted


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_a_way_out(command, runs_dir, monkeypatch, capsys):
    whole = loop.train_epoch

    def diverges(state, *args):
        if state.epoch == 1:
            next(state.net.parameters()).data.fill_(float("nan"))
        return whole(state, *args)

    monkeypatch.setattr(loop, "train_epoch", diverges)
    assert train.main(command) == 2
    error = capsys.readouterr().err
    assert "the loss of epoch 2 is nan, not finite since step " in error
    assert "earlier epochs are saved in last.pt" in error and "--set lr=0.0001 " in error and "--tag" in error
    saved = torch.load(runs_dir / "deep_v3-t" / "fold1" / "last.pt", weights_only=True)
    assert saved["epoch"] == 1  # the last good state is kept


@pytest.mark.slow
def test_a_checkpoint_of_another_config_is_refused(command, runs_dir, capsys):
    assert train.main([*command, "--limit-minutes", "0.0001"]) == 0
    changed = [word if word != "epochs=3" else "epochs=4" for word in command]
    assert train.main([*changed, "--resume"]) == 2
    error = capsys.readouterr().err
    assert "fold1 was started with epochs=3, this command has epochs=4" in error and "--restart" in error
    assert json.loads((runs_dir / "deep_v3-t" / "fold1" / "config.json").read_text())["epochs"] == 3
    (runs_dir / "deep_v3-t" / "fold1" / "last.pt").write_bytes(b"half a file")
    assert train.main([*command, "--resume"]) == 2
    assert "last.pt: not a readable checkpoint" in capsys.readouterr().err
    assert train.main([*command, "--restart"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "lr=1"], "--set lr=1 changes the recipe; name the changed run with --tag NAME"),
        (["--set", "lr=1", "--tag", "../x"], "tag '../x' cannot name a folder"),
        (["--set", "lr=1", "--tag", ""], "argument --tag: '' is empty (a variable that is not set?); give a value"),
        (["--set", "limit_rows=1", "--tag", "t"], "fold 0 leaves 1 rows of limit_rows=1 to train on, fewer than one"),
        (
            ["--recipe", "deep_v1", "--set", "limit_rows=99", "batch_size=2", "--tag", "t"],
            "batch norm in deep_v1 cannot normalise; give --set batch_size=3",
        ),
        (["--recipe", "residul"], "no recipe 'residul' (did you mean 'residual'?)"),
        (["--recipe", "resnet50"], "no recipe 'resnet50' (did you mean 'timm/resnet50'?)"),
        (["--limit-minutes", "-1"], "--limit-minutes -1: give a number above 0"),
        (["--device", "tpu"], "--device tpu: this machine has cpu"),
        (["--fold", "9"], "fold 9 does not exist: choose 0 to 2"),
        (["--runs", "nowhere"], "folds.csv: no such file; make the folds with python -m fer_kit.folds"),
        (["--resume", "--restart"], "not allowed with argument"),
        (["--recip", "attention"], "unrecognized arguments: --recip attention (did you mean '--recipe'?)"),
        (["--lr", "0.1"], "unrecognized arguments: --lr 0.1; write --set lr=0.1 --tag NAME"),
        (["--learning-rate=0.1", "--epochs", "3"], "write --set lr=0.1 epochs=3 --tag NAME"),
        (["--weight-decay", "0.1"], "write --set weight_decay=0.1 --tag NAME"),
        (["--batch-size", "32"], "--batch-size 32 changes the recipe"),
        (["--resum"], "(did you mean '--resume'?)"),
    ],
)
def test_refusals(competition_dir, runs_dir, flags, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = {"--data": str(competition_dir), "--runs": str(runs_dir), "--fold": "0"}
    given = [word for option, value in place.items() if option not in flags for word in (option, value)]
    assert train.main([*given, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_dry_run_shows_the_plan_and_writes_nothing(command, runs_dir, capsys):
    before = sorted(path for path in runs_dir.rglob("*") if "cache" not in path.parts)
    assert train.main([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "epochs                   3   (recipe: 30)" in out
    assert "rows     " in out and "dry run: nothing was trained or written" in out
    assert sorted(path for path in runs_dir.rglob("*") if "cache" not in path.parts) == before


@pytest.mark.slow
def test_the_sample_is_shown_and_the_training_stays_the_same_bit_for_bit(command, runs_dir, monkeypatch, capsys):
    assert train.main(command) == 0
    shown = capsys.readouterr().out
    assert "sample: accuracy on 120 held-out rows, shown only; nothing is chosen by it" in shown
    with_sample = products(runs_dir / "deep_v3-t" / "fold1")
    records = with_sample.pop("metrics")
    assert all(0 <= record["sample_accuracy"] <= 1 for record in records) and len(records) == 3
    (runs_dir / "deep_v3-t").rename(runs_dir.parent / "with_sample")
    monkeypatch.setattr(fold, "accuracy_on", lambda job, state, rows: 0.0)
    assert train.main(command) == 0
    without = products(runs_dir / "deep_v3-t" / "fold1")
    for one, other in zip(records, without.pop("metrics"), strict=True):
        assert one | {"sample_accuracy": 0.0} == other
    assert with_sample == without


def test_the_sample_is_fixed_and_spread_over_the_fold():
    out = np.arange(0, 9_000, 3)
    rows = fold.sample_of(out)
    assert len(rows) == fold.SAMPLE_ROWS == len(set(rows)) and set(rows) <= set(out)
    assert (rows[0], rows[-1]) == (0, 8_997) and list(fold.sample_of(out)) == list(rows)
    assert list(fold.sample_of(out[:7])) == list(out[:7])


@pytest.mark.slow
def test_smoke_is_quick_named_and_repeatable(competition_dir, runs_dir, capsys):
    place = ["--data", str(competition_dir), "--runs", str(runs_dir), "--fold", "0", "--recipe", "baseline_v1"]
    for _ in range(2):
        assert train.main([*place, "--smoke"]) == 0
        assert "epoch   1/1" in capsys.readouterr().out
    assert train.main([*place, "--smoke", "--resume"]) == 2
    assert "--smoke with --resume" in capsys.readouterr().err
    assert finished_folder.is_finished(runs_dir / "baseline_v1-smoke" / "fold0")


def test_a_smoke_run_predicts_a_few_hundred_rows(competition_dir, runs_dir, monkeypatch):
    monkeypatch.setattr(fold, "SMOKE_PREDICTED_ROWS", 50)
    place = ["--data", str(competition_dir), "--runs", str(runs_dir), "--fold", "0", "--recipe", "baseline_v1"]
    assert train.main([*place, "--smoke"]) == 0
    folder = runs_dir / "baseline_v1-smoke" / "fold0"
    assert [len(predictions.read(folder / name)) for name in ("oof.npz", "test.npz")] == [50, 50]


@pytest.mark.slow
def test_early_stopping_predicts_with_the_best_epoch(command, runs_dir, monkeypatch, capsys):
    accuracies = iter([0.2, 0.5, 0.3, 0.3])
    monkeypatch.setattr("fer_kit.metrics.accuracy", lambda *_: next(accuracies, 0.3))
    kept = {}
    weights_of = fold.weights.weights_of

    def remember(module):
        kept["weights"] = weights_of(module)
        return kept["weights"]

    monkeypatch.setattr(fold.weights, "weights_of", remember)
    changed = [word if word != "epochs=3" else "epochs=9" for word in command]
    changed[changed.index("batch_size=32")] = "early_stop_epochs=2"
    assert train.main(changed) == 0
    out = capsys.readouterr().out
    assert "weights of epoch 2" in out and "epoch   4/9" in out and "epoch   5/9" not in out
    from safetensors.torch import load_file

    saved = load_file(runs_dir / "deep_v3-t" / "fold1" / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in kept["weights"].items())
