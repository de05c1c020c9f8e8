"""Twin lookup: it helps as much as twins tell, learns from train pairs alone, and says what it did."""

from __future__ import annotations

import json
import math
import re
import shutil

import numpy as np
import pytest

from ensembles import blend, twin_gain
from ensembles.twins import lookup
from ensembles.twins import pairs as twin_pairs
from fer_kit import metrics
from fer_kit.files import atomic
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import deal
from fer_kit.runs import folders
from submissions.__main__ import main as submissions
from tests.helpers import twin_world

WORLD = twin_world.draw()
PLAIN = ("--method", "mean", "--temperatures", "none", "--no-pictures")


def keys_of(photos):
    return np.array([f"{photo:032x}" for photo in photos], "S32")


def pairs_of(world=WORLD):
    return twin_pairs.among(world.photos, world.labels, keys_of(world.photos))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of data and folder of runs, with the blend 'all' of one run, near twins looked up."""
    data, runs_dir = twin_world.save(tmp_path_factory.mktemp("world"), WORLD)
    assert blend.main(["all", "--runs", str(runs_dir), "--data", str(data), "--twins", "near", *PLAIN]) == 0
    return data, runs_dir


def test_pairs_are_all_ordered_pairs_within_groups():
    groups, labels = np.array([4, 7, 4, 9, 4]), np.array([0, 1, 2, 3, 4])
    pairs = twin_pairs.among(groups, labels, np.array([b"a", b"b", b"a", b"c", b"d"]))
    assert list(zip(pairs.rows, pairs.twins, pairs.labels, pairs.exact, strict=True)) == [
        (0, 2, 2, True),
        (0, 4, 4, False),
        (2, 0, 0, True),
        (2, 4, 4, False),
        (4, 0, 0, False),
        (4, 2, 2, False),
    ]
    assert pairs.have.tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(pairs.shares, 0.5)
    assert pairs.of_mode("exact").rows.tolist() == [0, 2]
    towards = twin_pairs.towards(
        np.array([9, 1, 4]), np.array([b"x", b"y", b"d"]), groups, labels, np.array([b"a"] * 5)
    )
    assert list(zip(towards.rows, towards.twins, strict=True)) == [(0, 3), (2, 0), (2, 2), (2, 4)]


def test_the_update_is_bayes():
    """By hand: one twin of label 1, whose confusion is known."""
    confusion = np.full((2, 7, 7), 0.05)
    confusion[:, np.arange(7), np.arange(7)] = 0.7
    pairs = twin_pairs.Pairs(np.array([1]), np.array([0]), np.array([1]), np.array([False]), 2)
    log_probs = metrics.log_softmax(np.array([[1.0, 0, 0, 0, 0, 0, 0]] * 2))
    updated = lookup.Lookup(confusion, 1.0).apply(log_probs, pairs)
    np.testing.assert_array_equal(updated[0], log_probs[0])  # no twin: untouched
    expected = np.exp(log_probs[1]) * np.where(np.arange(7) == 1, 0.7, 0.05)
    np.testing.assert_allclose(np.exp(updated[1]), expected / expected.sum())


def test_copies_and_near_twins_have_confusions_of_their_own():
    """Near twins with drawn labels say nothing; copies with the same label say all."""
    rng = np.random.default_rng(0)
    groups, labels = np.arange(2000) // 2, rng.integers(0, 7, 2000)
    exact = np.arange(2000) % 4 < 2
    labels[exact] = labels[exact].reshape(-1, 2)[:, :1].repeat(2, 1).reshape(-1)
    keys = np.where(exact, groups, np.arange(2000) + 10_000).astype("S32")
    pairs = twin_pairs.among(groups, labels, keys)
    flat = np.full((2000, 7), -math.log(7))
    learned = lookup.fit(flat, labels, pairs, groups)
    assert np.diag(learned.confusion[1]).min() > 0.9
    assert learned.confusion[0].max() < 0.35
    right = metrics.predicted(learned.apply(flat, pairs)) == labels
    assert right[exact].mean() == 1.0 and right[~exact].mean() < 0.3


def test_useless_twins_are_not_believed():
    """Twins whose labels are drawn: the gain is none, on rows that the lookup never saw."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, len(WORLD.photos))
    pairs = twin_pairs.among(WORLD.photos, labels, keys_of(WORLD.photos))
    log_probs = metrics.log_softmax(rng.normal(size=(len(labels), 7)) + 1.5 * np.eye(7)[labels])
    after, strength = lookup.held_out(log_probs, labels, pairs, WORLD.photos)
    gain = lookup.gain(log_probs, after, strength, labels, pairs, WORLD.photos)
    assert abs(gain.difference) < 0.01
    assert gain.interval[0] < 0.002


def test_a_row_is_updated_by_what_was_learned_without_its_group():
    """Canary: other labels in one group change nothing for its rows but through their own twins."""
    group = WORLD.photos[pairs_of().rows[0]]
    inside = WORLD.photos == group
    log_probs = metrics.log_softmax(np.random.default_rng(2).normal(size=(len(WORLD.labels), 7)))
    one, _ = lookup.held_out(log_probs, WORLD.labels, pairs_of(), WORLD.photos)
    row = int(np.flatnonzero(inside)[0])
    changed = WORLD.labels.copy()
    changed[row] = (changed[row] + 3) % 7
    pairs = twin_pairs.among(WORLD.photos, changed, keys_of(WORLD.photos))
    two, _ = lookup.held_out(log_probs, changed, pairs, WORLD.photos)
    np.testing.assert_array_equal(one[row], two[row])  # its own label is not known to it
    assert not np.array_equal(one[inside], two[inside])  # its twins are told
    fitted = lookup.fit(log_probs, WORLD.labels, pairs_of(), WORLD.photos)
    assert not np.array_equal(fitted.apply(log_probs, pairs_of())[row], one[row])  # the fit to all rows does know it


@pytest.mark.slow
def test_the_blend_stays_and_the_one_with_twins_lies_beside_it(place):
    _, runs_dir = place
    plain, twins = folders.load_blend(runs_dir, "all"), folders.load_blend(runs_dir, "all-twins")
    np.testing.assert_array_equal(plain.test.logits, folders.load(runs_dir, "net").test.logits)
    told = twins.record.twins
    answers = [metrics.predicted(one.test.logits) for one in (plain, twins)]
    assert told.rows_changed == (answers[0] != answers[1]).sum() > 0
    assert told.rows_with_twins == np.isin(WORLD.test_photos, WORLD.photos).sum()
    alone = ~np.isin(WORLD.test_photos, WORLD.photos)
    np.testing.assert_array_equal(plain.test.logits[alone], twins.test.logits[alone])
    assert (told.mode, told.blend) == ("near", "all")
    assert plain.record.config_digest != twins.record.config_digest
    truth = [metrics.accuracy(one.test.logits, WORLD.test_labels) for one in (plain, twins)]
    assert truth[1] > truth[0]
    gain = told.gain
    assert gain.interval[0] < gain.after - gain.before < gain.interval[1]
    assert gain.after == pytest.approx(twins.record.oof_accuracy)


@pytest.mark.slow
def test_the_report_and_a_second_call(place, capsys):
    data, runs_dir = place
    command = ["all", "--runs", str(runs_dir), "--data", str(data), "--twins", "near", *PLAIN]
    assert blend.main([*command, "--details"]) == 0
    shown = capsys.readouterr().out
    assert re.search(
        r"^leaderboard forecast: \d\d\.\d\d%, 95% interval .* on rows without twins .* \+ 0\.\d{3} × ", shown, re.M
    )
    assert re.search(r"^leaderboard forecast with twin lookup: ", shown, re.M)
    assert re.search(
        r"^twin lookup \(near\) .*: [\d,]+ from wrong to right, [\d,]+ from right to wrong; strength", shown, re.M
    )
    assert re.search(
        r"^blend 'all-twins': twin lookup changes \d+ of 600 test predictions; \d+ test rows have twins", shown, re.M
    )
    assert shown.count("unchanged:") == 2
    assert re.search(r"^or:   python -m submissions build all-twins --runs \S+ --data \S+ ", shown, re.M)
    assert blend.main([*command[:6], "exact", *PLAIN]) == 2
    assert "all-twins: holds another blend" in capsys.readouterr().err


def test_the_submission_and_the_ledger_say_it(place, tmp_path):
    data, runs_dir = place
    out = tmp_path / "twins.csv"
    build = ["build", "all-twins", "--runs", str(runs_dir), "--data", str(data), "--out", str(out)]
    assert submissions(build) == 0
    record = json.loads((tmp_path / "twins.csv.source.json").read_text())
    changed = folders.load_blend(runs_dir, "all-twins").record.twins.rows_changed
    assert record["source"] == f"blend all-twins (near twins looked up, {changed} of 600 rows changed)"


def test_a_blend_with_twins_is_no_member(place, capsys):
    _, runs_dir = place
    assert blend.main(["more", "--runs", str(runs_dir), "--members", "all-twins", *PLAIN]) == 2
    assert "blend 'all' instead, and add --twins" in capsys.readouterr().err


def test_nor_are_its_files_under_another_name(place, capsys, tmp_path):
    _, runs_dir = place
    shutil.copytree(runs_dir / "blends" / "all-twins", tmp_path / "theirs")
    assert blend.main(["more", "--runs", str(runs_dir), "--members", str(tmp_path / "theirs"), *PLAIN]) == 2
    told = "theirs: twins were looked up"
    assert told in capsys.readouterr().err


def test_without_the_switch_the_report_says_what_it_would_bring(place, capsys):
    data, runs_dir = place
    command = ["--runs", str(runs_dir), "--data", str(data), "--no-pictures", "--members"]
    assert blend.main(["off", *command, "all"]) == 0  # a blend of a blend knows its runs, fitted or not
    out = capsys.readouterr().out
    told = folders.load_blend(runs_dir, "all-twins").record.forecast
    reach = "{:.2%} to {:.2%}".format(*told.interval)
    line = f"with twin lookup:     {told.accuracy:.2%}, 95% interval {reach}   (made by --twins near)"
    assert out.count("leaderboard forecast: ") == 1 and line in out.splitlines()
    assert not (runs_dir / "blends" / "off-twins").exists()


@pytest.mark.slow
def test_every_method_has_its_forecast(tmp_path, capsys):
    data, runs_dir = twin_world.save(tmp_path, WORLD)
    twin_world.save_run(runs_dir, data, WORLD, "other", memory=1.0, skill=0.8, seed=5)
    assert blend.main(["both", "--runs", str(runs_dir), "--data", str(data), "--no-pictures", "--details"]) == 0
    out = capsys.readouterr().out
    record = folders.load_blend(runs_dir, "both").record
    assert re.search(r"^method .* 95% interval +forecast +log loss", out, re.M)
    for line in record.methods:
        assert re.search(rf"^..{line.method} .* {line.forecast:.2%}  ", out, re.M)
    assert record.methods[-1].forecast == record.forecast.accuracy
    (runs_dir / "folds-test.csv").unlink()
    assert blend.main(["none", "--runs", str(runs_dir), "--data", str(data), "--no-pictures", "--details"]) == 0
    assert not re.search(r"^method .* forecast", capsys.readouterr().out, re.M)


def test_twins_of_an_earlier_blend_are_told(place, capsys):
    data, runs_dir = place
    twin_world.save_run(runs_dir, data, WORLD, "other", memory=1.0, skill=0.8, seed=5)
    command = ["old", "--runs", str(runs_dir), "--data", str(data), *PLAIN, "--force", "--members"]
    note = r"^note: .*blends/old-twins was made from an earlier 'old'; .*--twins near --force$"
    for members, twins, noted in ((["net"], "near", False), (["net", "other"], "off", True), (["net"], "off", False)):
        assert blend.main([*command, *members, "--twins", twins]) == 0
        assert bool(re.search(note, capsys.readouterr().out, re.M)) == noted
    shutil.rmtree(runs_dir / "other")


def test_nothing_is_written_where_the_second_name_is_taken(place, capsys):
    data, runs_dir = place
    command = ["--runs", str(runs_dir), "--data", str(data), *PLAIN]
    assert blend.main(["new-twins", *command, "--members", "net"]) == 0
    assert blend.main(["new", *command, "--members", "net", "--twins", "near"]) == 2
    assert "new-twins: holds another blend" in capsys.readouterr().err
    assert not (runs_dir / "blends" / "new" / "blend.json").exists()
    shutil.copytree(runs_dir / "net", runs_dir / "newer-twins")
    assert blend.main(["newer", *command, "--members", "net", "--twins", "near"]) == 2
    assert re.match(r"error: blend 'newer-twins': .* has a run of that name; choose", capsys.readouterr().err)
    shutil.rmtree(runs_dir / "newer-twins")


@pytest.mark.slow
def test_what_cannot_be_looked_up_is_refused_and_told(tmp_path, capsys):
    data, runs_dir = twin_world.save(tmp_path, WORLD)
    (runs_dir / "folds-test.csv").rename(tmp_path / "away")
    command = ["all", "--runs", str(runs_dir), "--data", str(data), *PLAIN]
    assert blend.main(command) == 0
    assert "no leaderboard forecast: " in capsys.readouterr().out
    assert blend.main([*command, "--twins", "near"]) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: --twins near: .*folds-test.csv: no such file, ", error)
    (tmp_path / "away").rename(runs_dir / "folds-test.csv")
    for word in ("wrote ", "unchanged: "):  # what was not known then is added
        assert blend.main(command) == 0
        assert re.search(rf"^{word}.*blends/all/", capsys.readouterr().out, re.M)
        assert folders.load_blend(runs_dir, "all").record.forecast.accuracy > 0.5
    text = (data / "test.csv").read_text().splitlines()
    atomic.write_text(data / "test.csv", "\n".join([text[0], text[2], text[1], *text[3:]]) + "\n")
    assert blend.main([*command, "--twins", "near"]) == 2
    assert "than the blend was made from (" in capsys.readouterr().err


@pytest.mark.slow
def test_gain_of_a_run_on_grouped_and_on_plain_folds(place, tmp_path, capsys):
    data, runs_dir = place
    assert twin_gain.main(["net", "--runs", str(runs_dir), "--data", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "near, networks not trained on the twins: " in shown and "near, networks trained on the twins" not in shown
    plain = tmp_path / "plain"
    assert folds_command.main(["--data", str(data), "--runs", str(plain), "--method", "none"]) == 0
    assert "warning: --method none lets twins cross the folds" in capsys.readouterr().err
    table = deal.read(plain / "folds.csv")
    assert len(np.unique(table.groups)) == len(table.groups)
    world = twin_world.World(WORLD.labels, WORLD.photos, table.folds, WORLD.test_labels, WORLD.test_photos)
    twin_world.save_run(plain, data, world, "net", memory=1.5)
    assert blend.main(["x", "--runs", str(plain), "--data", str(data), "--twins", "near", *PLAIN]) == 2
    told = "error: 0 groups of train rows have twins of this kind, but fitting needs at least 3; drop --twins"
    assert capsys.readouterr().err.startswith(told)
    command = ["net", "--runs", str(plain), "--data", str(data)]
    assert twin_gain.main(command) == 2
    assert "has no twins among these rows; " in capsys.readouterr().err
    assert twin_gain.main([*command, "--groups", str(runs_dir)]) == 0
    assert re.search(r"^near, networks trained on the twins: ", capsys.readouterr().out, re.M)
    for fold in range(1, 5):  # one fold is enough: its rows' twins in the others were trained on
        shutil.rmtree(plain / "net" / f"fold{fold}")
    assert twin_gain.main([*command, "--groups", str(runs_dir)]) == 0
    shown = capsys.readouterr().out
    rows = int((table.folds == 0).sum())
    twins_of = [(WORLD.photos[table.folds != 0] == photo).any() for photo in WORLD.photos[table.folds == 0]]
    assert "folds 0 of 5 are finished" in shown
    assert re.search(
        rf"^near, networks trained on the twins: .* {sum(twins_of)} of {rows} rows have twins", shown, re.M
    ), shown
