"""Which runs go into a blend, and that they belong together."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_kit import folds, predictions, runs
from fer_kit.errors import FerKitError, did_you_mean
from fer_kit.runs import Run, Status

FOLDS = "folds.csv"
OOF_ROWS, LABELS, ROW_FOLDS, TEST_ROWS = "out-of-fold rows", "labels", "the fold of a row", "test rows"


def choose(runs_dir: Path, wanted: Sequence[str] | None) -> tuple[list[str], list[Status]]:
    """Names of the members, and what was left out because it is unfinished.

    wanted: run names and globs ("attention*"), all of which must be finished (`load` sees to that);
        None takes every run whose folds are all finished and leaves out the rest.

    Raises:
        FerKitError: nothing to blend, a name or glob that fits no run, a run named twice.
    """
    known = runs.list_runs(runs_dir)
    if not known:
        raise FerKitError(f"{runs_dir}: holds no runs; train one first, or give the folder of runs with --runs")
    if wanted is None:
        states = [runs.status(runs_dir, name) for name in known]
        complete = [state.name for state in states if state.complete]
        if not complete:
            nearest = max(states, key=lambda state: len(state.finished))
            raise FerKitError(f"no run is complete; {runs.unfinished_message(runs_dir, nearest)}")
        return complete, [state for state in states if not state.complete]
    asked_by: dict[str, str] = {}
    for pattern in wanted:
        names = fnmatch.filter(known, pattern) if any(sign in pattern for sign in "*?[") else [pattern]
        if not names or names[0] not in known:
            hint = did_you_mean(pattern, known)
            raise FerKitError(f"--members: no run '{pattern}' in {runs_dir}{hint}; there are: {', '.join(known)}")
        for name in names:
            if name in asked_by:
                raise FerKitError(
                    f"--members: run '{name}' is given twice, by '{asked_by[name]}' and by '{pattern}'; give it once"
                )
            asked_by[name] = pattern
    return list(asked_by), []


def load(runs_dir: Path, names: Sequence[str]) -> list[Run]:
    """Read the members and check that they are of one competition, one set of folds, and all different.

    Raises:
        FerKitError: a member with missing folds or at odds with itself (`runs.load`), or with the others:
            folds, data, rows, labels; a member that is a copy of another.
    """
    members = [runs.load(runs_dir, name) for name in names]
    _refuse_copies(members)
    oofs = [member.oof for member in members]
    predictions.same_meta(oofs, ("folds_digest", "data_digest"), f"{runs_dir}: members do not match")
    first = _rows(members[0])
    for member in members[1:]:
        for what, values in _rows(member).items():
            if not np.array_equal(values, first[what]):
                raise FerKitError(
                    f"'{member.name}' and '{members[0].name}' differ in {what}; choose others with --members"
                )
    return members


def check_folds_file(runs_dir: Path, member: Run) -> bool:
    """Check `member` against folds.csv beside the runs, which knows every row; False where there is none.

    Raises:
        FerKitError: the file is not the one that the member was trained with, or they differ in a row.
    """
    path = runs_dir / FOLDS
    if not path.exists():
        return False
    table = folds.read(path)
    digest = member.oof.meta["folds_digest"]
    if table.digest != digest:
        raise FerKitError(
            f"{path}: its digest is {table.digest[:12]}, the members were trained with {digest[:12]}; "
            "put that file back, or train them with this one"
        )
    rows = _rows(member)
    for what, values in ((OOF_ROWS, table.ids), (LABELS, table.labels), (ROW_FOLDS, table.folds)):
        if not np.array_equal(values, rows[what]):
            raise FerKitError(f"'{member.name}' and {path} differ in {what}; train '{member.name}' again")
    return True


def _rows(member: Run) -> dict[str, NDArray[np.int64]]:
    """What members must have in common, row by row."""
    assert member.oof.labels is not None  # runs.load refuses oof files without labels
    return {
        OOF_ROWS: member.oof.ids,
        LABELS: member.oof.labels,
        ROW_FOLDS: member.fold_of_row,
        TEST_ROWS: member.test.ids,
    }


def _refuse_copies(members: Sequence[Run]) -> None:
    """A copy under another name would count twice."""
    for index, member in enumerate(members):
        for other in members[:index]:
            theirs = set(other.sha256.values())
            shared = sorted(file for file, sha256 in member.sha256.items() if sha256 in theirs)
            if shared or _content(member) == _content(other):
                what = f"the same {shared[0]}" if shared else "the same logits everywhere"
                raise FerKitError(f"'{member.name}' is a copy of '{other.name}' ({what}); give one of them")


def _content(member: Run) -> bytes:
    return hashlib.sha256(member.oof.logits.tobytes()).digest()
