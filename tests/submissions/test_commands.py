from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ensembles import blend
from fer_kit import metrics
from fer_kit.data import loading
from fer_kit.files import atomic
from fer_kit.runs import folders, predictions
from submissions import __main__ as commands
from submissions import check
from tests.helpers import fake_runs
from tests.helpers.fake_runs import TEST_ROWS
from tests.helpers.fake_submissions import ORGANISERS, expected, numbers, refused, run
from tests.helpers.small_competition import TRAIN_IMAGES, TRAIN_LABELS, encoded, image_names, write_files

PLAIN = ["--method", "mean", "--temperatures", "none", "--no-pictures"]

# build


def test_the_organisers_form_of_a_run(here, capsys):
    fake_runs.save_run(here / "runs", "a", seed=1)
    code, out, error = run(capsys, "build", "a")
    assert (code, error) == (0, "")
    path = here / "submissions/2030-01-02-a.csv"
    assert path.read_text() == "".join(f"{value}\n" for value in expected())
    run_a = folders.load("runs", "a")
    accuracy = metrics.accuracy(run_a.oof.logits, run_a.oof.labels)
    spread = metrics.spread(run_a.accuracies)
    counts = np.bincount(expected(), minlength=7)
    lines = out.splitlines()
    assert "labels in the files of the source" in lines.pop(-2)  # nothing here tells whether they are right
    assert lines[:-2] == [
        "source     run runs/a",
        f"accuracy   {accuracy:.2%} out-of-fold on 90 rows ± {spread:.2%} over 3 folds",
        f"format     {ORGANISERS} (no data found, so no example_submission.csv)",
        "rows       40, the number of predictions (not compared with test.csv: no data found)",
        f"classes    Angry {counts[0]}  Disgust {counts[1]}  Fear {counts[2]}  Happy {counts[3]}  "
        f"Sad {counts[4]}  Surprise {counts[5]}  Neutral {counts[6]}",
        f"sha256     {hashlib.sha256(path.read_bytes()).hexdigest()}",
        "wrote      submissions/2030-01-02-a.csv",
    ]
    assert lines[-2].startswith("note: no competition files found; tried --data (not given)")
    assert lines[-1] == (
        f'next: python -m submissions upload submissions/2030-01-02-a.csv -m "a: {accuracy:.2%} out-of-fold on 90 rows '
        f'± {spread:.2%} over 3 folds"'
    )


def test_a_test_set_of_another_size_is_not_for_kaggle(here, capsys, monkeypatch):
    monkeypatch.setattr(check, "COMPETITION_ROWS", 7_178)
    fake_runs.save_run(here / "runs", "a", seed=1)
    out = run(capsys, "build", "a", "--out", "x.csv")[1]
    assert out.splitlines()[-1] == (
        "next: python -m submissions check x.csv   (not for Kaggle: its test set has 7,178 rows)"
    )


@pytest.mark.parametrize("source", ["a", "a/fold1", "runs/a/", "runs/a/fold1", "runs/a/fold1/test.npz"])
def test_ways_to_name_a_run(here, capsys, source):
    fake_runs.save_run(here / "runs", "a", seed=1)
    assert run(capsys, "build", source)[0] == 0
    one = predictions.read(here / "runs/a/fold1/test.npz")
    if "fold1" in source:
        assert numbers(here / "submissions/2030-01-02-a-fold1.csv") == metrics.predicted(one.logits).tolist()
    else:
        assert numbers(here / "submissions/2030-01-02-a.csv") == expected()


@pytest.mark.parametrize("source", ["all", "blends/all", "runs/blends/all", "runs/blends/all/test.npz"])
def test_ways_to_name_a_blend(here, capsys, source):
    for seed, name in enumerate(("a", "b")):
        fake_runs.save_run(here / "runs", name, seed=seed)
    assert blend.main(["all", *PLAIN]) == 0
    code, out, _ = run(capsys, "build", source)
    assert code == 0
    there = folders.load_blend("runs", "all")
    assert numbers(here / "submissions/2030-01-02-all.csv") == metrics.predicted(there.test.logits).tolist()
    assert re.search(r"source     blend \S*runs/blends/all \(of [ab], [ab]\)\n", out)
    assert f"accuracy   {there.record.oof_accuracy:.2%} out-of-fold on 90 rows ± " in out


def test_a_lone_file_has_no_known_accuracy(here, capsys):
    fake_runs.save_run(here / "runs", "a", seed=1)
    (here / "runs/a/fold0/test.npz").rename(here / "friend.npz")
    out = run(capsys, "build", "friend.npz")[1]
    assert "accuracy   unknown: no oof.npz in the same folder\n" in out
    assert (here / "submissions/2030-01-02-a-fold0.csv").exists()


def test_sources_that_are_none(here, capsys):
    refused(capsys, "runs: no run, blend or path 'a'; there are no runs yet", "build", "a")
    fake_runs.save_run(here / "runs", "attention", seed=1)
    refused(
        capsys,
        "runs: no run, blend or path 'atention' (did you mean 'attention'?); there are: attention",
        "build",
        "atention",
    )
    refused(capsys, "runs/attention/fold0/oof.npz: has labels, so its rows are train rows; give a test.npz", "build",
            "runs/attention/fold0/oof.npz")  # fmt: skip
    refused(capsys, ".: not a run or blend, and it has no test.npz; ", "build", ".")
    fake_runs.unfinish(here / "runs", "attention", 2)
    refused(capsys, "runs/attention: fold 2 of 3 not finished; finish with: python -m ", "build", "attention")


def test_a_file_that_is_not_the_finished_one(here, capsys):
    folder = fake_runs.save_run(here / "runs", "a", seed=1)
    predictions.write(folder / "fold0/test.npz", predictions.read(folder / "fold1/test.npz"))
    message = "runs/a/fold0/test.npz: not the file that result.json in its folder was written for"
    refused(capsys, message, "build", "runs/a/fold0/test.npz")


def test_a_name_that_is_a_run_and_a_blend(here, capsys):
    fake_runs.save_run(here / "runs", "a", seed=1)
    blend.main(["b", *PLAIN])
    fake_runs.save_run(here / "runs", "b", seed=2)
    refused(capsys, "'b' is both a run and a blend in runs; give runs/b or runs/blends/b", "build", "b")
    assert run(capsys, "build", "runs/blends/b")[0] == 0


def test_test_rows_with_a_gap(here, capsys):
    _, test = fake_runs.fold_parts("a", 0, 1, 1.5)
    predictions.write(here / "gap.npz", predictions.Predictions(test.ids + 1, test.logits, test.meta))
    message = "gap.npz: predicts 40 test rows with ids up to 40, allowed are all rows from 0 without a gap"
    refused(capsys, message, "build", "gap.npz")


def test_an_existing_file(here, capsys):
    for seed, name in enumerate(("a", "b")):
        fake_runs.save_run(here / "runs", name, seed=seed)
    run(capsys, "build", "a", "--out", "x.csv")
    before = (here / "x.csv").stat().st_mtime_ns
    assert "unchanged  x.csv\n" in run(capsys, "build", "a", "--out", "x.csv")[1]
    message = "x.csv: holds another submission; "
    refused(capsys, message, "build", "b", "--out", "x.csv")
    assert (here / "x.csv").stat().st_mtime_ns == before
    assert run(capsys, "build", "b", "--out", "x.csv", "--force")[0] == 0
    assert numbers(here / "x.csv") == expected("b")
    refused(capsys, "runs: is a folder; give a file name with --out", "build", "a", "--out", "runs", "--force")


def test_predictions_from_other_data(here, capsys, digest):
    fake_runs.save_run(here / "runs", "a", seed=1)
    message = f"data: other data (digest {digest[:12]}) than run runs/a was made from (data); name the folder"
    refused(capsys, message, "build", "a")
    assert not (here / "submissions").exists()


def test_fewer_test_rows_than_the_data(here, capsys, digest, monkeypatch):
    monkeypatch.setattr(fake_runs, "TEST_ROWS", TEST_ROWS - 1)
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=digest)
    refused(capsys, "run runs/a: predicts 39 test rows, data has 40; predict every test row", "build", "a")


def test_with_data_but_no_example(here, capsys, digest):
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=digest)
    out = run(capsys, "build", "a")[1]
    assert f"format     {ORGANISERS} (no example_submission.csv in data)\n" in out
    assert "rows       40, the test rows of data\n" in out
    assert "note" not in out


def test_a_named_place_without_data(here, capsys, monkeypatch):
    fake_runs.save_run(here / "runs", "a", seed=1)
    refused(capsys, "runs: holds no competition files (from --data)", "build", "a", "--data", "runs")
    monkeypatch.setenv("FER_KIT_DATA", "runs")
    refused(capsys, "runs: holds no competition files (from FER_KIT_DATA)", "build", "a")


# the command line


def test_a_command_is_needed(capsys):
    code, _, error = run(capsys)
    assert code == 2 and "required: COMMAND" in error
    code, _, error = run(capsys, "buidl", "a")
    assert code == 2 and "invalid choice: 'buidl'" in error


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in commands.COMMANDS)])
def test_help_is_light(words):
    script = (
        f"import sys; from submissions import __main__; __main__.main({words})\n"
        "sys.exit(bool({'torch', 'pandas', 'scipy', 'sklearn', 'cv2', 'matplotlib', 'kaggle'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage: python -m submissions" in done.stdout


def test_data_without_the_order_of_test_csv_cannot_be_submitted(here, capsys):
    """Refused with the data, and, by folds.json, without; a file of predictions for them is refused too."""
    words = {"train": TRAIN_LABELS, "test": np.arange(TEST_ROWS) % 7}
    faces = {"train": TRAIN_IMAGES, "test": np.arange(TEST_ROWS * 48 * 48, dtype=np.uint32).astype(np.uint8)}
    files = {
        f"{split}/{name}.png": encoded(image)
        for split, labels in words.items()
        for name, image in zip(image_names(labels), faces[split].reshape(-1, 48, 48), strict=True)
    }
    data = loading.load(write_files(here / "data", files), here / "runs/cache")
    fake_runs.save_run(here / "runs", "a", seed=1, data_digest=data.digest)
    why = "image folders do not keep the order of test.csv, and a submission needs this order, line by line; name the"
    refused(capsys, f"data: {why}", "build", "a")
    (here / "x.csv").write_text("0\n" * TEST_ROWS)
    refused(capsys, f"data: {why}", "check", "x.csv")
    (here / "data").rename(here / "elsewhere")
    atomic.write_json(here / "runs/folds.json", {"data_digest": data.digest, "unordered": data.unordered})
    refused(capsys, f"run runs/a: {why[:-10]}; train on the", "build", "a")
    assert blend.main(["b", "--members", "a", *PLAIN]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"no submission can be built: {data.unordered}"


def test_a_full_fit_alone_is_named_so_and_cannot_be_blended(here, capsys):
    folder = here / "runs/a/foldall"
    _, drawn = fake_runs.fold_parts("a", 0, seed=1, skill=1.0)
    test = replace(drawn, meta=drawn.meta | {"fold": -1})
    predictions.write(folder / "test.npz", test)
    atomic.write_json(
        folder / "result.json", {"run": "a", "fold": -1, "test_sha256": atomic.sha256_of(folder / "test.npz")}
    )
    code, out, error = run(capsys, "build", "runs/a/foldall")
    assert (code, error) == (0, "") and "full fit" in out
    assert (here / "submissions/2030-01-02-a-full.csv").is_file()
    assert blend.main(["all", "--members", "a"]) == 2
    told = capsys.readouterr().err
    assert "only a full fit" in told and "submissions build runs/a/foldall" in told and "--full-fit" in told
    code, _, told = run(capsys, "build", "a")
    assert code == 2 and "only a full fit" in told and "name a/foldall" in told
