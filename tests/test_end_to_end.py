"""The whole way of a competitor, on a small drawn competition, through the commands that a competitor types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ensembles import blend
from fer_kit.folds import __main__ as folds_command
from fer_kit.runs import predictions
from fer_kit.synthetic import __main__ as synthetic_command
from fer_kit.train import __main__ as train
from submissions.__main__ import main as submissions


@pytest.mark.slow
def test_from_nothing_to_a_checked_submission(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert synthetic_command.main(["data", "--rows", "420", "--test-rows", "60"]) == 0
    assert folds_command.main(["--folds", "3"]) == 0  # ./data is found by itself, runs/ is the default

    fast = ["--set", "epochs=1", "batch_size=32", "--tag", "e2e"]
    for recipe in ("baseline_v1", "baseline_v2"):
        for fold in range(3):
            assert train.main(["--recipe", recipe, "--fold", str(fold), *fast]) == 0

    capsys.readouterr()
    assert blend.main(["both", "--details"]) == 0
    told = capsys.readouterr().out
    assert "baseline_v1-e2e" in told and "baseline_v2-e2e" in told and "submissions build both" in told

    assert submissions(["build", "both", "--out", "submission.csv"]) == 0
    assert submissions(["check", "submission.csv"]) == 0
    lines = Path("submission.csv").read_text().splitlines()
    assert len(lines) == 60 and set(lines) <= set("0123456")  # the organiser's form: no header, no id

    # What was submitted is what the blend says, and the blend covers every train row exactly once.
    test = predictions.read("runs/blends/both/test.npz")
    assert lines == [str(label) for label in test.logits.argmax(1)]
    oof = predictions.read("runs/blends/both/oof.npz")
    assert np.array_equal(oof.ids, np.arange(420))
    record = json.loads(Path("runs/blends/both/blend.json").read_text())
    assert record["oof_accuracy"] == float((oof.logits.argmax(1) == oof.labels).mean())
