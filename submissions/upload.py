"""Upload a submission file: check it, ask, send it once, find the entry again, keep it in the ledger."""

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
from submissions import before_upload, check, entries
from submissions.check import Checked
from submissions.source_record import ANYWAY, SourceRecord

WAIT_MINUTES = 10.0

_sleep = time.sleep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions upload`."""
    parser.add_argument("file", metavar="FILE", help="the submission file, as 'build' wrote it")
    parser.add_argument(
        "-m", "--message", metavar="TEXT", required=True, help="what Kaggle and the ledger shall say about it"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before uploading")
    parser.add_argument(
        "--wait",
        metavar="MINUTES",
        type=_minutes,
        nargs="?",
        const=WAIT_MINUTES,
        help=f"wait for the score, {WAIT_MINUTES:g} minutes if no number is given",
    )
    parser.add_argument(ANYWAY, action="store_true", help="also a file from an unknown or an unfinished source")
    parser.add_argument("--slug", default=COMPETITION, help="the competition, as in its address")
    parser.add_argument("--ledger", metavar="CSV", default=ledger.LEDGER, help="where the entries are listed")
    check.add_data_arguments(parser)


def body(args: argparse.Namespace) -> int:
    """Refuse what must not go out, report, ask, upload, wait."""
    file, path, message = Path(args.file), Path(args.ledger), before_upload.one_line(args.message)
    if not args.yes and not sys.stdin.isatty():
        raise FerKitError("there is no terminal to ask for a yes; say it with --yes")
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
        entry = dataclasses.replace(entry, tag=begun.tag)  # should the first one turn up late, it is known

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
    """Look for an entry whose upload was begun by a process that is gone, or whose answer was lost.

    Raises:
        FerKitError: it is not there, and began so lately that it can still be on its way.
    """
    found = entries.find(client, begun, after_seconds=(0,))
    if found is None:
        entries.refuse_early(begun)
        return False
    entry = entries.updated(begun, found)
    with ledger.locked(path):
        ledger.change(path, entry)
    print(f"arrived   the upload of this file that began at {begun.utc}, as {entries.named(entry)}; nothing sent now")
    _score(client, path, entry, wait)
    return True


def _report(file: Path, entry: Entry, checked: Checked, source: SourceRecord | None, left: str) -> None:
    changed = "unknown: no entry before it in the ledger, or its file is gone"
    if entry.rows_changed is not None:
        changed = f"{entry.rows_changed:,} rows differ from the entry before"
    for name, value in (
        ("file", f"{file}: OK, {checked.rows:,} rows"),
        ("source", entry.source or "unknown"),
        ("accuracy", "unknown" if source is None else source.text),
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
    """Print the score, after waiting for it if asked."""
    if wait is not None and entry.status not in (COMPLETE, ERROR):
        print(f"waiting   for the score, {wait:g} minutes at most", flush=True)
        try:
            entry = entries.wait_for_score(client, path, entry, wait, _sleep)
        except KaggleError as error:
            raise FerKitError(
                f"{entries.named(entry)} is uploaded, but its score could not be asked for: {error}; see later with: "
                "python -m submissions status"
            ) from None
    if entry.status == ERROR:
        raise FerKitError(
            f"{entry.file}: Kaggle could not score {entries.named(entry)}; see why on "
            f"https://www.kaggle.com/competitions/{entry.competition}/submissions"
        )
    if entry.public is None:
        print(f"score     {entry.status}; see later with: python -m submissions status")
        return
    private = "" if entry.private is None else f", private {entry.private:.5f}"
    print(f"score     public {entry.public:.5f}{private}")
