"""The table of costs is that of the networks, and a dry run prints it."""

from __future__ import annotations

import pytest

from fer_kit.config import recipes
from fer_kit.config.networks import NETWORKS, Cost
from fer_kit.config.train_config import TrainConfig, override
from fer_kit.models import cost
from fer_kit.train import __main__ as train

COSTS = {(name, width): cost for name, row in NETWORKS.items() for width, cost in row.costs.items()}


@pytest.mark.parametrize(("name", "width_mult"), COSTS)
def test_the_table_is_true(name, width_mult):
    config = TrainConfig(recipe=name, model=name, width_mult=width_mult, epochs=1)
    assert COSTS[name, width_mult] == cost.measure(config)


def test_the_table_has_every_recipe_of_ours():
    """So that a dry run of them is quick: it does not load torch."""
    assert {(recipe.model, recipe.width_mult) for recipe in recipes.RECIPES.values()} <= set(COSTS)


def test_a_multiply_add_counts_two():
    """baseline_v1 by hand: 25·1·32 at 48×48, 25·32·64 at 24×24, and three dense layers."""
    multiply_adds = 25 * 32 * 48**2 + 25 * 32 * 64 * 24**2 + 9216 * 128 + 128 * 7
    assert COSTS["baseline_v1", 1.0].flops == 2 * multiply_adds
    assert str(Cost(1_528_143, 284_491_264)) == ("1.53 M parameters, 0.284 GFLOPs an image (2 for each multiply-add)")


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_dry_run_says_what_the_network_costs(name, competition_dir, runs_dir, capsys):
    words = ["--fold", "0", "--recipe", name, "--dry-run", "--data", str(competition_dir), "--runs", str(runs_dir)]
    assert train.main(words) == 0
    recipe = recipes.get(name)
    shown = capsys.readouterr().out
    assert "GFLOPs an image (2 for each multiply-add)" in shown
    assert f"network  {recipe.model}: {cost.measure(recipe)}\n" in shown


def test_a_dry_run_counts_a_narrower_network_as_it_is_built(competition_dir, runs_dir, capsys):
    words = ["--recipe", "residual", "--set", "width_mult=0.5", "--tag", "half", "--fold", "0", "--dry-run"]
    assert train.main([*words, "--data", str(competition_dir), "--runs", str(runs_dir)]) == 0
    found = capsys.readouterr().out
    half = cost.measure(override(recipes.get("residual"), ["width_mult=0.5"]))
    assert f"network  residual: {half}" in found and half.parameters < COSTS["residual", 1.0].parameters / 3


def test_a_network_of_timm_is_counted_as_it_is_built():
    """timm's own table has 5.72 M parameters for three channels and 1000 classes, and 1.26 billion multiply-adds."""
    config = TrainConfig(recipe="x", model="timm/vit_tiny_patch16_224", epochs=1, weights="hub")
    found = cost.measure(config)
    assert found.parameters == 5_717_416 - 2 * 16 * 16 * 192 - 993 * (192 + 1)
    assert found.flops == pytest.approx(2 * 1.23e9, rel=0.05)
