"""The out-of-fold rows of all members, with labels, folds and twin groups, checked against folds.csv if it exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensembles.members import Member
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.folds.table import Folds, read
from fer_kit.runs.folders import is_trial

Ints = NDArray[np.int64]

FOLDS = "folds.csv"
OOF_ROWS, LABELS, ROW_FOLDS, TEST_ROWS = "out-of-fold rows", "labels", "the fold of a row", "test rows"


@dataclass(frozen=True, eq=False)
class Rows:
    """Out-of-fold rows: ids, labels, folds and twin groups, int64 (N,). path: the folds.csv of the check, or None.

    Without a folds.csv the twins are unknown, and each row counts as its own group.
    """

    ids: Ints
    labels: Ints
    folds: Ints
    groups: Ints
    path: Path | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fold_numbers(self) -> list[int]:
        """The folds, ascending."""
        return [int(fold) for fold in np.unique(self.folds)]

    def fold_accuracies(self, logits: NDArray[np.float32]) -> tuple[float, ...]:
        """Accuracy of logits (N, K) on the rows of each fold."""
        right = metrics.predicted(logits) == self.labels
        return tuple(float(right[self.folds == fold].mean()) for fold in self.fold_numbers)


def common_rows(runs_dir: Path, members: Sequence[Member]) -> Rows:
    """The out-of-fold rows, which must be the same for all `members`: all rows of folds.csv, or some if all are trials.

    Raises:
        FerKitError: members differ from each other or from folds.csv in rows, labels, folds or test rows; folds.csv
            is missing and no member is a run, so that the fold of a row is unknown.
    """
    path = runs_dir / FOLDS
    table = _folds_of(path, members[0]) if path.exists() else None
    first = _parts(members[0])
    for member in members[1:]:
        for what, values in _parts(member).items():
            if what in first and not np.array_equal(values, first[what]):
                raise FerKitError(
                    f"'{member.name}' and '{members[0].name}' differ in {what}; choose other members with --members"
                )
    folds = next((member.fold_of_row for member in members if member.fold_of_row is not None), None)
    if table is not None:
        kept = np.ones(len(table.ids), dtype=bool)
        if all(is_trial(Path(member.name).name) for member in members):
            kept = np.isin(table.ids, members[0].oof.ids)
        for member in members:
            parts = _parts(member)
            for what, values in ((OOF_ROWS, table.ids), (LABELS, table.labels), (ROW_FOLDS, table.folds)):
                if what in parts and not np.array_equal(values[kept], parts[what]):
                    raise FerKitError(f"'{member.name}' and {path} differ in {what}; make '{member.name}' again")
        folds = table.folds[kept]
    if folds is None:
        raise FerKitError(
            f"{path}: no such file, and no member is a run, so the fold of each row is unknown; put the folds.csv that "
            "the members were trained with there"
        )
    groups = np.arange(len(folds)) if table is None else table.groups[kept]
    rows = Rows(members[0].oof.ids, members[0].labels, folds, groups, None if table is None else path)
    for member in members:
        theirs = member.oof.meta["fold"]
        if sorted(theirs if isinstance(theirs, list) else [theirs]) != rows.fold_numbers:
            raise FerKitError(
                f"'{member.name}': its meta names fold {theirs}, but the rows are of folds {rows.fold_numbers}; finish "
                "and join every fold"
            )
    return rows


def _folds_of(path: Path, member: Member) -> Folds:
    return read(path, member.oof.meta["folds_digest"], f"'{member.name}'")


def _parts(member: Member) -> dict[str, Ints]:
    """The arrays that must be the same for all members, by name."""
    folds = {} if member.fold_of_row is None else {ROW_FOLDS: member.fold_of_row}
    return {OOF_ROWS: member.oof.ids, LABELS: member.labels, **folds, TEST_ROWS: member.test.ids}
