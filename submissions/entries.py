"""Entries at Kaggle and their lines in the ledger: upload an entry, find it again, wait for its score."""

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

# An upload without an answer can still arrive for this time; until then the file is not uploaded a second time.
GRACE = datetime.timedelta(minutes=10)
LOOK_AFTER_SECONDS = (0.0, 10.0)  # Kaggle may list a new entry with a short delay
POLL_SECONDS = 30.0

Sleep = Callable[[float], None]


def send(client: Client, path: Path, entry: Entry, file: Path, sleep: Sleep = time.sleep) -> Entry:
    """Write `entry` to the ledger at `path`, then upload `file`; the caller holds the ledger's lock.

    The upload is tried once. If its answer is lost, the list of entries is searched for the tag.

    Returns:
        The entry as in the ledger, with ref, status and scores if Kaggle lists it already.

    Raises:
        KaggleError: Kaggle refused the upload; the ledger is as before.
        FerKitError: whether the upload arrived is unknown; the entry stays in the ledger as "uploading".
    """
    entry = dataclasses.replace(entry, utc=ledger.now().strftime(ledger.UTC))
    ledger.change(path, entry)
    try:
        client.submit(entry.competition, file, f"{entry.tag} {entry.message}")
    except (AnswerLost, UploadFailed) as error:
        try:
            found = find(client, entry, sleep)
        except KaggleError as blind:
            raise _lost(entry, error, f"could not list the entries ({blind})") from None
        if found is None and isinstance(error, AnswerLost):
            raise _lost(entry, error, f"Kaggle lists no entry with the tag {entry.tag}") from None
        if found is None:
            ledger.remove(path, entry.tag)
            raise
        print(f"note: the answer was lost, but Kaggle lists {named(entry)} ({error})")
    except KaggleError:  # refused, so Kaggle has no entry
        ledger.remove(path, entry.tag)
        raise
    else:
        entry = dataclasses.replace(entry, status=PENDING)
        ledger.change(path, entry)  # before the next call, which can fail
        try:
            found = find(client, entry, sleep)
        except KaggleError as error:
            print(f"note: uploaded, but the list of entries could not be read ({error})")
            return entry
    if found is not None:
        entry = updated(entry, found)
        ledger.change(path, entry)
    return entry


def find(
    client: Client, entry: Entry, sleep: Sleep = time.sleep, after_seconds: Sequence[float] = LOOK_AFTER_SECONDS
) -> Submission | None:
    """The entry in Kaggle's list, found by ref or tag; None if it is not listed at any time of `after_seconds`."""
    for pause in after_seconds:
        if pause:
            sleep(pause)
        for submission in client.submissions(entry.competition):
            if is_of(submission, entry):
                return submission
    return None


def wait_for_score(client: Client, path: Path, entry: Entry, minutes: float, sleep: Sleep = time.sleep) -> Entry:
    """Ask Kaggle every 30 s, for at most `minutes`, until `entry` is scored or refused, and update the ledger.

    Raises:
        FerKitError: the entry has no score after this time.
        KaggleError: a request to Kaggle failed.
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
        raise FerKitError(f"no score after {minutes:g} minutes; ask again with: python -m submissions status")
    return entry


def listings(client: Client, entries: Iterable[Entry]) -> dict[str, list[Submission]]:
    """Kaggle's list of submissions for each competition of `entries`, by its slug."""
    return {name: client.submissions(name) for name in dict.fromkeys(entry.competition for entry in entries)}


def refreshed(entries: Sequence[Entry], listed: Mapping[str, Sequence[Submission]]) -> list[Entry]:
    """`entries` with status and scores from `listed`; entries that are not listed do not change."""
    fresh = []
    for entry in entries:
        found = next((one for one in listed.get(entry.competition, ()) if is_of(one, entry)), None)
        fresh.append(entry if found is None else updated(entry, found))
    return fresh


def is_of(submission: Submission, entry: Entry) -> bool:
    """Whether Kaggle's `submission` is `entry`."""
    return submission.ref == entry.ref if entry.ref else entry.tag in submission.description


def updated(entry: Entry, submission: Submission) -> Entry:
    """`entry` with ref, status and scores of `submission`; known scores stay if `submission` has none."""
    return dataclasses.replace(
        entry,
        ref=submission.ref,
        status=submission.status,
        public=entry.public if submission.public is None else submission.public,
        private=entry.private if submission.private is None else submission.private,
    )


def of_content(entries: Iterable[Entry], sha256: str, competition: str) -> tuple[Entry | None, Entry | None]:
    """The last entry with this content that Kaggle has, and the last whose upload is not confirmed; None if none."""
    same = [entry for entry in entries if (entry.sha256, entry.competition) == (sha256, competition)]
    there = [entry for entry in same if entry.status != UPLOADING]
    begun = [entry for entry in same if entry.status == UPLOADING]
    return there[-1] if there else None, begun[-1] if begun else None


def named(entry: Entry) -> str:
    """The name of `entry` in printed lines."""
    return f"entry {entry.ref}" if entry.ref else f"the entry tagged {entry.tag}"


def refuse_early(entry: Entry) -> None:
    """Raise FerKitError while the unconfirmed upload of `entry` can still arrive."""
    end = ledger.begun(entry) + GRACE
    if ledger.now() < end:
        raise FerKitError(
            f"{entry.file}: its upload began at {entry.utc} and may still arrive, though Kaggle lists no entry with "
            f"its tag {entry.tag}; try again after {end:%H:%M:%S} UTC"
        )


def _lost(entry: Entry, error: KaggleError, look: str) -> FerKitError:
    end = ledger.begun(entry) + GRACE
    return FerKitError(
        f"{error}; {look}; the file is not sent again: 'python -m submissions status' searches for the entry later, "
        f"and 'upload' accepts the file again after {end:%H:%M:%S} UTC"
    )
