"""`fer-kit recipes` and `fer-kit settings`: what they print, as text and JSON, and the page made of the table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fer_kit.config import recipes
from fer_kit.config.networks import NETWORKS
from fer_kit.config.recipes_timm import READY
from fer_kit.config.results import CPU_MS, ON_SOFT_TARGETS, RESULTS
from fer_kit.config.settings import TABLE
from fer_kit.listing import recipes as list_recipes
from fer_kit.listing import settings as list_settings
from tests.helpers.source_tree import HEAVY

ROOT = Path(__file__).resolve().parents[2]


def test_every_recipe_has_a_line_with_its_size_and_accuracy(capsys):
    assert list_recipes.main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(recipes.RECIPES) <= set(lines)
    assert "1.53 M" in lines["residual"] and "65.10%" in lines["residual"]
    assert "%" not in lines["convnext"]
    assert "air 68.98% (5 folds)" in lines["On"]
    for name in (*recipes.RECIPES, *(f"timm/{network}" for network in READY)):
        assert f" {list_recipes.milliseconds(CPU_MS[name])} " in f"{lines[name]} "


def test_recipes_as_json(capsys):
    assert list_recipes.main(["vgg_*", "--json"]) == 0
    tiny, small, medium = json.loads(capsys.readouterr().out)
    assert [one["recipe"] for one in (tiny, small, medium)] == ["vgg_tiny", "vgg_small", "vgg_medium"]
    assert medium["oof_accuracy_on_soft_targets"] == ON_SOFT_TARGETS["vgg_medium"].oof_accuracy
    assert small["folds_on_soft_targets"] is None
    assert tiny["parameters"] == NETWORKS["vgg"].costs[0.2].parameters
    assert tiny["oof_accuracy"] == RESULTS["vgg_tiny"].oof_accuracy


@pytest.mark.parametrize("pattern", ["vgg_tin", "timm/no_such_network*"])
def test_a_pattern_that_nothing_fits_is_refused(pattern, capsys):
    assert list_recipes.main([pattern]) == 2
    assert pattern.removeprefix("timm/") in capsys.readouterr().err


def test_networks_of_timm_are_listed_and_counted_where_few(capsys):
    assert list_recipes.main(["timm/resnet1?", "--json"]) == 0
    found = {row["recipe"]: row for row in json.loads(capsys.readouterr().out)}
    assert 11_000_000 < found["timm/resnet18"]["parameters"] < 11_300_000  # one grey channel, seven classes
    assert list_recipes.main(["timm/*resnet*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "timm/resnet50" in lines and len(lines) > 50


def test_every_setting_is_listed_with_its_default(capsys):
    assert list_settings.main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert set(lines) == set(TABLE)
    assert "0.001" in lines["lr"] and "schedule=cosine" in lines["warmup_epochs"]


def test_one_setting_is_shown_with_all_that_is_known(capsys):
    assert list_settings.main(["focal_gamma"]) == 0
    shown = capsys.readouterr().out
    assert "0 to 10" in shown and "2.0" in shown and "loss=focal" in shown
    assert list_settings.main(["focal_gama"]) == 2
    assert "did you mean 'focal_gamma'?" in capsys.readouterr().err


def test_settings_as_json(capsys):
    assert list_settings.main(["*_prob", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["drop_path_prob", "flip_prob", "erase_prob"]
    assert rows[1]["limits"] == [0.0, 1.0] and rows[1]["default"] == 0.0


def test_the_page_is_that_of_the_table():
    """Make it again with `fer-kit settings --markdown > docs/settings.md`."""
    assert (ROOT / "docs" / "settings.md").read_text() == list_settings.markdown(list(TABLE.values()))


def test_listing_loads_nothing_heavy(tmp_path):
    (tmp_path / "runs").mkdir()
    program = f"""
import sys
from fer_kit.__main__ import main
for words in (["recipes"], ["settings"], ["settings", "lr"], ["runs"], ["completion", "bash"]):
    assert main(words) == 0, words
print("loaded:", sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
