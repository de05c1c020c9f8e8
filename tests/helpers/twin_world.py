"""A drawn competition of photos with twins, and networks that saw or did not see them: for tests of twin lookup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_kit.data import loading
from fer_kit.files import atomic
from fer_kit.folds import table as fold_files
from fer_kit.runs import folders, predictions
from fer_kit.runs.predictions import Predictions
from tests.helpers.fake_runs import meta, save_fold

FOLDS = 5


@dataclass(frozen=True, eq=False)
class World:
    """Rows of a competition: `photos` says which show the same one; a label is the photo's, or with `wrong` another."""

    labels: np.ndarray
    photos: np.ndarray
    folds: np.ndarray
    test_labels: np.ndarray
    test_photos: np.ndarray


def draw(rows: int = 1500, test_rows: int = 600, wrong: float = 0.1, seed: int = 0) -> World:
    """A quarter of all rows share their photo."""
    rng = np.random.default_rng(seed)
    total = rows + test_rows
    photos = np.arange(total)
    copied = rng.choice(total, total // 4, replace=False)
    photos[copied] = photos[rng.integers(0, total, len(copied))]
    photos = np.unique(photos, return_inverse=True)[1]
    truth = rng.integers(0, 7, photos.max() + 1)
    labels = truth[photos]
    mistaken = rng.random(total) < wrong
    labels = np.where(mistaken, rng.integers(0, 7, total), labels)
    order = rng.permutation(total)
    photos, labels = photos[order], labels[order]
    folds = (photos * 7 % 31 % FOLDS)[:rows]
    return World(labels[:rows], photos[:rows], folds, labels[rows:], photos[rows:])


def logits(world: World, fold: int, skill: float, memory: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and test logits (N, 7), (M, 7) of the network of `fold`.

    `skill` for the label of each row; `memory` for the labels of the row's train twins outside `fold`.
    """
    rng = np.random.default_rng(seed)
    view_of = {}
    made = []
    for labels, _photos in ((world.labels, world.photos), (world.test_labels, world.test_photos)):
        drawn = np.random.default_rng(1000).normal(size=(len(labels), 7)) + 0.3 * rng.normal(size=(len(labels), 7))
        drawn[np.arange(len(labels)), labels] += skill
        made.append(drawn)
    for row, (photo, fold_of_row) in enumerate(zip(world.photos, world.folds, strict=True)):
        if fold_of_row != fold:
            view_of.setdefault(photo, []).append(world.labels[row])
    for row, photo in enumerate(world.test_photos):
        for label in view_of.get(photo, []):
            made[1][row, label] += memory
    return made[0].astype(np.float32), made[1].astype(np.float32)


def save(folder: Path, world: World, seed: int = 0, memory: float = 1.5, skill: float = 1.2) -> tuple[Path, Path]:
    """Write the competition's files, folds and one run 'net'; the folders of data and runs."""
    place, runs_dir = folder / "data", folder / "runs"
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 256, (int(max(world.photos.max(), world.test_photos.max())) + 1, 48 * 48))
    for name, labels, photos in (
        ("train.csv", world.labels, world.photos),
        ("test.csv", None, world.test_photos),
    ):
        lines = ["pixels" if labels is None else "emotion,pixels"]
        for row, photo in enumerate(photos):
            pixels = shown[photo].copy()
            if row % 2:  # every other row is a near twin: the same photo, not the same pixels
                pixels[row % 2304] ^= 1 + row // 2304
            lines.append(("" if labels is None else f"{labels[row]},") + " ".join(map(str, pixels)))
        atomic.write_text(place / name, "\n".join(lines) + "\n")
    count = len(world.labels)
    table = fold_files.table_of(fold_files.COLUMNS, np.arange(count), world.labels, world.photos, world.folds)
    test_table = fold_files.table_of(fold_files.TEST_COLUMNS, np.arange(len(world.test_photos)), world.test_photos)
    atomic.write_text(runs_dir / "folds-test.csv", test_table.decode())
    atomic.write_text(runs_dir / "folds.csv", table.decode())
    save_run(runs_dir, place, world, "net", memory, skill, seed)
    return place, runs_dir


def save_run(
    runs_dir: Path, place: Path, world: World, name: str, memory: float, skill: float = 1.2, seed: int = 0
) -> None:
    """Write a finished run: the logits of `logits`, fold by fold."""
    about = {
        "folds_digest": fold_files.read(runs_dir / "folds.csv").digest,
        "data_digest": loading.load(place, runs_dir / folders.CACHE).digest,
        "config_digest": f"config of {name}",
    }
    for fold in range(FOLDS):
        train, test = logits(world, fold, skill, memory, seed * 100 + fold)
        ids = np.flatnonzero(world.folds == fold)
        told = meta(name, fold=fold, **about)
        oof = Predictions(ids, train[ids], told, world.labels[ids])
        save_fold(
            folders.fold_folder(runs_dir, name, fold),
            oof,
            Predictions(np.arange(len(test)), test, told),
            folds=FOLDS,
        )
    assert predictions.read(runs_dir / name / "fold0" / "oof.npz").labels is not None
