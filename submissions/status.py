"""Fetch new scores from Kaggle, and print the ledger with the gap between cross-validation and leaderboard."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fer_kit import cli, metrics
from fer_kit.cli import aligned
from fer_kit.errors import FerKitError
from fer_kit.kaggle.client import COMPETITION, Client
from fer_kit.kaggle.errors import KaggleError
from fer_kit.runs import ledger
from fer_kit.runs.ledger import PENDING, UNKNOWN, UPLOADING, Entry
from submissions import entries, gap_plot, residuals

PUBLIC_ROWS = 3_589  # PublicTest, half of the competition's test rows

_MESSAGE_CHARACTERS = 48


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions status`."""
    parser.add_argument("--ledger", metavar="CSV", default=ledger.LEDGER, help="the ledger of entries")
    parser.add_argument(
        "--plot", metavar="PNG", help="file for the picture of the gap; by default CSV with the suffix .png"
    )
    cli.add_output_options(parser, "print nothing; the exit code is 1 while an entry waits for its score, else 0")


def pending(found: dict[str, Any]) -> bool:
    """True while an entry has no score although Kaggle may still give one."""
    return any(entry["status"] in (UPLOADING, PENDING, UNKNOWN) for entry in found["entries"])


def body(args: argparse.Namespace) -> dict[str, Any]:
    """Update the ledger from Kaggle, print it and draw the gap; the value for --json.

    If the update fails, the old ledger is shown.

    Raises:
        FerKitError: a request to Kaggle failed, or the ledger is damaged.
    """
    path = Path(args.ledger)
    known = ledger.read(path)
    if not known:
        print(f"no entries in {path} yet; make one with: python -m submissions upload FILE -m TEXT")
        return {"ledger": str(path), "entries": []}
    trouble = None
    try:
        known = _refresh(Client(), path, known)
    except KaggleError as error:
        trouble = error
    print("\n".join(table(known)))
    beside = residuals.scored(known, path)
    for line in (*gap_lines(known), *residuals.lines(beside)):
        print(line)
    pairs = gap_plot.scored(known)
    if len(pairs) >= gap_plot.FEWEST:
        picture = Path(args.plot) if args.plot else path.with_suffix(".png")
        gap_plot.draw(picture, known, PUBLIC_ROWS if _all_of_the_competition(known) else None)
        print(f"wrote {picture}")
    if trouble is not None:
        raise FerKitError(
            f"{path}: the ledger is shown without new scores, since the request to Kaggle failed: {trouble}"
        )
    return {
        "ledger": str(path),
        "entries": [asdict(entry) for entry in known],
        "residuals": [residuals.as_json(one) for one in beside],
        "contradictions": residuals.contradictions(beside) if beside else [],
    }


def table(known: Sequence[Entry]) -> list[str]:
    """The ledger as lines: oldest first, scores in percent, gaps in points."""
    rows = [
        (
            "#",
            "uploaded (UTC)",
            "file",
            "cv",
            "forecast",
            "public",
            "gap",
            "private",
            "gap",
            "changed",
            "status",
            "message",
        )
    ]
    for number, entry in enumerate(known, start=1):
        rows.append(
            (
                f"{number}",
                entry.utc[:16].replace("T", " "),
                Path(entry.file).name,
                _percent(entry.cv_accuracy),
                _percent(entry.forecast),
                _percent(entry.public),
                _points(entry.public, entry.cv_accuracy),
                _percent(entry.private),
                _points(entry.private, entry.cv_accuracy),
                "–" if entry.rows_changed is None else f"{entry.rows_changed:,}",
                entry.status,
                entry.message
                if len(entry.message) <= _MESSAGE_CHARACTERS
                else entry.message[: _MESSAGE_CHARACTERS - 1] + "…",
            )
        )
    return aligned(rows, left=(1, 2, 10, 11))  # columns of words start at the left, numbers end at the right


def gap_lines(known: Sequence[Entry]) -> list[str]:
    """Sentences that compare public scores with cross-validation and forecast; empty without public scores."""
    pairs = gap_plot.scored(known)
    if not pairs:
        return []
    gaps = [(public - cv) * 100 for cv, public in pairs]
    mean = sum(gaps) / len(gaps)
    lines = [
        f"public − cv: {mean:+.2f} points on average ({min(gaps):+.2f} to {max(gaps):+.2f}), {_entries(len(gaps))}"
    ]
    missed = [(e.public - e.forecast) * 100 for e in known if e.public is not None and e.forecast is not None]
    if missed:
        lines.append(
            f"public − forecast: {sum(missed) / len(missed):+.2f} points on average "
            f"({min(missed):+.2f} to {max(missed):+.2f}), {_entries(len(missed))}"
        )
    if _all_of_the_competition(known):
        error = 100 * metrics.standard_error(sum(public for _, public in pairs) / len(pairs), PUBLIC_ROWS)
        lines.append(f"standard error of a public score, which has {PUBLIC_ROWS:,} rows: {error:.2f} points")
    ordered = [(a, b) for a, b in itertools.combinations(pairs, 2) if a[0] != b[0] and a[1] != b[1]]
    if len(pairs) >= gap_plot.FEWEST and ordered:
        agree = sum((a[0] < b[0]) == (a[1] < b[1]) for a, b in ordered)
        lines.append(f"cross-validation and public score agree on the better entry in {agree} of {len(ordered)} pairs")
    return lines


def _refresh(client: Client, path: Path, known: Sequence[Entry]) -> list[Entry]:
    """Update the ledger, print what is new and return the entries."""
    listed = entries.listings(client, known)
    with ledger.locked(path):
        before = ledger.read(path)  # again: an upload may have added a line
        fresh = entries.refreshed(before, listed)
        if fresh != before:
            ledger.write(path, fresh)
    for old, new in zip(before, fresh, strict=True):
        if old.status != new.status:
            print(f"new: {Path(new.file).name}, {entries.named(new)}, is {new.status}")
        if new.status == UPLOADING:
            print(f"note: the upload of {new.file} began at {new.utc}, but Kaggle has no such entry; upload it again")
    own = sum(not any(entries.is_of(one, entry) for entry in fresh) for found in listed.values() for one in found)
    if own:
        print(f"note: Kaggle has {_entries(own)} not made with 'python -m submissions upload', so not in the ledger")
    return fresh


def _all_of_the_competition(known: Sequence[Entry]) -> bool:
    return all(entry.competition == COMPETITION for entry in known)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _percent(score: float | None) -> str:
    return "–" if score is None else f"{score:.2%}"


def _points(score: float | None, cv_accuracy: float | None) -> str:
    return "–" if score is None or cv_accuracy is None else f"{(score - cv_accuracy) * 100:+.2f}"
