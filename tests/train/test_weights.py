"""Fine-tuning from the command line: begun, stopped, gone on without the file, blended and explained."""

from __future__ import annotations

import json
import re

import huggingface_hub.constants
import pytest

from ensembles import blend
from fer_kit.config import recipes
from fer_kit.evaluate import __main__ as evaluate
from fer_kit.explain import __main__ as explain
from fer_kit.files import atomic
from fer_kit.runs import folders
from fer_kit.train import __main__ as train
from fer_kit.train import fold as train_fold
from fer_kit.train.request import resolve
from submissions import __main__ as submissions
from tests.helpers.timm_files import RESNET, rgb, safetensors_file

SMALL = ("--recipe", RESNET, "--set", "image_px=32", "batch_size=64", "epochs=2", "precision=fp32", "--tag", "x")
RUN = "timm_test_resnet-x"


@pytest.fixture
def go(competition_dir, runs_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def train_with(*argv: str) -> int:
        return train.main([*argv, "--data", str(competition_dir), "--runs", str(runs_dir), "--device", "cpu"])

    return train_with


@pytest.fixture
def weights(tmp_path):
    return safetensors_file(tmp_path / "w.safetensors", rgb(RESNET))


@pytest.mark.slow
def test_three_folds_become_a_submission(go, weights, runs_dir, competition_dir, tmp_path, capsys):
    for fold in "012":
        assert go("--fold", fold, *SMALL, "--weights", str(weights)) == 0
    out = capsys.readouterr().out
    assert "weights w.safetensors@" in out
    assert re.search(r"warm-up: .*warmup_epochs=2", out)
    assert folders.status(runs_dir, RUN).complete
    assert atomic.read_json(runs_dir / RUN / "fold0" / "config.json")["weights"].startswith("w.safetensors@")
    where = ["--runs", str(runs_dir)]
    assert blend.main(["first", "--members", RUN, *where]) == 0
    assert evaluate.main([RUN, *where, "--data", str(competition_dir)]) == 0
    assert explain.main([RUN, "--faces", "1", "--average", "1", *where, "--data", str(competition_dir)]) == 0
    assert (runs_dir / "explain" / f"{RUN}-fold0" / "right.png").exists()
    assert submissions.main(["build", RUN, *where, "--data", str(competition_dir), "--out", str(tmp_path / "s")]) == 0

    # and the run is where another starts from, each fold from its own
    again = [*SMALL[:-1], "again", "--weights", str(runs_dir / RUN)]
    assert go("--fold", "1", *again) == 0
    assert f"weights {RUN}@" in capsys.readouterr().out
    assert go("--fold", "1", *SMALL[:-1], "leak", "--weights", str(runs_dir / RUN / "fold0/model.safetensors")) == 2
    assert "were trained on rows that fold 1 holds out" in capsys.readouterr().err
    assert not (runs_dir / "timm_test_resnet-leak" / "fold1" / "config.json").exists()


@pytest.mark.slow
def test_a_stopped_run_goes_on_without_its_file_to_the_same_bits(go, weights, runs_dir, monkeypatch, capsys):
    assert go("--fold", "0", *SMALL, "--weights", str(weights)) == 0
    straight = atomic.read_json(runs_dir / RUN / "fold0" / "result.json")["test_sha256"]
    for path in (runs_dir / RUN / "fold0").iterdir():
        path.unlink()
    monkeypatch.setattr(train_fold, "out_of_time", lambda *_: True)
    assert go("--fold", "0", *SMALL, "--weights", str(weights), "--limit-minutes", "9", "--restart") == 0
    monkeypatch.undo()
    weights.unlink()
    assert (runs_dir / RUN / "fold0" / "last.pt").exists()
    assert go("--fold", "0", *SMALL, "--weights", str(weights), "--resume") == 0
    assert atomic.read_json(runs_dir / RUN / "fold0" / "result.json")["test_sha256"] == straight


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--recipe", RESNET], "error: weights=hub: the weights of timm/test_resnet "),
        (
            ["--recipe", RESNET, "--weights", "none"],
            "--weights none changes the recipe; name the changed run with --tag",
        ),
        (
            ["--recipe", RESNET, "--weights", "none", "--tag", "x"],
            "freeze_epochs=1",
        ),
        (["--recipe", "timm/test_resnot", "--weights", "hub"], "(did you mean 'test_resnet'?)"),
        (["--recipe", "timm/resnet 50"], "give timm/ and the name of a network of timm"),
        (["--recipe", "deep_v1", "--weights", "hub", "--tag", "x"], "weights=hub: deep_v1 is not a network of timm"),
    ],
)
def test_nothing_is_begun_with_weights_that_are_not_there(go, runs_dir, argv, words, capsys):
    assert go("--fold", "0", *argv) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(runs_dir.glob("*/fold0/config.json"))


def test_a_network_of_ours_can_be_frozen_while_its_head_learns_anew(weights, capsys):
    words = ["--fold", "0", "--recipe", "residual", "--weights", str(weights), "--tag", "t", "--set", "freeze_epochs=2"]
    config = resolve(train.request_of(train.build_parser().parse_args(words))).config
    assert config.freeze_epochs == 2 and config.weights.startswith("w.safetensors@")


def test_a_network_of_timm_in_a_recipe_of_ours_says_what_it_starts_from(go, runs_dir, capsys):
    words = ["--fold", "0", "--recipe", "residual", "--tag", "t", "--set", f"model={RESNET}"]
    assert go(*words) == 2
    told = f"--set model={RESNET} does not say which weights to start from; add --weights hub, FILE or none"
    assert told in capsys.readouterr().err
    config = resolve(train.request_of(train.build_parser().parse_args([*words, "--weights", "none"]))).config
    assert (config.model, config.weights) == (RESNET, "")


@pytest.mark.slow
def test_a_dry_run_shows_what_was_switched_off(go, capsys):
    off = ["--weights", "none", "--set", "freeze_epochs=0", "drop_path_prob=0", "--tag", "s", "--dry-run"]
    assert go("--fold", "0", "--recipe", "timm/convnextv2_nano", *off) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = {words[0]: words[1:] for words in lines if len(words) > 1}
    assert told["freeze_epochs"][0] == "0" and float(told["drop_path_prob"][0]) == 0
    assert told["weights"] == ["(recipe:", "hub)"]


def test_random_weights_are_said_to_be(go, runs_dir, capsys):
    changed = [*SMALL[:-2], "freeze_epochs=0", "epochs=1", "--tag", "none", "--weights", "none"]
    changed.remove("epochs=2")
    assert go("--fold", "0", *changed) == 0
    assert "weights random (--weights none)" in capsys.readouterr().out
    assert "weights" not in json.loads((runs_dir / "timm_test_resnet-none" / "fold0" / "config.json").read_text())


def test_families_and_ready_recipes():
    r50, tagged = recipes.get("timm/resnet50"), recipes.get("timm/resnet50.ram_in1k")
    assert (r50.model, tagged.model) == ("timm/resnet50.a1_in1k", "timm/resnet50.ram_in1k")
    assert r50.digest != tagged.digest and r50.weights == "hub" and r50.recipe == "timm/resnet50"
    assert recipes.get("timm/vit_base_patch16_224").layer_decay < 1 == recipes.get("timm/densenet121").layer_decay
    for name in ("resnet50", "efficientnet_b0", "convnextv2_nano", "vit_small_patch16_224"):
        ready = recipes.get(f"timm/{name}")
        assert "." in ready.model and ready.schedule == "cosine" and not ready.watches
    assert folders.run_name("timm/resnet50", "big") == "timm_resnet50-big"
