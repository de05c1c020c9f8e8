"""The table of results is that of the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_kit.config import recipes
from fer_kit.config.recipes_timm import PREFIX, READY
from fer_kit.config.results import CPU_FP32_MS, CPU_MS, ON_SOFT_TARGETS, RESULTS

RECORDS = Path(__file__).resolve().parents[1] / "benchmarks" / "records" / "real_faces"


def accuracy_of(records: list[dict[str, Any]]) -> float:
    """Over the rows of all folds."""
    rows = sum(record["oof_rows"] for record in records)
    return float(sum(record["oof_accuracy"] * record["oof_rows"] for record in records) / rows)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_each_result_is_that_of_its_records(name):
    records = [json.loads(path.read_text()) for path in sorted(RECORDS.glob(f"{name}-fold*.json"))]
    assert bool(records) == (name in RESULTS)
    if records:
        found = RESULTS[name]
        assert found.folds == len(records)
        assert found.oof_accuracy == pytest.approx(accuracy_of(records), abs=5e-5)
        seconds = [record["seconds_an_epoch"] for record in records]
        assert found.minutes_an_epoch == pytest.approx(sum(seconds) / len(records) / 60, abs=5e-3)
        assert found.epochs == pytest.approx(sum(record["epochs_trained"] for record in records) / len(records))
        assert {record["device"] for record in records} == {found.device}


# names of the records on soft targets of each recipe
SOFT = {"air": "air_again_five", "vgg_medium": "vgg_medium_again", "air_large": "air_wide_again"}


def test_results_on_soft_targets_are_those_of_the_records():
    assert ON_SOFT_TARGETS.keys() == SOFT.keys()
    for name, found in ON_SOFT_TARGETS.items():
        records = [json.loads(path.read_text()) for path in sorted(RECORDS.glob(f"{SOFT[name]}-fold*.json"))]
        assert (found.folds, found.oof_accuracy) == (len(records), round(accuracy_of(records), 4)), name


def test_the_default_recipe_is_the_most_accurate_on_the_folds_of_each_other_recipe():
    def accuracy(recipe: str, fold: int) -> float:
        return float(json.loads((RECORDS / f"{recipe}-fold{fold}.json").read_text())["oof_accuracy"])

    for name, one in RESULTS.items():
        theirs, ours = (sum(accuracy(recipe, fold) for fold in range(one.folds)) for recipe in (name, recipes.DEFAULT))
        assert name == recipes.DEFAULT or theirs < ours, name


def test_results_were_trained_with_the_settings_of_the_recipe():
    """vgg_tiny was trained before it had its name, which is part of the digest."""
    for name in set(RESULTS) - {"vgg_tiny"}:
        for fold in range(RESULTS[name].folds):
            record = json.loads((RECORDS / f"{name}-fold{fold}.json").read_text())
            assert record["config_digest"] == recipes.get(name).digest, name


def test_there_is_no_result_without_a_recipe():
    assert set(RESULTS) | set(ON_SOFT_TARGETS) <= set(recipes.RECIPES)


def test_times_of_an_image_are_those_of_the_record():
    record = json.loads((RECORDS.parent / "bench_recipe_time.json").read_text())["recipes"]
    assert {name: found["cpu_ms_an_image"] for name, found in record.items()} == CPU_MS
    record = json.loads((RECORDS.parent / "bench_recipe_time_fp32.json").read_text())["recipes"]
    assert {name: found["cpu_ms_an_image"] for name, found in record.items()} == CPU_FP32_MS
    assert {found["precision"] for found in record.values()} == {"fp32"} and set(CPU_FP32_MS) == set(recipes.RECIPES)
    assert set(CPU_MS) == {*recipes.RECIPES, *(PREFIX + network for network in READY)}
