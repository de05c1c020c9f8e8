"""Real trainings by `fer-kit train --folds`: interrupted, gone on with, and the same bits as one at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_kit.runs import finished_folder
from fer_kit.sweep.__main__ import main
from fer_kit.train.__main__ import main as train_main
from tests.helpers.trained import RECIPE, products

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_interrupted_joined_and_the_same_bits_as_one_at_a_time(competition_dir, runs_dir, tmp_path, capsys):
    where = ["--data", str(competition_dir), "--runs", str(runs_dir)]
    command = [sys.executable, "-m", "fer_kit.train", "--folds", "0,1", *RECIPE, *where, "--at-once", "2"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(runs_dir.glob("deep_v3-t/fold*/metrics.jsonl")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    told, _ = running.communicate(timeout=120)
    if running.returncode != 0:  # else it was faster than the signal
        assert running.returncode == 130 and "all of it can be resumed" in told
        assert main(["join", str(runs_dir), "--data", str(competition_dir), "--device", "cpu"]) == 0
        assert "2 of 2" in capsys.readouterr().out or finished_folder.is_finished(runs_dir / "deep_v3-t/fold1")
    assert main(["status", "--runs", str(runs_dir)]) == 0
    assert "2 of 2 trainings finished" in capsys.readouterr().out
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "folds.csv").write_bytes((runs_dir / "folds.csv").read_bytes())
    (alone / "folds-test.csv").write_bytes((runs_dir / "folds-test.csv").read_bytes())
    for fold in (0, 1):
        words = ["--fold", str(fold), *RECIPE, "--data", str(competition_dir), "--runs", str(alone)]
        subprocess.run([sys.executable, "-m", "fer_kit.train", *words], env=environ, check=True, capture_output=True)
        assert products(runs_dir / f"deep_v3-t/fold{fold}") == products(alone / f"deep_v3-t/fold{fold}")
    assert json.loads((runs_dir / "sweeps/deep_v3-t.json").read_text())["trainings"]


def test_one_fold_takes_no_at_once(capsys):
    assert train_main(["--fold", "0", "--at-once", "2"]) == 2
    assert "--at-once 2" in capsys.readouterr().err


@pytest.mark.slow
def test_folds_that_stop_after_an_epoch_have_not_failed_and_go_on(competition_dir, runs_dir, capfd):
    words = ["--folds", "0,1", *RECIPE, "--data", str(competition_dir), "--runs", str(runs_dir)]
    assert train_main([*words, "--stop-after", "1"]) == 0
    told = capfd.readouterr().out
    assert "deep_v3-t fold 1: trained until epoch 1" in told and "FAILED" not in told
    assert "2 trained until epoch 1, 0 failed, after" in told
    assert train_main([*words, "--stop-after", "1"]) == 0
    assert "deep_v3-t fold 0: trained until epoch 1 already" in capfd.readouterr().out
    assert not list(runs_dir.glob("deep_v3-t/fold*/result.json"))
    assert train_main(words) == 0
    assert len(list(runs_dir.glob("deep_v3-t/fold*/result.json"))) == 2
