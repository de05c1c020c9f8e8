"""Scores of entries beside their forecasts: residuals in standard errors, and where the two contradict each other.

The residuals are for reading. No forecast, weight or choice is fitted to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit import metrics
from fer_kit.cli import aligned
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle.client import COMPETITION
from fer_kit.runs.ledger import Entry
from submissions import source_record

HALF_ROWS = 3_589  # of the public and of the private score
FAR = 2.0  # standard errors


@dataclass(frozen=True)
class Scored:
    """An entry with a forecast and a public score. error: standard error of forecast − score of half the test rows.

    known: whether `error` was recorded with the forecast; else it is the sampling noise of the score alone.
    """

    number: int
    file: Path
    sha256: str
    forecast: float
    public: float
    private: float | None
    error: float
    known: bool

    @property
    def residual(self) -> float:
        """Public score − forecast, in standard errors."""
        return (self.public - self.forecast) / self.error


def scored(known: Sequence[Entry], ledger: Path) -> list[Scored]:
    """The entries of the competition that have a forecast and a public score, numbered as in the table of entries."""
    found = []
    for number, entry in enumerate(known, start=1):
        if entry.competition != COMPETITION or entry.forecast is None or entry.public is None:
            continue
        file = ledger.parent / entry.file
        recorded = _recorded_error(file, entry)
        error = recorded or metrics.standard_error(entry.forecast, HALF_ROWS)
        found.append(
            Scored(number, file, entry.sha256, entry.forecast, entry.public, entry.private, error, recorded is not None)
        )
    return [one for one in found if one.error > 0]


def lines(found: Sequence[Scored]) -> list[str]:
    """The table of residuals and what it says; empty without scored forecasts."""
    if not found:
        return []
    rows = [("#", "file", "forecast", "± se", "public", "residual", "private", "residual")]
    for one in found:
        private = None if one.private is None else (one.private - one.forecast) / one.error
        shown = ("–", "–") if private is None else (f"{one.private:.2%}", f"{private:+.1f} se")
        error = f"{100 * one.error:.2f}" + ("" if one.known else "*")
        public = (f"{one.public:.2%}", f"{one.residual:+.1f} se")
        rows.append((f"{one.number}", one.file.name, f"{one.forecast:.2%}", error, *public, *shown))
    notes = [] if all(one.known for one in found) else ["*: sampling noise of the score only; no error was recorded"]
    about = "1 entry" if len(found) == 1 else f"{len(found)} entries"
    verdict = [f"forecasts and public scores agree within {FAR:g} standard errors ({about})"]
    if said := contradictions(found):
        verdict = [
            *said,
            "entries are scored on the same rows, so their residuals go together; nothing is fitted to them",
        ]
    return [*aligned(rows, left=(1,)), *notes, *verdict]


def contradictions(found: Sequence[Scored]) -> list[str]:
    """Sentences on scores that contradict forecasts: one entry, the order of two entries, all entries together."""
    said = [
        f"contradiction: #{one.number} scored {100 * (one.public - one.forecast):+.2f} points against its forecast, "
        f"{one.residual:+.1f} standard errors"
        for one in found
        if abs(one.residual) > FAR
    ]
    for one, other in combinations(found, 2):
        expected, got = one.forecast - other.forecast, one.public - other.public
        error = _error_of_difference(one, other)
        if error and expected * got < 0 and abs(got - expected) > FAR * error:
            said.append(
                f"contradiction: #{one.number} against #{other.number} was forecast {100 * expected:+.2f} points and "
                f"scored {100 * got:+.2f}, {(got - expected) / error:+.1f} standard errors of the rows that differ"
            )
    mean = sum(one.residual for one in found) / len(found)
    if len(found) > 1 and abs(mean) > FAR:
        said.append(
            f"contradiction: all {len(found)} entries together are {mean:+.1f} standard errors from their forecasts"
        )
    return said


def as_json(one: Scored) -> dict[str, Any]:
    """The values for --json."""
    return {
        "number": one.number,
        "file": str(one.file),
        "forecast": one.forecast,
        "standard_error": one.error,
        "public": one.public,
        "private": one.private,
        "residual": one.residual,
    }


def _recorded_error(file: Path, entry: Entry) -> float | None:
    try:
        record = source_record.read(file, entry.sha256)
    except (FerKitError, OSError):
        return None
    about = record.forecast_record
    same = about is not None and entry.forecast is not None and abs(about.accuracy - entry.forecast) < 1e-5
    return about.half_error if about is not None and same else None


def _error_of_difference(one: Scored, other: Scored) -> float | None:
    """At most the standard error of the difference of two public scores; None if a file is missing or has changed.

    On a row that differs, one of the two files is right at most, so its variance is at most 1.
    """
    for entry in (one, other):
        if not entry.file.is_file() or atomic.sha256_of(entry.file) != entry.sha256:
            return None
    first, second = (np.array(entry.file.read_bytes().splitlines()) for entry in (one, other))
    if len(first) != len(second):
        return None
    differ = float((first != second).mean()) * HALF_ROWS
    return math.sqrt(differ) / HALF_ROWS or None
