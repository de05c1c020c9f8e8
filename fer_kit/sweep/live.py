"""The table of a sweep: redrawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fer_kit import output
from fer_kit.cli import aligned
from fer_kit.folds.fold_spec import typed
from fer_kit.sweep.progress import FAILED, FINISHED, RUNNING, WAITING, Progress, look, seconds_for_all, seconds_left
from fer_kit.sweep.runner import Runner
from fer_kit.sweep.training import Training

REDRAW_SECONDS, LINE_SECONDS = 2.0, 300.0  # on a terminal; elsewhere, as a line in a log
_ORDER = (RUNNING, FAILED, WAITING, FINISHED)


def duration(seconds: float | None) -> str:
    """`2 h 05 min`, `12 min`, `40 s`; `?` where it is not known."""
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def summary(found: Sequence[Progress], slots: int) -> str:
    """One line: how many are finished, running, waiting, failed, and the time left for all."""
    counts = {state: sum(one.state == state for one in found) for state in _ORDER}
    parts = [f"{counts[FINISHED]} of {len(found)} trainings finished"]
    parts += [f"{counts[state]} {state}" for state in (RUNNING, WAITING, FAILED) if counts[state]]
    if counts[RUNNING] or counts[WAITING]:
        parts.append(f"time left for all: {duration(seconds_for_all(found, slots))}")
    return ", ".join(parts)


def table(found: Sequence[Progress], rows: int | None = None) -> list[str]:
    """The table, what runs first; at most `rows` trainings."""
    left = seconds_left(found)
    ordered = sorted(found, key=lambda one: _ORDER.index(one.state))
    shown = ordered if rows is None else ordered[:rows]
    head = ["run", "fold", "state", "epoch", "accuracy", "time left"]
    cells = [
        [
            one.training.run,
            typed(one.training.fold),
            one.state,
            f"{one.epoch}/{one.epochs}" if one.epochs else "",
            "" if one.accuracy is None else f"{one.accuracy:.2%}",
            "" if one.training not in left else duration(left[one.training]),
        ]
        for one in shown
    ]
    lines = aligned([head, *cells], left=(0, 2))
    lines += [f"{one.training}: {one.message}" for one in shown if one.message]
    if len(shown) < len(ordered):
        lines.append(f"… and {len(ordered) - len(shown)} more")
    return lines


class Live:
    """What a worker shows while it trains: call it as often as you like."""

    def __init__(self, runner: Runner, trainings: Sequence[Training]) -> None:
        self._runner, self._trainings = runner, trainings
        self._terminal = sys.stdout.isatty()
        self._drawn = 0
        self._next = time.monotonic() + (0.0 if self._terminal else LINE_SECONDS)
        self._done: dict[Training, Progress] = {}

    def say(self, text: str) -> None:
        """Print an event above the table."""
        self._erase()
        print(text, flush=True)
        if self._terminal:
            self._next = 0.0

    def __call__(self) -> None:
        """Draw the table again, or print the summary, where it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (REDRAW_SECONDS if self._terminal else LINE_SECONDS)
        if not self._terminal:
            print(self.lines(0)[0], flush=True)
            return
        columns, height = shutil.get_terminal_size()
        lines = self.lines(max(3, height - 6))
        self._erase()
        print("\n".join(line[: columns - 1] for line in lines), flush=True)
        self._drawn = len(lines)

    def lines(self, rows: int | None = None) -> list[str]:
        """The summary, and the table with at most `rows` trainings."""
        found = self.look()
        return [summary(found, len(self._runner.slots)), *table(found, rows)]

    def look(self) -> list[Progress]:
        """How far all trainings are; finished ones are read once."""
        runs: Path = self._runner.runs
        for training in self._trainings:
            if training not in self._done:
                one = look(runs, training)
                if one.state == FINISHED and not training.trial:
                    self._done[training] = one
        return [self._done.get(training) or look(runs, training) for training in self._trainings]

    def _erase(self) -> None:
        if self._drawn:
            output.control(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0
