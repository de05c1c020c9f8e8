"""What a topic of the suite is asked and what it answers, and the one table of all answers."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fer_kit import cli
from tests.benchmarks.clocks import WALL

SECONDS, CPU_SECONDS = "s", "s of processor"
RATE, CPU_RATE = "images/s", "images/s of processor"
RATES = (RATE, CPU_RATE)
HEAD = ("what", "ours", "other", "ratio", "limit", "of limit", "peak")


@dataclass(frozen=True)
class Plan:
    """How much is measured, and by which clock (of `clocks.CLOCKS`).

    data: folder with train.csv and test.csv, drawn or the competition's own
    """

    data: str
    drawn: bool = True
    rows: int = 28_709
    test_rows: int = 7_178
    rounds: int = 5
    steps: int = 20  # an epoch of each training arm
    members: int = 60
    device: str = "auto"
    recipe: str = "deep_v3"
    clock: str = WALL

    @property
    def seconds(self) -> str:
        """The unit of its times."""
        return SECONDS if self.clock == WALL else CPU_SECONDS

    @property
    def rate(self) -> str:
        """The unit of its speeds."""
        return RATE if self.clock == WALL else CPU_RATE


QUICK = {"rows": 300, "test_rows": 100, "rounds": 1, "steps": 1, "members": 4}


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of ours beside another's and beside what the machine allows at most.

    ours, other, limit: all in `unit`; for seconds less is better, for images/s more
    ratio: how many times as good as the other, the median over interleaved rounds
    limit_is: what bounds it, and how that was measured; peak_mb: memory at its highest, imports included
    """

    what: str
    ours: float
    unit: str
    other_is: str = ""
    other: float | None = None
    ratio: float | None = None
    limit_is: str = ""
    limit: float | None = None
    peak_mb: float | None = None

    @property
    def of_limit(self) -> float | None:
        """The share of the possible that is reached, 0 to 1."""
        if self.limit is None:
            return None
        return self.ours / self.limit if self.unit in RATES else self.limit / self.ours


@dataclass(frozen=True)
class Found:
    """What a topic has measured: its lines, all figures behind them, and what it left out and why."""

    rows: Sequence[Row]
    details: dict[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        rows = [{**dataclasses.asdict(row), "of_limit": row.of_limit} for row in self.rows]
        return {"rows": rows, "left_out": list(self.left_out), "details": self.details}


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The lines of what `Found.to_json` gave."""
    names = {one.name for one in dataclasses.fields(Row)}
    return [Row(**{name: value for name, value in row.items() if name in names}) for row in found["rows"]]


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over rounds of slow / fast, each taken within its round, so that the machine's mood cancels."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def table(rows: Sequence[Row]) -> list[str]:
    """The lines to print: one a row, then what the other and the limit are, numbered."""
    notes: list[str] = []

    def noted(value: float | None, unit: str, note: str) -> str:
        if value is None:
            return "–"
        if note not in notes:
            notes.append(note)
        return f"{figure(value, unit)} [{notes.index(note) + 1}]"

    lines = [
        (
            row.what,
            figure(row.ours, row.unit),
            noted(row.other, row.unit, row.other_is),
            "–" if row.ratio is None else f"{row.ratio:.2f}×" if row.ratio < 10 else f"{row.ratio:.0f}×",
            noted(row.limit, row.unit, row.limit_is),
            "–" if row.of_limit is None else f"{row.of_limit:.0%}" if row.of_limit >= 0.1 else f"{row.of_limit:.1%}",
            "–" if row.peak_mb is None else f"{row.peak_mb:,.0f} MB",
        )
        for row in rows
    ]
    return [*cli.aligned([HEAD, *lines]), *(f"[{number}] {note}" for number, note in enumerate(notes, 1))]


def figure(value: float, unit: str) -> str:
    """The value with its unit, to three digits or so."""
    if unit in RATES:
        return f"{value:,.0f} /s{' cpu' if unit == CPU_RATE else ''}"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{text if value >= 1 else f'{value:.3f}'} {'s cpu' if unit == CPU_SECONDS else unit}"
