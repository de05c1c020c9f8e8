"""Pairs of a row and a train row that come from the same photo, for the twin lookup.

Groups of twins come from folds.csv and folds-test.csv, which were made from images without labels; the kind of a pair
(exact or near) comes from the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.data import loading
from fer_kit.folds import twins
from fer_kit.folds.table import read_groups
from fer_kit.runs import folders

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Keys = NDArray[np.bytes_]

OFF, EXACT, NEAR = "off", "exact", "near"
MODES = (OFF, EXACT, NEAR)


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of a row and one of its train twins, never the row itself.

    rows: positions of the rows, int64 (P,), from 0 to count − 1. twins, labels: positions of the twins among the train
    rows and their labels, int64 (P,). exact: whether both have the same pixels, bool (P,). count: number of rows.
    """

    rows: Ints
    twins: Ints
    labels: Ints
    exact: Bools
    count: int

    @property
    def have(self) -> Bools:
        """Which rows have a twin, bool (count,)."""
        return np.bincount(self.rows, minlength=self.count) > 0

    @property
    def shares(self) -> NDArray[np.float64]:
        """1 / number of twins of the pair's row, (P,): the weights with which each row counts once."""
        return 1.0 / np.bincount(self.rows, minlength=self.count)[self.rows]

    def only(self, kept: Bools) -> Pairs:
        """The pairs selected by the mask `kept`, bool (P,)."""
        return Pairs(self.rows[kept], self.twins[kept], self.labels[kept], self.exact[kept], self.count)

    def of_mode(self, mode: str) -> Pairs:
        """All pairs for mode "near"; those with the same pixels for mode "exact"."""
        return self.only(self.exact) if mode == EXACT else self


def among(groups: Ints, labels: Ints, keys: Keys) -> Pairs:
    """All ordered pairs among train rows. groups, labels: int64 (N,). keys: content keys, (N,)."""
    rows, others = _same_group(groups, groups)
    strangers = rows != others
    rows, others = rows[strangers], others[strangers]
    return Pairs(rows, others, labels[others], keys[rows] == keys[others], len(groups))


def towards(groups: Ints, keys: Keys, train_groups: Ints, train_labels: Ints, train_keys: Keys) -> Pairs:
    """All pairs of a test row, with groups (M,) and keys (M,), and a train row."""
    rows, others = _same_group(groups, train_groups)
    return Pairs(rows, others, train_labels[others], keys[rows] == train_keys[others], len(groups))


@dataclass(frozen=True, eq=False)
class TwinTable:
    """All twins of a competition: among the train rows, and from test rows to train rows.

    groups, labels, folds: int64 (N,), of the train rows.
    """

    groups: Ints
    labels: Ints
    folds: Ints
    train: Pairs
    test: Pairs

    @property
    def seen_share(self) -> float:
        """τ: the share of the test rows that have a train twin."""
        return float(self.test.have.mean())


def read_table(folds_csv: Path, data_dir: str | None, cache_dir: Path, data_digest: str) -> TwinTable:
    """The twins by `folds_csv` and the folds-test.csv in its folder, with the images in `data_dir`.

    Raises:
        FerKitError: a file is missing or damaged, or the data are not those of `data_digest` or of the folds.
    """
    competition = loading.load(loading.find(data_dir), cache_dir, data_digest, "the blend")
    table, test_groups = read_groups(folds_csv, competition.train.labels, len(competition.test.ids))
    keys, test_keys = twins.content_keys(competition.train.images), twins.content_keys(competition.test.images)
    return TwinTable(
        table.groups,
        table.labels,
        table.folds,
        among(table.groups, table.labels, keys),
        towards(test_groups, test_keys, table.groups, table.labels, keys),
    )


def cache_of(runs_dir: Path) -> Path:
    """The folder of parsed data, in the folder of runs."""
    return runs_dir / folders.CACHE


def _same_group(groups: Ints, others: Ints) -> tuple[Ints, Ints]:
    """All (row, other) with groups[row] == others[other], ascending by row, then by other."""
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    first = np.searchsorted(ordered, groups, "left")
    counts = np.searchsorted(ordered, groups, "right") - first
    rows = np.repeat(np.arange(len(groups)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, order[np.repeat(first, counts) + within]
