"""Evaluate: scores against scikit-learn, comparisons on common rows, test rows apart, and every refusal by its text."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from ensembles import blend
from fer_kit import metrics
from fer_kit.competition import CLASSES
from fer_kit.data import loading
from fer_kit.evaluate import __main__ as evaluate
from fer_kit.evaluate import scores, sources
from fer_kit.evaluate.sources import Groups
from fer_kit.folds import table as fold_files
from fer_kit.synthetic import draw
from tests.helpers import fake_runs
from tests.helpers.fake_runs import LABELS, ROWS, TEST_ROWS

PAIRED = np.arange(ROWS) // 6 * 6 + np.arange(ROWS) % 3  # twins: rows 0 and 3, 1 and 4, 2 and 5, 6 and 9 …
FOLD_OF_PAIR = PAIRED % 3


def table(groups, folds):
    return fold_files.table_of(fold_files.COLUMNS, np.arange(ROWS), LABELS, groups, folds)


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A strong run and a weak one on folds that know twins, and a blend of both; no data in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FER_KIT_DATA", raising=False)
    monkeypatch.setattr(fake_runs, "FOLD_OF_ROW", FOLD_OF_PAIR)
    here = tmp_path / "runs"
    here.mkdir()
    (here / "folds.csv").write_bytes(table(PAIRED, FOLD_OF_PAIR))
    test_groups = np.where(np.arange(TEST_ROWS) < 10, PAIRED[:TEST_ROWS], ROWS + np.arange(TEST_ROWS))
    (here / "folds-test.csv").write_bytes(
        fold_files.table_of(fold_files.TEST_COLUMNS, np.arange(TEST_ROWS), test_groups)
    )
    train_again(here, "data")
    return here


def train_again(here, data_digest):
    digest = fold_files.read(here / "folds.csv").digest
    fake_runs.save_run(here, "weak", seed=1, skill=1.0, folds_digest=digest, data_digest=data_digest)
    fake_runs.save_run(here, "strong", seed=2, skill=2.5, folds_digest=digest, data_digest=data_digest)


def run(capsys, *argv, options=("--no-pictures",)):
    """Exit code, stdout, stderr and evaluate.json of `python -m fer_kit.evaluate …`."""
    code = evaluate.main([*argv, "--out", "out", "--details", *options])
    found = json.loads(Path("out/evaluate.json").read_text()) if code == 0 else None
    return code, *capsys.readouterr(), found


def refused(capsys, *argv):
    code, out, error, _ = run(capsys, *argv)
    assert code == 2 and out == "" and error.count("\n") == 1
    return error


def groups_of(here):
    return Groups(fold_files.read(here / "folds.csv"), None)


def test_scores_are_those_of_scikit_learn():
    from sklearn import metrics as sk

    rng = np.random.default_rng(0)
    labels = rng.choice([2, 3, 4, 5, 6], 300)  # no Angry, no Disgust
    logits = rng.normal(size=(300, 7))
    logits[np.arange(300), labels] += 1.5
    logits[:, [0, 5]] = -9  # and these are never answered
    found, answers = scores.scores(logits, labels, np.arange(300)), metrics.predicted(logits)
    assert (answers == 1).any() and not (answers == 5).any()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes")
        assert found.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(labels, answers))
    assert found.macro_f1 == pytest.approx(sk.f1_score(labels, answers, average="macro", zero_division=0))
    assert found.accuracy == sk.accuracy_score(labels, answers)
    assert found.log_loss == pytest.approx(sk.log_loss(labels, metrics.softmax(logits), labels=range(7)))
    np.testing.assert_array_equal(found.confusion, sk.confusion_matrix(labels, answers, labels=range(7)))
    assert found.classes[1].rows == 0 and found.classes[5].precision == 0
    for low, value, high in (
        (found.interval[0], found.accuracy, found.interval[1]),
        (found.balanced_interval[0], found.balanced_accuracy, found.balanced_interval[1]),
        (found.macro_f1_interval[0], found.macro_f1, found.macro_f1_interval[1]),
        *((*one.recall_interval[:1], one.recall, one.recall_interval[1]) for one in found.classes),
        *((*one.f1_interval[:1], one.f1, one.f1_interval[1]) for one in found.classes),
    ):
        assert low <= value <= high and high - low < 0.35


def test_the_drawn_scores_are_the_same_formulas():
    counts = np.random.default_rng(0).integers(0, 9, (1, 7, 7)).astype(float)
    labels, answers = (
        np.repeat(np.arange(49) // 7, counts.ravel().astype(int)),
        np.repeat(np.arange(49) % 7, counts.ravel().astype(int)),
    )
    found = scores.scores(np.eye(7)[answers] * 5, labels, np.arange(len(labels)))
    balanced, macro, recall, f1 = scores._from_confusions(counts)
    assert (balanced[0], macro[0]) == (pytest.approx(found.balanced_accuracy), pytest.approx(found.macro_f1))
    assert recall[0].tolist() == pytest.approx([one.recall for one in found.classes])
    assert f1[0].tolist() == pytest.approx([one.f1 for one in found.classes])


def test_twins_make_intervals_wider():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 7, 100), 6)  # six copies of each photo
    logits = np.repeat(rng.normal(size=(100, 7)), 6, axis=0)
    logits[np.arange(600), labels] += 1
    alone = scores.scores(logits, labels, np.arange(600))
    known = scores.scores(logits, labels, np.arange(600) // 6)
    for name in ("interval", "balanced_interval", "macro_f1_interval"):
        assert np.ptp(getattr(known, name)) > 1.8 * np.ptp(getattr(alone, name)), name


def test_pairs_and_mistakes():
    confusion = np.zeros((7, 7), np.int64)
    confusion[4, 6], confusion[0, 0], confusion[2, 4], confusion[4, 4] = 3, 9, 1, 3
    pairs = scores.most_confused(confusion)
    assert [(pair.true, pair.answer, pair.rows, pair.share) for pair in pairs] == [
        ("Sad", "Neutral", 3, 0.5),
        ("Fear", "Sad", 1, 1.0),
    ]
    logits = np.zeros((6, 7))
    logits[:, 3] = [5, 9, 8, 7, 1, 2]
    labels, groups = np.array([0, 0, 0, 3, 6, 6]), np.array([0, 1, 1, 2, 3, 4])
    # row 3 is right, row 2 a twin of row 1
    assert scores.confident_mistakes(logits, labels, groups, 8).tolist() == [1, 0, 5, 4]
    assert scores.confident_mistakes(logits, labels, groups, 1).tolist() == [1, 5]


@pytest.mark.slow
def test_one_run(two, capsys):
    code, out, error, found = run(capsys, "strong", options=())
    assert code == 0 and error == ""
    [source] = found["sources"]
    oof = sources.load(two, ["strong"])[0].oof
    assert source["accuracy"] == pytest.approx(metrics.accuracy(oof.logits, LABELS))
    interval = metrics.bootstrap_interval(metrics.predicted(oof.logits) == LABELS, PAIRED)
    assert source["interval"] == list(interval) and source["groups"] == ROWS // 2
    assert list(source["fold_accuracies"]) == ["0", "1", "2"] and source["missing_folds"] == []
    assert f"{source['accuracy']:.2%}" in out and "note" not in out.split("wrote")[0]
    assert re.search(r"^Happy +13 +[\d.]+% ", out, re.MULTILINE) and "taken for" in out
    assert found["comparisons"] is None and found["test_rows"] == [] and "compared" not in out
    assert "no competition files found" in out
    assert found["pictures"] == ["strong-confusion.png", "strong-reliability.png"]
    for name in found["pictures"]:
        assert Path(f"out/{name}").read_bytes()[:4] == b"\x89PNG"
    wrong = source["confident_mistakes"][0]
    assert wrong["true"] != wrong["answer"] and CLASSES[LABELS[wrong["id"]]] == wrong["true"]


def test_side_by_side_on_common_rows_only(two, capsys):
    fake_runs.unfinish(two, "weak", 2)
    code, out, _, found = run(capsys, "weak", "strong")
    assert code == 0
    weak, strong = sources.load(two, ["weak", "strong"])
    rows = FOLD_OF_PAIR != 2
    expected = metrics.compare(strong.oof.logits[rows], weak.oof.logits, LABELS[rows], PAIRED[rows], "weak")
    [pair] = found["comparisons"]["pairs"]
    assert pair == {"source": "strong", **vars(expected)}
    assert found["comparisons"]["rows"] == rows.sum() == found["sources"][0]["rows"] < found["sources"][1]["rows"]
    assert "* weak: fold 2 of 3 missing: " in out and "60 rows of the finished folds" in out
    assert re.search(r"compared on the 60 rows common to all \(.*weak [\d.]+%, strong [\d.]+%\)", out)
    assert found["sources"][0]["missing_folds"] == [2] and found["pictures"] == []


def test_no_common_rows(two, capsys):
    fake_runs.unfinish(two, "weak", 2)
    fake_runs.unfinish(two, "strong", 0, 1)
    _, out, _, found = run(capsys, "weak", "strong")
    assert found["comparisons"] is None
    assert "not compared" in out


def test_a_blend_reads_as_its_own_record_says(two, capsys):
    options = ["--method", "mean", "--temperatures", "none", "--no-pictures"]
    assert blend.main(["both", "--members", "weak", "strong", "--runs", str(two), *options]) == 0
    capsys.readouterr()
    code, out, _, found = run(capsys, "both", "strong")
    assert code == 0 and found["sources"][0]["name"] == "blends/both" and found["sources"][0]["kind"] == "blend"
    record = json.loads((two / "blends" / "both" / "blend.json").read_text())
    for here, there in (("accuracy", "oof_accuracy"), ("interval", "interval")):
        assert found["sources"][0][here] == pytest.approx(record[there])
    assert list(found["sources"][0]["fold_accuracies"].values()) == pytest.approx(record["fold_accuracies"])
    assert "blends/both" in out
    assert "no run or blend 'bohh' (did you mean 'both'?); there are: strong, weak, blends/both" in refused(
        capsys, "bohh"
    )


@pytest.mark.slow
def test_the_test_rows_have_a_table_of_their_own(two, capsys, tmp_path, monkeypatch):
    drawn = draw.draw(100, TEST_ROWS, seed=1)
    drawn.train_labels[:ROWS] = fake_runs.LABELS
    draw.write(tmp_path / "data", drawn, with_labels=True)
    loaded = loading.load(tmp_path / "data", two / "cache")
    train_again(two, loaded.digest)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, error, found = run(capsys, "strong", "weak", options=())
    assert code == 0 and "scoring test rows" in error  # at a terminal, a bar
    answers = loading.load_answers(tmp_path / "data")
    source = sources.load(two, ["strong"])[0]
    lines = {(line["usage"], line["part"]): line for line in found["test_rows"] if line["source"] == "strong"}
    for usage in ("PublicTest", "PrivateTest"):
        rows = answers.usage == usage
        for part, chosen in (("all", rows), ("without a train twin", rows & (np.arange(TEST_ROWS) >= 10))):
            expected = metrics.accuracy(source.test.logits[chosen], answers.labels[chosen])
            assert lines[usage, part]["accuracy"] == expected and lines[usage, part]["rows"] == chosen.sum()
    assert sum(line["rows"] for (_, part), line in lines.items() if part == "all") == TEST_ROWS
    above, below = out.split("test rows", 1)
    assert "PublicTest" not in above and "no score above uses these labels" in below
    assert found["sources"][0]["rows"] == ROWS  # out of fold alone
    assert {"strong-mistakes.png", "accuracies.png"} < set(found["pictures"])
    assert all(Path("out", name).is_file() for name in found["pictures"])


def test_test_rows_other_than_those_of_the_data(two, capsys, tmp_path, monkeypatch):
    draw.write(tmp_path / "data", draw.draw(100, TEST_ROWS, seed=1))
    monkeypatch.setattr(fake_runs, "TEST_ROWS", TEST_ROWS - 1)
    (two / "folds-test.csv").unlink()
    train_again(two, loading.load(tmp_path / "data", two / "cache").digest)
    assert re.search(r"'strong' predicts 39 test rows.* data .*40", refused(capsys, "strong"))


def test_other_data_are_refused(two, competition_dir, capsys):
    error = refused(capsys, "strong", "--data", str(competition_dir))
    assert "'strong'" in error and "(data)" in error and "--data" in error


def test_what_does_not_belong_together(two, capsys):
    assert "runs: no run or blend 'strnog' (did you mean 'strong'?); there are: strong, weak" in refused(
        capsys, "strnog"
    )
    assert "'weak' is given twice; give it once" in refused(capsys, "weak", "weak")
    fake_runs.save_run(two, "other", seed=3, folds_digest="elsewhere", data_digest="data")
    error = refused(capsys, "strong", "other")
    assert error.startswith("error: runs: ") and "folds_digest differs: " in error
    assert "'other' was made with (elsewhere); put that file back" in refused(capsys, "other")
    fake_runs.unfinish(two, "weak", 0, 1, 2)
    assert "folds 0, 1, 2 not finished; finish with: python -m fer_kit.train" in refused(capsys, "weak")
    assert "no such file or folder (from --data)" in refused(capsys, "strong", "--data", "nowhere")
    assert "no run or blend 'nowhere'; there are no runs yet" in refused(capsys, "nowhere", "--runs", "nowhere")


def test_labels_other_than_those_of_the_folds(two, capsys):
    path = two / "folds.csv"
    path.write_bytes(path.read_bytes().replace(b"\n0,0,", b"\n0,6,", 1))
    fake_runs.save_run(two, "strong", seed=2, folds_digest=fold_files.read(path).digest)
    assert re.search(r"runs/strong: the label of id 0 is 0, but 6 in runs/folds\.csv", refused(capsys, "strong"))


def test_without_folds_each_row_stands_alone_and_it_says_so(two, capsys):
    (two / "folds.csv").unlink()
    _, out, _, found = run(capsys, "strong")
    assert found["sources"][0]["groups"] == ROWS and found["sources"][0]["fold_accuracies"] == {}
    assert "note: runs/folds.csv is missing" in out


def test_the_default_folder_tells_choices_apart(two, capsys):
    for names in (["strong"], ["strong", "weak"], ["weak"]):
        assert evaluate.main([*names, "--no-pictures"]) == 0
        assert (two / "evaluate" / "+".join(names) / "evaluate.json").is_file()
    long = [sources.load(two, ["strong"])[0]] * 30
    assert len(evaluate.folder_for(two, long).name) < 100
    assert sources.load(two, ["weak"])[0].name == "weak"  # the folder `evaluate` is no run
