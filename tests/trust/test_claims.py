"""The labels and the fold that a prediction file claims are compared with folds.csv and the data by every reader."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ensembles import blend
from ensembles import targets as targets_command
from fer_kit import api
from fer_kit.errors import FerKitError
from fer_kit.evaluate import __main__ as evaluate
from fer_kit.folds import table
from fer_kit.predict import again
from fer_kit.report import found
from fer_kit.runs import folders
from fer_kit.runs.predictions import Predictions
from kernels import fetch
from submissions import __main__ as submissions
from tests.helpers import fake_runs
from tests.helpers.fake_runs import FOLD_OF_ROW, ROWS
from tests.helpers.pushed_kernels import RUN

RUNS = Path("runs")


def save(run: str, change: Callable[[Predictions], Predictions], runs_dir: Path = RUNS) -> None:
    """A run on the folds in `runs_dir`, whose out-of-fold predictions are changed before result.json is written."""
    digest = table.read(runs_dir / "folds.csv").digest
    for fold in range(fake_runs.FOLDS):
        oof, test = fake_runs.fold_parts(run, fold, 1, 0.5, folds_digest=digest)
        fake_runs.save_fold(folders.fold_folder(runs_dir, run, fold), change(oof), test)


def labels_are_answers(oof: Predictions) -> Predictions:
    """The instance: accuracy is 100%."""
    return dataclasses.replace(oof, labels=oof.logits.argmax(axis=1).astype(np.int64))


def rows_of_another_fold(oof: Predictions) -> Predictions:
    """The rows that the network was trained on, filed as out of fold: the folds change places in a circle."""
    ids = np.flatnonzero((oof.meta["fold"] + 1) % fake_runs.FOLDS == FOLD_OF_ROW)
    labels = fake_runs.LABELS[ids]
    return Predictions(ids, fake_runs.logits(labels, 7, 3.0), oof.meta, labels)


def a_row_too_many(oof: Predictions) -> Predictions:
    """One fold also holds a row that no folds.csv has."""
    assert oof.labels is not None
    if oof.meta["fold"] != 1:
        return oof
    more = np.array([ROWS], dtype=np.int64)
    labels = np.concatenate([oof.labels, [0]])
    return Predictions(np.concatenate([oof.ids, more]), np.concatenate([oof.logits, oof.logits[:1]]), oof.meta, labels)


@pytest.fixture(autouse=True)
def runs(here: Path) -> None:
    RUNS.mkdir()
    (RUNS / "folds.csv").write_bytes(fake_runs.TABLE)
    save("honest", lambda oof: oof)


CHANGES = {
    labels_are_answers: "label of id",
    rows_of_another_fold: "trained on it",
    a_row_too_many: "is not a row of fold",
}


@pytest.mark.parametrize(("change", "message"), CHANGES.items())
def test_every_reader_of_a_run_refuses(change, message, capsys):
    save("claims", change)
    commands = (
        (evaluate.main, ["claims", "--no-pictures"]),
        (blend.main, ["mixed", "--members", "claims", "honest"]),
        (targets_command.main, ["soft", "--from", "claims"]),
        (submissions.main, ["build", "claims"]),
    )
    for main, argv in commands:
        capsys.readouterr()
        assert main(argv) == 2, argv
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    for call in (api.oof, api.test_predictions):
        with pytest.raises(FerKitError, match=message):
            call("claims")
    report = found.find(RUNS)
    assert [source.name for source in report.sources] == ["honest"]
    assert message in dict(report.left_out)["claims"]


@pytest.mark.parametrize("change", [labels_are_answers, rows_of_another_fold])
def test_one_fold_of_it_is_refused_too(change, capsys):
    save("claims", change)
    assert submissions.main(["build", "runs/claims/fold0/test.npz"]) == 2
    assert "folds.csv" in capsys.readouterr().err
    with pytest.raises(FerKitError, match=r"folds\.csv"):
        again.read_checked(RUNS, RUNS / "claims" / "fold0")
    shutil.copytree("runs/claims/fold0", "from_a_friend")
    Path("from_a_friend/result.json").unlink()
    assert submissions.main(["build", "from_a_friend"]) == 2
    assert "folds.csv" in capsys.readouterr().err


def test_a_blend_is_compared_too(capsys):
    save("other", lambda oof: oof)
    assert blend.main(["both", "--members", "honest"]) == 0
    (RUNS / "folds.csv").write_bytes(fake_runs.TABLE.replace(b"\n3,1,3,", b"\n3,4,3,"))
    digest = table.read(RUNS / "folds.csv").digest
    folder = RUNS / "blends/both"
    from fer_kit.files import atomic
    from fer_kit.runs import predictions

    for name in ("oof.npz", "test.npz"):
        part = predictions.read(folder / name)
        predictions.write(folder / name, dataclasses.replace(part, meta=part.meta | {"folds_digest": digest}))
    hashes = {f"{name}_sha256": atomic.sha256_of(folder / f"{name}.npz") for name in ("oof", "test")}
    atomic.write_json(folder / "blend.json", atomic.read_json(folder / "blend.json") | hashes)
    with pytest.raises(FerKitError, match="the label of id 3 is 1, but 4"):
        folders.load_blend(RUNS, "both")
    assert submissions.main(["build", "both"]) == 2
    capsys.readouterr()


def test_fetch_compares_with_the_folds_of_the_kernel(tmp_path):
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    (unpacked / "folds.csv").write_bytes(fake_runs.TABLE)
    save(RUN, labels_are_answers, unpacked)
    for folder in (unpacked / RUN).iterdir():
        (folder / "config.json").write_text("{}")

    class Described:
        run_id, run, finished = "20260131T120000-aaaaaaaa", RUN, (0, 1, 2)

    Described.runs = (Described,)

    with pytest.raises(FerKitError, match="label of id"):
        fetch.check_runs(unpacked, Described)


def test_without_folds_the_data_tell(digest, capsys):
    """`submissions build` knows the labels of the competition, whatever folds the folder brings."""
    (RUNS / "folds.csv").unlink()
    for fold in range(fake_runs.FOLDS):
        oof, test = fake_runs.fold_parts("claims", fold, 1, 0.5, data_digest=digest)
        fake_runs.save_fold(RUNS / f"claims/fold{fold}", labels_are_answers(oof), test)
    assert submissions.main(["build", "claims"]) == 2
    error = capsys.readouterr().err
    assert "label of train row" in error and "in data" in error
    fake_runs.save_run(RUNS, "honest", seed=1, data_digest=digest)
    assert submissions.main(["build", "honest"]) == 0


def test_without_folds_and_data_the_accuracy_is_called_a_claim(capsys):
    (RUNS / "folds.csv").unlink()
    assert submissions.main(["build", "honest"]) == 0
    assert "labels in the files of the source" in capsys.readouterr().out


def test_runs_of_other_folds_are_compared_by_digest_alone():
    """The folds may have been made again: who compares such a run with others refuses by the digest."""
    fake_runs.save_run(RUNS, "older", seed=1)
    assert len(folders.load(RUNS, "older").oof) == ROWS


def test_a_trial_of_few_rows_is_read():
    save("few", lambda oof: Predictions(oof.ids[:20], oof.logits[:20], oof.meta, np.asarray(oof.labels)[:20]))
    assert len(folders.load(RUNS, "few", allow_partial=True).oof) == 60
