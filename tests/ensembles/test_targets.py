"""Targets come from teachers that did not see: drawn networks stain their predictions with the folds they saw."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ensembles import blend, targets
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import folders, soft_targets
from fer_kit.runs.predictions import Predictions
from tests.helpers import fake_runs
from tests.helpers.fake_runs import FOLD_OF_ROW, FOLDS, LABELS, ROWS, TABLE, TEST_ROWS

STAINED, CLEAN = 5.0, -60.0


def stained(rows, *left_out):
    """float32 (rows, 7): class k is likely if and only if the labels of fold k were trained on."""
    logits = np.full((rows, 7), CLEAN, np.float32)
    for fold in range(FOLDS):
        if fold not in left_out:
            logits[:, fold] = STAINED
    return logits + np.random.default_rng(rows).normal(0, 0.1, (rows, 7)).astype(np.float32)


def save(runs_dir, name="net", pairs=True):
    kinds = [*range(FOLDS), *(((0, 1), (0, 2), (1, 2)) if pairs else ())]
    for fold in kinds:
        left_out = fold_spec.left_out(fold)
        ids = np.flatnonzero(np.isin(FOLD_OF_ROW, left_out))
        told = fake_runs.meta(name, fold=fold_spec.recorded(fold))
        noise = np.random.default_rng(len(name)).normal(0, 0.01, 7).astype(np.float32)
        oof = Predictions(ids, stained(len(ids), *left_out) + noise, told, LABELS[ids])
        test = Predictions(np.arange(TEST_ROWS), stained(TEST_ROWS, *left_out) + noise, told)
        fake_runs.save_fold(folders.fold_folder(runs_dir, name, fold), oof, test)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "runs")
    return tmp_path / "runs"


def made(here, name, *options, source="net"):
    assert targets.main([name, "--from", source, *options]) == 0
    return soft_targets.read(here / "targets" / f"{name}.npz")


def test_oof_targets_never_saw_their_row(here, capsys):
    soft = made(here, "plain")
    assert soft.train.shape == (1, ROWS, 7) and soft.test is None
    own = soft.train[0][np.arange(ROWS), FOLD_OF_ROW]
    assert own.max() < 1e-20
    for fold in range(FOLDS):  # the second door: the targets of other folds know a fold's labels, and it is said
        assert soft.train[0][fold != FOLD_OF_ROW, fold].min() > 0.3
    shown = capsys.readouterr().out
    assert "see --scheme nested" in shown
    students = f"--folds 0-{FOLDS - 1} --set targets=runs/targets/plain.npz --tag plain"
    assert f"next: python -m fer_kit.train {students}" in shown


def test_nested_targets_saw_neither_the_row_nor_the_students_fold(here):
    soft = made(here, "nested", "--scheme", "nested")
    assert soft.train.shape == (FOLDS + 1, ROWS, 7)
    for student in range(FOLDS):
        train, _ = soft.of(student)
        inside = student != FOLD_OF_ROW
        assert np.isnan(train[~inside]).all()  # not even by mistake
        assert train[inside][:, student].max() < 1e-20
        assert train[inside][np.arange(inside.sum()), FOLD_OF_ROW[inside]].max() < 1e-20
    full, _ = soft.of(())
    assert full[np.arange(ROWS), FOLD_OF_ROW].max() < 1e-20


@pytest.mark.parametrize("source", ["net", "blends/all"])
def test_pseudo_labels_never_saw_the_students_fold(here, source):
    save(here, "other")
    assert blend.main(["all", "--no-pictures"]) == 0
    soft = made(here, "round1", "--rows", "test", source=source)
    assert soft.train is None and soft.meta["scheme"] == "pseudo-labels"
    for student in range(FOLDS):
        _, test = soft.of(student)
        assert test[:, student].max() < 1e-20 and not np.isnan(test).any()
    _, test = soft.of(())
    np.testing.assert_allclose(test, soft.test[:FOLDS].mean(axis=0), atol=1e-6)


def test_unsure_test_rows_are_left_out(here):
    everything = made(here, "all", "--rows", "both", "--confidence", "0.52")
    assert everything.train is not None
    kept = ~np.isnan(everything.test).any(axis=2)
    assert 0 < kept[:FOLDS].sum() < kept[:FOLDS].size
    assert everything.test[kept].max(axis=1).min() >= 0.52


def test_a_blend_gives_its_cross_fitted_rows(here):
    save(here, "other")
    assert blend.main(["all", "--method", "weights", "--no-pictures"]) == 0
    soft = made(here, "soft", source="all")
    blended = folders.load_blend(here, "all")
    np.testing.assert_allclose(np.log(soft.train[0] + 1e-30).argmax(1), blended.oof.logits.argmax(1))
    assert set(soft.meta["teachers"]["runs"]) == {"net", "other"}
    assert soft.meta["folds_digest"] == blended.oof.meta["folds_digest"]


def test_a_blend_of_one_run_may_be_nested_and_names_the_teachers_files(here):
    assert blend.main(["one", "--members", "net", "--no-pictures"]) == 0
    soft = made(here, "x", "--scheme", "nested", source="one")
    np.testing.assert_array_equal(soft.train, made(here, "y", "--scheme", "nested").train)
    pairs = {f"fold{pair}/oof.npz" for pair in ("0+1", "0+2", "1+2")}
    assert pairs <= set(soft.meta["teachers"]["runs"]["net"])
    assert soft.meta["teachers"]["runs"]["net"]["fold0+1/oof.npz"] == atomic.sha256_of(here / "net/fold0+1/oof.npz")


def test_students_of_oof_targets_are_told_apart_as_teachers(here, capsys):
    """The fold-k network of such a student has learned from teachers who knew the labels of fold k."""
    note = "note: 'student' was trained on targets of scheme oof"
    save(here, "student")
    for name, options, noted in (
        ("plain", (), True),
        ("nested", ("--scheme", "nested"), False),
        ("round1", ("--rows", "test"), False),
    ):
        made(here, name, *options)
        digest = atomic.sha256_of(here / "targets" / f"{name}.npz")[:16]
        atomic.write_json(here / "student/fold0/config.json", {"targets": f"{name}@{digest}"})
        capsys.readouterr()
        made(here, f"of-{name}", "--rows", "test", source="student")
        assert (note in capsys.readouterr().out) == noted
    capsys.readouterr()
    made(here, "elsewhere", "--runs", "./runs")
    assert "--set targets=runs/targets/elsewhere.npz --tag elsewhere --runs ./runs\n" in capsys.readouterr().out
    (here / "targets/round1.npz").unlink()
    made(here, "gone", "--rows", "test", source="student")
    assert note in capsys.readouterr().out


def test_the_same_again_and_others_under_the_name(here, capsys):
    made(here, "x")
    made(here, "x")
    assert "unchanged runs/targets/x.npz" in capsys.readouterr().out
    assert targets.main(["x", "--from", "net", "--rows", "test"]) == 2
    assert "x.npz: holds other targets; choose another name" in capsys.readouterr().err
    made(here, "x", "--rows", "test", "--force")
    assert [path.name for path in (here / "targets").iterdir()] == ["x.npz"]


def test_refusals(here, capsys):
    save(here, "lonely", pairs=False)
    assert blend.main(["fitted", "--method", "weights", "--no-pictures", "--members", "net", "lonely"]) == 0
    for argv, message in (
        (["x", "--from", "nte"], r"--from: runs: no run or blend 'nte' \(did you mean 'net'\?\)"),
        (["x", "--from", "lonely", "--scheme", "nested"], r"fold0\+1: not finished.* --fold 0\+1"),
        (["x", "--from", "fitted", "--scheme", "nested"], r"fitted to the labels of all folds; .*--method mean"),
        (["x", "--from", "net", "--confidence", "1"], r"--confidence 1: give a number from 0 to below 1"),
        (["x", "--from", "net", "--confidence", ".9"], r"--confidence .*; add --rows test or"),
        (["x", "--from", "net", "--scheme", "nested", "--rows", "test"], r"--scheme nested .*--rows both"),
        (
            ["x", "--from", "net", "--rows", "test", "--confidence", ".95"],
            r"--confidence 0.*at most 0\.[0-9]{3}",
        ),
        (["../x", "--from", "net"], r"targets '../x' cannot name a folder"),
    ):
        capsys.readouterr()
        assert targets.main(argv) == 2
        error = capsys.readouterr().err
        assert re.search(message, error) and error.count("\n") == 1, error


def test_the_folds_are_those_of_the_table():
    assert TABLE.startswith(b"id,label,group,fold") and set(FOLD_OF_ROW) == set(range(FOLDS))
