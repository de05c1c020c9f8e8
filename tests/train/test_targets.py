"""Training on soft targets: in the config by name and digest, in the loss by share, test rows joining in."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from fer_kit.config import recipes, recipes_timm
from fer_kit.config.train_config import from_json, override
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import deal, splits
from fer_kit.runs import folders, predictions, soft_targets
from fer_kit.runs.soft_targets import SoftTargets
from fer_kit.train import __main__ as train
from fer_kit.train import rows as training_rows

# of runs that exist: a new setting must not change them
DIGESTS = {
    "baseline_v1": "0010394fdb3922bb",
    "baseline_v2": "9e0f80229461d0f1",
    "deep_v1": "3c164072323d2041",
    "deep_v2": "fb6f03e8f21af52f",
    "deep_v3": "290dc4954d2d3db6",
    "attention": "5ff3730073de9545",
    "residual": "045e860856565c48",
    "residual_tiny": "0382f15e8fdf8f3c",
    "vgg_tiny": "bda543fc0db008b6",
    "vgg_small": "32870811e1abed42",
    "vgg_medium": "e77291bd9a3b48cc",
    "air_small": "cc6e507138f01a97",
    "air": "47bcde9195379227",
    "air_large": "3be7a82c49af37ea",
    "vgg": "613c9aefeb049eec",
    "wide": "fe6239e74201a944",
    "convnext": "68efa03e63c37d6b",
    "timm/resnet50": "7b32943d2ea44ced",
    "timm/efficientnet_b0": "5d60c795f2d3face",
    "timm/convnextv2_nano": "6873c397ddc8e98d",
    "timm/vit_small_patch16_224": "65e289ce8a20c670",
    "timm/swin_tiny_patch4_window7_224": "589c9d2f3b836393",
    "timm/vit_base_patch16_clip_224": "737d2a5eaf788fa5",
    "timm/vit_large_patch14_clip_224": "b3fa858774524ad2",
    "timm/tf_efficientnet_lite0": "8b4055183c2feeef",
    # not made ready: the values of families, and of none
    "timm/beit_base_patch16_224": "f864ab399477de3d",
    "timm/mobilenetv3_small_100": "b890af30151e3ba0",
    "timm/resnet18": "3f23489b51a98af5",
}
NAME = "soft@0123456789abcdef"


def shares(rows, seed=0, students=1):
    drawn = np.random.default_rng(seed).dirichlet(np.ones(7), (students, rows))
    return drawn.astype(np.float32)


TRAIN = shares(360)


@pytest.fixture
def made(runs_dir, competition_dir):
    """Targets for the drawn competition, and a way to write others."""
    table = deal.read(runs_dir / "folds.csv")
    digest = loading.load(competition_dir, runs_dir / "cache").digest

    def write(name="soft", train=TRAIN, test=None, **changes):
        meta = {
            "schema": 1,
            "name": name,
            "scheme": "oof",
            "teachers": {},
            "folds": 3,
            "folds_digest": table.digest,
            "data_digest": digest,
        }
        path = runs_dir / "targets" / f"{name}.npz"
        soft_targets.write(path, SoftTargets(train, test, {**meta, **changes}))
        return path

    return write


@pytest.mark.parametrize("name", DIGESTS)
def test_recipes_without_targets_keep_their_digest(name):
    recipe = recipes.get(name)
    assert recipe.digest.startswith(DIGESTS[name])
    assert not {"targets", "targets_share"} & set(recipe.to_json())
    assert from_json(recipe.to_json(), "config.json") == recipe


def test_every_recipe_is_pinned():
    assert {*recipes.RECIPES, *(recipes_timm.PREFIX + name for name in recipes_timm.READY)} <= set(DIGESTS)


def test_targets_are_part_of_the_digest():
    with_targets = override(recipes.get("deep_v1"), [f"targets={NAME}"])
    assert from_json(json.loads(json.dumps(with_targets.to_json())), "config.json") == with_targets
    other = override(recipes.get("deep_v1"), [f"targets={NAME}", "targets_share=0.3"])
    assert len({recipes.get("deep_v1").digest, with_targets.digest, other.digest}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["targets=some.npz"], r"targets='some.npz' .* as --set targets=FILE"),
        (["targets_share=0.3"], r"targets_share=0\.3 .*targets=FILE"),
        ([f"targets={NAME}", "targets_share=2"], r"targets_share=2.0 is out of range; give a float from 0.0 to 1.0"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(FerKitError, match=message):
        override(recipes.get("deep_v1"), settings)


def test_the_name_hangs_on_the_content_and_not_on_the_path(made, tmp_path):
    path = made()
    copy = shutil.copy(path, tmp_path / "elsewhere.npz")
    assert soft_targets.named(f"targets={path}")[0] == soft_targets.named(f"targets={copy}")[0]
    assert soft_targets.named("lr=1") == ("lr=1", None)
    setting, _ = soft_targets.named(f"targets={path}")
    other = made("soft", shares(360, seed=1))
    assert soft_targets.named(f"targets={other}")[0] != setting
    with pytest.raises(FerKitError, match="not the targets soft@.* of this run; "):
        soft_targets.open_named(other, setting.removeprefix("targets="))


def rows_of(runs_dir, competition_dir, soft, fold=1, settings=()):
    competition = loading.load(competition_dir, runs_dir / "cache")
    table = deal.read(runs_dir / "folds.csv")
    config = override(recipes.get("residual"), [f"targets={NAME}", *settings])
    split = splits.split(table, fold, config)
    rows = training_rows.gather(config, fold, split, competition, table, soft, torch.device("cpu"))
    return rows, split, competition


def test_a_target_is_the_label_and_the_teachers_shares(made, runs_dir, competition_dir):
    soft = soft_targets.read(made())
    rows, split, competition = rows_of(runs_dir, competition_dir, soft, settings=["targets_share=0.25"])
    expected = 0.75 * np.eye(7)[competition.train.labels[split.train]] + 0.25 * soft.train[0][split.train]
    np.testing.assert_allclose(rows.targets.numpy(), expected, rtol=1e-6)
    assert rows.test_rows == 0
    np.testing.assert_array_equal(rows.images.numpy(), competition.train.images[split.train])


def test_each_student_gets_its_own_and_test_rows_join_in(made, runs_dir, competition_dir):
    train, test = shares(360, students=4), shares(90, seed=2, students=4)
    test[1, 3:] = np.nan
    soft = soft_targets.read(made(train=train, test=test))
    for fold, student, joined in ((0, 0, 90), (1, 1, 3), ((), 3, 90)):
        rows, split, competition = rows_of(runs_dir, competition_dir, soft, fold, ["targets_share=1.0"])
        assert rows.test_rows == joined
        np.testing.assert_allclose(rows.targets[: len(split.train)].numpy(), train[student][split.train], rtol=1e-6)
        np.testing.assert_array_equal(rows.targets[len(split.train) :].numpy(), test[student][:joined])
        np.testing.assert_array_equal(rows.images[len(split.train) :].numpy(), competition.test.images[:joined])
        assert rows.labels[-1] == test[student][joined - 1].argmax()


def test_what_does_not_fit_is_refused(made, runs_dir, competition_dir):
    gaps = shares(360)
    gaps[0, 5] = np.nan
    with pytest.raises(
        FerKitError, match=r"targets soft@0123456789abcdef: no target for row 5 of train.csv \(1 such rows\)"
    ):
        rows_of(runs_dir, competition_dir, soft_targets.read(made(train=gaps)), fold=())
    with pytest.raises(FerKitError, match="made with folds another, not "):
        rows_of(runs_dir, competition_dir, soft_targets.read(made(folds_digest="another")))
    with pytest.raises(FerKitError, match="--set targets=.*--fold"):
        rows_of(runs_dir, competition_dir, soft_targets.read(made()), fold=(0, 1))
    for bad, message in (
        (shares(360) * 2, "not probabilities"),
        (shares(360, students=2), r"train is float32 of shape \(2, 360, 7\), allowed is float32 \(1 or 4, rows, 7\)"),
    ):
        with pytest.raises(FerKitError, match=message):
            made(train=bad)
    atomic.write_text(runs_dir / "x.npz", "no archive")
    with pytest.raises(FerKitError, match="x.npz: not a file of targets"):
        soft_targets.read(runs_dir / "x.npz")


@pytest.mark.slow
def test_the_command_trains_on_them_and_resumes_with_the_same_alone(made, runs_dir, competition_dir, capsys):
    """Teachers who always answer Neutral make a student who answers Neutral, mixup or not."""
    neutral = np.zeros((1, 360, 7), np.float32)
    neutral[..., 6] = 1
    path = made(train=neutral, test=shares(90, students=4))
    command = ["--recipe", "baseline_v1", "--data", str(competition_dir), "--runs", str(runs_dir), "--fold", "0"]
    settings = ["--set", f"targets={path}", "targets_share=1", "epochs=2", "early_stop_epochs=0", "mixup_alpha=0.2"]
    command += [*settings, "--tag", "student", "--device", "cpu"]
    assert train.main([*command, "--dry-run"]) == 0
    assert "targets                  soft@" in capsys.readouterr().out
    assert train.main([*command, "--limit-minutes", "1e-9"]) == 0
    assert "90 test rows with pseudo-labels" in capsys.readouterr().out
    made(train=shares(360))
    assert train.main([*command, "--resume"]) == 2
    assert "baseline_v1-student/fold0 was started with targets=soft@" in capsys.readouterr().err
    made(train=neutral, test=shares(90, students=4))
    assert train.main([*command, "--resume"]) == 0
    folder = folders.fold_folder(runs_dir, "baseline_v1-student", 0)
    config = json.loads((folder / "config.json").read_text())
    assert config["targets"] == f"soft@{atomic.sha256_of(path)[:16]}"
    oof = predictions.read(folder / "oof.npz")
    assert (oof.logits.argmax(axis=1) == 6).mean() > 0.9
    assert train.main([*command[:-4], "--smoke", "--device", "cpu"]) == 0
