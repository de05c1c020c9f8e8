"""`fer-kit export`: a file that was compared with the original, and a card; nothing is written that differs."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import fer_kit
from fer_kit.export import __main__ as export
from fer_kit.export import check, faces, onnx_file, write


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fer_kit.export.faces.MOST_CHECKED", 80)
    monkeypatch.setattr("fer_kit.export.int8.CALIBRATION_FACES", 32)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("old", "blend.onnx"),
        ("residual-small", "run.pt2"),
        ("residual-small/fold0", "fold.safetensors"),
        ("residual-small", "run.safetensors"),
    ],
)
def test_files_are_checked_and_get_a_card(source, file, here, old_runs, capsys):
    assert export.main([source, "--runs", str(old_runs), "--out", file]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"checked on drawn faces .*80 faces: largest difference .* 0 labels changed", shown)
    assert f"wrote {file}" in shown
    card = (here / file).with_suffix(".md").read_text()
    assert card.startswith("---\nlicense") and f"`{file}`" in card and "labels changed" in card
    faces = np.random.default_rng(0).integers(0, 256, (9, 48, 48), np.uint8)
    original = fer_kit.load_model(source, runs=old_runs, device="cpu")(faces)
    if file.endswith(".onnx"):
        np.testing.assert_allclose(check.of_onnx(here / file, faces), original, atol=2e-6)
    elif file.endswith(".pt2"):
        np.testing.assert_allclose(check.of_torch(here / file, faces), original, atol=2e-6)
    else:
        np.testing.assert_allclose(fer_kit.load_model(here / file, device="cpu")(faces), original, atol=2e-3)


@pytest.mark.slow
def test_int8_tells_its_loss_and_a_fold_is_checked_on_rows_that_it_held_out(here, old_runs, capsys):
    from fer_kit.synthetic import __main__ as synthetic

    assert synthetic.main(["data", "--rows", "240", "--test-rows", "60"]) == 0  # what the runs were trained on
    words = ["residual-small/fold0", "--runs", str(old_runs), "--data", "data", "--out", "a.onnx", "--int8"]
    assert export.main(words) == 0
    shown = capsys.readouterr().out
    assert "rows that residual-small/fold0 did not train on" in shown
    assert re.search(r"int8 \(calibrated on 32 other faces\), 80 faces: .* accuracy .*before and .*after", shown)
    assert "int8" in (here / "a.md").read_text()


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(here, old_runs, monkeypatch, capsys):
    monkeypatch.setattr(write, "SAME", 0.0)
    monkeypatch.setattr(check, "of_torch", lambda path, faces: np.full((len(faces), 7), 1 / 7))
    assert export.main(["residual-small", "--runs", str(old_runs), "--out", "a.pt2"]) == 2
    assert "a.pt2: not written" in capsys.readouterr().err and not list(here.glob("a.*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "--out", "a.bin"], "--out a.bin: give --format onnx, torch, package"),
        (["a", "--out", "a.pt2", "--format", "onnx"], "ends in .onnx"),
        (["a", "--out", "a.pt2", "--int8"], "--int8 has no effect with --format torch"),
        (["old", "--out", "a.safetensors"], "'old' is a blend"),
        (["none", "--out", "a.onnx"], "no run or blend 'none'"),
        (["residual-small"], "--out"),
    ],
)
def test_usage_errors(words, said, here, old_runs, capsys):
    assert export.main([*words, "--runs", str(old_runs)]) == 2
    assert said in capsys.readouterr().err and not list(here.iterdir())


def test_onnxruntime_sends_no_usage_data(monkeypatch):
    """The variable counts when onnxruntime is imported; one that the user has set stays."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    onnx_file.require()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    onnx_file.require()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


def test_faces_are_named_without_the_path_of_the_data(competition_dir, runs_dir):
    """The words are part of a card, which is published."""
    chosen = faces.choose(None, str(competition_dir), runs_dir, calibration=4)
    assert chosen.what == f"test rows of {competition_dir.name}"
