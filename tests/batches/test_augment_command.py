"""`--augment FILE` on the command line: trains, resumes, refuses; and pipelines saved to be edited and drawn."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fer_kit import pipelines
from fer_kit.batches import pipeline_file
from fer_kit.batches.augment import normalise
from fer_kit.batches.pipeline_file import V3
from fer_kit.config import recipes, settings
from fer_kit.train import __main__ as train

ROOT = Path(__file__).resolve().parents[2]
# forking a process that has threads is what DataLoader does on Linux; newer Pythons warn
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def command(competition_dir: Path, runs_dir: Path) -> list[str]:
    place = ["--data", str(competition_dir), "--runs", str(runs_dir), "--fold", "1", "--device", "cpu"]
    return [*place, "--recipe", "deep_v3", "--set", "epochs=2", "batch_size=64", "limit_rows=128", "--tag", "a"]


@pytest.mark.slow
def test_the_command_trains_and_resumes_bit_for_bit_with_any_number_of_workers(command, runs_dir, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(pipeline_file.text_of(V3, True))
    folder = runs_dir / "deep_v3-a" / "fold1"
    assert train.main([*command, "--augment", str(path), "--workers", "0"]) == 0
    name = pipeline_file.open_file(str(path)).name
    gone = "flip_prob=0.5, rotation_deg=15, shift_frac=0.1, scale_frac=0.1, shear_deg=5, brightness_frac=0.2"
    assert f"augment  {name}, instead of the recipe's {gone}" in capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    assert config["augment"] == name and not any(config.get(field) for field in settings.REPLACED_BY_PIPELINE)

    command[-1] = "b"
    interrupted = [*command, "--augment", str(path), "--workers", "2"]
    assert train.main([*interrupted, "--limit-minutes", "1e-9"]) == 0
    path.write_text(pipeline_file.text_of(V3, True) + "\n")
    assert train.main([*interrupted, "--resume"]) == 2
    assert f"deep_v3-b/fold1 was started with augment={name}, this command has augment=mine@" in capsys.readouterr().err
    path.write_text(pipeline_file.text_of(V3, True))
    assert train.main([*interrupted, "--resume"]) == 0
    from safetensors import safe_open

    resumed = runs_dir / "deep_v3-b" / "fold1" / "model.safetensors"
    with safe_open(folder / "model.safetensors", "pt") as a, safe_open(resumed, "pt") as b:
        assert all(torch.equal(a.get_tensor(key), b.get_tensor(key)) for key in a.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "lr=1e-3", "--augment", "v4"], "v4: allowed are files .json, .yaml, .yml and the built-in v3"),
        (["--set", "rotation_deg=3", "--augment", "v3"], "takes the place of rotation_deg; set rotation_deg=0 too"),
        (["--augment", "v3", "--workers", "-1"], "--workers -1: give 0 to 256"),
        (["--augment", "v3", "--workers", "100000"], "--workers 100000: give 0 to 256"),
        (["--workers", "3"], "--workers 3: workers run only the pipeline of --augment"),
        (["--set", "augment=mine.json"], "as --augment FILE"),
        (["--set", "augment=v3@0123456789abcdef", "rotation_deg=0"], "takes the place of flip_prob, shift_frac"),
    ],
)
def test_commands_that_are_refused(command, words, message, capsys):
    assert train.main([*command, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_pipeline_can_replace_the_augmentation_of_every_recipe(name):
    config = pipeline_file.in_place(recipes.get(name), pipeline_file.open_file("v3"))
    replaced = [*settings.REPLACED_BY_PIPELINE, "progressive_px"]
    assert config.augment.startswith("v3@") and not any(getattr(config, part) for part in replaced)


def test_a_changed_augmentation_wants_a_name(command, capsys):
    assert train.main([*command[:8], "--augment", "v3"]) == 2
    assert "--augment v3 changes the recipe; name the changed run with --tag NAME" in capsys.readouterr().err


def test_a_pipeline_that_does_not_work_leaves_no_folder(command, runs_dir, tmp_path, capsys):
    path = tmp_path / "mine.json"
    noise = {"__class_fullname__": "ISONoise", "p": 1.0}  # for coloured images
    path.write_text(json.dumps({"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": [noise]}}))
    assert train.main([*command, "--augment", str(path)]) == 2
    assert "mine.json: ISONoise fails on a grey face of 48×48" in capsys.readouterr().err
    assert train.main([*command, "--augment", str(path), "--dry-run"]) == 2
    assert "mine.json: ISONoise fails on a grey face of 48×48" in capsys.readouterr().err
    assert not (runs_dir / "deep_v3-a").exists()


@pytest.mark.slow
def test_albumentations_is_imported_only_where_asked_for_and_then_asks_no_network(command):
    """Left to itself it looks for a newer version of itself when it is imported."""
    program = f"""
import sys, urllib.request
from fer_kit.train import __main__ as train
assert train.main({[*command, "--augment", "v3", "--dry-run"]!r}) == 0
assert "torch" not in sys.modules
import fer_kit.train.fold
assert not {{"albumentations", "cv2"}} & set(sys.modules)

def refuse(*args, **kwargs):
    raise AssertionError("network")

urllib.request.build_opener = refuse
from fer_kit.batches import pipeline, pipeline_file
pipeline.Pipeline(pipeline_file.open_file("v3"))
"""
    words = [sys.executable, "-W", "error::UserWarning", "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "augment                  v3@" in done.stdout and "instead of the recipe's flip_prob=0.5" in done.stdout


def test_a_recipe_without_augmentation_loses_none():
    recipe, file = recipes.get("baseline_v1"), pipeline_file.open_file("v3")
    assert pipeline_file.change_line(recipe, file) == f"augment  {file.name}, and nothing on the device"
    assert pipeline_file.in_place(recipe, file) == dataclasses.replace(recipe, augment=file.name)
    assert float(normalise(torch.zeros(1))) < 0


# --- saving and seeing ----------------------------------------------------------------------------------------------
def test_a_pipeline_is_saved_to_be_edited_and_drawn(competition_dir, tmp_path, capsys):
    place = ["--data", str(competition_dir), "--runs", str(tmp_path / "runs")]
    saved, picture = tmp_path / "mine.yaml", tmp_path / "mine.png"
    assert pipelines.main(["v3", "--out", str(saved)]) == 0
    name = pipeline_file.open_file(str(saved)).name
    assert f"wrote {saved} ({name})" in capsys.readouterr().out and pipeline_file.open_file(str(saved)).content == V3
    assert pipelines.main([str(saved), "--picture", str(picture), *place]) == 0
    assert f"wrote {picture}: each face, then 8 results of {name}" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert pipelines.main(["v3", "--out", str(saved)]) == 2
    assert "mine.yaml: exists already; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["v3"], "--out FILE to save the pipeline, or --picture FILE"),
        (["v3", "--out", "mine.txt"], "--out mine.txt: allowed are files .json, .yaml, .yml"),
        (["v3", "--picture", "mine.jpg"], "--picture mine.jpg: allowed are files .png"),
        (["v4", "--out", "mine.json"], "v4: allowed are files .json, .yaml, .yml and the built-in v3"),
    ],
)
def test_what_cannot_be_saved_or_drawn(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pipelines.main(words) == 2
    assert message in capsys.readouterr().err
