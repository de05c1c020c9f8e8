"""Answers as a table for the terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit.classify.answers import Answer, Note
from fer_kit.cli import aligned
from fer_kit.competition import CLASSES
from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock

SCHEMA = 1
CSV, JSON = ".csv", ".json"
COLUMNS = ("file", "face", "left", "top", "width", "height", *CLASSES, "label")
MOST_LINES = 40  # of the table in the terminal
LONGEST_NAME = 40
DIGITS = 6


def table(answers: Sequence[Answer]) -> list[str]:
    """Lines with file, box, label and probabilities in percent; only the first `MOST_LINES` of many."""
    head = ["file", "face", "box", "label", *(name[:5] for name in CLASSES)]
    rows = [
        [
            short(one.file),
            str(one.face),
            "whole" if one.box is None else "{2}×{3} at {0},{1}".format(*one.box.rounded()),
            one.label,
            *(f"{value:.0%}" for value in one.probabilities),
        ]
        for one in answers[:MOST_LINES]
    ]
    lines = aligned([head, *rows], left=(0, 2, 3))
    if len(answers) > MOST_LINES:
        counts = Counter(one.label for one in answers)
        lines += [
            f"… and {len(answers) - MOST_LINES:,} more faces; --out FILE writes all",
            "all faces: " + ", ".join(f"{counts[name]:,} {name}" for name in CLASSES if counts[name]),
        ]
    return lines


def short(name: str) -> str:
    """The end of a long path, printable."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"…{shown[-LONGEST_NAME + 1 :]}"


def printable(name: str) -> str:
    """A file name on one line of a terminal; other characters become question marks."""
    return "".join(one if one.isprintable() else "?" for one in name)


def record(answers: Sequence[Answer], notes: Sequence[Note], network: str, detector: str | None) -> dict[str, Any]:
    """The answers as a JSON value."""
    return {
        "schema": SCHEMA,
        "network": network,
        "detector": detector,
        "classes": list(CLASSES),
        "faces": [
            {
                "file": _utf8(one.file),
                "face": one.face,
                "box": None if one.box is None else dict(zip(COLUMNS[2:6], one.box.rounded(), strict=True)),
                "probabilities": {
                    name: round(float(p), DIGITS) for name, p in zip(CLASSES, one.probabilities, strict=True)
                },
                "label": one.label,
            }
            for one in answers
        ],
        "not_answered": [{"file": _utf8(one.file), "reason": one.text} for one in notes if not one.answered],
    }


def as_csv(answers: Sequence[Answer]) -> str:
    """The answers as text of a CSV file; box columns are empty where the whole file is the face."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in answers:
        box = ("", "", "", "") if one.box is None else one.box.rounded()
        numbers = (f"{value:.{DIGITS}f}" for value in one.probabilities)
        writer.writerow([_utf8(one.file), one.face, *box, *numbers, one.label])
    return text.getvalue()


def check_out(path: Path) -> None:
    """Raise FerKitError unless `path` ends in .csv or .json."""
    if path.suffix.lower() not in (CSV, JSON):
        raise FerKitError(f"--out {path}: the ending decides the format; give a name that ends in {CSV} or {JSON}")


def write(path: Path, answers: Sequence[Answer], whole: dict[str, Any]) -> None:
    """Write the answers to `path`, as CSV or JSON by its ending. whole: from `record`."""
    text = as_csv(answers) if path.suffix.lower() == CSV else json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    with lock.held(path, "another process writes this file"):
        atomic.sweep(path.parent, path.name)
        with atomic.replacing(path) as file:
            file.write(text.encode())


def _utf8(name: str) -> str:
    """A file name with bytes that are not UTF-8 replaced by question marks."""
    return name.encode("utf-8", "replace").decode()
