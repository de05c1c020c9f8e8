"""The report helps to decide: what to send next, lookups and trials apart, damaged files named, nothing private."""

from __future__ import annotations

import copy
import dataclasses
import html
import itertools
import json
import os
import re
import shutil
import zlib
from pathlib import Path

import pytest

from ensembles import blend
from fer_kit.config import recipes
from fer_kit.drawing import html as drawn
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.report import __main__ as report
from fer_kit.report import content, page, settings
from fer_kit.report.found import find
from fer_kit.report.section import ReportOptions
from fer_kit.report.sections import blends, leaderboard, lookups, maps, provenance, sweeps, what_next
from fer_kit.runs import blend_record, predictions
from tests.helpers import fake_runs, report_world
from tests.helpers.fake_submissions import save_entry


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return report_world.make(tmp_path_factory.mktemp("report"))


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made.folder, tmp_path / "copy")
    here = tmp_path / "copy"
    return report_world.World(here, here / "runs", here / "data", here / "submissions/ledger.csv")


def written(world, *argv, data=True):
    """The page, its words and report.json."""
    out = world.folder / "page" / "all.html"
    faces = ["--data", str(world.data)] if data else []
    options = ["--runs", str(world.runs), "--out", str(out), "--no-pictures", "--ledger", str(world.ledger)]
    assert report.main([*options, *faces, *argv]) == 0
    text = out.read_text()
    words = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))
    return text, words, json.loads((out.parent / "all-files/report.json").read_text())


def section(text, anchor):
    """The HTML of one section."""
    return text.split(f'<section aria-labelledby="{anchor}">')[1].split("</section>")[0]


def shown_text(part):
    """The words of some HTML."""
    return html.unescape(re.sub(r"<[^>]+>", "", part))


def headline(text):
    return html.unescape(re.search('class="headline">(.*?)<', text)[1])


def look_up(world, name="first", member=None):
    """A blend with twin lookup beside `name`, or a blend that has one as its member."""
    folder = world.runs / "blends" / f"{name}-{'over' if member else 'twins'}"
    shutil.copytree(world.runs / "blends" / name, folder)
    record = atomic.read_json(folder / "blend.json")
    if member:
        record["members"][0]["sources"][0] |= {"kind": "blend", "path": f"blends/{member}"}
    else:
        without = {"oof_accuracy": record["oof_accuracy"]}
        record["twins"] = {"mode": "near", "blend": name, "rows": 40, "rows_changed": 7, "without": without}
        record["forecast"] = {"accuracy": 0.99, "interval": [0.98, 1.0]}
    atomic.write_json(folder / "blend.json", record)


def test_the_best_fair_blend_is_to_be_sent_first(world, capsys):
    text, words, _ = written(world)
    assert headline(text) == "Send blends/first" and "fer-kit submissions build first" in shown_text(
        section(text, "next")
    )
    assert "next: send blends/first: python -m submissions build first" in capsys.readouterr().out
    assert "Best public score so far: 69.00%" in words and "#3" in section(text, "next")
    assert text.index('id="next"') < text.index('id="board"')


def test_what_was_sent_is_not_sent_again(world):
    record = atomic.read_json(world.runs / "blends/first/blend.json")
    (world.ledger.parent / "x.csv").write_text("x")
    scores = {"cv_accuracy": round(record["oof_accuracy"], 6), "public": 0.71, "source": "blend first"}
    save_entry(world.ledger, world.ledger.parent / "x.csv", tag="fer-x", **scores)
    text, words, _ = written(world)
    assert headline(text) == "blends/first was sent; train another run and blend again"
    assert "It was sent as entry #4" in words and "public 71.00%" in words
    digest = json.loads((world.runs / "strong/fold0/result.json").read_text())["data_digest"]
    report_world.save_run(world, "newcomer", 7, 0.5, digest)
    text, _, _ = written(world)
    assert headline(text) == "blends/first was sent; blend it with the new runs"
    assert "--members strong middle weak newcomer" in shown_text(section(text, "next"))


def test_a_blend_of_one_run_is_not_compared_with_that_run(world):
    shutil.rmtree(world.runs / "blends/first")
    assert blend.main(["solo", "--members", "strong", "--runs", str(world.runs)]) == 0
    text, _, _ = written(world)
    words = shown_text(section(text, "next"))
    assert re.search(r"The next, middle, is at \N{MINUS SIGN}\d+\.\d\d ± ", words)


def test_the_highest_forecast_is_sent_and_a_blend_of_one_run_has_one(world):
    shutil.rmtree(world.runs / "blends")
    for name, run, accuracy in (("one", "strong", 0.7), ("two", "middle", 0.8)):
        assert blend.main([name, "--members", run, "--runs", str(world.runs)]) == 0
        path = world.runs / "blends" / name / "blend.json"
        record = atomic.read_json(path)
        record["forecast"] = {"accuracy": accuracy, "interval": [accuracy - 0.01, accuracy + 0.01]}
        atomic.write_json(path, record)
    text, _, _ = written(world)
    words = shown_text(section(text, "next"))
    assert headline(text) == "Send blends/two" and "Highest forecast of 2 blends" in words
    assert re.search(r"strong has more out of fold, \d\d\.\d\d%|blends/one has more out of fold", words)
    shutil.rmtree(world.runs / "blends/two")
    text, _, _ = written(world)
    words = shown_text(section(text, "next"))
    assert headline(text) == "Send blends/one" and "Leaderboard forecast: 70.00%" in words
    assert re.search(r"Best of \d finished runs and blends", words) and "The next, middle, is at" in words


def test_a_run_without_a_forecast_names_the_command_that_makes_one(world):
    shutil.rmtree(world.runs / "blends")
    text, _, _ = written(world)
    assert "fer-kit blend NAME --members strong --runs " in shown_text(section(text, "next"))


def test_a_run_that_was_only_predicted_again_has_no_second_curve(world):
    for path in (world.runs / "middle").glob("*/result.json"):
        atomic.write_json(path, {**atomic.read_json(path), "source": {"run": "strong", "views": "flip"}})
    text, _, told = written(world)
    part = section(text, "curves")
    assert "middle (trained as strong)" in part and "<summary>middle" not in part and "<h3>middle" not in part
    assert "middle" in [one["name"] for one in told["sources"]]


def test_a_lookup_is_never_the_best(world):
    look_up(world)
    look_up(world, member="first-twins")
    text, _, told = written(world)
    assert headline(text) == "Send blends/first"
    assert {one["name"] for one in told["lookups"]} == {"blends/first-twins", "blends/first-over"}
    assert "first-twins" not in section(text, "board") and "first-twins" not in section(text, "blends")
    assert "7 of 40" in section(text, "lookups") and "99.00%" in section(text, "lookups")
    assert all(one["against_the_best"] is None or one["name"] != "blends/first" for one in told["sources"])


def test_trials_are_hidden_unless_asked_for(world):
    digest = json.loads((world.runs / "strong/fold0/result.json").read_text())["data_digest"]
    report_world.save_run(world, "strong-smoke", 7, 9.0, digest)
    text, words, told = written(world)
    assert told["trials"] == ["strong-smoke"] and "strong-smoke" not in section(text, "curves")
    assert "9 of 9 folds finished" in words and "show them with --trials" in words
    text, words, told = written(world, "--trials")
    assert told["sources"][0]["name"] in ("strong-smoke", "blends/first") and "12 of 12 folds finished" in words


def test_a_fold_that_is_training_is_listed(world):
    fake_runs.unfinish(world.runs, "weak", 1)
    shutil.rmtree(world.runs / "weak/fold2")
    text, _, _ = written(world)
    assert re.search(r"<dt>weak</dt><dd>fold1 is training, epoch \d+; fold 2 not begun</dd>", section(text, "next"))


def test_a_stopped_fold_is_listed_with_the_command_that_goes_on(world):
    fake_runs.unfinish(world.runs, "weak", 1)
    metrics = world.runs / "weak/fold1/metrics.jsonl"
    os.utime(metrics, (0, 0))
    env = world.runs / "weak/fold1/env.json"
    atomic.write_json(env, atomic.read_json(env) | {"command": "python -m fer_kit.train --fold 1"})
    text, words, _ = written(world)
    assert re.search(r"fold1 stopped after epoch \d+, 1970-01-01 00:00 UTC, go on with", words)
    assert drawn.command("python -m fer_kit.train --fold 1 --resume") in section(text, "next")


def test_runs_of_one_fold_are_no_unfinished_work(world):
    for fold in (1, 2):
        shutil.rmtree(world.runs / f"weak/fold{fold}")
    text, words, _ = written(world)
    assert "Trained on one fold only: weak." in section(text, "next") and "<dt>" not in section(text, "next")
    assert "No other run is unfinished." in words


def test_settings_that_differ_from_the_recipe(world):
    config = {**recipes.get("residual").to_json(), "epochs": 7, "lr": 0.5}
    assert re.fullmatch(r"epochs 7 \(recipe \d+\), lr 0\.5 \(recipe [\d.]+\)", settings.in_words(config))
    assert settings.in_words(recipes.get("attention").to_json()) == "none"
    assert settings.in_words({"recipe": "nothing"}).startswith("unknown")
    atomic.write_json(world.runs / "strong/fold0/config.json", config)
    usual = recipes.get("residual").epochs
    assert f"epochs 7 (recipe {usual})" in section(written(world)[0], "board")


def test_files_are_named_in_charts_without_their_digests():
    one, two = "soft@0123456789abcdef", "soft@fedcba9876543210"
    assert sweeps.axis_of("targets", ["", one, ""]) == (
        sweeps.Axis("targets", -0.5, 1.5, names=["none", "soft"]),
        [0, 1, 0],
    )
    assert sweeps.axis_of("targets", [one, two])[0].names == [one, two]


def test_runs_of_a_recipe_are_compared_by_the_settings_in_which_they_differ(world):
    text, _, _ = written(world)
    assert "With 3 or more runs of one recipe" in shown_text(section(text, "sweeps"))
    for run, changes in (("strong", {"lr": 1e-4}), ("middle", {"lr": 1e-2, "loss": "focal"}), ("weak", {"seed": 7})):
        for fold in range(3):
            config = recipes.get("vgg_small").to_json() | changes
            atomic.write_json(world.runs / run / f"fold{fold}" / "config.json", config)
    text, words, _ = written(world)
    part = section(text, "sweeps")
    assert "3 runs of vgg_small, folds 0, 1, 2" in words and part.count("<svg") == 2  # lr and loss, no seed
    assert part.count("<circle") == 6 and "strong: lr 0.0001, " in part and ">focal</text>" in part


def test_curves_are_one_picture_a_recipe(world):
    for run in ("strong", "middle"):
        for fold in range(3):
            config = recipes.get("residual").to_json()
            atomic.write_json(world.runs / run / f"fold{fold}/config.json", config)
    found = section(written(world)[0], "curves")
    assert "residual: watched accuracy of 2 runs over the epochs" in found
    assert found.count("of 2 runs over the epochs") == 2 and "weak: accuracy over the epochs, 3 folds" in found


def test_two_can_be_compared_offline(world):
    text, _, _ = written(world)
    data = json.loads(re.search('id="compare-data">(.*?)</script>', text)[1])
    names = [one["name"] for one in data["sources"]]
    pairs = {f"{i},{j}" for i, j in itertools.combinations(range(len(names)), 2)}
    assert set(data["differences"]) == pairs
    assert all(names[int(key[0])] in said and "p = " in said for key, said in data["differences"].items())


def test_a_page_without_faces_names_no_absolute_path(world):
    folder = world.runs / "strong/fold0"
    atomic.write_json(folder / "env.json", {"command": "python -m fer_kit.train --data /home/somebody/faces --fold 0"})
    fake_runs.unfinish(world.runs, "strong", 0)
    atomic.write_json(world.runs / "weak/fold0/result.json", {})
    text, words, _ = written(world, "--no-faces", data=False)
    assert not page.ABSOLUTE.search(re.sub("<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL))
    assert str(world.folder) not in text and "somebody" not in text and str(Path.home()) not in words
    assert "--data faces" in words and "runs/weak" in words  # the last name stays


def test_rows_beyond_the_data_are_named(world):
    """A run with an id that no data have, with folds.csv and without."""
    folder = world.runs / "strong/fold0"
    oof = predictions.read(folder / "oof.npz")
    ids = oof.ids.copy()
    ids[-1] = 5000
    predictions.write(folder / "oof.npz", predictions.Predictions(ids, oof.logits, oof.meta, oof.labels))
    result = json.loads((folder / "result.json").read_text())
    atomic.write_json(folder / "result.json", {**result, "oof_sha256": atomic.sha256_of(folder / "oof.npz")})
    shutil.rmtree(world.runs / "blends")
    told = written(world)[2]
    assert "5,000" in told["left_out"]["strong"] and {one["name"] for one in told["sources"]} == {"middle", "weak"}
    (world.runs / "folds.csv").unlink()
    assert "5,000" in written(world)[2]["left_out"]["strong"]


JUNK = [None, "x", -1, float("nan"), [], {}, [1, "x"], {"a": None}, True, [None], "/etc/passwd\x1b"]


def mutations(record):
    """Copies of a JSON object with one value, at any depth, replaced or removed."""

    def paths(value, here=()):
        found = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in found:
            yield (*here, key)
            yield from paths(inner, (*here, key))

    for path in paths(record):
        for number, junk in enumerate(JUNK):
            if (zlib.crc32(str(path).encode()) + number) % (1 if len(path) == 1 else 8):
                continue  # some kinds of junk for each value
            changed = copy.deepcopy(record)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = junk
            yield path, junk, changed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blends/first", "blends/first-twins"])
def test_any_damage_in_blend_json_is_survived(world, monkeypatch, name):
    """No value of any kind ends in a traceback: the blend is shown without it, or left out by name."""
    look_up(world)
    options = ReportOptions(world.runs, None, world.ledger, 1, False, [world.runs / "explain"])
    monkeypatch.setattr(content.scores, "REPEATS", 2)
    good = content.load(options)
    path = world.runs / name / "blend.json"
    shown = refused = 0
    for place, junk, changed in mutations(atomic.read_json(path)):
        try:
            record = blend_record.from_json(path, changed)
        except FerKitError:
            refused += 1
            continue
        lists = {
            key: [dataclasses.replace(one, blend=record) if one.name == name else one for one in getattr(good, key)]
            for key in ("ranked", "lookups")
        }
        try:
            content.uses_lookup(name, {name: record})
            for part in (what_next, leaderboard, blends, lookups, provenance):
                part.as_html(part.build(dataclasses.replace(good, **lists)))
        except Exception as error:
            raise AssertionError(f"{place} = {junk!r}") from error
        shown += 1
    assert shown > 30 and refused > 30  # both happen


def test_any_damage_in_explain_json_is_survived(world):
    folder = world.runs / "explain/strong-fold0"
    about = atomic.read_json(folder / "explain.json")
    (fold, *_) = find(world.runs).folds["strong"]
    for path, junk, changed in [*mutations(about), ((), "list", []), ((), "text", "x")]:
        (folder / "explain.json").write_text(json.dumps(changed))
        found, notes = maps.find([fold], [world.runs / "explain"])
        assert found or notes, (path, junk)
        assert all(maps.shown(one) for one in found), (path, junk)
