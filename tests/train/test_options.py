"""Options of the train command beside the settings: seeds, parts of a batch, torch.compile; and resuming techniques."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ensembles import members
from fer_kit.config import recipes
from fer_kit.config.growth import side_of_epoch
from fer_kit.config.train_config import override
from fer_kit.files import atomic
from fer_kit.runs import folders
from fer_kit.train import __main__ as train
from fer_kit.train import job
from fer_kit.train.request import resolve
from tests.helpers import fake_runs
from tests.helpers.trained import products

QUICK = ["--recipe", "baseline_v1", "--device", "cpu"]
EVERYTHING = [
    "epochs=3",
    "batch_size=16",
    "limit_rows=90",
    "early_stop_epochs=0",
    "average_epochs=2",
    "sam_rho=0.05",
    "accumulate=2",
]
EVERYTHING += ["grad_clip_norm=1", "mixup_alpha=0.2", "cutmix_alpha=1", "soft_copies=true", "drop_constant=true"]


@pytest.fixture
def place(competition_dir, runs_dir):
    return ["--data", str(competition_dir), "--runs", str(runs_dir)]


def resolved(*words):
    """Config and name of the run that the words ask for."""
    found = resolve(train.request_of(train.build_parser().parse_args(["--fold", "0", *words])))
    return found.config, found.run


def test_a_seed_names_the_run_and_changes_nothing_else():
    config, run = resolved("--recipe", "attention", "--seed", "3")
    assert run == "attention-seed3" and config == override(recipes.get("attention"), ["seed=3"])
    _, run = resolved("--recipe", "attention", "--set", "lr=1e-4", "--tag", "slow", "--seed", "12")
    assert run == "attention-slow-seed12"
    assert resolved("--recipe", "attention", "--seed", "1", "--smoke")[1] == "attention-seed1-smoke"
    assert resolved("--recipe", "attention")[1] == "attention"


def test_a_batch_in_parts_keeps_the_images_of_a_step():
    for settings, product in (([], 64), (["--set", "batch_size=24", "accumulate=2"], 48)):
        config, _ = resolved("--recipe", "attention", *settings, "--accumulate", "4", "--tag", "parts")
        assert (config.batch_size, config.accumulate) == (product // 4, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--accumulate", "2"], "--accumulate 2 changes the recipe; name the changed run with --tag NAME"),
        (
            ["--accumulate", "3", "--tag", "t"],
            "--accumulate 3: the 64 images of a step cannot be split into 3 equal parts of two or more; give one of "
            "1, 2, 4",
        ),
        (["--accumulate", "64", "--tag", "t"], "--accumulate 64: the 64 images of a step cannot"),
        (["--seed", "-1"], "seed=-1 is out of range; give an int from 0 to 2147483647"),
        (["--seed", "1", "--set", "seed=2", "--tag", "t"], "--seed 1 and --set seed=… both"),
    ],
)
def test_refusals(words, message, capsys):
    assert train.main(["--fold", "0", "--recipe", "attention", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_smoke_run_trains_all_of_the_network():
    config, _ = resolved("--recipe", "timm/resnet50", "--smoke")
    assert recipes.get("timm/resnet50").freeze_epochs > 0 and config.freeze_epochs == 0
    assert 2 * config.warmup_epochs == config.epochs == 1  # as long as it would be cut to


def test_a_smoke_run_shows_faces_of_the_smallest_and_the_full_size():
    config, _ = resolved("--recipe", "air", "--smoke")
    assert [side_of_epoch(epoch, config, 48) for epoch in range(config.epochs)] == [32, 48]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "progressive_px=24"], "progressive_px=24: residual takes images of one size"),
        (["--set", "layer_decay=0.9"], "layer_decay=0.9: residual is not a network of timm"),
        (["--device", "gpu"], "--device gpu: this machine has cpu"),
        (["--device", "cuda"], "--device cuda: this machine has cpu"),
        (["--device", "cuda:1"], "--device cuda:1: this machine has cpu"),
        (["--set", "precision=fp16"], "precision=fp16: cpu computes in "),
    ],
)
def test_a_dry_run_refuses_what_training_would(words, message, place, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.main(["--recipe", "residual", "--fold", "0", *words, "--tag", "t", "--dry-run", *place]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--gpu", " (did you mean '--device cuda'?)"),
        ("--cpu", " (did you mean '--device cpu'?)"),
        ("--limit-minute", " (did you mean '--limit-minutes'?)"),
        ("--quiet", ""),
        ("--json", ""),
        ("--force", ""),
        ("--out", ""),
    ],
)
def test_hints_compare_names_and_no_dashes(word, hint, capsys):
    assert train.main(["--fold", "0", word]) == 2
    assert f"unrecognized arguments: {word}{hint}; see" in capsys.readouterr().err


def test_a_smoke_run_of_a_mean_over_epochs_has_one(place, capsys):
    config, _ = resolved("--recipe", "baseline_v1", "--set", "early_stop_epochs=0", "average_epochs=5", "--smoke")
    assert (config.epochs, config.average_epochs) == (1, 1)


def test_seeds_of_a_recipe_are_one_member_of_a_blend(tmp_path):
    """Known by the configs that --seed leaves; a run with another setting stays by itself."""
    for number, words in enumerate(
        (["--seed", "1"], ["--seed", "2"], ["--seed", "3", "--set", "lr=1e-4", "--tag", "t"])
    ):
        config, run = resolved("--recipe", "attention", *words)
        fake_runs.save_run(tmp_path, run, seed=number, config_digest=config.digest)
        atomic.write_json(tmp_path / run / "fold0" / "config.json", config.to_json())
    names = folders.list_runs(tmp_path)
    assert names == ["attention-seed1", "attention-seed2", "attention-t-seed3"]
    loaded = members.load(tmp_path, [tmp_path / name for name in names])
    merged = {member.name: member for member in members.by_recipe(loaded)}
    assert set(merged) == {"attention-seed1×2", "attention-t-seed3"}

    def shares(logits):
        return torch.from_numpy(logits.astype(np.float64)).softmax(1).numpy()

    mean = (shares(loaded[0].oof.logits) + shares(loaded[1].oof.logits)) / 2
    np.testing.assert_allclose(shares(merged["attention-seed1×2"].oof.logits), mean, atol=1e-6)


@pytest.mark.slow
def test_all_techniques_at_once_resume_bit_for_bit(place, runs_dir, capsys):
    """Stopped before the mean of the last epochs begins, and again inside of it."""
    words = ["--recipe", "baseline_v2", "--device", "cpu", "--set", *EVERYTHING, *place, "--fold", "1"]
    assert train.main([*words, "--tag", "whole"]) == 0
    again = [*words, "--tag", "parts", "--limit-minutes", "0.0001"]
    for epoch in (1, 2):
        assert train.main([*again, "--resume"]) == 0
        assert f"stopped after epoch {epoch}, saved" in capsys.readouterr().out
    assert train.main([*words, "--tag", "parts", "--resume"]) == 0
    whole, parts = (products(runs_dir / f"baseline_v2-{tag}" / "fold1") for tag in ("whole", "parts"))
    assert whole["metrics"] == parts["metrics"]
    one, two = (
        load_file(runs_dir / f"baseline_v2-{tag}" / "fold1" / "model.safetensors") for tag in ("whole", "parts")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    counted = {int(value) for name, value in one.items() if name.endswith("num_batches_tracked")}
    assert counted == {6}  # the statistics of the mean are those of one epoch of 90 rows


@pytest.mark.slow
def test_air_grows_turns_and_resumes_bit_for_bit(place, runs_dir):
    """Muon's state, the size of the faces and the side they are seen from go on as they would have."""
    settings = ["epochs=3", "batch_size=16", "limit_rows=90", "progressive_px=32", "width_mult=0.25"]
    words = ["--recipe", "air_small", "--device", "cpu", "--set", *settings, *place, "--fold", "1"]
    assert train.main([*words, "--tag", "whole"]) == 0
    for _ in range(2):
        assert train.main([*words, "--tag", "parts", "--limit-minutes", "0.0001", "--resume"]) == 0
    assert train.main([*words, "--tag", "parts", "--resume"]) == 0
    whole, parts = (products(runs_dir / f"air_small-{tag}" / "fold1") for tag in ("whole", "parts"))
    assert whole["metrics"] == parts["metrics"]
    one, two = (load_file(runs_dir / f"air_small-{tag}" / "fold1" / "model.safetensors") for tag in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def images_seen(config, rows):
    """The images of epochs 1 to 4 of a job that is nothing but these rows."""
    fake = SimpleNamespace(config=config, rows=SimpleNamespace(images=rows), seed_number=0)
    return [job.images_of(fake, epoch) for epoch in (1, 2, 3, 4)]


def test_alternating_flip_shows_each_face_both_ways_in_turn():
    rows = torch.randint(0, 256, (200, 48, 48), dtype=torch.uint8)
    one, two, three, four = images_seen(override(recipes.get("air_small"), ["progressive_px=0"]), rows)
    assert torch.equal(one, three) and torch.equal(two, four) and torch.equal(one, two.flip(-1))
    straight = (one == rows).flatten(1).all(1)
    assert torch.equal(straight, ~(two == rows).flatten(1).all(1)) and 70 < int(straight.sum()) < 130
    plain = override(recipes.get("air_small"), ["progressive_px=0", "alternate_flip=false", "flip_prob=0.5"])
    assert all(images is rows for images in images_seen(plain, rows))


def test_growing_faces_are_resized_once_an_epoch():
    rows = torch.full((5, 48, 48), 77, dtype=torch.uint8)
    config = override(recipes.get("air_small"), ["progressive_px=32", "epochs=4"])
    assert [images.shape[-1] for images in images_seen(config, rows)] == [32, 40, 40, 48]
    assert all(images.dtype == torch.uint8 and (images == 77).all() for images in images_seen(config, rows))


@pytest.mark.slow
def test_compile_is_for_the_steps_alone_and_recorded(place, runs_dir, monkeypatch, capsys):
    calls = []
    real = torch.compile

    def eager(what, **options):  # no compiler needed, and quick
        made = real(what, backend="eager", **options)
        return made if not isinstance(what, torch.nn.Module) else functools.partial(counted, made)

    def counted(made, x):
        calls.append(len(x))
        return made(x)

    monkeypatch.setattr(torch, "compile", eager)
    words = [*QUICK, "--set", "epochs=1", "early_stop_epochs=0", *place, "--fold", "0", "--tag"]
    assert train.main([*words, "c", "--compile"]) == 0
    assert sum(calls) == 240  # the rows trained on, once: predictions take the network as it is
    folder = runs_dir / "baseline_v1-c" / "fold0"
    assert json.loads((folder / "env.json").read_text())["compile"] is True
    monkeypatch.setattr(torch, "compile", real)
    assert train.main([*words, "plain"]) == 0
    plain = runs_dir / "baseline_v1-plain" / "fold0"
    assert json.loads((plain / "env.json").read_text())["compile"] is False
    assert load_file(folder / "model.safetensors").keys() == load_file(plain / "model.safetensors").keys()


def test_compile_without_a_compiler_says_so(place, monkeypatch, capsys):
    def broken(*args, **options):
        raise RuntimeError("Failed to find C++ compiler. Please specify via CXX environment variable.\n\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    assert train.main([*QUICK, *place, "--fold", "0", "--compile"]) == 2
    error = capsys.readouterr().err
    assert "--compile: " in error and " cpu " in error and "(Failed to find C++ compiler. Please specify via" in error
    assert "install a C++ compiler such as g++, or drop --compile" in error and error.count("\n") == 1
