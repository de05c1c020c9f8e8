"""Scores, times and sizes in README and docs are those of their records."""

from __future__ import annotations

import json
import re
import statistics

import pytest

from fer_kit.config import recipes
from fer_kit.config.results import ON_SOFT_TARGETS
from fer_kit.models import cost
from tests.docs.pages import README, RECORDS, ROOT, rows

RECIPES = ROOT / "docs/recipes.md"
LEADERBOARD = json.loads((RECORDS / "leaderboard.json").read_text())["submissions"]


def trained(run: str) -> list[dict]:
    """The records of a run's folds."""
    return [json.loads(path.read_text()) for path in sorted((RECORDS / "real_faces").glob(f"{run}-fold?.json"))]


def percent(share: float) -> str:
    return f"{share:.2%}"


def numbers(cell: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+\.\d+", cell)]


def test_docs_have_the_costs_of_every_recipe():
    lines = RECIPES.read_text().splitlines()
    for name, recipe in recipes.RECIPES.items():
        found = cost.measure(recipe)
        start = f"| {name} | {found.parameters / 1e6:.2f} M | {found.flops / 1e9:.3f} |"
        assert sum(line.startswith(start) for line in lines) == 1, start


def test_results_of_recipes_are_those_of_the_linked_records():
    table = rows(RECIPES, "| recipe | parameters | GFLOPs an image | fold 0 |")
    assert len(table) >= len(recipes.RECIPES)
    for recipe, _, _, fold_0, folds, epochs, seconds, links in table:
        files = re.findall(r"\((\.\./[^)]+)\)", links)
        if not files:
            missing = "without soft targets" if recipe in ON_SOFT_TARGETS else "on all faces"
            assert fold_0 == f"not yet trained {missing}", recipe
            continue
        found = [json.loads((RECIPES.parent / file).read_text()) for file in files]
        assert [record["fold"] for record in found] == list(range(len(found))), recipe
        assert fold_0 == percent(found[0]["oof_accuracy"]), recipe
        scores = [record["oof_accuracy"] for record in found]
        if len(found) == 5:
            assert folds == f"{statistics.mean(scores):.2%} ± {statistics.stdev(scores):.2%}", recipe
        else:
            assert folds == "", recipe
        trained_epochs = sorted({record["epochs_trained"] for record in found})
        assert epochs == " to ".join(str(n) for n in dict.fromkeys((trained_epochs[0], trained_epochs[-1]))), recipe
        shortest, longest = (f(record["seconds_an_epoch"] for record in found) for f in (min, max))
        assert shortest - 1 < float(seconds.split()[0]) < longest + 1, recipe


def test_scores_of_blends_are_those_of_the_linked_records():
    lines = [line for line in RECIPES.read_text().splitlines() if "[file](../submissions/" in line and "| [" in line]
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        record = json.loads((RECIPES.parent / re.findall(r"\[record\]\(([^)]+)\)", line)[0]).read_text())
        record = record.get("blend", record)
        interval, forecast = record["interval"], record["forecast"]
        assert cells[1] == percent(record["oof_accuracy"]), line
        assert cells[2] == " to ".join(map(percent, interval)), line
        assert cells[3] == percent(forecast["accuracy"]), line
        assert cells[4] == " to ".join(map(percent, forecast["interval"])), line
    assert len(lines) == 26


def test_the_table_of_leaderboard_scores_is_its_record():
    table = rows(RECIPES, "| file | out of fold | private")
    assert len(table) == len(LEADERBOARD)
    for cells, entry in zip(table, LEADERBOARD, strict=True):
        forecast = entry["forecast"] or {}
        assert f"(../{entry['file']})" in cells[0] and (ROOT / entry["file"]).exists()
        assert [float(cell) for cell in cells[1:4]] == [entry["out_of_fold"], entry["private"], entry["public"]]
        for cell, part in zip(cells[4:], ("all", "singles", "twin_rows"), strict=True):
            assert numbers(cell) == [n for n in (forecast.get(part), entry[part]) if n is not None], cells


@pytest.mark.parametrize("page", [README, ROOT / "docs/blending.md", RECIPES])
def test_how_far_the_forecast_was_off(page):
    off = [entry["all"] - entry["forecast"]["all"] for entry in LEADERBOARD if entry["forecast"]]
    text = " ".join(page.read_text().split())
    assert len(off) == 9 and "nine" in text
    low, high = re.search(r"−(\d\.\d)(?: and| to) \+(\d\.\d) points", text).groups()
    assert -float(low) == pytest.approx(min(off), abs=0.051) and float(high) == pytest.approx(max(off), abs=0.051)


README_ROWS = {  # by the submission: the runs whose folds were trained for it
    "2026-11-29-air-twins": ["air"],
    "2026-11-29-air": ["air"],
    "2026-11-29-auto-1h": ["air_hour"],
    "2026-11-29-hour": ["air_hour"],
    "2026-11-27-small-twins": ["vgg_small"],
    "2026-11-27-small": ["vgg_small"],
    "2026-11-27-turned-twins": ["vgg_tiny", "residual_tiny"],
    "2026-11-24-three_near-twins": ["attention", "deep_v1", "baseline_v1"],
    "2026-11-24-residual-fold0": ["residual"],
}


def test_the_table_of_the_readme_is_that_of_the_records():
    table = rows(README, "| recipe | minutes a fold on one CPU core")
    for cells, (submission, runs) in zip(table, README_ROWS.items(), strict=True):
        _, minutes, oof, forecast, private, public = (cell.replace("*", "") for cell in cells)
        folds = [trained(run) for run in runs]
        seconds = sum(
            statistics.mean(one["train_seconds"] + one["predict_seconds"] for one in records) for records in folds
        )
        cores = 2 / 5 if runs == ["air_hour"] else 1  # five trainings shared two cores
        assert float(minutes) == pytest.approx(cores * seconds / 60, abs=0.6)
        source = json.loads((ROOT / f"submissions/{submission}.csv.source.json").read_text())
        assert oof == percent(source["accuracy"])
        assert forecast == ("–" if source["forecast"] is None else percent(source["forecast"]))
        scored = [entry for entry in LEADERBOARD if entry["file"] == f"submissions/{submission}.csv"]
        assert [entry["sha256"] for entry in scored] in ([], [source["sha256"]])
        shown = [(f"{entry['private']:.2f}%", f"{entry['public']:.2f}%") for entry in scored]
        assert (private, public) == (shown[0] if shown else ("", ""))


def test_the_bias_of_forecasts_is_that_of_the_record():
    record = json.loads((ROOT / "tests/benchmarks/records/forecast.json").read_text())
    measured = [model for model in record["models"].values() if model["singles"]["cases"] >= 8]
    table = rows(ROOT / "docs/blending.md", "| part of the test rows | earlier estimator")
    assert len(measured) == 9 and len(table) == len(record["parts"])
    for cells, (part, one) in zip(table, record["parts"].items(), strict=True):
        worst = max((model[part]["bias"] for model in measured), key=abs)
        shown = [float(cell.replace("−", "-").rstrip("%")) for cell in cells[1:]]
        assert shown == [round(value, 2) for value in (one["earlier_bias"], one["bias"], worst)] + [
            round(100 * one["covered"], 1)
        ]


def test_the_scaling_over_ray_nodes_is_that_of_the_record():
    record = json.loads((RECORDS / "ray_scaling.json").read_text())
    one, two, three = (row["seconds"] for row in record["rows"])
    told = " ".join((ROOT / "docs/sweep.md").read_text().split())
    assert f"took {one:.0f} s on one node, {two:.0f} s on two and {three:.0f} s on three" in told
    shares = [f"{row['of_ideal']:.2f}" for row in record["rows"]]
    assert f"{shares[0]}, {shares[1]} and {shares[2]} of it" in told and record["load_before"] < record["cores"]


def test_what_kept_memory_brings_is_that_of_the_record():
    record = json.loads((RECORDS / "bench_freed_memory.json").read_text())["recipes"]
    text = " ".join((ROOT / "docs/benchmarks.md").read_text().split())
    said = text.partition("keep freed memory")[2].partition("bench_freed_memory.json")[0]
    assert f"{record['vgg_medium']['returned']['faults_a_step']:,.0f} page faults" in said
    assert record["vgg_medium"]["kept"]["faults_a_step"] < 0.5
    ratios = {name: float(ratio) for ratio, name in re.findall(r"(\d\.\d\d)(?: times)? \(`(\w+)`\)", said)}
    assert ratios == pytest.approx({name: one["returned_over_kept"] for name, one in record.items()}, abs=0.0051)
    rounds = [value for one in record.values() for value in one["all_rounds"]]
    assert f"single rounds {min(rounds):.2f} to {max(rounds):.2f}" in said


@pytest.mark.parametrize("page", [README, RECIPES, ROOT / "docs/experiments.md"])
def test_vgg_small_on_targets_by_the_network_that_ships(page):
    taught, strong = trained("vgg_small_taught"), trained("vgg_small_strong_taught")
    text = page.read_text()
    assert percent(statistics.mean(one["oof_accuracy"] for one in taught)) in text
    if page.name == "experiments.md":
        labels = json.loads((RECORDS / "real_faces/vgg_small-views.json").read_text())["fold_accuracies"]
        pairs = zip(taught, labels["vgg_small-record-rotations"], strict=True)
        gains = [100 * (one["oof_accuracy"] - other) for one, other in pairs]
        gain = f"{statistics.mean(gains):.2f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.2f}"
        assert f"`vgg_small` | +{gain} |" in text and f"{gain} points less, compared by fold" in text
        compared = json.loads((RECORDS / "shipped_teacher_small.json").read_text())
        less, error = compared["points_own_above_strong"]
        assert percent(statistics.mean(one["oof_accuracy"] for one in strong)) in text
        assert f"{less:.2f} ± {error:.2f} points less than" in text
        rate = json.loads((RECORDS / "auto_hour.json").read_text())["speeds"]["vgg_small"]["images_per_second"]
        minutes = 5 * 47 * (28709 - taught[0]["oof_rows"]) / rate / 60
        assert f"Five folds are {minutes:.0f} minutes of training" in text


def test_weights_of_a_network_that_recognises_people():
    record, lite = (json.loads((RECORDS / f"{name}.json").read_text()) for name in ("face_weights", "lite_trials"))
    text = " ".join((ROOT / "docs/transfer.md").read_text().split())
    small, slow, large = (one["accuracy"] for one in record["trials"])
    assert f"has {small:.1%} at 96 px (5 epochs) and {large:.1%} at 128 px" in text and f"gives {slow:.1%}" in text
    means = [
        statistics.mean(one["accuracy"] for one in lite["trials"] if one["tag"] in (f"{tag}-0", f"{tag}-1"))
        for tag in ("a96", "s128")
    ]
    gains = [f"+{100 * (ours - theirs):.1f}" for ours, theirs in zip((small, large), means, strict=True)]
    page = (ROOT / "docs/experiments.md").read_text()
    assert f"4,000 rows | {gains[0]} and {gains[1]} |" in page
    full = json.loads((RECORDS / "real_faces/mobilenet_face-fold0.json").read_text())
    assert f"has {percent(full['oof_accuracy'])} after 7 epochs at 112 px" in text
    points = {what: f"{gain:.2f} ± {error:.2f}" for what, (gain, error) in record["points"].items()}
    for what in points.values():
        assert what in text
    assert f"+{points['mean of both over vgg_small']} over" in page
    assert f"Their mean has {percent(record['mean_of_both'])}" in text
    assert f"{full['images_per_second']:.0f} images per second of a core" in text


def test_the_share_of_the_teacher():
    record = json.loads((RECORDS / "shipped_teacher_share.json").read_text())
    share = trained("vgg_tiny_share8")
    assert [round(one["oof_accuracy"], 6) for one in share] == record["accuracy"]["0.8"]
    text = (ROOT / "docs/experiments.md").read_text()
    assert f"`vgg_tiny` has {percent(record['accuracy_of_both_folds']['0.8'])} on folds 0 and 1" in text
    gains = {part: f"{gain:.2f} ± {error:.2f}" for part, (gain, error) in record["points_0.8_above_0.5"].items()}
    assert f"`vgg_tiny` | +{gains['all rows']} |" in text and f"{gains['all rows']} points\nmore than" in text
    assert f"{gains['rows without a twin']} on rows without a twin" in text
    before, after = (f"{record['log_loss'][share]:.3f}" for share in ("0.5", "0.8"))
    assert f"log loss is {after} in place of {before}" in text


def test_what_soft_targets_are_worth_is_that_of_the_records():
    page = ROOT / "docs/blending.md"
    found = {}
    for name in ("soft_targets", "soft_targets_shipped"):
        record = json.loads((RECORDS / f"{name}.json").read_text())
        found |= record["points"]["soft_targets_over_labels_on_test_rows"]
    table = rows(page, "| teacher | one network, singles |")
    for cells, student in zip(table, ("net_student", "net_student_of_memory", "net_student_of_seen"), strict=True):
        parts = ("one network, singles", "mean, singles", "mean, twins", "mean, all")
        measured = [found[f"{student}, {part}"] for part in parts]
        assert [numbers(cell.replace("−", "-")) for cell in cells[1:]] == [
            [abs(one["mean"]), one["error"]] for one in measured
        ]
        assert [cell.startswith("−") for cell in cells[1:]] == [one["mean"] < 0 for one in measured]
    leak = record["points"]["gain_of_soft_targets_out_of_fold_over_test_singles"]["net_student_of_seen"]
    assert f"Out of fold it gains {-leak['mean']:.2f} ± {leak['error']:.2f} points less" in page.read_text()
