"""The ledger: what was uploaded, what was expected of it, and what the leaderboard said.

`submissions` writes the file; it is read here as plain CSV.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.html_tables import WORDS, Cell, Column, board, number
from fer_kit.errors import FerKitError
from fer_kit.report.section import Content, Part, Section

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


@dataclass(frozen=True, kw_only=True)
class Entries(Part):
    """lines: oldest first. error: why there are none, or ""."""

    lines: Sequence[dict[str, str]]
    path: Path
    error: str


def build(content: Content) -> Entries:
    """The ledger as loaded, and its chart."""
    drawn = chart(content.ledger)
    return Entries(
        lines=content.ledger,
        path=content.options.ledger,
        error=content.ledger_error,
        charts={} if drawn is None else {"ledger.svg": drawn},
        notes=[content.ledger_error] if content.ledger_error else [],
    )


def as_html(part: Entries) -> str:
    """The table, and the chart from `FEWEST` scored entries on."""
    if part.error:
        return html.paragraph(part.error)
    if not part.lines:
        return html.paragraph(f"No entries in {part.path} yet; fer-kit submissions upload adds them.", soft=True)
    parts = [table(part.lines)]
    if not part.charts:
        few = f"From {FEWEST} scored entries on, a chart shows how well one score predicts the other."
        parts.append(html.paragraph(few, soft=True))
    else:
        parts.append(f'<div class="charts overview">{part.charts["ledger.svg"]}</div>')
        parts.append(html.paragraph("Numbered as in the table; on the dashed line both scores are equal.", soft=True))
    return "".join([*parts, html.paragraph(f"From {part.path}.", soft=True)])


def read(path: Path) -> list[dict[str, str]]:
    """The lines of the ledger, oldest first; none without a ledger.

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
    each = "; ".join(f"entry {mark}: {cv:.2f}% out of fold, {public:.2f}% public" for cv, public, mark in pairs)
    return svg_charts.points(pairs, x, y, f"Public score over out-of-fold accuracy. {each}")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


SECTION = Section("ledger", "Entries made", build, as_html)
