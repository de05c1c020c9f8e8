"""Check every byte of a submission file against its required format."""

from __future__ import annotations

import argparse
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders
from submissions import file_format, source_record
from submissions.file_format import FileFormat

COMPETITION_ROWS = 7_178  # rows of the competition's test.csv

_DIGIT = re.compile(r"[0-6]")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Checked:
    """A valid file. counts: predictions of each class, in label order. warnings: oddities that are no faults."""

    counts: tuple[int, ...]
    sha256: str
    warnings: tuple[str, ...]

    @property
    def rows(self) -> int:
        """The number of rows without the header."""
        return sum(self.counts)


@dataclass(frozen=True, eq=False)
class Expected:
    """The requirements of a submission file. origin: where `rows` comes from. note: which data are missing, or ""."""

    form: FileFormat
    rows: int
    origin: str
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions check`."""
    parser.add_argument("files", metavar="FILE", nargs="+", help=source_record.HELP)
    add_data_arguments(parser)
    cli.add_output_options(parser, "print nothing for a valid file")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that `check`, `build` and `upload` share: the data that give the row count and the format."""
    parser.add_argument("--data", metavar="D", help="folder with the competition's files; searched for if not given")
    parser.add_argument(
        "--runs", metavar="DIR", default="runs", help="folder of runs, which also holds the cache of the data"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help=f"one integer per line without header and ids, even if the data have an {file_format.EXAMPLE} of another "
        "format",
    )


def body(args: argparse.Namespace) -> dict[str, Any]:
    """Find the required format and row count, check the file and print a summary; the value for --json."""
    path, due = source_record.find_written(args.files), expected(args)
    if due.note:
        print(f"note: {due.note}")
    checked = check_file(path, due.form, due.rows, due.origin)
    for name, value in (("format", due.form.text), ("rows", f"{due.rows:,}, {due.origin}"), *summary(checked)):
        print(f"{name:<8}  {value}")
    print(f"{path}: OK")
    return {
        "file": str(path),
        "format": due.form.text,
        "rows": due.rows,
        "classes": dict(zip(CLASSES, checked.counts, strict=True)),
        "sha256": checked.sha256,
        "warnings": list(checked.warnings),
        "note": due.note,
    }


def expected(args: argparse.Namespace) -> Expected:
    """The requirements of a submission file, by the options of `add_data_arguments`.

    Raises:
        FerKitError: the folder of `--data` has no competition files, or data without the order of test.csv; the example
            file has an unclear format, or
            another number of rows than the test set.
    """
    place, why = file_format.find_data(args.data)
    form = file_format.choose(place, args.plain)
    if place is None:
        return Expected(form, COMPETITION_ROWS, "as in the competition's test.csv (no data found)", why)
    competition = loading.load(place, Path(args.runs) / folders.CACHE)
    loading.refuse_unordered(competition, "a submission")
    rows, origin = len(competition.test.ids), f"the test rows of {place}"
    refuse_other_rows(form, rows, origin)
    return Expected(form, rows, origin, "")


def refuse_other_rows(form: FileFormat, rows: int, origin: str) -> None:
    """Raise FerKitError if the example file has another number of rows than `rows`, the number of `origin`."""
    if form.rows is not None and form.rows != rows:
        raise FerKitError(
            f"{file_format.EXAMPLE} has {form.rows:,} rows, but {origin} are {rows:,}; {file_format.MOVE_IT}"
        )


def check_file(path: Path, form: FileFormat, rows: int, origin: str) -> Checked:
    """Check that `path` holds `rows` predictions in the format `form`. origin: where `rows` comes from, for errors.

    Raises:
        FerKitError: the file has a fault; the message names the line of the first one.
    """
    try:
        content = atomic.read_bytes(path, file_format.MOST_BYTES)
    except OSError as error:
        raise FerKitError(f"{path}: cannot be read ({error.strerror})") from None
    lines, warnings = _lines(path, content)
    skip = 0
    if form.header is not None:
        skip = 1
        if lines[0] != form.header:
            raise FerKitError(f"{path}, line 1: {_shown(lines[0])}, allowed is the header '{form.header}'")
    elif form.ids is None and re.match("[a-z]", lines[0], re.IGNORECASE):
        raise FerKitError(f"{path}, line 1: {_shown(lines[0])} is a header, but this format has none; remove this line")
    counts = [0] * NUM_CLASSES
    for number, line in enumerate(lines[skip:], start=1 + skip):
        index = number - 1 - skip
        if index >= rows:
            raise FerKitError(
                f"{path}, line {number}: {_shown(line)} is one row too many, allowed are {rows:,} ({origin})"
            )
        counts[_prediction(path, number, line, form, index)] += 1
    if sum(counts) < rows:
        raise FerKitError(
            f"{path}, line {len(lines)}: the file ends after {sum(counts):,} rows, allowed are {rows:,} ({origin})"
        )
    if max(counts) == rows:
        warnings.append(f"all rows have the same prediction, {CLASSES[counts.index(rows)]}")
    return Checked(tuple(counts), hashlib.sha256(content).hexdigest(), tuple(warnings))


def summary(checked: Checked) -> list[tuple[str, str]]:
    """The lines of the summary, as (name, value)."""
    counts = "  ".join(f"{name} {count:,}" for name, count in zip(CLASSES, checked.counts, strict=True))
    return [
        ("classes", counts),
        ("sha256", checked.sha256),
        *(("warning", warning) for warning in checked.warnings),
    ]


def _lines(path: Path, content: bytes) -> tuple[list[str], list[str]]:
    """The lines without their line ends, and warnings about line ends."""
    if not content:
        raise FerKitError(f"{path}, line 1: the file is empty")
    if content.startswith(b"\xef\xbb\xbf"):
        raise FerKitError(f"{path}, line 1: begins with a byte order mark; save the file as UTF-8 without it")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise FerKitError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None
    lines = text.removesuffix("\n").split("\n")
    if all(line.endswith("\r") for line in lines[:-1]) and "\r" in text:
        return [line.removesuffix("\r") for line in lines], ["lines end with CR LF, as on Windows"]
    return lines, []


def _prediction(path: Path, number: int, line: str, form: FileFormat, index: int) -> int:
    """The prediction in line `number`."""
    if not line.strip():
        raise FerKitError(f"{path}, line {number}: blank; remove this line")
    before, after = form.line(index, "\0").split("\0")
    value = line.removeprefix(before).removesuffix(after)
    if line != f"{before}{value}{after}" or not _DIGIT.fullmatch(value):
        allowed = f"allowed is an integer 0 to {NUM_CLASSES - 1} and nothing else"
        if form.ids is not None:
            allowed = f"allowed is '{form.line(index, 'N')}' with N an integer 0 to {NUM_CLASSES - 1}"
        raise FerKitError(f"{path}, line {number}: {_shown(line)}, {allowed}")
    return int(value)


def _shown(line: str) -> str:
    return repr(line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…")
