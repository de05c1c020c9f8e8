"""The rows that the training of one fold trains on, watches, and predicts at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.folds.deal import Folds
from fer_kit.folds.fold_spec import Fold, in_words, left_out, seed_number

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of rows of train.csv, int64 and ascending. The three parts share no row and no twin group.

    train: rows to train on. watch: rows of the other folds for early stopping and plateau schedules; empty if the
    config needs no watched rows. out: held-out rows of the fold, which get out-of-fold predictions.
    """

    train: Ints
    watch: Ints
    out: Ints


def split(folds: Folds, fold: Fold, config: TrainConfig) -> Split:
    """Split the rows for `fold`; the watched rows are drawn by (seed, fold) and keep twin groups together.

    Raises:
        FerKitError: there is no such fold, or nothing is left to train on.
    """
    numbers = left_out(fold)
    out = np.sort(np.concatenate([np.empty(0, np.int64), *(folds.rows_out(number) for number in numbers)]))
    rest = np.flatnonzero(~np.isin(folds.folds, numbers))
    watch = np.empty(0, np.int64)
    if config.watches:
        watched = draw_groups(folds.groups[rest], config.watch_frac, seed=(config.seed, seed_number(fold, folds.count)))
        watch, rest = rest[watched], rest[~watched]
    if config.limit_rows:
        rest = rest[: config.limit_rows]
    if len(rest) < config.batch_size:
        of, way = (f" of limit_rows={config.limit_rows}", "a larger one") if config.limit_rows else ("", "fewer folds")
        raise FerKitError(
            f"{in_words(fold)} leaves {len(rest)} rows{of} to train on, fewer than one batch of {config.batch_size};"
            f" use {way} or a smaller batch_size"
        )
    return Split(rest, watch, out)


def draw_groups(groups: Ints, share: float, seed: tuple[int, ...]) -> NDArray[np.bool_]:
    """Draw whole groups at random, up to `share` of the rows; returns a mask bool (N,)."""
    numbers, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(numbers))
    taken = numbers[order[np.cumsum(sizes[order]) <= share * len(groups)]]
    return np.isin(groups, taken)
