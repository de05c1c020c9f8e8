"""`--config` of train: a file of options, below those of the command line; and `--stop-after`."""

from __future__ import annotations

import json

import pytest

from fer_kit.errors import FerKitError
from fer_kit.runs import folders, predictions
from fer_kit.train import __main__ as train
from fer_kit.train import config_file
from fer_kit.train.request import TrainRequest, resolve
from tests.helpers.trained import RECIPE, products

TOML = 'recipe = "attention"\ntag = "best"\nseed = 3\n[set]\nlr = 0.002\noptimizer = "adamw"\nepochs = 7\n'
YAML = "recipe: attention\ntag: best\nseed: 3\nset: {lr: 0.002, optimizer: adamw, epochs: 7}\n"


def resolved(*words):
    parsed = train.build_parser().parse_args(words)
    return resolve(train.request_of(train.with_config(parsed, words)))


@pytest.mark.parametrize(("name", "text"), [("a.toml", TOML), ("a.yaml", YAML)])
def test_the_command_line_takes_precedence(name, text, tmp_path):
    file = tmp_path / name
    file.write_text(text)
    found = resolved("--fold", "1", "--config", str(file))
    assert found.run == "attention-best-seed3" and found.request.fold == 1
    assert (found.config.lr, found.config.optimizer, found.config.epochs) == (0.002, "adamw", 7)
    found = resolved("--fold", "1", "--config", str(file), "--set", "lr=0.1", "--tag", "hot", "--recipe", "residual")
    assert found.run == "residual-hot-seed3" and (found.config.lr, found.config.epochs) == (0.1, 7)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{}", r"a\.json.*\.toml, \.yaml or \.yml"),
        ("a.toml", "recipe = ", "--config .*a.toml: cannot be read"),
        ("a.toml", "receipe = 'residual'", "unknown key 'receipe'.*'recipe'"),
        ("a.toml", "fold = 3", "unknown key 'fold'; allowed are recipe"),
        ("a.toml", "seed = '3'", "seed = '3' is not of type int"),
        ("a.toml", "seed = true", "seed = True is not of type int"),
        ("a.yaml", "- 1", "holds list"),
        ("a.yaml", "set: 3", "set = 3: give a table"),
        ("a.yaml", "{", "cannot be read"),
    ],
)
def test_files_that_are_refused(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(FerKitError, match=words) as caught:
        config_file.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FerKitError, match=r"--config .*none\.toml: cannot be read \(No such file"):
        config_file.read(tmp_path / "none.toml")


def test_the_number_of_a_trial_names_the_run_as_a_trial():
    found = resolved("--fold", "0", "--recipe", "attention", "--set", "lr=0.1", "--tag", "space", "--trial", "7")
    assert found.run == "attention-space-trial7" and folders.is_trial(found.run)
    assert not folders.is_trial("attention-space") and not folders.is_trial("attention-trial")
    assert TrainRequest(0, tag="a", trial=7).options()[-2:] == ["--trial", "7"]
    with pytest.raises(FerKitError, match="--trial -1"):
        resolved("--fold", "0", "--trial", "-1")
    with pytest.raises(FerKitError, match="--tag a-trial3"):
        resolved("--fold", "0", "--tag", "a-trial3")
    with pytest.raises(FerKitError, match="--stop-after 0"):
        resolved("--fold", "0", "--stop-after", "0")


@pytest.mark.slow
def test_stopped_after_an_epoch_and_continued_is_the_same_bit_for_bit(competition_dir, runs_dir, capsys):
    where = ["--fold", "0", "--data", str(competition_dir), "--runs", str(runs_dir)]
    assert train.main([*where, *RECIPE]) == 0
    part = [*where, *["part" if word == "t" else word for word in RECIPE], "--resume"]
    for _ in range(2):  # the second time there is nothing to do
        assert train.main([*part, "--stop-after", "2"]) == 0
        folder = runs_dir / "deep_v3-part/fold0"
        assert "stopped after epoch 2" in capsys.readouterr().out and not (folder / "result.json").exists()
        history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert len(history) == 2 and "held_out_accuracy" not in history[0]
        assert 0 <= history[1]["held_out_accuracy"] <= 1
    assert train.main(part) == 0
    whole, continued = products(runs_dir / "deep_v3-t/fold0"), products(folder)
    del continued["metrics"][1]["held_out_accuracy"]
    assert whole["metrics"] == continued["metrics"]
    assert read_logits(runs_dir / "deep_v3-t/fold0") == read_logits(folder)


@pytest.mark.slow
def test_a_training_that_stops_early_before_stop_after_is_measured_like_its_rivals(competition_dir, runs_dir):
    """A search compares accuracies without views; oof_accuracy is that of the best epoch, with views."""
    settings = ["epochs=9", "early_stop_epochs=1", "lr=1e-9"]  # so small a rate that nothing improves
    words = ["--recipe", "deep_v3", "--set", *settings, "--tag", "early", "--stop-after", "8", "--fold", "0"]
    assert train.main([*words, "--data", str(competition_dir), "--runs", str(runs_dir)]) == 0
    folder = runs_dir / "deep_v3-early/fold0"
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(history) < 8 and (folder / "result.json").exists()
    assert ["held_out_accuracy" in one for one in history] == [False] * (len(history) - 1) + [True]


def read_logits(folder):
    return [predictions.read(folder / name).logits.tobytes() for name in ("oof.npz", "test.npz")]
