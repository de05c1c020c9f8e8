"""Check a submission file, byte by byte, against the form it should have."""

from __future__ import annotations

import argparse
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fer_kit.competition import CLASSES, NUM_CLASSES
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders
from submissions import file_format
from submissions.file_format import FileFormat

COMPETITION_ROWS = 7_178  # test.csv of the competition

_DIGIT = re.compile(r"[0-6]")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Checked:
    """A file without fault: how often each class is predicted, in label order, and what is odd about it."""

    counts: tuple[int, ...]
    sha256: str
    warnings: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows, a header not counted."""
        return sum(self.counts)


@dataclass(frozen=True, eq=False)
class Expected:
    """What a submission file must be; `origin` says where `rows` comes from, `note` what could not be found."""

    form: FileFormat
    rows: int
    origin: str
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions check`."""
    parser.add_argument("file", metavar="FILE", help="the submission file")
    add_data_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that `check` and `build` share: where row count and form come from."""
    parser.add_argument("--data", metavar="D", help="the competition's files; without it they are looked for")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs; the data's cache is kept in it")
    parser.add_argument(
        "--plain", action="store_true", help=f"the organiser's form, whatever {file_format.EXAMPLE} looks like"
    )


def body(args: argparse.Namespace) -> None:
    """Find out what the file should be, check it, report."""
    path, due = Path(args.file), expected(args)
    if due.note:
        print(f"note: {due.note}")
    checked = check_file(path, due.form, due.rows, due.origin)
    for name, value in (("form", due.form.text), ("rows", f"{due.rows:,}, {due.origin}"), *summary(checked)):
        print(f"{name:<8}  {value}")
    print(f"{path}: OK")


def expected(args: argparse.Namespace) -> Expected:
    """What a submission file must be, by the options of `add_data_arguments`.

    Raises:
        FerKitError: a place named without data; an example whose form is unclear or that has other rows.
    """
    place, why = file_format.find_data(args.data)
    form = file_format.choose(place, args.plain)
    if place is None:
        return Expected(form, COMPETITION_ROWS, "the competition's test.csv, as no data was found", why)
    competition = loading.load(place, Path(args.runs) / folders.CACHE)
    rows, origin = len(competition.test.ids), f"the test rows of {place}"
    refuse_other_rows(form, rows, origin)
    return Expected(form, rows, origin, "")


def refuse_other_rows(form: FileFormat, rows: int, origin: str) -> None:
    """Raise FerKitError if the example asks for another number of rows than `rows`, which `origin` has."""
    if form.rows is not None and form.rows != rows:
        raise FerKitError(f"{file_format.EXAMPLE} has {form.rows:,} rows, {origin} are {rows:,}; {file_format.MOVE_IT}")


def check_file(path: Path, form: FileFormat, rows: int, origin: str) -> Checked:
    """Check that `path` holds `rows` predictions in `form`; `origin` says where `rows` comes from.

    Raises:
        FerKitError: the first fault, with its line number.
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
        raise FerKitError(f"{path}, line 1: {_shown(lines[0])} is a header, allowed is none: remove this line")
    counts = [0] * NUM_CLASSES
    for number, line in enumerate(lines[skip:], start=1 + skip):
        index = number - 1 - skip
        if index >= rows:
            raise FerKitError(f"{path}, line {number}: {_shown(line)} after the last of {rows:,} rows ({origin})")
        counts[_prediction(path, number, line, form, index)] += 1
    if sum(counts) < rows:
        raise FerKitError(
            f"{path}, line {len(lines)}: the file ends after {sum(counts):,} rows, allowed are {rows:,} ({origin})"
        )
    if max(counts) == rows:
        warnings.append(f"every row says {CLASSES[counts.index(rows)]}")
    return Checked(tuple(counts), hashlib.sha256(content).hexdigest(), tuple(warnings))


def summary(checked: Checked) -> list[tuple[str, str]]:
    """Lines of a report, as (name, value)."""
    counts = "  ".join(f"{name} {count:,}" for name, count in zip(CLASSES, checked.counts, strict=True))
    return [
        ("classes", counts),
        ("sha256", checked.sha256),
        *(("warning", warning) for warning in checked.warnings),
    ]


def _lines(path: Path, content: bytes) -> tuple[list[str], list[str]]:
    """The lines without their ends, and warnings about these."""
    if not content:
        raise FerKitError(f"{path}, line 1: the file is empty")
    if content.startswith(b"\xef\xbb\xbf"):
        raise FerKitError(f"{path}, line 1: begins with a byte order mark; save it as plain UTF-8")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise FerKitError(f"{path}, line {number}: not UTF-8; save it as plain UTF-8") from None
    lines = text.removesuffix("\n").split("\n")
    if all(line.endswith("\r") for line in lines[:-1]) and "\r" in text:
        return [line.removesuffix("\r") for line in lines], ["lines end in CR LF, as on Windows"]
    return lines, []


def _prediction(path: Path, number: int, line: str, form: FileFormat, index: int) -> int:
    """The prediction in one line."""
    if not line.strip():
        raise FerKitError(f"{path}, line {number}: blank; remove it")
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
