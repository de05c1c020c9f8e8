"""The types of arguments of the Python API: numpy's numbers and paths work, others are refused in one line."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import fer_kit
from fer_kit.api import list_folds, list_members
from fer_kit.config import recipes
from fer_kit.keywords import check_types
from fer_kit.train.call import TrainedFold, list_settings, parse_fold


@check_types
def takes(name: str = "a", *, seed: int | None = None, minutes: float | None = None, force: bool = False):
    return name, seed, minutes, force


def test_numbers_of_numpy_and_paths_become_those_of_python():
    got = takes(Path("blends/a"), seed=np.int64(3), minutes=np.float32(0.5), force=np.True_)
    assert got == ("blends/a", 3, 0.5, True)
    assert [type(value) for value in got] == [str, int, float, bool]
    assert [type(value) for value in takes(minutes=5)] == [str, type(None), int, bool]


def test_numpy_numbers_make_folds(competition_dir, tmp_path):
    table = fer_kit.make_folds(competition_dir, runs=tmp_path, folds=np.int64(3), seed=np.int64(1))
    assert table["fold"].nunique() == 3
    assert parse_fold(np.int64(2)) == 2 and parse_fold((np.int64(3), 1)) == (1, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fer_kit.train(5, fold=0), "recipe=5 is of type int; give a string"),
        (lambda: fer_kit.train(fold=0, settings=5), "settings=5: give a mapping"),
        (lambda: fer_kit.train(fold=0, settings=[5]), r"settings=\[5\]: give a mapping"),
        (lambda: fer_kit.train(fold=0, tag=5), "tag=5 .*give a string or None"),
        (lambda: fer_kit.train(fold=0, seed=1.5), "seed=1.5 .*give a whole number or None"),
        (lambda: fer_kit.train(fold=0, seed=True), "seed=True .*give a whole number"),
        (lambda: fer_kit.train(fold=0, limit_minutes="5"), "limit_minutes='5' .*give a number or None"),
        (lambda: fer_kit.train(fold=0, resume="no"), "resume='no' .*give True or False"),
        (lambda: fer_kit.train(fold=0, runs=None), "runs=None .*give a path"),
        (lambda: fer_kit.train(fold=0, weights=""), "weights='' is empty; give a path or None"),
        (lambda: fer_kit.train(fold=np.array([0, 1])), "fold=array.*give a number from 0"),
        (lambda: fer_kit.load_data(5), "data=5 .*give a path or None"),
        (lambda: fer_kit.load_data(""), "data='' is empty"),
        (lambda: fer_kit.make_folds(folds="5"), "folds='5' .*give a whole number"),
        (lambda: fer_kit.list_runs(None), "runs=None .*give a path"),
        (lambda: fer_kit.oof(None), "name=None .*give a string"),
        (lambda: fer_kit.test_predictions(5), "name=5 .*give a string"),
        (lambda: fer_kit.load_model(3), "name=3 .*give a string or None"),
        (lambda: fer_kit.load_model("a", folds=[]), r"folds=\[\]: give a number from 0"),
        (lambda: fer_kit.load_model("a", folds="01"), "folds='01': give a number from 0"),
        (lambda: fer_kit.blend("x", 5), "members=5: give a list of names"),
        (lambda: fer_kit.blend("x", [""]), r"members=\[''\]: a name is empty"),
        (lambda: fer_kit.blend("x", weights=""), "weights='' is empty"),
    ],
)
def test_types_that_are_refused(call, words):
    with pytest.raises(fer_kit.FerKitError, match=words):
        call()


@pytest.mark.parametrize(
    "folds", [[0, 0], [-1], [([0],)], [True], [0.0], [[0]], True, 0.5, {0: 1}, np.array([0.0]), [None]]
)
def test_folds_that_are_refused(folds):
    with pytest.raises(fer_kit.FerKitError, match="folds=.*give a number from 0"):
        list_folds(folds)


def test_a_single_fold_and_arrays_of_folds():
    assert list_folds(0) == list_folds(np.int64(0)) == list_folds(np.array([0])) == list_folds((0,)) == [0]
    assert list_folds(range(2)) == [0, 1] and list_folds([()]) == [()]


def test_members_and_settings_in_any_sequence():
    assert list_members(Path("a")) == list_members("a") == list_members(np.array(["a"])) == ("a",)
    assert list_members([Path("blends/a"), "b*"]) == ("blends/a", "b*")
    assert list_settings(["epochs=1"]) == list_settings({"epochs": 1}) == ("epochs=1",)


def test_signatures_stay_as_written():
    assert list(inspect.signature(fer_kit.load_model).parameters) == ["name", "runs", "folds", "device"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'lr'"):
        fer_kit.train("vgg_tiny", fold=0, lr=1)


@pytest.mark.parametrize("content", [None, b'{"epoch": 1}\n{"epo', b"\xff\n"])
def test_a_history_that_cannot_be_read(content, tmp_path):
    fold = TrainedFold("a", 0, tmp_path, recipes.get("vgg_tiny"), {})
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(fer_kit.FerKitError, match=r"metrics\.jsonl: .*restore that file"):
        _ = fold.history
