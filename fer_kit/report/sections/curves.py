"""Learning curves and learning rates from metrics.jsonl: one picture a recipe, then each run by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.svg_charts import COLOURED, Axis, Line
from fer_kit.report.found import Fold
from fer_kit.report.section import Content, Part, Section

TRAIN, WATCHED = "train", "watched"
OPEN = 3  # recipes whose curves are unfolded
_COLOURS = {TRAIN: "c1", WATCHED: "c2"}
_PERCENT = ("accuracy",)


@dataclass(frozen=True)
class Chart:
    """A chart: its file name and its SVG."""

    file: str
    svg: str


@dataclass(frozen=True)
class Curves:
    """The curves of one run: its charts, a table of their means, and notes."""

    run: str
    charts: list[Chart]
    table: str
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class AllCurves(Part):
    """recipes: of each recipe its name, its picture of several runs ("" for one run), and the curves of each run.

    again: runs that `predict` made from the training of another run, each with the name of that run.
    """

    recipes: Sequence[tuple[str, str, Sequence[Curves]]]
    again: Sequence[tuple[str, str]] = ()


def build(content: Content) -> AllCurves:
    """The curves of each recipe, the recipe of the best run first."""
    by_recipe: dict[str, dict[str, list[Fold]]] = {}
    again = [(run, source) for run, folds in content.folds.items() if (source := _trained_as(folds)) in content.folds]
    for run, folds in content.folds.items():
        if run not in dict(again):
            by_recipe.setdefault(_recipe(run, folds), {})[run] = folds
    recipes = []
    charts: dict[str, str] = {}
    for recipe, runs in by_recipe.items():
        axes = shared_axes(runs)
        curves = [found for run, folds in runs.items() if (found := of_run(run, folds, *axes)) is not None]
        if not curves:
            continue
        together = of_recipe(recipe, {found.run: runs[found.run] for found in curves}) if len(curves) > 1 else []
        for chart in [*together, *(chart for found in curves for chart in found.charts)]:
            charts[chart.file] = chart.svg
        shown = [found.run for found in curves][:COLOURED]
        rest = len(curves) - len(shown)
        picture = legend(shown) + _charts(together, "charts overview") if together else ""
        picture += html.paragraph(f"{rest} more runs have charts of their own below.", soft=True) if rest else ""
        recipes.append((recipe, picture, curves))
    return AllCurves(recipes=recipes, again=again, charts=charts)


def as_html(part: AllCurves) -> str:
    """One picture a recipe, with every fold as a line; below it each run by itself."""
    if not part.recipes:
        return html.paragraph("No run has a metrics.jsonl, so there are no curves.")
    parts = [
        html.paragraph(
            "One thin line a fold; dashed: not finished; a dot: the epoch whose weights were kept. Watched rows are "
            "cut from the training folds; without them the schedule is fixed and every row is learnt. The held-out "
            "sample is shown only: nothing is chosen by it. Point at a chart to read values. All runs of a recipe have "
            "the same axes.",
            soft=True,
        )
    ]
    for number, (recipe, picture, curves) in enumerate(part.recipes):
        opened = " open" * (number < OPEN)
        inside = [_run(found, bool(picture)) for found in curves]
        summary = f"{html.text(recipe)}, {len(curves)} run{'s' * (len(curves) != 1)}"
        parts.append(f"<details{opened}><summary>{summary}</summary>{picture}{''.join(inside)}</details>")
    if part.again:
        pairs = ", ".join(f"{run} (trained as {source})" for run, source in part.again)
        words = "Runs by fer-kit predict have the training of another run and no curves of their own"
        parts.append(html.paragraph(f"{words}: {pairs}.", soft=True))
    return "".join(parts)


def _run(curves: Curves, folded: bool) -> str:
    """One run: its charts, then its numbers. folded: inside of <details>."""
    inside = _charts(curves.charts, "charts") + "".join(html.paragraph(note, soft=True) for note in curves.notes)
    name = html.text(curves.run)
    inside += f"<details><summary>{name} in numbers</summary>{curves.table}</details>"
    return f"<details><summary>{name}</summary>{inside}</details>" if folded else f"<h3>{name}</h3>{inside}"


def _charts(charts: Sequence[Chart], kind: str) -> str:
    return f'<div class="{kind}">{"".join(f"<figure>{chart.svg}</figure>" for chart in charts)}</div>'


def _recipe(run: str, folds: Sequence[Fold]) -> str:
    """The recipe of a run; its own name where that is not recorded."""
    names = [str(record["recipe"]) for fold in folds for record in (fold.config, fold.result) if record.get("recipe")]
    return names[0] if names else run


def _trained_as(folds: Sequence[Fold]) -> str:
    """The run whose weights these folds have, for a run by `predict`; "" for a run that was trained."""
    found = [fold.result.get("source") for fold in folds]
    names = {str(source.get("run", "")) for source in found if isinstance(source, dict)}
    return names.pop() if len(names) == 1 else ""


def of_recipe(recipe: str, folds: dict[str, list[Fold]]) -> list[Chart]:
    """Accuracy and loss of the runs of one recipe, a colour a run and a line a fold; at most `COLOURED` runs.

    The rows that are watched, if every run has some; else the rows that are learnt.
    """
    charts = []
    for key in ("accuracy", "loss"):
        watched = all(any(_points(fold, f"watch_{key}") for fold in parts) for parts in folds.values())
        sampled = not watched and all(any(_points(fold, f"sample_{key}") for fold in parts) for parts in folds.values())
        part = "watch" if watched else "sample" if sampled else "train"
        series = [
            Line(run, values, f"c{number}", faint=len(parts) > 1, dashed=not fold.finished)
            for number, (run, parts) in enumerate(list(folds.items())[:COLOURED], start=1)
            for fold in parts
            if (values := _points(fold, f"{part}_{key}"))
        ]
        if not series:
            continue
        name = f"{'watched' if watched else 'held-out sample' if sampled else 'train'} {key}"
        x, y = _axes(series, name, key in _PERCENT)
        ends = "; ".join(f"{line.group} {y.shown(line.points[-1][1], fine=True)}" for line in series)
        alt = f"{recipe}: {name} of {len(folds)} runs over the epochs, each fold at its end: {ends}"
        file = f"recipe-{recipe.replace('/', '_')}-{name.replace(' ', '-')}.svg"
        charts.append(Chart(file, svg_charts.lines(series, x, y, alt)))
    return charts


def legend(runs: Sequence[str]) -> str:
    """Which run has which colour in the charts of `of_recipe`."""
    keys = "".join(
        '<li><svg viewBox="0 0 14 10" width="14" height="10" aria-hidden="true">'
        f'<circle class="c{number}" cx="6" cy="5" r="4.5"/></svg> {html.text(run)}</li>'
        for number, run in enumerate(runs, start=1)
    )
    return f'<ul class="legend">{keys}</ul>'


def of_run(run: str, folds: Sequence[Fold], loss: Axis | None, accuracy: Axis | None) -> Curves | None:
    """The curves of one run; None without epochs. loss, accuracy: the axes that all runs of the recipe share."""
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
    """Loss and accuracy axes that hold all of these runs, so that charts side by side compare."""
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
    """The numbers of the charts, mean over folds, for those who cannot see them."""
    keys = [
        ("train accuracy", "train_accuracy", "{:.2%}"),
        ("watched accuracy", "watch_accuracy", "{:.2%}"),
        ("held-out sample, shown only", "sample_accuracy", "{:.2%}"),
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


STYLE = """
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; list-style: none; font-size: .9rem; }
"""
SECTION = Section("curves", "Learning curves", build, as_html, style=STYLE)
