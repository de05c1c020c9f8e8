from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np

from ensembles import blend
from fer_kit import metrics
from fer_kit.files import atomic
from fer_kit.folds import deal
from fer_kit.runs import folders, predictions
from fer_kit.runs.blend_record import SourceRecord
from tests.helpers import fake_runs
from tests.helpers.blending import refused, run
from tests.helpers.fake_runs import ROWS


def test_the_mean_of_probabilities_joined_by_id(two, capsys):
    assert run(capsys, "all")[0] == 0
    blended, members = folders.load_blend(two, "all"), [folders.load(two, name) for name in ("strong", "weak")]
    for part in ("oof", "test"):
        expected = np.mean([metrics.softmax(getattr(member, part).logits) for member in members], axis=0)
        np.testing.assert_allclose(metrics.softmax(getattr(blended, part).logits), expected, rtol=1e-5)
        np.testing.assert_array_equal(getattr(blended, part).ids, getattr(members[0], part).ids)
    np.testing.assert_array_equal(blended.oof.labels, fake_runs.LABELS)
    assert blended.test.labels is None


def test_the_record(two, capsys):
    run(capsys, "all")
    blended = folders.load_blend(two, "all")
    record, meta = blended.record, blended.oof.meta
    assert [member.run for member in record.members] == ["strong", "weak"]
    assert [member.weight for member in record.members] == [0.5, 0.5]
    for member in record.members:
        loaded = folders.load(two, member.run)
        assert member.oof_accuracy == metrics.accuracy(loaded.oof.logits, loaded.oof.labels)
        assert member.fold_accuracies == loaded.accuracies
        assert member.sources == (SourceRecord(kind="run", path=member.run, sha256=loaded.sha256),)
        assert loaded.sha256["fold1/oof.npz"] == atomic.sha256_of(two / member.run / "fold1" / "oof.npz")
    assert (record.asked, record.method, record.learned) == ("mean", "mean", False)
    assert record.fitted.accuracy == record.oof_accuracy and record.optimism == 0
    assert record.interval[0] < record.oof_accuracy < record.interval[1]
    assert record.oof_accuracy == metrics.accuracy(blended.oof.logits, blended.oof.labels)
    assert record.oof_spread == metrics.spread(record.fold_accuracies)
    assert record.oof_sha256 == atomic.sha256_of(two / "blends" / "all" / "oof.npz")
    assert blended.test.meta == meta
    assert (meta["recipe"], meta["run"], meta["fold"], meta["views"]) == ("blend", "all", [0, 1, 2], ["as is", "flip"])
    assert (meta["folds_digest"], meta["data_digest"], meta["commit"]) == ("folds", "data", "c0ffee")
    assert [member["run"] for member in meta["members"]] == ["strong", "weak"]


def test_the_report(two, capsys):
    (two / "folds.csv").write_bytes(fake_runs.TABLE)
    digest = deal.read(two / "folds.csv").digest
    fake_runs.save_run(two, "weak", seed=1, skill=1.0, folds_digest=digest)
    fake_runs.save_run(two, "strong", seed=2, skill=2.5, folds_digest=digest)
    fake_runs.save_run(two, "later", seed=3, folds_digest=digest)
    fake_runs.remove(two, "later", 1)
    code, out, error = run(capsys, "all")
    assert (code, error) == (0, "")
    command = "python -m fer_kit.train --recipe later --fold 1"
    assert f"left out: runs/later: fold 1 of 3 not finished; finish with: {command}" in out.splitlines()
    table = out.splitlines()[:4]
    assert table[0].split() == ["member", "accuracy", "±", "folds", "log", "loss", "T", "weight", "value"]
    assert [line.split()[0] for line in table[2:]] == ["strong", "weak"]
    strong, both = folders.load(two, "strong"), folders.load_blend(two, "all")
    accuracy, spread = metrics.accuracy(strong.oof.logits, strong.oof.labels), metrics.spread(strong.accuracies)
    assert re.search(rf"{accuracy:.2%} +{spread:.2%}", table[2])
    score, low, high = both.record.oof_accuracy, *both.record.interval
    assert f"blend 'all': {score:.2%} cross-fitted out-of-fold accuracy, 95% interval {low:.2%} to {high:.2%}" in out
    assert f"{ROWS} rows of {ROWS} photos in 3 folds; folds.csv has no twins" in out
    assert "against 'strong', the best member: " in out and "McNemar p" in out
    assert "wrote runs/blends/all/{oof.npz,test.npz,blend.json}" in out
    assert "folds.csv is missing" not in out


def test_in_short_accuracy_gain_forecast_and_what_is_next(two, capsys):
    assert blend.main(["all", "--method", "mean", "--temperatures", "none", "--no-pictures"]) == 0
    accuracy, gain, forecast, *rest = capsys.readouterr().out.splitlines()
    score, (low, high) = (both := folders.load_blend(two, "all").record).oof_accuracy, both.interval
    assert accuracy.startswith(
        f"blend 'all': {score:.2%} cross-fitted out of fold, 95% interval {low:.2%} to {high:.2%}"
    )
    one = both.comparisons[0]
    verdict = "more than chance" if one.p < 0.05 else "not more than chance"
    assert gain.startswith(f"gain over 'strong', the best member: {100 * one.difference:+.2f} ± ") and verdict in gain
    assert forecast.startswith("no leaderboard forecast: ")
    assert rest[-1].startswith("next: ") and len(rest) == 3


def test_folds_that_twins_cross_are_named(two, capsys):
    (two / "folds.csv").write_bytes(fake_runs.TABLE)
    digest = deal.read(two / "folds.csv").digest
    for name, skill in (("weak", 1.0), ("strong", 2.5)):
        fake_runs.save_run(two, name, seed=1, skill=skill, folds_digest=digest)
    for method, told in (("aligned", False), ("exact", True), ("none", True)):
        (two / "folds.json").write_text(json.dumps({"method": method}))
        assert (f"made with --method {method}, which leaves" in run(capsys, "all", "--force")[1]) == told


def test_the_result_as_json_and_nothing_with_quiet(two, capsys):
    command = ["all", "--method", "mean", "--no-pictures"]
    assert blend.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == "runs/blends/all" and found["twins"] is None and found["unchanged"] is False
    assert found["blend"] == json.loads((two / "blends/all/blend.json").read_text())
    assert found["next"].startswith("python -m submissions build ")
    assert blend.main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_next_is_the_better_of_blend_and_best_member(two, capsys):
    fake_runs.save_run(two, "weak", seed=1, skill=-3)
    out = run(capsys, "all")[1]
    strong, both = folders.load(two, "strong"), folders.load_blend(two, "all")
    best = metrics.accuracy(strong.oof.logits, strong.oof.labels)
    assert metrics.accuracy(both.oof.logits, both.oof.labels) < best, "the case this test is about"
    assert out.splitlines()[-1] == (
        "next: python -m submissions build strong   ('strong' alone has a higher score than the blend)"
    )
    fake_runs.save_run(two, "strong2", seed=4, skill=2.5)
    out = run(capsys, "good", "--members", "strong*", "--runs", "./runs")[1]
    assert out.splitlines()[-1] == "next: python -m submissions build good"  # ./runs is the default
    out = run(capsys, "far", "--members", "strong*", "--data", "my data")[1]
    assert out.splitlines()[-1] == "next: python -m submissions build far --data 'my data'"


def test_without_a_folds_file_the_report_says_so(two, capsys):
    assert "runs/folds.csv is missing: " in run(capsys, "all")[1]


def test_a_blend_of_one_is_its_member(two, capsys):
    assert run(capsys, "one", "--members", "weak")[0] == 0
    blended, member = folders.load_blend(two, "one"), folders.load(two, "weak")
    np.testing.assert_array_equal(blended.oof.logits, member.oof.logits)
    np.testing.assert_array_equal(blended.test.logits, member.test.logits)
    assert blended.record.oof_accuracy == blended.record.members[0].oof_accuracy


def test_the_order_of_members_changes_nothing(two, capsys):
    fake_runs.save_run(two, "third", seed=3)
    run(capsys, "a", "--members", "weak", "strong", "third")
    assert "unchanged: runs/blends/a" in run(capsys, "a", "--members", "third", "weak", "strong")[1]


def test_globs(two, capsys):
    assert run(capsys, "all", "--members", "st*", "wea?")[0] == 0
    assert {member.run for member in folders.load_blend(two, "all").record.members} == {"strong", "weak"}


def test_blends_are_no_members(two, capsys):
    run(capsys, "all")
    run(capsys, "again")
    assert len(folders.load_blend(two, "again").record.members) == 2


# names and choices that are refused


def test_names_that_do_not_fit(two, capsys):
    no, there = "--members: runs: no run, blend or folder", "there are: strong, weak"
    refused(capsys, f"{no} 'week' (did you mean 'weak'?); {there}", "all", "--members", "week")
    refused(capsys, f"{no} 'x*'; {there}", "all", "--members", "x*")
    refused(capsys, "blend '../all' cannot name a folder", "../all")
    refused(capsys, "blend 'weak': runs has a run of that name", "weak")


def test_the_same_member_twice(two, capsys):
    twice = "--members: run 'weak' is given twice, by"
    refused(capsys, f"{twice} 'weak' and by 'weak'; give it once", "all", "--members", "weak", "weak")
    refused(capsys, f"{twice} 'weak' and by 'w*'; give it once", "all", "--members", "weak", "w*")


def test_a_copy_under_another_name(two, capsys):
    shutil.copytree(two / "weak", two / "zcopy")
    refused(capsys, "'zcopy' is a copy of 'weak' (the same fold0/oof.npz)", "all")
    fake_runs.save_run(two, "zcopy", seed=1, skill=1.0)  # other meta, so other files
    refused(capsys, "'zcopy' is a copy of 'weak' (the same logits on all rows)", "all")


def test_no_runs_and_no_complete_run(here, capsys):
    refused(capsys, "runs: no runs; ", "all")
    fake_runs.save_run(here, "a", seed=1)
    fake_runs.save_run(here, "b", seed=1)
    fake_runs.remove(here, "a", 0, 1)
    fake_runs.remove(here, "b", 2)
    command = "python -m fer_kit.train --recipe b --fold 2"
    refused(capsys, f"no run is complete; runs/b: fold 2 of 3 not finished; finish with: {command}", "all")
    (here / "c" / "fold0").mkdir(parents=True)
    (here / "c" / "fold0" / "result.json").write_text("[]")
    unfinished = f"no run is complete; runs/b: fold 2 of 3 not finished; finish with: {command}"
    damaged = "1 more cannot be read; left out: c: runs/c/fold0/result.json: not a JSON object"
    refused(capsys, f"{unfinished} ({damaged}", "all")


def test_an_unfinished_member_is_refused_with_its_command(two, capsys):
    fake_runs.unfinish(two, "weak", 1)
    command = "python -m fer_kit.train --recipe weak --fold 1 --resume"
    message = f"runs/weak: fold 1 of 3 not finished; finish with: {command}"
    refused(capsys, message, "all", "--members", "weak", "strong")
    refused(capsys, message, "all", "--members", "*")


def test_members_of_other_folds_or_data(two, capsys):
    fake_runs.save_run(two, "other", seed=3, folds_digest="elsewhere")
    refused(
        capsys,
        "runs: members do not match: folds_digest differs: elsewhere in other fold [0, 1, 2], "
        "folds in strong fold [0, 1, 2]; ",
        "all",
        "--members",
        "*",
    )
    fake_runs.save_run(two, "other", seed=3, data_digest="elsewhere")
    refused(capsys, "runs: members do not match: data_digest differs: elsewhere in other", "all", "--members", "*")


def test_members_of_other_rows(two, capsys, monkeypatch):
    monkeypatch.setattr(fake_runs, "TEST_ROWS", 39)
    fake_runs.save_run(two, "other", seed=3)
    refused(capsys, "'strong' and 'other' differ in test rows; choose other members with --members", "all")
    monkeypatch.setattr(fake_runs, "FOLD_OF_ROW", np.roll(fake_runs.FOLD_OF_ROW, 1))
    fake_runs.save_run(two, "other", seed=3)
    refused(capsys, "'strong' and 'other' differ in the fold of a row; choose other members with --members", "all")


# the folds file


def test_another_folds_file(two, capsys):
    (two / "folds.csv").write_bytes(fake_runs.TABLE)
    digest = deal.read(two / "folds.csv").digest[:12]
    refused(capsys, f"runs/folds.csv: other folds (digest {digest}) than", "all")


def test_rows_at_odds_with_the_folds_file(here, capsys, monkeypatch):
    here.mkdir()
    (here / "folds.csv").write_bytes(fake_runs.TABLE)
    digest = deal.read(here / "folds.csv").digest
    fake_runs.save_run(here, "a", seed=1, folds_digest=digest)
    assert run(capsys, "fine")[0] == 0
    for attribute, what in (("LABELS", "the label of id 0 is"), ("FOLD_OF_ROW", "fold")):
        with monkeypatch.context() as changed:
            changed.setattr(fake_runs, attribute, np.roll(getattr(fake_runs, attribute), 1))
            fake_runs.save_run(here, "a", seed=1, folds_digest=digest)
        code, out, error = run(capsys, "all")
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert "runs/a" in error and what in error and "folds.csv" in error
    fake_runs.save_run(here, "a", seed=1, folds_digest=digest)
    last = here / "a" / f"fold{fake_runs.FOLD_OF_ROW[-1]}"
    part = predictions.read(last / "oof.npz")
    shorter = predictions.Predictions(part.ids[:-1], part.logits[:-1], part.meta, part.labels[:-1])
    fake_runs.save_fold(last, shorter, predictions.read(last / "test.npz"))
    code, out, error = run(capsys, "all")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "'a' and " in error and "differ in out-of-fold rows" in error


# a blend that is there


def test_the_same_blend_again_writes_nothing(two, capsys):
    run(capsys, "all")
    before = {path: path.stat().st_mtime_ns for path in (two / "blends" / "all").iterdir()}
    assert "unchanged: runs/blends/all/{oof.npz,test.npz,blend.json}" in run(capsys, "all")[1]
    assert {path: path.stat().st_mtime_ns for path in (two / "blends" / "all").iterdir()} == before


def test_another_blend_of_that_name(two, capsys):
    run(capsys, "all", "--members", "weak")
    before = atomic.sha256_of(two / "blends/all/blend.json")
    message = "runs/blends/all: holds another blend (single of weak); choose another name, or replace it with --force"
    refused(capsys, message, "all")
    assert atomic.sha256_of(two / "blends/all/blend.json") == before
    assert run(capsys, "all", "--force")[0] == 0
    assert len(folders.load_blend(two, "all").record.members) == 2


def test_members_trained_again_make_another_blend(two, capsys):
    run(capsys, "all")
    fake_runs.save_run(two, "weak", seed=5)
    refused(capsys, "runs/blends/all: holds another blend (mean of strong, weak)", "all")


def test_a_half_written_blend_is_none(two, capsys, monkeypatch):
    run(capsys, "all", "--members", "weak")
    whole = atomic.os.replace

    def killed(*_):
        raise KeyboardInterrupt

    def killed_between(source, target):
        whole(source, target)
        if str(target).endswith("blends/all/oof.npz"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "write_json", killed)
        assert run(capsys, "all", "--force")[0] == 130
    assert [member.run for member in folders.load_blend(two, "all").record.members] == ["weak"]  # untouched so far
    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "replace", killed_between)
        assert run(capsys, "all", "--force")[0] == 130
    assert folders.list_blends(two) == []
    assert run(capsys, "all")[0] == 0
    assert folders.list_blends(two) == ["all"]


def test_help_is_light():
    script = (
        "import sys; from ensembles import blend; blend.main(['--help'])\n"
        "sys.exit(bool({'torch', 'pandas', 'scipy', 'sklearn', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--members" in done.stdout
