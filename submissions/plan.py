"""What to send next and what to pick at the end: `python -m submissions plan`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import cli, metrics
from fer_kit.cli import aligned
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle.client import COMPETITION
from fer_kit.runs import folders, ledger
from fer_kit.runs.finished_folder import TEST
from fer_kit.runs.ledger import ERROR, UPLOADING, Entry
from submissions import choice, source_record
from submissions.choice import Candidate, Chosen
from submissions.residuals import HALF_ROWS

ENTRIES_A_DAY, FINAL_PICKS = 2, 5  # of the competition


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m submissions plan`."""
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of runs, with the blends")
    parser.add_argument("--ledger", metavar="CSV", default=ledger.LEDGER, help="the ledger of entries")
    parser.add_argument(
        "--left",
        metavar="N",
        type=_left,
        help=f"entries left today; by default {ENTRIES_A_DAY} less those of the ledger",
    )
    cli.add_output_options(parser, "print nothing; the exit code is 0")


def body(args: argparse.Namespace) -> dict[str, Any]:
    """Print the next entries and the final picks; the value for --json."""
    path, runs_dir = Path(args.ledger), Path(args.runs)
    known = [entry for entry in ledger.read(path) if entry.competition == COMPETITION]
    sent = _sent(known, path)
    found, notes = _blends(runs_dir, sent)
    left, whose = args.left, ""
    if left is None:
        left, whose = max(0, ENTRIES_A_DAY - _made_today(known)), f" (by {path}; entries by hand are not counted)"
    print(f"entries left today: {left}{whose}")
    following = choice.choose(found, left)
    none = "no blend with a forecast is left to send" if left else "no entries are left today"
    print("\n".join(_table("send next", following, none, notes)))
    picks = choice.choose(_entries(known, path), FINAL_PICKS)
    print("\n".join(_table("final picks", picks, f"no entry in {path} has a forecast", [])))
    if following:
        print(f"next: python -m submissions build {following[0].candidate.name}")
    shown = {name: [_as_json(one) for one in chosen] for name, chosen in (("next", following), ("final", picks))}
    return {"left": left, **shown, "notes": notes}


def _left(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}, allowed is a whole number from 0")
    return int(text)


def _blends(runs_dir: Path, sent: set[str]) -> tuple[list[Candidate], list[str]]:
    """The blends with a forecast whose predictions were not sent, and a note for each that was left out."""
    found, notes = [], []
    for name in folders.list_blends(runs_dir):
        try:
            blend = folders.load_blend(runs_dir, name)
        except FerKitError as error:
            notes.append(f"left out: {name}: {error}")
            continue
        forecast = blend.record.forecast
        if atomic.sha256_of(blend.folder / TEST) in sent:
            notes.append(f"left out: {name}: sent already")
        elif forecast is None:
            notes.append(f"left out: {name}: no leaderboard forecast")
        elif forecast.standard_error is None:
            notes.append(f"left out: {name}: its forecast is of an older version; make this blend again")
        else:
            right = metrics.predicted(blend.oof.logits) == blend.oof.labels
            classes = metrics.predicted(blend.test.logits)
            found.append(Candidate(name, forecast.accuracy, forecast.standard_error, classes, np.asarray(right)))
    return found, notes


def _entries(known: Sequence[Entry], path: Path) -> list[Candidate]:
    """The entries that Kaggle has, whose file is unchanged and has a forecast."""
    found = {}
    for entry in known:
        file = path.parent / entry.file
        if entry.forecast is None or entry.status in (UPLOADING, ERROR):
            continue
        if file.is_file() and atomic.sha256_of(file) == entry.sha256:
            classes: NDArray[Any] = np.array(file.read_bytes().splitlines())
            recorded = _record(file, entry)
            about = None if recorded is None else recorded.forecast_record
            error = metrics.standard_error(entry.forecast, 2 * HALF_ROWS)
            if about is not None and about.standard_error is not None:
                error = about.standard_error
            found[entry.sha256] = Candidate(file.name, entry.forecast, error, classes)
    return [one for one in found.values() if len(one.classes) == len(next(iter(found.values())).classes)]


def _sent(known: Sequence[Entry], path: Path) -> set[str]:
    """The sha256 of the test predictions of entries that Kaggle has."""
    records = [_record(path.parent / entry.file, entry) for entry in known if entry.status != UPLOADING]
    return {record.sha256[TEST] for record in records if record is not None and TEST in record.sha256}


def _record(file: Path, entry: Entry) -> source_record.SourceRecord | None:
    try:
        return source_record.read(file, entry.sha256)
    except (FerKitError, OSError):
        return None


def _made_today(known: Sequence[Entry]) -> int:
    today = ledger.now().date()
    return sum(ledger.begun(entry).date() == today for entry in known)


def _table(title: str, chosen: Sequence[Chosen], none: str, notes: Sequence[str]) -> list[str]:
    if not chosen:
        return [f"{title}: {none}", *notes]
    rows = [(title, "forecast", "± se", "rows changed", "better of two", "reason")]
    for one in chosen:
        gain = "–" if one.gain is None else f"{100 * one.gain:+.2f}"
        about = one.candidate
        rows.append(
            (about.name, f"{about.forecast:.2%}", f"{100 * about.error:.2f}", f"{one.changed:,}", gain, one.reason)
        )
    return [*aligned(rows, left=(0, 5)), *notes]


def _as_json(one: Chosen) -> dict[str, Any]:
    about = one.candidate
    return {
        "name": about.name,
        "forecast": about.forecast,
        "standard_error": about.error,
        "rows_changed": one.changed,
        "gain_of_better": one.gain,
        "reason": one.reason,
    }
