"""The checks of a submission file before its upload, and its line in the ledger."""

from __future__ import annotations

import argparse
import datetime
import os
import secrets
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle.client import COMPETITION, Client
from fer_kit.kaggle.errors import DailyLimitReached, UnknownAnswer
from fer_kit.runs import ledger
from fer_kit.runs.ledger import UPLOADING, Entry
from submissions import check, entries, source_record
from submissions.check import Checked
from submissions.source_record import SourceRecord

MESSAGE_CHARACTERS = 300


def one_line(message: str) -> str:
    """`message` without leading and trailing spaces.

    Raises:
        FerKitError: the message is empty, too long or has more than one line.
    """
    message = message.strip()
    if not message or len(message) > MESSAGE_CHARACTERS or not message.isprintable():
        raise FerKitError(
            f"message {message[:40]!r} has {len(message)} characters; allowed are 1 to {MESSAGE_CHARACTERS} on one line"
        )
    return message


def checked_file(file: Path, args: argparse.Namespace) -> Checked:
    """The result of `submissions check` for `file`.

    Raises:
        FerKitError: the file has a fault, or another number of rows than the competition's test set.
    """
    due = check.expected(args)
    checked = check.check_file(file, due.form, due.rows, due.origin)
    if args.slug == COMPETITION and checked.rows != check.COMPETITION_ROWS:
        raise FerKitError(
            f"{file}: {checked.rows:,} rows, allowed are {check.COMPETITION_ROWS:,} in {COMPETITION}; build the file "
            "with the competition's own data"
        )
    return checked


def source_of(file: Path, checked: Checked, anyway: bool) -> SourceRecord | None:
    """The source of `file`; None if the source is unknown or unfinished and `anyway` is True.

    Raises:
        FerKitError: the source is unknown or unfinished, and `anyway` is False.
    """
    try:
        source = source_record.read(file, checked.sha256)
        source_record.refuse_unfinished(file, source)
    except FerKitError as error:
        if not anyway:
            raise
        print(f"note: {error}")
        return None
    return source


def refuse_uploaded(file: Path, known: list[Entry], checked: Checked, competition: str) -> Entry | None:
    """Refuse a file whose content Kaggle has already.

    Returns:
        The entry of this content whose upload began but was not confirmed; None if there is none.

    Raises:
        FerKitError: Kaggle has an entry with this content.
    """
    there, begun = entries.of_content(known, checked.sha256, competition)
    if there is not None:
        score = "" if there.public is None else f", public {there.public:.5f}"
        raise FerKitError(
            f"{file}: uploaded already, at {there.utc} as {entries.named(there)} ({there.status}{score}) from "
            f"{there.file}; upload another file, or list the entries with 'python -m submissions status'"
        )
    return begun


def entries_left(client: Client, competition: str) -> str:
    """The numbers of entries made and left today, in words.

    Raises:
        DailyLimitReached: no entries are left; the message says when the limit is reset.
        KaggleError: the request to Kaggle failed.
    """
    try:
        limits = client.submission_limits(competition)
    except UnknownAnswer as error:
        return f"unknown; Kaggle refuses the upload if none are left ({error})"
    made = "" if limits.today is None else f"{limits.today} made today, "
    if limits.left_now > 0:
        return f"{made}{limits.left_now} left"
    if not limits.today and not limits.total:  # Kaggle reports zeros to accounts without entries: no limit was reached
        return "none made yet; the daily limit is unknown"
    now = ledger.now()
    midnight = datetime.datetime.combine(now.date() + datetime.timedelta(days=1), datetime.time(), datetime.UTC)
    hours, minutes = divmod(int((midnight - now).total_seconds() / 60), 60)
    total = "" if limits.total is None else f"{limits.total} in all, "
    raise DailyLimitReached(
        f"no entries are left today ({made}{total}none left); Kaggle resets the count at 00:00 UTC, in {hours} h "
        f"{minutes:02} min: upload again then"
    )


def refuse_changed(file: Path, path: Path, known: list[Entry], checked: Checked) -> None:
    """Raise FerKitError if file or ledger changed since the checks; the caller holds the ledger's lock."""
    if atomic.sha256_of(file) != checked.sha256:
        raise FerKitError(f"{file}: changed while the command waited for an answer; upload again")
    if ledger.read(path) != known:
        raise FerKitError(f"{path}: changed while the command waited for an answer; upload again")


def new_entry(
    file: Path,
    path: Path,
    known: list[Entry],
    checked: Checked,
    source: SourceRecord | None,
    competition: str,
    message: str,
) -> Entry:
    """The entry of `file` for the ledger at `path`, which holds `known`, with a new tag."""
    return Entry(
        utc=ledger.now().strftime(ledger.UTC),
        file=os.path.relpath(file, path.parent),
        sha256=checked.sha256,
        source="" if source is None else source.source,
        members="" if source is None else _members(source),
        cv_accuracy=None if source is None or source.accuracy is None else round(source.accuracy, 6),
        forecast=None if source is None or source.forecast is None else round(source.forecast, 6),
        message=message,
        tag=f"fer-{secrets.token_hex(4)}",
        ref="",
        status=UPLOADING,
        public=None,
        private=None,
        class_counts=" ".join(map(str, checked.counts)),
        rows_changed=_rows_changed(file, path, known, competition),
        competition=competition,
    )


def _members(source: SourceRecord) -> str:
    return "; ".join(run if weight is None else f"{run} {weight:.4g}" for run, weight in source.members.items())


def _rows_changed(file: Path, path: Path, known: list[Entry], competition: str) -> int | None:
    """The number of rows that differ from the previous entry; None if its file is missing or has another format."""
    before = [entry for entry in known if entry.competition == competition and entry.status != UPLOADING]
    if not before:
        return None
    other = path.parent / before[-1].file
    if not other.is_file() or atomic.sha256_of(other) != before[-1].sha256:
        return None
    old, new = other.read_bytes().splitlines(), file.read_bytes().splitlines()
    return None if len(old) != len(new) else sum(a != b for a, b in zip(old, new, strict=True))
