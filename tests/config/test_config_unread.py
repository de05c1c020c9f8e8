"""Settings that have no effect on a run are refused when they are changed, and only then."""

from __future__ import annotations

import pytest

from fer_kit.config import recipes
from fer_kit.config.settings import TABLE
from fer_kit.config.train_config import override
from fer_kit.train import __main__ as train
from fer_kit.train.request import resolve


def resolved(*words: str):
    return resolve(train.request_of(train.build_parser().parse_args(["--fold", "0", "--tag", "t", *words]))).config


@pytest.mark.parametrize(
    ("recipe", "setting", "found", "needed"),
    [
        ("attention", "warmup_epochs=3", "schedule=plateau", "schedule=cosine"),
        ("residual", "plateau_factor=0.3", "schedule=cosine", "schedule=plateau"),
        ("residual", "plateau_patience_epochs=2", "schedule=cosine", "schedule=plateau"),
        ("residual", "watch_frac=0.2", "early_stop_epochs=0", "early_stop_epochs>0 or schedule=plateau"),
        ("vgg_tiny", "momentum=0.8", "optimizer=adamw", "optimizer=sgd"),
        ("residual", "focal_gamma=1", "loss=cross_entropy", "loss=focal"),
        ("deep_v1", "edges=reflection", "rotation_deg=0", "scale_frac>0 or shear_deg>0"),
        ("baseline_v1", "decay_norms=false", "weight_decay=0", "weight_decay>0"),
    ],
)
def test_a_change_without_effect_is_refused(recipe, setting, found, needed, capsys):
    assert train.main(["--fold", "0", "--recipe", recipe, "--set", setting, "--tag", "t"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"--set {setting} has no effect while " in error
    assert f"{found}" in error and error.strip().endswith(needed)


def test_with_what_reads_it_or_as_the_recipe_has_it_a_setting_is_taken():
    assert resolved("--recipe", "attention", "--set", "warmup_epochs=3", "schedule=cosine").warmup_epochs == 3
    assert resolved("--recipe", "vgg_tiny", "--set", "momentum=0.8", "optimizer=sgd").momentum == 0.8
    assert resolved("--recipe", "attention", "--set", "warmup_epochs=0").warmup_epochs == 0
    assert resolved("--recipe", "residual", "--set", "schedule=plateau").warmup_epochs == 1  # the recipe's, not typed


def test_every_condition_can_hold():
    for name, row in TABLE.items():
        if row.used_when:
            assert any(row.is_used(config) for config in recipes.RECIPES.values()) or name in (
                "focal_gamma",
                "targets_share",
            )
    assert TABLE["focal_gamma"].is_used(override(recipes.get("residual"), ["loss=focal"]))
