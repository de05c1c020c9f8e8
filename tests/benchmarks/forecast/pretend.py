"""Pretended leaderboards: train rows dealt into a rest with labels and a test set whose labels are kept back.

Rows are dealt as the competition dealt them: one by one, so that the twins of a photo are on both sides by chance, and
a test row has a train twin as often as on the leaderboard. The rest is dealt into five folds of whole groups, as the
product does. The eight splits partition the train rows: each row is a test row once, so the mean over splits has
nearly no sampling noise left in "forecast − truth": both are means over all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensembles.twins.pairs import TwinTable, among, towards
from fer_kit import metrics
from fer_kit.files import atomic
from fer_kit.folds import deal
from tests.benchmarks.forecast.kinds import KINDS, SEEN, STUDENTS, Faces, Fit

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SPLITS, FOLDS = 8, 5


@dataclass(frozen=True, eq=False)
class Split:
    """A pretended leaderboard. rest, test: train rows of the competition. folds: of `rest`, (R,)."""

    number: int
    rest: Ints
    test: Ints
    folds: Ints


@dataclass(frozen=True, eq=False)
class Predicted:
    """Logits of a kind of model. oof: (R, 7). tests: of each fold's network, (FOLDS, M, 7). full: full fit, (M, 7).

    A kind in `SEEN` has one network, trained on all of the rest: its `oof` is not out of fold.
    """

    oof: Floats
    tests: Floats
    full: Floats


def split(labels: Ints, groups: Ints, number: int) -> Split:
    """The pretended leaderboard `number`; each SPLITS numbers from a multiple of SPLITS on are one partition."""
    part = np.random.default_rng(number // SPLITS).permutation(len(labels)) % SPLITS
    held = part == number % SPLITS
    rest, test = np.flatnonzero(~held), np.flatnonzero(held)
    keys = np.array([f"{row:08d}" for row in rest], "S8")
    own = np.unique(groups[rest], return_inverse=True)[1].astype(np.int64)
    return Split(number, rest, test, deal.assign(keys, labels[rest], own, FOLDS, 0))


def twins_of(one: Split, labels: Ints, groups: Ints, keys: NDArray[np.bytes_]) -> TwinTable:
    """The twins among the rest, and from the pretended test rows to the rest."""
    rest, test = one.rest, one.test
    inside = among(groups[rest], labels[rest], keys[rest])
    across = towards(groups[test], keys[test], groups[rest], labels[rest], keys[rest])
    return TwinTable(groups[rest], labels[rest], one.folds, inside, across)


def is_kept(folder: Path, kind: str, number: int) -> bool:
    """Whether the predictions of `kind` on split `number` are in `folder`."""
    return (folder / f"{kind}-{number}.npz").is_file()


def predictions(folder: Path, kind: str, one: Split, faces: Faces) -> Predicted:
    """The predictions of `kind` on `one`, read from `folder` where they were made before, else made and kept there."""
    path = folder / f"{kind}-{one.number}.npz"
    if not is_kept(folder, kind, one.number):
        made = _seen(kind, one, faces) if kind in SEEN else _fit(_function(folder, kind, one, faces), one, faces)
        with atomic.replacing(path) as file:
            np.savez(
                file, rest=one.rest, test=one.test, folds=one.folds, oof=made.oof, tests=made.tests, full=made.full
            )
        return made
    with np.load(path) as stored:
        same = all(np.array_equal(stored[name], getattr(one, name)) for name in ("rest", "test", "folds"))
        if not same:
            raise ValueError(f"{path}: predictions of another split; remove this file")
        return Predicted(stored["oof"], stored["tests"], stored["full"])


def _function(folder: Path, kind: str, one: Split, faces: Faces) -> Fit:
    """The function that fits `kind`; that of a student knows the probabilities of its teachers."""
    if kind in KINDS:
        return KINDS[kind]
    student = STUDENTS[kind]
    teachers = [predictions(folder, name, one, faces).oof for name in student.teachers]
    shares = np.full((len(faces.labels), 7), np.nan, np.float32)
    shares[one.rest] = metrics.softmax(metrics.mean_of_probabilities(teachers))

    def fit(faces: Faces, train: Ints, rows: Ints) -> Floats:
        return student.fit(faces, train, rows, shares)

    return fit


def _seen(kind: str, one: Split, faces: Faces) -> Predicted:
    made = KINDS[SEEN[kind]](faces, one.rest, np.concatenate([one.rest, one.test])).astype(np.float32)
    own, test = made[: len(one.rest)], made[len(one.rest) :]
    return Predicted(own, np.repeat(test[None], FOLDS, axis=0), test)


def _fit(fit: Fit, one: Split, faces: Faces) -> Predicted:
    oof = np.empty((len(one.rest), 7), np.float32)
    tests = np.empty((FOLDS, len(one.test), 7), np.float32)
    for fold in range(FOLDS):
        held = one.folds == fold
        both = fit(faces, one.rest[~held], np.concatenate([one.rest[held], one.test]))
        oof[held], tests[fold] = both[: held.sum()], both[held.sum() :]
    return Predicted(oof, tests, fit(faces, one.rest, one.test).astype(np.float32))
