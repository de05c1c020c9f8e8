"""Upload a submission file: check the file, ask the user, upload once, find the entry, record it in the ledger."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.kaggle.client import COMPETITION, Client
from fer_kit.kaggle.errors import KaggleError
from fer_kit.runs import ledger
from fer_kit.runs.ledger import COMPLETE, ERROR, Entry
from submissions import before_upload, check, entries, source_record
from submissions.check import Checked
from submissions.source_record import ANYWAY, SourceRecord

WAIT_MINUTES = 10.0

_sleep = time.sleep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions upload`."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help=source_record.HELP,
    )
    parser.add_argument(
        "-m", "--message", metavar="TEXT", required=True, help="description of the entry, at Kaggle and in the ledger"
    )
    parser.add_argument("--yes", action="store_true", help="upload without asking")
    parser.add_argument(
        "--wait",
        metavar="MINUTES",
        type=_minutes,
        nargs="?",
        const=WAIT_MINUTES,
        help=f"wait for the score at most MINUTES, {WAIT_MINUTES:g} if no number is given",
    )
    parser.add_argument(ANYWAY, action="store_true", help="upload the file even if its source is unknown or unfinished")
    parser.add_argument("--slug", default=COMPETITION, help="the competition, as in its address")
    parser.add_argument("--ledger", metavar="CSV", default=ledger.LEDGER, help="the ledger of entries")
    check.add_data_arguments(parser)


def body(args: argparse.Namespace) -> int:
    """Check the file, print a summary, ask, upload and wait for the score."""
    path, message = Path(args.ledger), before_upload.one_line(args.message)
    file = source_record.find_written(args.files)
    if not args.yes and not sys.stdin.isatty():
        raise FerKitError("no terminal to ask for confirmation; to upload without asking, add --yes")
    checked = before_upload.checked_file(file, args)
    known = ledger.read(path)
    begun = before_upload.refuse_uploaded(file, known, checked, args.slug)
    source = before_upload.source_of(file, checked, args.any_source)
    client = Client()
    if begun is not None and _arrived_after_all(client, path, begun, args.wait):
        return cli.EXIT_OK
    left = before_upload.entries_left(client, args.slug)
    entry = before_upload.new_entry(file, path, known, checked, source, args.slug, message)
    if begun is not None:
        entry = dataclasses.replace(entry, tag=begun.tag)  # so that the first upload is recognised if it arrives late

    _report(file, entry, checked, source, left)
    if not args.yes and not _agreed(args.slug):
        print("not uploaded")
        return cli.EXIT_INTERRUPTED
    with ledger.locked(path):
        before_upload.refuse_changed(file, path, known, checked)
        entry = entries.send(client, path, entry, file, _sleep)
    print(f"uploaded  {entries.named(entry)}")
    print(f"ledger    {path}")
    _score(client, path, entry, args.wait)
    return cli.EXIT_OK


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r}, allowed is a number of minutes above 0")
    return value


def _arrived_after_all(client: Client, path: Path, begun: Entry, wait: float | None) -> bool:
    """Search Kaggle for an entry whose upload was interrupted or lost its answer; returns whether it is there.

    Raises:
        FerKitError: the entry is not listed, but the upload can still arrive.
    """
    found = entries.find(client, begun, after_seconds=(0,))
    if found is None:
        entries.refuse_early(begun)
        return False
    entry = entries.updated(begun, found)
    with ledger.locked(path):
        ledger.change(path, entry)
    print(f"arrived   the upload of this file that began at {begun.utc}, as {entries.named(entry)}; not uploaded again")
    _score(client, path, entry, wait)
    return True


def _report(file: Path, entry: Entry, checked: Checked, source: SourceRecord | None, left: str) -> None:
    changed = "unknown: the ledger has no previous entry, or its file is missing"
    if entry.rows_changed is not None:
        changed = f"{entry.rows_changed:,} rows differ from the previous entry"
    for name, value in (
        ("file", f"{file}: OK, {checked.rows:,} rows"),
        ("source", entry.source or "unknown"),
        ("accuracy", "unknown" if source is None else f"{source.text} (by {source_record.path_of(file).name})"),
        *(line for line in check.summary(checked) if line[0] != "sha256"),
        ("changed", changed),
        ("message", f"{entry.tag} {entry.message}"),
        ("entries", left),
    ):
        print(f"{name:<8}  {value}")


def _agreed(competition: str) -> bool:
    try:
        return input(f"Upload it to {competition}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _score(client: Client, path: Path, entry: Entry, wait: float | None) -> None:
    """Print the score. wait: minutes to wait for it, or None."""
    if wait is not None and entry.status not in (COMPLETE, ERROR):
        print(f"waiting   for the score, {wait:g} minutes at most", flush=True)
        try:
            entry = entries.wait_for_score(client, path, entry, wait, _sleep)
        except KaggleError as error:
            raise FerKitError(
                f"{entries.named(entry)} is uploaded, but asking for its score failed: {error}; ask again with: "
                "python -m submissions status"
            ) from None
    if entry.status == ERROR:
        raise FerKitError(
            f"{entry.file}: Kaggle could not score {entries.named(entry)}; see why on "
            f"https://www.kaggle.com/competitions/{entry.competition}/submissions"
        )
    if entry.public is None:
        print(f"score     {entry.status}; ask again with: python -m submissions status")
        return
    private = "" if entry.private is None else f", private {entry.private:.5f}"
    print(f"score     public {entry.public:.5f}{private}")
