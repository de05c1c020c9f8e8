"""What goes into a blend, through the command: blends, other people's files, seeds, given weights; and refusals."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from ensembles import blend, members
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import folders, predictions
from fer_kit.runs.predictions import Predictions
from tests.helpers import fake_runs
from tests.helpers.blending import refused, run

WEIGHTS = ("--method", "weights", "--no-pictures")


def copy_out(runs_dir, name, folder, **changes):
    """Write run `name` as somebody else's two files, changed."""
    whole = folders.load(runs_dir, name)
    meta = {**whole.oof.meta, "run": "theirs", "commit": None}
    for part, file in ((whole.oof, "oof.npz"), (whole.test, "test.npz")):
        logits = part.logits * np.float32(1.25)  # else it is a copy
        values = {"ids": part.ids, "logits": logits, "meta": meta, "labels": part.labels, **changes.get(file, {})}
        predictions.write(folder / file, Predictions(**values))
    return folder


def save_raw(path, **changes):
    """Change arrays of a prediction file as no writer of ours would."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, **changes})


# blends as members


def test_a_blend_of_blends(two, capsys):
    fake_runs.save_run(two, "third", seed=3)
    run(capsys, "inner", "--members", "weak", "strong", options=WEIGHTS)
    code, out, error = run(capsys, "outer", "--members", "inner", "third", options=WEIGHTS)
    assert (code, error) == (0, "") and out.splitlines()[2].split()[0] in ("blends/inner", "third")
    record = folders.load_blend(two, "outer").record
    kinds = {member.run: member.kind for member in record.members}
    assert kinds == {"blends/inner": "blend", "third": "run"}
    inner = next(member for member in record.members if member.run == "blends/inner")
    assert (inner.sources[0].path, inner.sources[0].kind) == ("blends/inner", "blend")
    assert run(capsys, "deeper", "--members", "blends/o*", "weak", options=WEIGHTS)[0] == 0
    code, out, _ = run(capsys, "noted", "--members", "inner", "weak", options=WEIGHTS)
    assert "note: 'weak' is a member and also a part of 'blends/inner'" in out


def test_a_blend_whose_members_changed_or_went(two, capsys):
    fake_runs.save_run(two, "third", seed=3)
    run(capsys, "inner", "--members", "weak", "strong", options=WEIGHTS)
    fake_runs.save_run(two, "weak", seed=9)
    changed = "runs/blends/inner: its member runs/weak has changed; "
    refused(capsys, changed, "outer", "--members", "inner", "third")
    shutil.rmtree(two / "weak")
    refused(capsys, "runs/blends/inner: its member runs/weak is missing, ", "outer", "--members", "inner")


def test_a_blend_is_no_part_of_itself(two, capsys):
    run(capsys, "inner", options=WEIGHTS)
    itself = "blend 'inner' would contain itself through its member 'blends/inner'"
    refused(capsys, itself, "inner", "--members", "inner", "weak")
    fake_runs.save_run(two, "third", seed=3)
    run(capsys, "outer", "--members", "inner", "third", options=WEIGHTS)
    refused(capsys, itself.replace("blends/inner", "blends/outer"), "inner", "--members", "outer", "third")


# other people's files


def test_files_that_keep_the_contract(two, capsys, tmp_path):
    folder = copy_out(two, "weak", tmp_path / "theirs")
    assert run(capsys, "all", "--members", "strong", "theirs")[0] == 0
    ours = folders.load_blend(two, "all").oof
    with np.load(folder / "oof.npz") as archive:
        order = np.random.default_rng(0).permutation(len(archive["ids"]))
        mixed = {name: archive[name][order] for name in ("ids", "logits", "labels")}
    save_raw(folder / "oof.npz", **mixed)
    assert run(capsys, "mixed", "--members", "strong", "theirs")[0] == 0
    np.testing.assert_array_equal(folders.load_blend(two, "mixed").oof.logits, ours.logits)
    record = folders.load_blend(two, "mixed").record
    assert {member.kind for member in record.members} == {"run", "files"}
    assert record.members[1].sources[0].path == "../theirs"


def test_a_run_in_another_folder_of_runs(two, capsys, tmp_path):
    fake_runs.save_run(tmp_path / "other", "strong", seed=7)
    assert run(capsys, "all", "--members", "strong", "other/strong")[0] == 0
    assert [m.run for m in folders.load_blend(two, "all").record.members] == ["strong", "other/strong"]


def test_files_that_break_the_contract(two, capsys, tmp_path):
    folder = tmp_path / "theirs"
    argv = ("all", "--members", "strong", "theirs")

    def broken(message, file="oof.npz", **changes):
        copy_out(two, "weak", folder)
        save_raw(folder / file, **changes)
        refused(capsys, message, *argv)

    whole = folders.load(two, "weak").oof
    bad = whole.logits.copy()
    bad[3, 2] = np.nan
    broken("theirs/oof.npz: logits of id 3 are not finite (1 such rows)", logits=bad)
    broken("theirs/oof.npz: logits are float16", logits=whole.logits.astype(np.float16))
    broken("theirs/oof.npz: classes are", meta=json.dumps({**whole.meta, "classes": list("abcdefg")}))
    twice = whole.ids.copy()
    twice[5] = 4
    broken("theirs/oof.npz: id 4 occurs more than once", ids=twice)
    broken("theirs/oof.npz: 90 ids but logits of shape (89, 7)", ids=whole.ids[::-1].copy(), logits=bad[1:])
    broken(
        "theirs: run differs: theirs in theirs fold [0, 1, 2], x in x",
        "test.npz",
        meta=json.dumps({**whole.meta, "run": "x"}),
    )
    theirs = {**whole.meta, "run": "theirs"}
    copy_out(two, "weak", folder, **{name: {"meta": {**theirs, "fold": [0, 1]}} for name in ("oof.npz", "test.npz")})
    refused(capsys, "'theirs': its meta names fold [0, 1], but the rows are of folds [0, 1, 2]", *argv)
    copy_out(two, "weak", folder, **{"oof.npz": {"labels": None}})
    refused(capsys, "theirs/oof.npz: has no labels", *argv)
    (folder / "test.npz").unlink()
    refused(capsys, "theirs/test.npz: no such file", *argv)


def test_a_stored_score_that_the_rows_do_not_give(two, capsys, tmp_path):
    folder = copy_out(two, "weak", tmp_path / "theirs")
    part = predictions.read(folder / "oof.npz")
    score = metrics.accuracy(part.logits, part.labels)
    atomic.write_json(
        folder / "result.json", {"oof_accuracy": score, "oof_sha256": atomic.sha256_of(folder / "oof.npz")}
    )
    assert run(capsys, "all", "--members", "strong", "theirs")[0] == 0
    save_raw(folder / "oof.npz", logits=part.logits[::-1])
    changed = "theirs/oof.npz: changed since result.json was written; make this folder again"
    refused(capsys, changed, "b", "--members", "strong", "theirs")
    atomic.write_json(folder / "result.json", {"oof_accuracy": score})
    told = f"theirs/result.json: oof_accuracy is {score:.6f}, but the rows of oof.npz give 0."
    refused(capsys, told, "b", "--members", "strong", "theirs")


def test_files_alone_need_the_folds(tmp_path, two, capsys):
    copy_out(two, "weak", tmp_path / "theirs")
    told = "runs/folds.csv: no such file, and no member is a run"
    refused(capsys, told, "all", "--members", "theirs")


# seeds of one recipe


def save_seeds(runs_dir, *seeds):
    for seed in seeds:
        config = {"recipe": "deep", "lr": 0.1, "seed": seed}
        folder = fake_runs.save_run(runs_dir, f"deep-s{seed}", seed + 20, config_digest=atomic.digest_of(config))
        for fold in range(fake_runs.FOLDS):
            atomic.write_json(folder / f"fold{fold}" / "config.json", config)


def test_seeds_of_one_recipe_are_one_member(two, capsys):
    save_seeds(two, 0, 1, 2)
    assert run(capsys, "all")[0] == 0
    record = folders.load_blend(two, "all").record
    weights = {member.run: member.weight for member in record.members}
    assert weights == pytest.approx({"strong": 1 / 3, "weak": 1 / 3, "deep-s0×3": 1 / 3})
    entry = next(member for member in record.members if member.run == "deep-s0×3")
    assert [source.path for source in entry.sources] == ["deep-s0", "deep-s1", "deep-s2"]
    seeds = [folders.load(two, f"deep-s{seed}") for seed in range(3)]
    mean = np.mean([metrics.softmax(seed.oof.logits) for seed in seeds], axis=0)
    assert entry.oof_accuracy == metrics.accuracy(np.log(mean), fake_runs.LABELS)
    run(capsys, "inner", "--members", "deep*", "weak", options=WEIGHTS)
    assert run(capsys, "outer", "--members", "inner", "strong", options=WEIGHTS)[0] == 0


def test_a_config_that_is_not_of_these_predictions(two, capsys):
    save_seeds(two, 0)
    atomic.write_json(two / "deep-s0/fold0/config.json", {"recipe": "deep", "lr": 0.2, "seed": 0})
    refused(capsys, "runs/deep-s0/fold0/config.json: not the config of the predictions", "all")


# weights that are given


def test_given_weights(two, capsys, tmp_path):
    loaded = [folders.load(two, name) for name in ("strong", "weak")]
    (tmp_path / "w.json").write_text('{"weak": 0.25, "strong": 0.75}')
    options = ("--weights", "w.json", "--temperatures", "none", "--no-pictures")
    assert run(capsys, "logs", options=options)[0] == 0
    expected = sum(w * metrics.log_softmax(m.test.logits) for w, m in zip((0.75, 0.25), loaded, strict=True))
    made = metrics.softmax(folders.load_blend(two, "logs").test.logits)
    np.testing.assert_allclose(made, metrics.softmax(expected), rtol=1e-5)
    assert run(capsys, "plain", options=(*options, "--method", "mean"))[0] == 0
    expected = sum(w * metrics.softmax(m.test.logits) for w, m in zip((0.75, 0.25), loaded, strict=True))
    made = metrics.softmax(folders.load_blend(two, "plain").test.logits)
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    code, out, _ = run(capsys, "again", options=("--weights", "runs/blends/plain/blend.json", "--no-pictures"))
    assert code == 0 and "if they were fitted to these rows, this score and the forecast are too high" in out
    fake_runs.save_run(two, "third", seed=3)
    assert run(capsys, "outer", "--members", "again", "third", options=WEIGHTS)[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"weak": 0.5, "strong": 0.4}', "w.json: the weights sum to 0.9, allowed is 1; divide each by 0.9"),
        ('{"weak": 1.5, "strong": -0.5}', "w.json: the weight of 'strong' is -0.5, allowed are numbers from 0 to 1"),
        ('{"weak": NaN, "strong": 1}', "w.json: not a readable JSON file (NaN is not a finite number)"),
        ('{"weak": true, "strong": 0}', "w.json: the weight of 'weak' is True, allowed are numbers from 0 to 1"),
        ('{"strong": 1}', "w.json: no weight for 'weak'; "),
        (
            '{"weka": 0.5, "strong": 0.5}',
            "w.json: has a weight for 'weka', which is not a member (did you mean 'weak'?); members",
        ),
        ("[1]", "w.json: holds a list, allowed is an object {member: weight}"),
        ('{"members": [{"run": "weak", "weight": null}]}', "w.json: this blend has no weight for each member"),
        ("{", "w.json: not a readable JSON file"),
    ],
)
def test_given_weights_that_are_refused(two, capsys, tmp_path, text, message):
    (tmp_path / "w.json").write_text(text)
    assert blend.main(["all", "--weights", "w.json"]) == 2
    assert re.match("error: " + re.escape(message), capsys.readouterr().err)


def test_given_weights_and_a_method_that_fits_its_own(two, capsys):
    assert blend.main(["all", "--weights", "w.json", "--method", "stack"]) == 2
    assert (
        "--weights with --method stack, which fits its own weights; allowed are --method mean and logmean"
        in capsys.readouterr().err
    )


# the whole command with all that is fitted


@pytest.mark.slow
def test_the_default_command_end_to_end(two, capsys):
    fake_runs.save_run(two, "third", seed=3, skill=2.4)
    code, out, error = run(capsys, "all", options=())
    assert (code, error) == (0, "")
    blended = folders.load_blend(two, "all")
    record = blended.record
    methods = [line.method for line in record.methods]
    assert methods == ["mean", "logmean", "weights", "greedy", "stack", "auto"]
    assert (record.asked, record.learned, record.tempered) == ("auto", True, True)
    assert record.optimism == pytest.approx(record.fitted.accuracy - record.oof_accuracy, abs=1e-6)
    assert record.oof_accuracy == metrics.accuracy(blended.oof.logits, blended.oof.labels)
    for method in methods:
        assert re.search(rf"^(→|  ) ?{method} ", out, re.MULTILINE)
    assert "auto chose " in out and "against the mean of all: " in out
    folder = two / "blends" / "all"
    for picture in ("correlation.png", "weights.png"):
        assert (folder / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "weights.png").unlink()
    code, out, _ = run(capsys, "all", "--members", "third", "weak", "strong", options=())
    assert code == 0 and "unchanged: runs/blends/all/" in out
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {path for path in before if before[path] != after[path]} == {folder / "weights.png"}


def test_two_folds_are_too_few_to_choose_a_method(here, capsys, monkeypatch):
    monkeypatch.setattr(fake_runs, "FOLDS", 2)
    monkeypatch.setattr(fake_runs, "FOLD_OF_ROW", np.arange(fake_runs.ROWS) % 2)
    fake_runs.save_run(here, "a", seed=1)
    fake_runs.save_run(here, "b", seed=2)
    assert blend.main(["all"]) == 2
    told = "--method auto needs at least 3 folds to score its choice, the members have 2; "
    assert told in capsys.readouterr().err
    assert run(capsys, "all", options=WEIGHTS)[0] == 0


def test_no_members_and_no_option(two, capsys):
    assert blend.main(["all", "--members"]) == 2
    assert "expected at least one argument" in capsys.readouterr().err
    with pytest.raises(FerKitError, match="^--members: the list is empty; name runs, blends or folders"):
        members.load(two, [])


# what is taken where nothing is named


def test_a_damaged_run_is_left_out_unless_it_is_named(two, capsys):
    fake_runs.save_run(two, "broken", seed=3)
    (two / "broken" / "fold1" / "oof.npz").write_bytes(b"half")
    code, out, _ = run(capsys, "all")
    [left_out] = [line for line in out.splitlines() if line.startswith("left out")]
    assert code == 0 and left_out.startswith("left out: broken: ") and "oof.npz" in left_out
    assert {member["run"] for member in atomic.read_json(two / "blends/all/blend.json")["members"]} == {
        "weak",
        "strong",
    }
    refused(capsys, "runs/broken/fold1/oof.npz: changed since", "other", "--members", "weak", "broken")


def test_a_damaged_one_fold_try_is_left_out(two, capsys):
    fake_runs.save_run(two, "try", seed=3)
    fake_runs.remove(two, "try", 1, 2)
    code, out, _ = run(capsys, "all")
    assert code == 0 and "left out, only one fold each: try" in out.splitlines()
    (two / "try" / "fold0" / "oof.npz").write_bytes(b"half")
    code, out, _ = run(capsys, "again")
    assert code == 0 and "\nleft out: try: " in out


def test_a_run_of_other_folds_is_left_out_and_a_trial_without_a_word(two, capsys):
    fake_runs.save_run(two, "strange", seed=3, folds_digest="7" * 64)
    fake_runs.save_run(two, "weak-smoke", seed=4)
    code, out, _ = run(capsys, "all")
    assert code == 0 and "\nleft out: strange: made with other folds or other data" in out
    assert "smoke" not in out
    code, out, _ = run(capsys, "tried", "--members", "weak", "weak-smoke")
    assert code == 0 and "weak-smoke" in out


def test_named_trials_that_predict_some_rows_are_blended_on_these_rows(two, capsys):
    (two / "folds.csv").write_bytes(fake_runs.TABLE)
    digest = table.read(two / "folds.csv").digest
    for seed, name in enumerate(("a-smoke", "b-smoke")):
        for fold in range(fake_runs.FOLDS):
            oof, test = fake_runs.fold_parts(name, fold, seed, 1.5, folds_digest=digest)
            assert oof.labels is not None
            few = Predictions(oof.ids[:20], oof.logits[:20], oof.meta, oof.labels[:20])
            fake_runs.save_fold(folders.fold_folder(two, name, fold), few, test)
    code, out, _ = run(capsys, "tried", "--members", "a-smoke", "b-smoke")
    assert code == 0 and " 60 rows " in out and "no leaderboard forecast" in out
