"""Read and check folds.csv and folds-test.csv.

folds.csv       id,label,group,fold   one line for each row of train.csv
folds-test.csv  id,group              one line for each row of test.csv, groups numbered as in folds.csv
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import NUM_CLASSES
from fer_kit.errors import FerKitError
from fer_kit.files import atomic

Ints = NDArray[np.int64]

COLUMNS = ("id", "label", "group", "fold")
TEST_COLUMNS = ("id", "group")
TEST_FILE = "folds-test.csv"
WHOLE_NUMBER = re.compile("-?[0-9]{1,18}")  # fits into int64
_MOST_BYTES = 32 << 20  # a hundred times what the competition's rows need
UNNOTICED = {  # share of FER2013's rows with twins that each search of `fer_kit.folds` misses
    "unaligned": "about a third",
    "exact": "about three quarters",
    "none": "all",
}
REMAKE = "make the folds again with python -m fer_kit.folds --force"


@dataclass(frozen=True)
class Folds:
    """The fold that holds out each train row; ids ascending from 0.

    ids, labels, groups, folds: int64 (N,); group numbers are shared with the test rows' groups
    digest: sha256 of the folds.csv that holds them, 64 hex digits
    """

    ids: Ints
    labels: Ints
    groups: Ints
    folds: Ints
    digest: str

    @property
    def count(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    def rows_out(self, fold: int) -> Ints:
        """Positions of the rows of `fold`, which a model of this fold must not see; int64, ascending."""
        if not 0 <= fold < self.count:
            raise FerKitError(f"fold {fold} does not exist: choose 0 to {self.count - 1}")
        return np.flatnonzero(self.folds == fold)


def read(path: Path | str, expected: str | None = None, used_by: str = "") -> Folds:
    """Read folds.csv; the rows may be in any order.

    Args:
        path: the file.
        expected: the digest that the folds must have; None accepts any folds.
        used_by: what was made with the expected folds, for the error message.

    Raises:
        FerKitError: the file is missing, has another header, a cell that is not an integer, a duplicate or missing id,
            a label outside 0–6, a group in two folds, folds that are not 0, 1, 2 … (with file and line), or another
            digest.
    """
    path = Path(path)
    table, digest = _read_table(path, COLUMNS)
    if expected is not None and digest != expected:
        raise FerKitError(
            f"{path}: other folds (digest {digest[:12]}) than {used_by} was made with ({expected[:12]}); put that "
            "file back"
        )
    _check_ids(path, table[:, 0])
    line = np.argsort(table[:, 0]) + 2  # line of each id, for messages; line 1 is the header
    ids, labels, groups, folds = np.ascontiguousarray(table[line - 2].T)

    bad = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if len(bad):
        raise FerKitError(
            f"{path}, line {line[bad[0]]}: label {labels[bad[0]]} must be 0 to {NUM_CLASSES - 1}; {REMAKE}"
        )
    present = np.unique(folds)
    if len(present) < 2 or not np.array_equal(present, np.arange(len(present))):
        shown = ", ".join(map(str, present[:10]))
        raise FerKitError(f"{path}: the folds are {shown}, must be 0, 1, 2 … without a gap and at least two; {REMAKE}")
    order = np.argsort(groups, kind="stable")
    split = (np.diff(groups[order]) == 0) & (np.diff(folds[order]) != 0)
    if split.any():
        one, two = order[np.argmax(split)], order[np.argmax(split) + 1]
        raise FerKitError(
            f"{path}: group {groups[one]} is in fold {folds[one]} (line {line[one]}) and in fold {folds[two]}"
            f" (line {line[two]}), must be in one; {REMAKE}"
        )
    return Folds(ids, labels, groups, folds, digest)


def read_test_groups(path: Path | str, rows: int | None = None) -> Ints:
    """Read folds-test.csv: the group of each test row, int64 (M,), numbered as in folds.csv beside it.

    rows: how many test rows the data has; None accepts any number.

    Raises:
        FerKitError: as in `read`, or the file has another number of rows.
    """
    table, _ = _read_table(Path(path), TEST_COLUMNS)
    _check_ids(Path(path), table[:, 0])
    groups: Ints = table[np.argsort(table[:, 0]), 1]
    if rows is not None and len(groups) != rows:
        raise FerKitError(
            f"{path}: {len(groups):,} rows, but there are {rows:,} test rows; choose the --data that the folds were "
            f"made from or {REMAKE}"
        )
    return groups


def read_groups(folds_csv: Path | str, labels: Ints, test_rows: int) -> tuple[Folds, Ints]:
    """Folds of the train rows and groups of the test rows, from folds.csv and folds-test.csv beside it.

    labels: of the train rows, int64 (N,).

    Raises:
        FerKitError: as in `read`, `check` and `read_test_groups`.
    """
    folds = read(folds_csv)
    check(folds, labels)
    return folds, read_test_groups(Path(folds_csv).with_name(TEST_FILE), test_rows)


def check(folds: Folds, labels: Ints) -> None:
    """Raise FerKitError unless `folds` were made from train rows with these `labels`, int64 (N,)."""
    if len(folds.ids) != len(labels):
        raise FerKitError(
            f"the folds have {len(folds.ids):,} rows but the train data {len(labels):,}: another competition's"
            f" folds; choose the --data they were made from or {REMAKE}"
        )
    wrong = np.flatnonzero(folds.labels != labels)
    if len(wrong):
        row = wrong[0]
        raise FerKitError(
            f"train row {row} has label {labels[row]} in the data but {folds.labels[row]} in the folds"
            f" ({len(wrong):,} rows differ); choose the --data they were made from or {REMAKE}"
        )


def check_rows(
    path: Path,
    digest: str,
    fold: int | Sequence[int],
    ids: Ints,
    labels: Ints,
    where: str,
    fold_of_row: Ints | None = None,
) -> None:
    """Check out-of-fold predictions against the folds.csv at `path`: a file of predictions may claim any label.

    Predictions of other folds than those at `path`, and a missing or damaged folds.csv, pass: what such predictions are
    compared with decides about them. Rows may be missing, as in a trial of few rows.

    Args:
        path: folds.csv.
        digest: digest of the folds that the predictions were made with.
        fold: the fold or folds whose rows the predictions are.
        ids, labels: of the predicted rows, int64 (N,), ascending by id.
        where: start of the error text.
        fold_of_row: the fold that each row was predicted by, int64 (N,), if it is known.

    Raises:
        FerKitError: the rows are not those of `fold`, a label differs, or a row was predicted by another fold than the
            one that holds it out.
    """
    try:
        folds = read(path)
    except FerKitError:
        return
    if folds.digest != digest:
        return
    again = "so its scores are not out of fold; predict these rows again"
    others = np.setdiff1d(ids, np.flatnonzero(np.isin(folds.folds, fold)))
    if len(others):
        raise FerKitError(f"{where}: id {others[0]:,} is not a row of {_in_words(fold)} in {path}, {again}")
    wrong = np.flatnonzero(folds.labels[ids] != labels)
    if len(wrong):
        row = wrong[0]
        raise FerKitError(
            f"{where}: the label of id {ids[row]} is {labels[row]}, but {folds.labels[ids[row]]} in {path} "
            f"({len(wrong):,} labels differ); predict these rows again"
        )
    if fold_of_row is not None and not np.array_equal(folds.folds[ids], fold_of_row):
        row = ids[np.argmax(folds.folds[ids] != fold_of_row)]
        raise FerKitError(f"{where}: id {row} was predicted by a network that was trained on it, by {path}, {again}")


def _in_words(fold: int | Sequence[int]) -> str:
    return f"fold {fold}" if isinstance(fold, int) else f"folds {', '.join(map(str, fold))}"


def unordered(runs_dir: Path, data_digest: str | None = None) -> str:
    """Why the data of the folds lack the order of test.csv, by folds.json; "" if they have it.

    No submission can be built from such data. data_digest: of the data in question; None for those of the folds.
    """
    record = _how_made(runs_dir)
    if data_digest not in (None, record.get("data_digest")):
        return ""
    return str(record.get("unordered") or "")


def unnoticed_twins(runs_dir: Path) -> str:
    """A note that twins cross the folds, because the search that folds.json names misses them; "" if it does not."""
    method = _how_made(runs_dir).get("method")
    if method not in UNNOTICED:
        return ""
    return (
        f"note: the folds were made with --method {method}, which leaves {UNNOTICED[method]} of the rows with twins "
        "unnoticed; these twins cross the folds, so the scores flatter networks that memorise"
    )


def _how_made(runs_dir: Path) -> dict[str, Any]:
    """The record of folds.json; empty if there is none."""
    path = runs_dir / "folds.json"
    record = atomic.read_json(path) if path.is_file() else None
    return record if isinstance(record, dict) else {}


def table_of(columns: Sequence[str], *values: Ints) -> bytes:
    """CSV with a header: one int64 array (N,) for each column."""
    rows = "\n".join(",".join(map(str, row)) for row in zip(*(v.tolist() for v in values), strict=True))
    return f"{','.join(columns)}\n{rows}\n".encode()


def _read_table(path: Path, columns: Sequence[str]) -> tuple[Ints, str]:
    """The integer cells below the header, (rows, columns), and the sha256 of the file."""
    try:
        content = atomic.read_bytes(path, _MOST_BYTES)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise FerKitError(f"{path}: no such file; make the folds with python -m fer_kit.folds") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FerKitError(f"{path}: cannot be read ({error}); {REMAKE}") from None
    header, *lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if header != ",".join(columns) and re.split("[;,\t]", header.removeprefix("\ufeff")) == list(columns):
        raise FerKitError(
            f"{path}: was saved by another program, with a byte order mark or other separators, so its digest is no "
            f"longer that of the runs; put the original file back, or {REMAKE}"
        )
    if header != ",".join(columns):
        raise FerKitError(f"{path}: the first line is {header[:80]!r}, must be {','.join(columns)!r}; {REMAKE}")
    rows = array("q")  # int64: 8 bytes a cell, where a list of lists takes 40
    for number, line in enumerate(lines, start=2):
        cells = line.split(",")
        if len(cells) != len(columns):
            raise FerKitError(f"{path}, line {number}: {len(cells)} cells, must be {len(columns)}; {REMAKE}")
        if not all(WHOLE_NUMBER.fullmatch(cell) for cell in cells):
            raise FerKitError(f"{path}, line {number}: {line[:80]!r} must be whole numbers; {REMAKE}")
        rows.extend(map(int, cells))
    if not rows:
        raise FerKitError(f"{path}: no rows below the header; {REMAKE}")
    return np.array(rows, np.int64).reshape(-1, len(columns)), hashlib.sha256(content).hexdigest()


def _check_ids(path: Path, ids: Ints) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        twice = values[np.argmax(counts > 1)]
        raise FerKitError(f"{path}: id {twice} stands there {counts.max()} times, must be once; {REMAKE}")
    gaps = np.flatnonzero(values != np.arange(len(values)))
    if len(gaps):
        raise FerKitError(f"{path}: id {gaps[0]} is missing (ids run from 0 without a gap); {REMAKE}")
