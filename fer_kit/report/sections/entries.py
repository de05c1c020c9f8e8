"""The ledger: what was uploaded, what was expected of it, and what the leaderboard said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.html_tables import WORDS, Cell, Column, board, number
from fer_kit.report.section import Content, Part, Section
from fer_kit.runs.ledger import Entry

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

    lines: Sequence[Entry]
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
        return html.sentence(f"No entries in {part.path} yet; `fer-kit submissions upload` adds them.")
    parts = [table(part.lines)]
    if not part.charts:
        few = f"From {FEWEST} scored entries on, a chart shows how well one score predicts the other."
        parts.append(html.paragraph(few, soft=True))
    else:
        parts.append(f'<div class="charts overview">{part.charts["ledger.svg"]}</div>')
        parts.append(html.paragraph("Numbered as in the table; on the dashed line both scores are equal.", soft=True))
    return "".join([*parts, html.paragraph(f"From {part.path}.", soft=True)])


def best(lines: Sequence[Entry]) -> tuple[float, str] | None:
    """The best public score and the file that got it."""
    found = [(line.public, PurePath(line.file).name) for line in lines if line.public is not None]
    return max(found) if found else None


def table(lines: Sequence[Entry]) -> str:
    """The ledger, newest first."""
    rows = []
    for place, line in reversed(list(enumerate(lines, start=1))):
        cv, public = line.cv_accuracy, line.public
        gap = None if cv is None or public is None else 100 * (public - cv)
        when = line.utc[:16].replace("T", " ")
        rows.append(
            [
                Cell(html.text(when), when),
                Cell(str(place), place),
                Cell(html.text(PurePath(line.file).name), line.file),
                Cell(html.text(line.source), line.source),
                *(number(_percent(value), value) for value in (cv, line.forecast, public)),
                number(html.signed(gap) if gap is not None else "", gap),
                number(_percent(line.private), line.private),
                Cell(html.text(line.status), line.status),
                Cell(html.text(line.message), line.message),
            ]
        )
    return board("Entries made, and the points between out-of-fold and public score", COLUMNS, rows, COLUMNS[0].name)


def chart(lines: Sequence[Entry]) -> str | None:
    """Public score over out-of-fold accuracy; None below `FEWEST` entries that have both."""
    pairs = [
        (100 * line.cv_accuracy, 100 * line.public, f"#{place}")
        for place, line in enumerate(lines, start=1)
        if line.cv_accuracy is not None and line.public is not None
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
