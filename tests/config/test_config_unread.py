"""Settings that a run would not read are refused when they are changed, and only then."""

from __future__ import annotations

import pytest

from fer_kit.config import recipes, train_config
from fer_kit.config.train_config import TYPES, override
from fer_kit.train import __main__ as train


def resolved(*words: str):
    return train.resolve(train.build_parser().parse_args(["--fold", "0", "--tag", "t", *words]))[0]


@pytest.mark.parametrize(
    ("recipe", "setting", "needed"),
    [
        ("attention", "warmup_epochs=3", "set schedule=cosine too"),
        ("residual", "plateau_factor=0.3", "set schedule=plateau too"),
        ("residual", "plateau_patience_epochs=2", "set schedule=plateau too"),
        ("residual", "watch_frac=0.2", "set early_stop_epochs=5 or schedule=plateau too"),
        ("vgg_tiny", "momentum=0.8", "set optimizer=sgd too"),
        ("residual", "focal_gamma=1", "set loss=focal too"),
        ("deep_v1", "edges=reflection", "set one of rotation_deg, shift_frac, scale_frac, shear_deg too"),
    ],
)
def test_a_change_that_does_nothing_is_refused(recipe, setting, needed, capsys):
    assert train.main(["--fold", "0", "--recipe", recipe, "--set", setting, "--tag", "t"]) == 2
    error = capsys.readouterr().err
    name = setting.partition("=")[0]
    assert error.count("\n") == 1 and f"--set {name}=" in error and error.strip().endswith(needed)


def test_with_what_reads_it_or_as_the_recipe_has_it_a_setting_is_taken():
    assert resolved("--recipe", "attention", "--set", "warmup_epochs=3", "schedule=cosine").warmup_epochs == 3
    assert resolved("--recipe", "vgg_tiny", "--set", "momentum=0.8", "optimizer=sgd").momentum == 0.8
    assert resolved("--recipe", "attention", "--set", "warmup_epochs=0").warmup_epochs == 0
    assert resolved("--recipe", "residual", "--set", "schedule=plateau").warmup_epochs == 1  # the recipe's, not typed


def test_the_names_are_settings_and_every_recipe_reads_most_of_them():
    assert set(train_config.READ) <= set(TYPES)
    for name, (reads, _) in train_config.READ.items():
        assert any(reads(config) for config in recipes.RECIPES.values()) or name == "focal_gamma"
    assert train_config.READ["focal_gamma"][0](override(recipes.get("residual"), ["loss=focal"]))
