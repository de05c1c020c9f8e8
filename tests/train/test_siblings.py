"""A fold that does not fit to the finished folds of its run is refused before its first step."""

from __future__ import annotations

import json

import pytest

from fer_kit.data import loading
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import finished_folder
from fer_kit.train import request, siblings
from fer_kit.train.__main__ import main
from tests.helpers import fake_runs

RECIPE = ["--recipe", "baseline_v1", "--tag", "t", "--device", "cpu", "--set", "batch_size=32"]


@pytest.fixture
def begun(competition_dir, runs_dir, capsys):
    """A run with a finished fold 0 that nobody trained; gives a function that trains fold 1 with more options."""
    where = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    resolved = request.resolve(request.TrainRequest(0, "baseline_v1", ("batch_size=32",), "t", runs=runs_dir))
    folder = runs_dir / "baseline_v1-t" / "fold0"
    fake_runs.save_fold(folder, *fake_runs.fold_parts("baseline_v1-t", 0, 1, 1.0))
    atomic.write_json(folder / "config.json", resolved.config.to_json())
    data = loading.load(competition_dir, runs_dir / "cache").digest
    digests = {"folds_digest": table.read(runs_dir / "folds.csv").digest, "data_digest": data}

    def train(*words, **changes):
        result = json.loads((folder / "result.json").read_text()) | digests | changes
        atomic.write_json(folder / "result.json", result)
        assert main(["--fold", "1", *RECIPE, *words, *where]) == 2
        assert not (folder.parent / "fold1" / "metrics.jsonl").exists()
        return capsys.readouterr().err

    return train


def test_other_settings_are_named(begun):
    told = begun("epochs=7", "lr=0.5")
    assert "fold0 was trained with epochs=20 lr=0.001" in told and "has epochs=7 lr=0.5" in told
    assert "--tag" in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds_digest": "1" * 64}, "was trained on other folds (digest 111111111111, now "),
        ({"data_digest": "2" * 64}, "was trained on other data (digest 222222222222, now "),
        ({"parameters": 17}, "has a network of 17 parameters, baseline_v1 now has 1,232,775"),
    ],
)
def test_other_folds_data_and_networks_are_refused(changes, message, begun):
    assert message in begun(**changes)


def test_a_trial_is_not_compared(runs_dir):
    (runs_dir / "baseline_v1-smoke" / "fold0").mkdir(parents=True)
    atomic.write_json(runs_dir / "baseline_v1-smoke/fold0" / finished_folder.RESULT, {"parameters": 17})
    smoke = request.resolve(request.TrainRequest(1, "baseline_v1", smoke=True, runs=runs_dir))
    siblings.refuse_other_network(smoke, 18)
