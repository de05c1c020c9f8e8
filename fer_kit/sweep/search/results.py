"""The outcome of a search: the table of trials, the best settings as a file, and what the best score is worth."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit import metrics
from fer_kit.cli import aligned
from fer_kit.config.train_config import shown
from fer_kit.files import atomic, lock
from fer_kit.folds import table as folds_table
from fer_kit.folds.fold_spec import others
from fer_kit.runs import finished_folder
from fer_kit.runs.training_record import METRICS, read_epochs, read_result
from fer_kit.sweep.live import Live, duration
from fer_kit.sweep.runner import claimed, read_failure
from fer_kit.sweep.search import halving
from fer_kit.sweep.search.definition import WATCHED, Search
from fer_kit.sweep.search.halving import Standing
from fer_kit.sweep.search.store import Params
from fer_kit.sweep.search.worker import SearchRunner, Trials
from fer_kit.sweep.training import Training
from fer_kit.train import request

BEST, TABLE, PLOT = "best.toml", "results.csv", "trials.png"
FINISHED, RUNNING, WAITING, FAILED, STOPPED = "finished", "running", "waiting", "failed", "out"


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        params: settings that have an effect beside the others.
        state: `out` for a trial that was not promoted.
        epoch: trained so far.
        message: of a failure.
    """

    number: int
    params: Params
    standing: Standing
    training: Training
    state: str
    epoch: int
    seconds: float
    message: str

    @property
    def score(self) -> float | None:
        """At the last rung that the trial has reached."""
        return self.standing.scores[-1] if self.standing.scores else None


def rows_of(trials: Trials) -> list[Row]:
    """All trials, the best first: by the rungs reached, then by score."""
    search, runs = trials.search, trials.search.request.runs
    known = trials.look()
    wanted = halving.jobs([one for _, one in known], search.trials, len(search.rungs))
    open_trials = {job.trial for job in wanted}
    found = []
    for number, (params, standing) in enumerate(known):
        training = search.training(number, params, 0)
        folder = training.folder(runs)
        state = STOPPED
        if standing.failed:
            state = FAILED
        elif lock.is_held(claimed(folder)) or lock.is_held(folder):
            state = RUNNING
        elif number in open_trials:
            state = WAITING
        elif len(standing.scores) == len(search.rungs):
            state = FINISHED
        history, _ = read_epochs(folder / METRICS)
        seconds = sum(float(one.get("seconds") or 0.0) for one in history)
        message = (read_failure(runs, training) or "") if standing.failed else ""
        used = {name: params[name] for name in map(request.name_of, search.words(params))}
        found.append(Row(number, used, standing, training, state, len(history), seconds, message))
    return sorted(found, key=lambda row: (-len(row.standing.scores), -(row.score or 0.0), row.number))


def best_of(rows: Sequence[Row]) -> Row | None:
    """The best trial; None before any has a score."""
    return rows[0] if rows and rows[0].score is not None else None


def summary(search: Search, rows: Sequence[Row], slots: int) -> str:
    """One line: how many trials are in which state, the best, and the time left."""
    parts = [f"{sum(bool(row.standing.scores) for row in rows)} of {search.trials} trials scored"]
    for state in (RUNNING, WAITING, FINISHED, FAILED):
        count = sum(row.state == state for row in rows)
        parts += [f"{count} {state}"] if count else []
    if best := best_of(rows):
        parts.append(f"best {best.score:.2%} (trial {best.number})")
    trained = sum(row.epoch for row in rows)
    left = halving.epochs_in_all(search.trials, search.rungs) - trained
    if trained and left > 0 and any(row.state in (RUNNING, WAITING) for row in rows):
        each = sum(row.seconds for row in rows) / trained
        parts.append(f"time left for all: {duration(left * each / max(1, slots))}")
    return ", ".join(parts)


def table(search: Search, rows: Sequence[Row], most: int | None = None) -> list[str]:
    """The table of trials, the best first; at most `most` of them."""
    head = ["trial", *search.space, *(f"epoch {rung}" for rung in search.rungs), "trained", "state"]
    shown_rows = list(rows)[:most]
    cells = [
        [
            str(row.number),
            *(shown(row.params[name]) if name in row.params else "" for name in search.space),
            *(f"{score:.2%}" for score in row.standing.scores),
            *[""] * (len(search.rungs) - len(row.standing.scores)),
            str(row.epoch),
            row.state,
        ]
        for row in shown_rows
    ]
    lines = aligned([head, *cells], left=(len(head) - 1,))
    lines += [f"trial {row.number}: {row.message}" for row in shown_rows if row.message]
    return lines if len(shown_rows) == len(rows) else [*lines, f"… and {len(rows) - len(shown_rows)} more"]


def luck(trials: int) -> float:
    """By how many standard errors the best of `trials` equally good trials is expected to lie above their mean.

    The expected largest of so many normal draws, by Blom's approximation (within 2%); for scores that are independent.
    """
    return 0.0 if trials < 2 else statistics.NormalDist().inv_cdf((trials - 0.375) / (trials + 0.25))


def worth(search: Search, rows: Sequence[Row]) -> list[str]:
    """What the score of the best trial is worth, in sentences."""
    best = best_of(rows)
    if best is None:
        return ["no trial has a score yet"]
    assert best.score is not None
    scored = sum(bool(row.standing.scores) for row in rows)
    last = search.rungs[len(best.standing.scores) - 1]
    whole = len(best.standing.scores) == len(search.rungs)
    after = f"after all {last} epochs" if whole else f"after {last} of {search.rungs[-1]} epochs"
    error = 100 * metrics.standard_error(best.score, search.rows)
    found = f"{best.score:.2%} on {search.scored_on} {after}"
    lines = [f"best: trial {best.number}, {found}, selected from {scored} trials"]
    if scored > 1:
        lines.append(
            f"This score is too high because it was selected: were all {scored} trials equally good, the best of them "
            f"would lie up to {luck(scored) * error:.1f} points above their mean by chance (one standard error: "
            f"{error:.2f} points)."
        )
    if search.score == WATCHED and whole and (result := _result_of(search, best)) is not None:
        lines.append(f"The held-out fold was not used in the search: trial {best.number} has {result:.2%} there.")
    if scored > 1 and search.score != WATCHED:
        lines.append("For a score to trust, train the other folds, which no trial was scored on:")
        place = "" if str(search.request.runs) == "runs" else f" --runs {search.request.runs}"
        lines.append(f"  fer-kit train --config {search.folder / BEST} --folds {other_folds(search)}{place}")
    return lines


def other_folds(search: Search) -> str:
    """`1,2,3,4`: the folds that no trial was scored on."""
    return others(search.request.fold, folds_table.read(search.request.runs / "folds.csv").count)


def _result_of(search: Search, row: Row) -> float | None:
    path = row.training.folder(search.request.runs) / finished_folder.RESULT
    accuracy = read_result(path).get("oof_accuracy") if path.is_file() else None
    return None if accuracy is None else float(accuracy)


def best_file(search: Search, rows: Sequence[Row]) -> str:
    """The settings of the best trial as a file for `fer-kit train --config`."""
    best = best_of(rows)
    assert best is not None
    options = {name: getattr(search.request, name) for name in ("seed", "accumulate", "weights", "augment", "workers")}
    options |= {name: True for name in ("compile", "deterministic") if getattr(search.request, name)}
    lines = [f"# {line}" for line in worth(search, rows)]
    lines += [f"recipe = {_toml(search.request.recipe)}", f"tag = {_toml(f'{search.name}-best')}"]
    lines += [f"{name} = {_toml(value)}" for name, value in options.items() if value is not None]
    lines += ["", "[set]"]
    for word in (*search.request.settings, *search.words(best.params)):
        name, _, value = word.partition("=")
        lines.append(f"{name.strip()} = {_toml(value.strip())}")
    return "\n".join([*lines, ""])


def _toml(value: str | int | bool) -> str:
    """A value in TOML; texts that read as numbers or truth values are written as such."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if isinstance(value, int) or text in ("true", "false"):
        return text
    try:
        number = float(text)
    except ValueError:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text if text.lstrip("-").isdigit() else repr(number)


def record_of(row: Row) -> dict[str, Any]:
    """How far a trial is, as JSON."""
    return {
        "trial": row.number,
        "run": row.training.run,
        "settings": dict(row.params),
        "scores": list(row.standing.scores),
        **{name: getattr(row, name) for name in ("state", "epoch", "message")},
    }


def csv_text(search: Search, rows: Sequence[Row]) -> str:
    """The table of trials with all digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    rungs = [f"score_epoch_{rung}" for rung in search.rungs]
    writer.writerow(["trial", "run", *search.space, *rungs, "epochs", "seconds", "state", "message"])
    for row in rows:
        scores = [*row.standing.scores, *[""] * (len(rungs) - len(row.standing.scores))]
        values = [row.params.get(name, "") for name in search.space]
        end = [row.epoch, round(row.seconds, 1), row.state, row.message]
        writer.writerow([row.number, row.training.run, *values, *scores, *end])
    return out.getvalue()


def write_table(search: Search, rows: Sequence[Row]) -> Path:
    """Write the table; its path."""
    atomic.write_text(search.folder / TABLE, csv_text(search, rows))
    return search.folder / TABLE


def write(search: Search, rows: Sequence[Row]) -> list[Path]:
    """Write table, plot and best settings; the paths of what was written."""
    written = [write_table(search, rows)]
    if best_of(rows) is not None:
        from fer_kit.sweep.search import plot

        plot.draw(search.folder / PLOT, search, rows)
        atomic.write_text(search.folder / BEST, best_file(search, rows))
        written += [search.folder / PLOT, search.folder / BEST]
    return written


class SearchLive(Live):
    """What a worker of a search shows while it trains."""

    def __init__(self, runner: SearchRunner) -> None:
        super().__init__(runner, [])
        self._trials, self._slots = runner.trials, len(runner.slots)

    def lines(self, rows: int | None = None) -> list[str]:
        """The summary, and the table with at most `rows` trials, those that are trained first."""
        search = self._trials.search
        found = rows_of(self._trials)
        first = sorted(found, key=lambda row: row.state != RUNNING)
        return [summary(search, found, self._slots), *table(search, first, rows)]
