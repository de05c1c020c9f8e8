"""Searches for settings: the score of each trial over each searched setting, and what the best score is worth.

Reads what a search keeps in RUNS/sweeps/searches/NAME: search.json and results.csv.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.svg_charts import Axis, Dot
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import table as folds_table
from fer_kit.folds.fold_spec import EVERY, Fold, others, parse
from fer_kit.report.section import Content, Part, Section, unfolding
from fer_kit.runs import folders

DEFINITION, TABLE, BEST = "search.json", "results.csv", "best.toml"
MOST_BYTES = 8 << 20
MOST_CHARTS = 8  # further settings are in the table alone
SCORE = "score_epoch_"


@dataclass(frozen=True)
class Trial:
    """One trial. params: settings that have an effect, as text. scores: by rung, as far as known."""

    number: int
    run: str
    params: Mapping[str, str]
    scores: Sequence[float]
    state: str


@dataclass(frozen=True)
class Search:
    """A search.

    rungs: epochs after which trials are compared. scored_on: words. unscored: the folds that no trial was scored on, as
    an option of train. trials: the best first.
    """

    name: str
    folder: Path
    space: Mapping[str, Mapping[str, Any]]
    rungs: Sequence[int]
    scored_on: str
    unscored: str
    trials: Sequence[Trial]

    @property
    def scored(self) -> list[Trial]:
        """The trials that have reached the first rung."""
        return [trial for trial in self.trials if trial.scores]


@dataclass(frozen=True, kw_only=True)
class Searches(Part):
    """found: by name. drawn: charts by name of the search. damaged: (name, reason). runs_option: ` --runs DIR`."""

    found: Sequence[Search]
    drawn: Mapping[str, Sequence[tuple[str, str]]]
    damaged: Sequence[tuple[str, str]]
    runs_option: str


def build(content: Content) -> Searches:
    """Read all searches; a damaged one is named."""
    found, damaged = [], []
    place = content.options.runs_dir / folders.SWEEPS / "searches"
    for folder in sorted(path.parent for path in place.glob(f"*/{DEFINITION}")):
        try:
            found.append(read(folder))
        except (FerKitError, OSError) as error:
            damaged.append((folder.name, str(error)))
    drawn = {search.name: charts(search) for search in found if len(search.scored) > 1}
    return Searches(
        found=found,
        drawn=drawn,
        damaged=damaged,
        runs_option=content.options.runs_option,
        charts={f"search-{name}-{file}.svg": chart for name, each in drawn.items() for file, chart in each},
        notes=[f"search '{name}' is not shown: {why}" for name, why in damaged],
    )


def read(folder: Path) -> Search:
    """The search in a folder.

    Raises:
        FerKitError: a file is missing or damaged.
    """
    record = atomic.read_json(folder / DEFINITION)
    try:
        space = {str(name): dict(one) for name, one in record["space"].items()}
        rungs = [int(rung) for rung in record["rungs"]]
        watched = record["score"] == "watched"
        kind = "watched rows" if watched else "held-out rows"
        unscored = EVERY if watched else other_folds(folder.parents[2], parse(str(record["fold"])))
        scored_on = f"{int(record['rows']):,} {kind} of fold {record['fold']}"
        text = atomic.read_bytes(folder / TABLE, MOST_BYTES).decode("utf-8-sig")
        trials = [_trial(row, space, rungs) for row in csv.DictReader(io.StringIO(text))]
    except FileNotFoundError:
        raise FerKitError(f"{folder / TABLE}: no such file; fer-kit sweep status writes it") from None
    except (argparse.ArgumentTypeError, AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise FerKitError(f"{folder}: not the files of a search ({error!r})") from None
    trials.sort(key=lambda one: (-len(one.scores), -one.scores[-1] if one.scores else 0.0, one.number))
    return Search(folder.name, folder, space, rungs, scored_on, unscored, trials)


def other_folds(runs: Path, scored: Fold) -> str:
    """The folds that no trial was scored on, as an option; all folds where folds.csv is missing."""
    path = runs / "folds.csv"
    return (others(scored, folds_table.read(path).count) if path.exists() else "") or EVERY


def _trial(row: Mapping[str, str], space: Mapping[str, Any], rungs: Sequence[int]) -> Trial:
    scores = []
    for rung in rungs:
        if not row[f"{SCORE}{rung}"]:
            break
        scores.append(float(row[f"{SCORE}{rung}"]))
    if any(not 0 <= score <= 1 for score in scores):
        raise ValueError(f"trial {row['trial']}: a score is not between 0 and 1")
    params = {name: row[name] for name in space if row[name]}
    return Trial(int(row["trial"]), row["run"], params, scores, row["state"])


def charts(search: Search) -> list[tuple[str, str]]:
    """(setting, chart) of the first settings: the score of each trial at the first rung over its value."""
    return [(name, chart) for name in list(search.space)[:MOST_CHARTS] if (chart := chart_of(search, name)) is not None]


def chart_of(search: Search, name: str) -> str | None:
    """The chart of one setting; None if fewer than two trials have a value that can be placed."""
    one = search.space[name]
    choices = [_shown(value) for value in one.get("choices", ())]
    log = bool(one.get("log"))
    best, dots = search.trials[0], []
    for trial in search.scored:
        at = _place(trial.params.get(name), choices, log)
        if at is not None:
            words = f"trial {trial.number}: {name} {trial.params[name]}, {trial.scores[0]:.2%}"
            faint = len(trial.scores) == 1 and len(search.rungs) > 1
            dots.append(Dot(at, trial.scores[0], words, "c2" if trial is best else "c1", faint))
    if len(dots) < 2:
        return None
    x = svg_charts.axis_of(name, [dot.x for dot in dots])
    x = Axis(name, x.low, x.high, log=log) if not choices else Axis(name, -0.5, len(choices) - 0.5, names=choices)
    y = svg_charts.axis_of("accuracy", [dot.y for dot in dots], share=True)
    top = max(dots, key=lambda dot: dot.y)
    alt = f"{search.name}: accuracy of {len(dots)} trials over {name}; highest: {top.words}"
    return svg_charts.scatter(sorted(dots, key=lambda dot: dot.colour), x, y, alt)


def _place(value: str | None, choices: Sequence[str], log: bool) -> float | None:
    """Where a value lies on the axis."""
    if value is None:
        return None
    if choices:
        return float(choices.index(value)) if value in choices else None
    try:
        number = float(value)
        return math.log10(number) if log else number
    except ValueError:
        return None


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_html(part: Searches) -> str:
    """Each search with its charts and its table."""
    parts = [_one(search, part) for search in part.found]
    if part.damaged:
        parts.append(f"<h3>Not shown</h3>{html.pairs(part.damaged)}")
    return "".join(parts) or html.sentence(
        "No search for settings yet. `fer-kit sweep --search space.yaml` starts one."
    )


def _one(search: Search, part: Searches) -> str:
    parts = [f"<h3>{html.text(search.name)}</h3>", html.sentence(worth(search, part.runs_option))]
    if search.name in part.drawn:
        drawn = "".join(f"<figure>{chart}</figure>" for _, chart in part.drawn[search.name])
        stopped = "; pale: not trained further" if len(search.rungs) > 1 else ""
        caption = f"Accuracy after epoch {search.rungs[0]} over each setting; orange: the best trial{stopped}."
        parts.append(f'<div class="charts">{drawn}</div>{html.paragraph(caption, soft=True)}')
    if search.trials:
        parts.append(unfolding([(f"{len(search.trials)} trials", table(search))], opened=0))
    return "".join(parts)


def worth(search: Search, runs_option: str) -> str:
    """What the best trial is and why its score is too high, with the command that trains the other folds."""
    if not search.scored:
        return "No trial has a score yet."
    best, count = search.trials[0], len(search.scored)
    last = search.rungs[len(best.scores) - 1]
    whole = "all " if last == search.rungs[-1] else ""
    told = f"Best: trial {best.number}, {best.scores[-1]:.2%} on {search.scored_on} after {whole}{last} epochs."
    if count > 1:
        told += f" This score was selected from {count} trials, so it is too high."
    if (search.folder / BEST).is_file():
        file = shlex.quote(str(search.folder / BEST))
        which = "All folds" if search.unscored == EVERY else "The folds that no trial was scored on,"
        told += f" {which} with these settings: `fer-kit train --config {file} --folds {search.unscored}{runs_option}`"
    return told


def table(search: Search) -> str:
    """All trials, the best first."""
    head = ["trial", *search.space, *(f"epoch {rung}" for rung in search.rungs), "state"]
    rows = [
        [
            f"{trial.number}",
            *(trial.params.get(name, "") for name in search.space),
            *(f"{score:.2%}" for score in trial.scores),
            *[""] * (len(search.rungs) - len(trial.scores)),
            trial.state,
        ]
        for trial in search.trials
    ]
    return html.table(f"Trials of {search.name}, the best first", head, rows)


SECTION = Section("searches", "Searches for settings", build, as_html)
