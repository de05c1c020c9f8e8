"""The ledger: a CSV file with a line for each entry at Kaggle, to be read, sorted and kept in git.

A line is written *before* the upload, with status "uploading" and a tag that is part of the entry's description. Thus
the entry can be found after a lost answer or a killed process, and is never uploaded twice.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock

LEDGER = "submissions/ledger.csv"
UPLOADING, PENDING, COMPLETE, ERROR, UNKNOWN = "uploading", "pending", "complete", "error", "unknown"
STATUSES = (UPLOADING, PENDING, COMPLETE, ERROR, UNKNOWN)
UTC = "%Y-%m-%dT%H:%M:%SZ"

_LOCK_PATIENCE_SECONDS = 20.0
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # first characters that spreadsheets act on, and the quote itself
_MOST_BYTES = 16 << 20  # an entry has some 500


@dataclass(frozen=True)
class Entry:
    """A line of the ledger. Empty text and None mean: unknown.

    utc: start of the upload. file: path relative to the ledger. members: "run weight; …". cv_accuracy: cross-validated
    accuracy, 0 to 1. forecast: the blend's leaderboard forecast, 0 to 1. tag: part of the entry's description at
    Kaggle. ref: Kaggle's number of the entry. public, private: leaderboard scores. class_counts: predictions of each
    class, in label order. rows_changed: rows that differ from the previous entry. competition: the slug.
    """

    utc: str
    file: str
    sha256: str
    source: str
    members: str
    cv_accuracy: float | None
    forecast: float | None
    message: str
    tag: str
    ref: str
    status: str
    public: float | None
    private: float | None
    class_counts: str
    rows_changed: int | None
    competition: str


def now() -> datetime.datetime:
    """The current time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def begun(entry: Entry) -> datetime.datetime:
    """When the upload of `entry` began, in UTC."""
    return datetime.datetime.strptime(entry.utc, UTC).replace(tzinfo=datetime.UTC)


COLUMNS = tuple(field.name for field in dataclasses.fields(Entry))


def read(path: Path) -> list[Entry]:
    """The entries, oldest first; an empty list if there is no ledger.

    A spreadsheet program may have saved the ledger, with a byte order mark and semicolons.

    Raises:
        FerKitError: a line is not an entry; the message names file, line and fault.
    """
    try:
        text = atomic.read_bytes(path, _MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise FerKitError(f"{path}: cannot be read ({error}); restore this file from a copy") from None
    return _parse(text, path)


def _parse(text: str, path: Path) -> list[Entry]:
    delimiter = ";" if text.startswith(";".join(COLUMNS)) else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    entries: list[Entry] = []
    tags: set[str] = set()
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise FerKitError(
                f"{path}, line 1: {','.join(header)!r}, allowed is '{','.join(COLUMNS)}'; correct this line"
            )
        for cells in reader:
            entry = _entry(cells, f"{path}, line {reader.line_num}")
            if entry.tag in tags:
                raise FerKitError(f"{path}, line {reader.line_num}: tag {entry.tag!r} occurs twice; remove one line")
            entries.append(entry)
            tags.add(entry.tag)
    except csv.Error as error:
        raise FerKitError(f"{path}, line {reader.line_num}: not CSV ({error}); correct or remove this line") from None
    return entries


def cells(entry: Entry) -> dict[str, str]:
    """The text of each cell of the line of `entry`, by column."""
    return {name: "" if value is None else f"{value}" for name, value in dataclasses.asdict(entry).items()}


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Replace the ledger at `path` in one step, so that readers never see a part of it.

    Raises:
        FerKitError: an entry is not as `read` accepts it. The ledger is as before.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow(map(_quoted, cells(entry).values()))
    written = text.getvalue()
    try:
        size = len(written.encode())
    except UnicodeEncodeError as error:
        raise FerKitError(f"{path}: an entry holds text that is not UTF-8 ({error}); rename the file") from None
    if size > _MOST_BYTES or _parse(written, path) != list(entries):  # `_parse` refuses values out of range
        raise FerKitError(f"{path}: an entry could not be read again; the ledger was left as it is")
    atomic.write_text(path, written)


@contextlib.contextmanager
def locked(path: Path, patience_seconds: float = _LOCK_PATIENCE_SECONDS) -> Iterator[None]:
    """Lock the ledger at `path` against changes by other processes; the lock ends with the process, even if killed.

    Raises:
        FerKitError: another process holds the lock for longer than `patience_seconds`.
    """
    with lock.held(path, "another upload is under way and holds the ledger", patience_seconds):
        yield


def change(path: Path, entry: Entry) -> None:
    """Replace the entry that has the tag of `entry`, or append `entry`; the caller holds the lock."""
    entries = read(path)
    tags = [other.tag for other in entries]
    if entry.tag in tags:
        entries[tags.index(entry.tag)] = entry
    else:
        entries.append(entry)
    write(path, entries)


def remove(path: Path, tag: str) -> None:
    """Remove the entry with `tag`; the caller holds the lock."""
    write(path, [entry for entry in read(path) if entry.tag != tag])


def _quoted(cell: str) -> str:
    """`cell` behind an apostrophe if spreadsheets would take it for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _unquoted(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _entry(cells: Sequence[str], where: str) -> Entry:
    if len(cells) != len(COLUMNS):
        raise FerKitError(f"{where}: {len(cells)} cells, allowed are {len(COLUMNS)}; correct or remove this line")
    values: dict[str, Any] = {}
    for name, cell in zip(COLUMNS, cells, strict=True):
        parse, allowed = _PARSERS.get(name, (str, ""))
        try:
            values[name] = parse(_unquoted(cell))
        except ValueError:
            raise FerKitError(
                f"{where}: {name} is {cell!r}, allowed is {allowed}; correct or remove this line"
            ) from None
    return Entry(**values)


def _number(cell: str) -> float | None:
    if not cell:
        return None
    if not math.isfinite(value := float(cell)):
        raise ValueError(cell)
    return value


def _time(cell: str) -> str:
    datetime.datetime.strptime(_matching("2[0-9]{3}-[0-9-]{5}T[0-9:]{8}Z")(cell), UTC)
    return cell


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if not re.fullmatch(pattern, cell):
            raise ValueError(cell)
        return cell

    return parse


def _count(cell: str) -> int | None:
    return int(_matching("[0-9]{1,9}")(cell)) if cell else None


_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "utc": (_time, "a time such as 2030-01-31T18:05:00Z"),
    "sha256": (_matching("[0-9a-f]{64}"), "64 hex digits"),
    "cv_accuracy": (_number, "empty or a number"),
    "forecast": (_number, "empty or a number"),
    "tag": (_matching(r"\S+"), "the tag of the entry's description"),
    "status": (_matching("|".join(STATUSES)), f"one of {', '.join(STATUSES)}"),
    "public": (_number, "empty or a number"),
    "private": (_number, "empty or a number"),
    "rows_changed": (_count, "empty or a whole number"),
    "competition": (_matching(r"\S+"), "the slug of a competition"),
}
