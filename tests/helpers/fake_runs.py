"""Runs that nobody trained: whole run folders drawn from a seed, for tests of what reads them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit import metrics
from fer_kit.files import atomic
from fer_kit.folds import table
from fer_kit.runs import folders, predictions
from fer_kit.runs.predictions import Predictions

ROWS, TEST_ROWS, FOLDS = 90, 40, 3
LABELS = np.arange(ROWS, dtype=np.int64) * 5 % 7
FOLD_OF_ROW = np.arange(ROWS, dtype=np.int64) * 7 % 11 % FOLDS
TABLE = table.table_of(table.COLUMNS, np.arange(ROWS), LABELS, np.arange(ROWS), FOLD_OF_ROW)


def meta(run: str = "plain", **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "recipe": run,
        "run": run,
        "fold": 0,
        "epoch": 4,
        "views": ["as is", "flip"],
        "config_digest": f"config of {run}",
        "folds_digest": "folds",
        "data_digest": "data",
        "commit": "c0ffee",
    }
    return predictions.build_meta(**{**values, **changes})


def logits(labels: np.ndarray, seed: int, skill: float) -> np.ndarray:
    """float32 (N, 7): noise with `skill` added to the label's column."""
    drawn = np.random.default_rng(seed).normal(size=(len(labels), 7))
    drawn[np.arange(len(labels)), labels] += skill
    return drawn.astype(np.float32)


def fold_parts(run: str, fold: int, seed: int, skill: float, **changes: Any) -> tuple[Predictions, Predictions]:
    """The oof and test predictions of one fold."""
    ids = np.flatnonzero(fold == FOLD_OF_ROW)
    about = meta(run, **{"fold": fold, **changes})
    oof = Predictions(ids, logits(LABELS[ids], seed * 100 + fold, skill), about, LABELS[ids])
    test_truth = np.arange(TEST_ROWS, dtype=np.int64) % 7
    test = Predictions(np.arange(TEST_ROWS), logits(test_truth, seed * 100 + 50 + fold, skill), about)
    return oof, test


def save_fold(folder: Path, oof: Predictions, test: Predictions, **changes: Any) -> None:
    """Write a finished fold folder."""
    predictions.write(folder / "oof.npz", oof)
    predictions.write(folder / "test.npz", test)
    assert oof.labels is not None
    about = oof.meta
    result = {
        **{key: about[key] for key in ("run", "recipe", "fold", "config_digest", "folds_digest", "data_digest")},
        "schema": 1,
        "folds": FOLDS,
        "oof_accuracy": metrics.accuracy(oof.logits, oof.labels),
        "oof_sha256": atomic.sha256_of(folder / "oof.npz"),
        "test_sha256": atomic.sha256_of(folder / "test.npz"),
    }
    command = f"python -m fer_kit.train --recipe {about['recipe']} --fold {about['fold']}"
    atomic.write_json(folder / "env.json", {"command": command})
    atomic.write_json(folder / "result.json", {**result, **changes})


def save_run(runs_dir: Path, run: str, seed: int, skill: float = 1.5, **changes: Any) -> Path:
    """Write a finished run; `changes` go to meta."""
    for fold in range(FOLDS):
        save_fold(folders.fold_folder(runs_dir, run, fold), *fold_parts(run, fold, seed, skill, **changes))
    return runs_dir / run


def unfinish(runs_dir: Path, run: str, *folds: int) -> None:
    """Take the finished mark away from some folds."""
    for fold in folds:
        (runs_dir / run / f"fold{fold}" / "result.json").unlink()


def remove(runs_dir: Path, run: str, *folds: int) -> None:
    for fold in folds:
        shutil.rmtree(runs_dir / run / f"fold{fold}")
