"""A network of your own, from training to blending; tied to the source file that it was trained with."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from torch import nn

import fer_kit
from fer_kit.evaluate import __main__ as evaluate
from fer_kit.predict import __main__ as predict
from fer_kit.train import __main__ as train
from kernels import __main__ as kernels

CODE = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 8, stride=8), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 36, 7)

    def forward(self, faces):
        return self.head(self.body(faces))
"""
SHORT = {"epochs": 2, "limit_rows": 64, "batch_size": 32, "early_stop_epochs": 0}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The module `tiny_net_for_test` in the current folder."""
    (tmp_path / "tiny_net_for_test.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    yield __import__("tiny_net_for_test")
    sys.modules.pop("tiny_net_for_test", None)


@pytest.mark.slow
def test_an_own_network_goes_all_the_way(module, competition_dir, runs_dir, capsys):
    place = {"data": competition_dir, "runs": runs_dir, "device": "cpu"}
    options = {"model": module.Tiny, "settings": SHORT, "tag": "own", **place}
    stopped = fer_kit.train("baseline_v1", fold=0, limit_minutes=1e-6, **options)
    assert not stopped.finished and stopped.accuracy is None and len(stopped.history) == 1
    trained = [fer_kit.train("baseline_v1", fold=fold, resume=True, **options) for fold in range(3)]
    assert all(one.finished for one in trained) and "after epoch 1 of 2" in capsys.readouterr().out
    name, _, digest = trained[0].config.model.partition("@")
    assert name == "tiny_net_for_test:Tiny" and len(digest) == 16

    data = fer_kit.load_data(competition_dir, runs=runs_dir)
    model = fer_kit.load_model("baseline_v1-own", runs=runs_dir, device="cpu")
    stored = fer_kit.test_predictions("baseline_v1-own", runs=runs_dir).iloc[:, 1:8]
    np.testing.assert_allclose(model(data.test.images), stored, atol=1e-6)
    words = ["--runs", str(runs_dir), "--data", str(competition_dir)]
    assert predict.main(["baseline_v1-own", "--views", "none", *words, "--device", "cpu"]) == 0
    assert evaluate.main(["baseline_v1-own", "baseline_v1-own-none", *words]) == 0
    blend = fer_kit.blend("both", ["baseline_v1-own", "baseline_v1-own-none"], runs=runs_dir, method="mean")
    assert blend.weights == {"baseline_v1-own": 0.5, "baseline_v1-own-none": 0.5}

    (runs_dir.parent / "tiny_net_for_test.py").write_text(CODE.replace("ReLU", "GELU"))
    with pytest.raises(fer_kit.FerKitError, match=r"tiny_net_for_test.py changed since this run .* --tag"):
        fer_kit.load_model("baseline_v1-own", runs=runs_dir)


def test_the_command_line_records_the_digest_and_refuses_another_file_on_resume(
    module, competition_dir, runs_dir, capsys
):
    words = ["--recipe", "baseline_v1", "--set", "model=tiny_net_for_test:Tiny", "epochs=2", "limit_rows=64", "--tag"]
    words += ["own", "--fold", "0", "--data", str(competition_dir), "--runs", str(runs_dir), "--device", "cpu"]
    assert train.main([*words, "--dry-run"]) == 0
    assert "network  tiny_net_for_test:Tiny@" in capsys.readouterr().out
    assert train.main([*words, "--limit-minutes", "1e-6"]) == 0
    (runs_dir.parent / "tiny_net_for_test.py").write_text(CODE + "\n")
    assert train.main([*words, "--resume"]) == 2
    assert "with model=tiny_net_for_test:Tiny@" in capsys.readouterr().err


def test_an_own_network_stays_at_home(capsys):
    assert kernels.main(["build", "--owner", "player", "--set", "model=mine:Net", "--tag", "x"]) == 2
    assert "--set model=mine:Net: a kernel does not include networks of your own" in capsys.readouterr().err


def test_a_class_that_no_later_process_could_import_is_refused():
    class Local(nn.Module):
        pass

    with pytest.raises(fer_kit.FerKitError, match=r"move the class into a file"):
        fer_kit.train("baseline_v1", fold=0, model=Local, tag="x")
