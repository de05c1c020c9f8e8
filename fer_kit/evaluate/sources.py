"""The runs and blends that `evaluate` scores, their twin groups and their common rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit.data.loading import Competition, check_digest
from fer_kit.errors import FerKitError
from fer_kit.folds import table
from fer_kit.folds.table import Folds
from fer_kit.runs import lookup, predictions
from fer_kit.runs.folders import BLENDS
from fer_kit.runs.lookup import BlendFolder, RunFolder
from fer_kit.runs.predictions import Predictions

Ints = NDArray[np.int64]

RUN, BLEND = "run", "blend"
FOLDS, TEST_GROUPS = "folds.csv", "folds-test.csv"


@dataclass(frozen=True, eq=False)
class ScoredSource:
    """A run or a blend: N out-of-fold rows with labels, M test rows.

    folds, missing: the finished and the unfinished folds of a run; all folds and () for a blend.
    note: a caveat on the scores, or "".
    """

    name: str
    kind: str
    oof: Predictions
    test: Predictions
    folds: tuple[int, ...]
    missing: tuple[int, ...]
    note: str

    @property
    def labels(self) -> Ints:
        """Labels of the out-of-fold rows, int64 (N,)."""
        assert self.oof.labels is not None  # `runs.folders` refuses files without labels
        return self.oof.labels

    @property
    def file_name(self) -> str:
        """The name as part of a file name."""
        return self.name.replace("/", "_")


@dataclass(frozen=True, eq=False)
class Groups:
    """The twin groups of train and test rows.

    folds: folds.csv; None if missing, and then every row counts as its own group.
    test: group of each test row, int64 (M,), with the same numbers as the train rows; None if unknown.
    """

    folds: Folds | None
    test: Ints | None

    def of(self, ids: Ints) -> Ints:
        """The group of the train rows `ids`."""
        return ids if self.folds is None else self.folds.groups[ids]

    def folds_of(self, ids: Ints) -> Ints | None:
        """The fold of the train rows `ids`; None if unknown."""
        return None if self.folds is None else self.folds.folds[ids]

    @property
    def has_train_twin(self) -> NDArray[np.bool_] | None:
        """For each test row, whether a train row is its twin, bool (M,); None if unknown."""
        if self.folds is None or self.test is None:
            return None
        return np.isin(self.test, self.folds.groups)


def load(runs_dir: Path, names: Sequence[str]) -> list[ScoredSource]:
    """Read the runs and blends called `names`, a run with its finished folds.

    Raises:
        FerKitError: a name is unknown or given twice, its files are damaged, or the sources differ in folds or data.
    """
    sources = [_load(runs_dir, name) for name in names]
    for source in sources:
        if sum(other.name == source.name for other in sources) > 1:
            raise FerKitError(f"'{source.name}' is given twice; give it once")
    oofs = [source.oof for source in sources]
    predictions.same_meta(oofs, ("folds_digest", "data_digest"), f"{runs_dir}: these sources cannot be compared")
    return sources


def _load(runs_dir: Path, name: str) -> ScoredSource:
    found = lookup.find_whole(runs_dir, name)
    return _of_run(found) if isinstance(found, RunFolder) else _of_blend(found)


def _of_run(found: RunFolder) -> ScoredSource:
    run, state = found.load(allow_partial=True), found.status()
    note = ""
    if state.missing:
        folds = ("fold " if len(state.missing) == 1 else "folds ") + ", ".join(map(str, state.missing))
        note = (
            f"{folds} of {state.count} missing: all scores are for the {len(run.oof):,} rows of the finished folds, "
            "not for the whole run"
        )
    return ScoredSource(run.name, RUN, run.oof, run.test, run.folds, state.missing, note)


def _of_blend(found: BlendFolder) -> ScoredSource:
    blend = found.load()
    fold = blend.oof.meta["fold"]
    folds = tuple(fold) if isinstance(fold, list) else (fold,)
    note = ""
    if blend.record.twins is not None:
        note = "twins were looked up: these predictions use the labels of twins, on out-of-fold and on test rows"
    return ScoredSource(f"{BLENDS}/{found.name}", BLEND, blend.oof, blend.test, folds, (), note)


def twin_groups(runs_dir: Path, sources: Sequence[ScoredSource]) -> Groups:
    """The twin groups in folds.csv and folds-test.csv of `runs_dir`.

    Raises:
        FerKitError: folds.csv is damaged, or the sources were made with other folds.
    """
    path, test_path = runs_dir / FOLDS, runs_dir / TEST_GROUPS
    if not path.exists():
        return Groups(None, None)
    folds = table.read(path, sources[0].oof.meta["folds_digest"], f"'{sources[0].name}'")
    return Groups(folds, table.read_test_groups(test_path, len(sources[0].test)) if test_path.exists() else None)


def common_ids(sources: Sequence[ScoredSource]) -> Ints:
    """Ids of the train rows that all sources predict out of fold, ascending, int64 (K,); K may be 0."""
    ids: Ints = reduce(np.intersect1d, [source.oof.ids for source in sources])
    return ids


def check_data(competition: Competition, sources: Sequence[ScoredSource]) -> None:
    """Raise FerKitError unless the sources were trained on the data of `competition` and predict all its test rows."""
    check_digest(competition, sources[0].oof.meta["data_digest"], f"'{sources[0].name}'")
    for source in sources:
        if not np.array_equal(source.test.ids, competition.test.ids):
            raise FerKitError(
                f"'{source.name}' predicts {len(source.test):,} test rows, but {competition.folder} has "
                f"{len(competition.test.ids):,}; make '{source.name}' again"
            )
