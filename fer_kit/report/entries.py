"""The ledger of the report: what was uploaded, what was expected of it, and what the leaderboard said.

The file belongs to `submissions`; it is read here as the CSV that it is.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path, PurePath

from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.html_tables import WORDS, Cell, Column, board, number
from fer_kit.errors import FerKitError

NEEDED = ("utc", "file", "cv_accuracy", "forecast", "public", "private", "status", "message", "source")
FEWEST = 3  # scored entries below which a chart shows nothing
COLUMNS = (
    Column("uploaded (UTC)", WORDS),
    Column("#"),
    Column("file", WORDS),
    Column("made of", WORDS),
    Column("out of fold"),
    Column("forecast"),
    Column("public"),
    Column("gap"),
    Column("private"),
    Column("status", WORDS),
    Column("message", WORDS),
)


def read(path: Path) -> list[dict[str, str]]:
    """The lines of the ledger, oldest first; none where there is no ledger.

    Raises:
        FerKitError: it cannot be read, or is no ledger.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lines = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise FerKitError(f"{path}: cannot be read ({error}); restore it from your last copy") from None
    missing = [name for name in NEEDED if name not in (reader.fieldnames or [])]
    if missing:
        raise FerKitError(f"{path}: no column {', '.join(missing)}; restore the ledger that submissions wrote")
    return [{key: value or "" for key, value in line.items() if key is not None} for line in lines]


def score(line: dict[str, str], key: str) -> float | None:
    """The number in a cell, None where there is none."""
    try:
        value = float(line[key])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def best(lines: Sequence[dict[str, str]]) -> tuple[float, str] | None:
    """The best public score and the file that got it."""
    found = [(value, PurePath(line["file"]).name) for line in lines if (value := score(line, "public")) is not None]
    return max(found) if found else None


def table(lines: Sequence[dict[str, str]]) -> str:
    """The ledger, newest first."""
    rows = []
    for place, line in reversed(list(enumerate(lines, start=1))):
        cv, public = score(line, "cv_accuracy"), score(line, "public")
        gap = None if cv is None or public is None else 100 * (public - cv)
        when = line["utc"][:16].replace("T", " ")
        rows.append(
            [
                Cell(html.text(when), when),
                Cell(str(place), place),
                Cell(html.text(PurePath(line["file"]).name), line["file"]),
                Cell(html.text(line["source"]), line["source"]),
                *(number(_percent(value), value) for value in (cv, score(line, "forecast"), public)),
                number(f"{gap:+.2f}" if gap is not None else "", gap),
                number(_percent(score(line, "private")), score(line, "private")),
                Cell(html.text(line["status"]), line["status"]),
                Cell(html.text(line["message"]), line["message"]),
            ]
        )
    return board("Entries made, and the points between out-of-fold and public score", COLUMNS, rows, COLUMNS[0].name)


def chart(lines: Sequence[dict[str, str]]) -> str | None:
    """Public score over out-of-fold accuracy; None below `FEWEST` entries that have both."""
    pairs = [
        (100 * cv, 100 * public, f"#{place}")
        for place, line in enumerate(lines, start=1)
        if (cv := score(line, "cv_accuracy")) is not None and (public := score(line, "public")) is not None
    ]
    if len(pairs) < FEWEST:
        return None
    x = svg_charts.axis_of("out-of-fold accuracy in %", [pair[0] for pair in pairs])
    y = svg_charts.axis_of("public score in %", [pair[1] for pair in pairs])
    told = "; ".join(f"entry {mark}: {cv:.2f}% out of fold, {public:.2f}% public" for cv, public, mark in pairs)
    return svg_charts.points(pairs, x, y, f"Public score over out-of-fold accuracy. {told}")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
