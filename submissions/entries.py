"""Entries at Kaggle and their lines in the ledger: make one, find it again, wait for its score."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fer_kit.errors import FerKitError
from fer_kit.kaggle.client import Client, Submission
from fer_kit.kaggle.errors import AnswerLost, KaggleError, UploadFailed
from fer_kit.runs import ledger
from fer_kit.runs.ledger import PENDING, UNKNOWN, UPLOADING, Entry

# An upload that lost its process or its answer can still be on its way for that long, and must not get a twin.
GRACE = datetime.timedelta(minutes=10)
LOOK_AFTER_SECONDS = (0.0, 10.0)  # an entry can be listed a moment late
POLL_SECONDS = 30.0

Sleep = Callable[[float], None]


def send(client: Client, path: Path, entry: Entry, file: Path, sleep: Sleep = time.sleep) -> Entry:
    """Upload `file` as `entry`, which is in the ledger at `path` before; the caller holds the ledger's lock.

    The upload is tried once. Where its answer gets lost, the entry is looked for by its tag.

    Returns:
        The entry as it is in the ledger now: with ref, status and scores where Kaggle lists it already.

    Raises:
        KaggleError: refused; the ledger is as before.
        FerKitError: nobody knows whether it arrived; it stays in the ledger as "uploading".
    """
    entry = dataclasses.replace(entry, utc=ledger.now().strftime(ledger.UTC))
    ledger.change(path, entry)
    try:
        client.submit(entry.competition, file, f"{entry.tag} {entry.message}")
    except (AnswerLost, UploadFailed) as error:
        try:
            found = find(client, entry, sleep)
        except KaggleError as blind:
            raise _lost(entry, error, f"could not look for it ({blind})") from None
        if found is None and isinstance(error, AnswerLost):
            raise _lost(entry, error, f"looked, and no entry is tagged {entry.tag}") from None
        if found is None:
            ledger.remove(path, entry.tag)
            raise
        print(f"note: the answer got lost, but {named(entry)} is there ({error})")
    except KaggleError:  # refused: nothing was made
        ledger.remove(path, entry.tag)
        raise
    else:
        entry = dataclasses.replace(entry, status=PENDING)
        ledger.change(path, entry)  # before the next call, which can fail
        try:
            found = find(client, entry, sleep)
        except KaggleError as error:
            print(f"note: uploaded, but not found again yet ({error})")
            return entry
    if found is not None:
        entry = updated(entry, found)
        ledger.change(path, entry)
    return entry


def find(
    client: Client, entry: Entry, sleep: Sleep = time.sleep, after_seconds: Sequence[float] = LOOK_AFTER_SECONDS
) -> Submission | None:
    """The entry as Kaggle lists it, by ref or tag; None if it is not listed in any of several looks."""
    for pause in after_seconds:
        if pause:
            sleep(pause)
        for submission in client.submissions(entry.competition):
            if is_of(submission, entry):
                return submission
    return None


def wait_for_score(client: Client, path: Path, entry: Entry, minutes: float, sleep: Sleep = time.sleep) -> Entry:
    """Look every 30 s, for `minutes` at most, until `entry` is scored or refused; the ledger is kept up.

    Raises:
        FerKitError: there is no score by then.
        KaggleError: Kaggle could not be asked.
    """
    looks = max(1, round(minutes * 60 / POLL_SECONDS))
    for _ in range(looks):
        if entry.status not in (PENDING, UNKNOWN):
            return entry
        sleep(POLL_SECONDS)
        [entry] = refreshed([entry], listings(client, [entry]))
        with ledger.locked(path):
            ledger.change(path, entry)
    if entry.status in (PENDING, UNKNOWN):
        raise FerKitError(f"no score after {minutes:g} minutes; see later with: python -m submissions status")
    return entry


def listings(client: Client, entries: Iterable[Entry]) -> dict[str, list[Submission]]:
    """What Kaggle lists, by competition, for all competitions of `entries`."""
    return {name: client.submissions(name) for name in dict.fromkeys(entry.competition for entry in entries)}


def refreshed(entries: Sequence[Entry], listed: Mapping[str, Sequence[Submission]]) -> list[Entry]:
    """`entries` with what Kaggle says of them; one that is not listed stays as it is."""
    fresh = []
    for entry in entries:
        found = next((one for one in listed.get(entry.competition, ()) if is_of(one, entry)), None)
        fresh.append(entry if found is None else updated(entry, found))
    return fresh


def is_of(submission: Submission, entry: Entry) -> bool:
    """Whether Kaggle's `submission` is `entry`."""
    return submission.ref == entry.ref if entry.ref else entry.tag in submission.description


def updated(entry: Entry, submission: Submission) -> Entry:
    """`entry` with ref, status and scores of `submission`; a score once known is not forgotten."""
    return dataclasses.replace(
        entry,
        ref=submission.ref,
        status=submission.status,
        public=entry.public if submission.public is None else submission.public,
        private=entry.private if submission.private is None else submission.private,
    )


def of_content(entries: Iterable[Entry], sha256: str, competition: str) -> tuple[Entry | None, Entry | None]:
    """Of this content: the entry that Kaggle has, and the one that was begun and never seen."""
    same = [entry for entry in entries if (entry.sha256, entry.competition) == (sha256, competition)]
    there = [entry for entry in same if entry.status != UPLOADING]
    begun = [entry for entry in same if entry.status == UPLOADING]
    return there[-1] if there else None, begun[-1] if begun else None


def named(entry: Entry) -> str:
    """What reports call it."""
    return f"entry {entry.ref}" if entry.ref else f"the entry tagged {entry.tag}"


def refuse_early(entry: Entry) -> None:
    """Raise FerKitError while the upload of `entry`, which nobody saw arrive, can still be on its way."""
    end = ledger.begun(entry) + GRACE
    if ledger.now() < end:
        raise FerKitError(
            f"{entry.file}: its upload began at {entry.utc} and may still be on its way, though Kaggle lists no entry "
            f"with its tag {entry.tag}; try again after {end:%H:%M:%S} UTC"
        )


def _lost(entry: Entry, error: KaggleError, look: str) -> FerKitError:
    end = ledger.begun(entry) + GRACE
    return FerKitError(
        f"{error}; {look}; it is not sent again: 'python -m submissions status' looks for it later, and 'upload' takes "
        f"the file again after {end:%H:%M:%S} UTC"
    )
