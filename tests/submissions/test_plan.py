"""What to send next: the best by forecast, the one that differs most among the near ones, never one that was sent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ensembles import blend
from fer_kit.runs import folders, ledger
from submissions import choice
from submissions.choice import Candidate
from tests.helpers import fake_runs
from tests.helpers.fake_submissions import run, save_entry

CLASSES = np.zeros(100, np.int64)


def candidate(name, forecast, differ=0, wrong=0):
    classes = CLASSES.copy()
    classes[:differ] = 1
    return Candidate(name, forecast, 0.01, classes, np.arange(1000) >= wrong)


def test_the_best_then_the_one_that_differs_most_within_one_standard_error():
    near, far = candidate("near", 0.715, differ=5), candidate("far", 0.711, differ=30)
    beyond, same = candidate("beyond", 0.70, differ=90), candidate("same", 0.72)
    chosen = choice.choose([beyond, far, near, candidate("best", 0.72), same], 2)
    assert [(one.candidate.name, one.changed) for one in chosen] == [("best", 0), ("far", 30)]
    assert "0.90 behind" in chosen[1].reason
    names = [one.candidate.name for one in choice.choose([beyond, far, near, same], 9)]
    assert names == ["same", "far", "near"]  # copies and worse ones are not chosen
    assert choice.choose([], 2) == [] and choice.choose([near], 0) == []


def test_the_gain_of_the_better_of_two_by_hand():
    """Equal forecasts: σ·φ(0), where σ² is the share of rows where one is right, per row of half the test set."""
    one, other = candidate("one", 0.7), candidate("other", 0.7, wrong=100)
    assert choice.gain_of_better(one, other) == pytest.approx(math.sqrt(0.1 / 50) / math.sqrt(2 * math.pi))
    assert choice.gain_of_better(one, one) == 0
    worse = candidate("worse", 0.1, wrong=400)
    assert 0 <= choice.gain_of_better(one, worse) < 1e-6
    assert choice.gain_of_better(one, Candidate("file", 0.7, 0.01, CLASSES)) is None


@pytest.fixture
def blends(here):
    """Blends 'a' and 'b' with forecasts of their own."""
    for seed, name in enumerate("ab", start=1):
        fake_runs.save_run(here / "runs", f"run-{name}", seed=seed)
        assert blend.main([name, "--members", f"run-{name}", "--no-pictures"]) == 0
        path = here / f"runs/blends/{name}/blend.json"
        told = {"accuracy": 0.7 + 0.001 * seed, "half_interval": [0.6, 0.8], "standard_error": 0.01, "half_error": 0.02}
        path.write_text(json.dumps({**json.loads(path.read_text()), "forecast": told}))
    return here


def test_the_command(blends, capsys):
    code, out, _ = run(capsys, "plan")
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("entries left today: 2 (by submissions/ledger.csv")
    assert [line.split()[0] for line in lines[3:5]] == ["b", "a"] and "best by forecast" in lines[3]
    assert lines[-1] == "next: python -m submissions build b"


def test_what_was_sent_is_not_planned_again(blends, capsys, monkeypatch):
    run(capsys, "build", "b", "--out", "submissions/b.csv")
    path = Path("submissions/ledger.csv")
    sent = save_entry(path, Path("submissions/b.csv"), forecast=0.702, cv_accuracy=0.7)
    monkeypatch.setattr(ledger, "now", lambda: ledger.begun(sent))
    code, out, _ = run(capsys, "plan", "--json")
    found = json.loads(out)
    assert (code, found["left"], [one["name"] for one in found["next"]]) == (0, 1, ["a"])
    assert [one["name"] for one in found["final"]] == ["b.csv"]
    assert found["notes"] == ["left out: b: sent already"]
    code, out, _ = run(capsys, "plan", "--left", "0")
    assert code == 0 and "send next: no entries are left today" in out


def test_blends_without_a_forecast_are_named(blends, capsys):
    path = blends / "runs/blends/a/blend.json"
    told = json.loads(path.read_text())
    for forecast, reason in ((None, "no leaderboard forecast"), ({"accuracy": 0.7}, "its forecast is of an older")):
        path.write_text(json.dumps({**told, "forecast": forecast}))
        code, out, _ = run(capsys, "plan")
        assert code == 0 and f"left out: a: {reason}" in out
    assert folders.list_blends("runs") == ["a", "b"]
