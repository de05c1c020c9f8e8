"""Learning curves and learning rates of the report, from metrics.jsonl: all runs in one chart, then each by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.svg_charts import COLOURED, Axis, Line
from fer_kit.report.found import Fold

TRAIN, WATCHED = "train", "watched"
OPEN = 3  # runs whose curves are unfolded
_COLOURS = {TRAIN: "c1", WATCHED: "c2"}
_PERCENT = ("accuracy",)


@dataclass(frozen=True)
class Chart:
    """A chart of the page: the file it becomes, the SVG."""

    file: str
    svg: str


@dataclass(frozen=True)
class Curves:
    """The curves of one run: its charts, a table of their means, and what is to be said of them."""

    run: str
    charts: list[Chart]
    table: str
    notes: list[str]


def all_runs(folds: dict[str, list[Fold]]) -> tuple[list[Chart], list[str]]:
    """Watched accuracy and train loss of every run, each the mean over its folds; and which runs are missing there.

    folds: of every run, the best run first; beyond `COLOURED` runs the rest is left to the charts of their own.
    """
    shown = [run for run, found in folds.items() if any(fold.epochs for fold in found)]
    notes = []
    if len(shown) > COLOURED:
        notes.append(f"the {COLOURED} best runs are drawn here; the others have charts of their own below")
    shown = shown[:COLOURED]
    charts = []
    for key, name in (("watch_accuracy", "watched accuracy"), ("train_loss", "train loss")):
        series = [Line(run, _mean(folds[run], key), f"c{number}") for number, run in enumerate(shown, start=1)]
        series = [line for line in series if line.points]
        if not series:
            continue
        x, y = _axes(series, f"{name}, mean over folds", key.endswith(_PERCENT))
        ends = "; ".join(f"{line.group} {y.shown(line.points[-1][1], fine=True)}" for line in series)
        svg = svg_charts.lines(series, x, y, f"{name} of {len(series)} runs over the epochs, at the end: {ends}")
        charts.append(Chart(f"all-runs-{name.replace(' ', '-')}.svg", svg))
    blind = [run for run in shown if not _mean(folds[run], "watch_accuracy")]
    if blind:
        notes.append(f"no rows are watched by {', '.join(blind)}: the schedule is fixed, every row of a fold is learnt")
    return charts, notes


def legend(runs: Sequence[str]) -> str:
    """Which run has which colour in the charts of `all_runs`."""
    keys = "".join(
        '<li><svg viewBox="0 0 14 10" width="14" height="10" aria-hidden="true">'
        f'<circle class="c{number}" cx="6" cy="5" r="4.5"/></svg> {html.text(run)}</li>'
        for number, run in enumerate(runs, start=1)
    )
    return f'<ul class="legend">{keys}</ul>'


def of_run(run: str, folds: Sequence[Fold], loss: Axis | None, accuracy: Axis | None) -> Curves | None:
    """The curves of one run; None where it has none. loss, accuracy: the axes that all runs share."""
    single = [fold for fold in folds if fold.epochs]
    notes = [f"{fold.name}: {fold.trouble}" for fold in folds if fold.trouble]
    if not single:
        return None
    charts = []
    for name, axis in (("accuracy", accuracy), ("loss", loss)):
        series = [line for part in (TRAIN, WATCHED) for line in _lines(single, part, name)]
        if series and axis is not None:
            x, _ = _axes(series, name, False)
            svg = svg_charts.lines(series, x, axis, _in_words(run, name, series, axis))
            charts.append(Chart(f"{run}-{name}.svg", svg))
    rates = [
        Line("learning rate", values, "c3", faint=len(single) > 1, dashed=not fold.finished)
        for fold in single
        if (values := _points(fold, "lr"))
    ]
    if rates:
        x, y = _axes(rates, "learning rate", False, from_zero=True)
        top = max(value for line in rates for _, value in line.points)
        last = ", ".join(f"{line.points[-1][1]:.3g}" for line in rates)
        alt = f"{run}: learning rate over the epochs, at most {top:.3g}, at the end {last}"
        charts.append(Chart(f"{run}-learning-rate.svg", svg_charts.lines(rates, x, y, alt)))
    return Curves(run, charts, _table(run, single), notes)


def shared_axes(folds: dict[str, list[Fold]]) -> tuple[Axis | None, Axis | None]:
    """Loss and accuracy axes that hold every run, so that charts side by side can be compared."""
    axes: list[Axis | None] = []
    for name in ("loss", "accuracy"):
        values = [
            value
            for found in folds.values()
            for fold in found
            for part in ("train", "watch")
            for _, value in _points(fold, f"{part}_{name}")
        ]
        axes.append(svg_charts.axis_of(name, values, share=name in _PERCENT) if values else None)
    return axes[0], axes[1]


def _lines(folds: Sequence[Fold], part: str, name: str) -> list[Line]:
    """A line for each fold; the epoch whose weights were kept is marked on the watched ones."""
    key = f"{'watch' if part == WATCHED else part}_{name}"
    found = []
    for fold in folds:
        values = _points(fold, key)
        kept = fold.result.get("epoch") if part == WATCHED else None
        mark = next((point for point in values if point[0] == kept), None)
        if values:
            found.append(Line(part, values, _COLOURS[part], len(folds) > 1, not fold.finished, mark))
    return found


def _in_words(run: str, name: str, series: Sequence[Line], axis: Axis) -> str:
    """The text alternative of a chart."""
    parts = []
    for part in (TRAIN, WATCHED):
        lines = [line for line in series if line.group == part]
        if lines:
            first, last = ([line.points[end][1] for line in lines] for end in (0, -1))
            ends = " to ".join(axis.shown(sum(values) / len(values), fine=True) for values in (first, last))
            parts.append(f"{part} from {ends} in {max(line.points[-1][0] for line in lines):g} epochs")
    folds = max(sum(line.group == part for line in series) for part in (TRAIN, WATCHED))
    return f"{run}: {name} over the epochs, {folds} fold{'s' * (folds != 1)}; {'; '.join(parts)}"


def _table(run: str, folds: Sequence[Fold]) -> str:
    """The numbers of the charts, mean over folds: what a chart tells those who cannot see it."""
    keys = [
        ("train accuracy", "train_accuracy", "{:.2%}"),
        ("watched accuracy", "watch_accuracy", "{:.2%}"),
        ("train loss", "train_loss", "{:.4f}"),
        ("watched loss", "watch_loss", "{:.4f}"),
        ("learning rate", "lr", "{:.3g}"),
        ("seconds", "seconds", "{:.0f}"),
    ]
    columns = [(name, dict(_mean(folds, key)), form) for name, key, form in keys]
    columns = [column for column in columns if column[1]]
    epochs = sorted({epoch for _, values, _ in columns for epoch in values})
    rows = [
        [f"{epoch:g}", *(form.format(values[epoch]) if epoch in values else "–" for _, values, form in columns)]
        for epoch in epochs
    ]
    caption = f"{run}, mean over the folds that got that far"
    return html.table(caption, ["epoch", *(name for name, _, _ in columns)], rows)


def _mean(folds: Sequence[Fold], key: str) -> list[tuple[float, float]]:
    """(epoch, mean over the folds that have it)."""
    values: dict[float, list[float]] = {}
    for fold in folds:
        for epoch, value in _points(fold, key):
            values.setdefault(epoch, []).append(value)
    return [(epoch, sum(found) / len(found)) for epoch, found in sorted(values.items())]


def _points(fold: Fold, key: str) -> list[tuple[float, float]]:
    """(epoch, value) of one fold, where the value is a finite number."""
    return [(float(record["epoch"]), float(record[key])) for record in fold.epochs if _is_number(record.get(key))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _axes(series: Sequence[Line], name: str, share: bool, from_zero: bool = False) -> tuple[Axis, Axis]:
    epochs = [epoch for line in series for epoch, _ in line.points]
    values = [value for line in series for _, value in line.points]
    x = Axis("epoch", min(epochs), max(max(epochs), min(epochs) + 1), whole=True)
    return x, svg_charts.axis_of(name, values, share, from_zero)
