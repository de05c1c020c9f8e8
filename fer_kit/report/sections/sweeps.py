"""Sweeps: the accuracy of the runs of one recipe over each setting in which they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig, from_json
from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.svg_charts import Axis, Dot
from fer_kit.errors import FerKitError
from fer_kit.report.section import Content, Part, Ranked, Section
from fer_kit.report.settings import shown

FEWEST = 3  # runs of a recipe, below which a chart shows nothing
WIDE = 20.0  # a positive setting whose values differ by such a factor gets a logarithmic axis


@dataclass(frozen=True, kw_only=True)
class Sweeps(Part):
    """drawn: for each recipe and set of folds, in words, (setting, chart)."""

    drawn: Mapping[str, Sequence[tuple[str, str]]]


def build(content: Content) -> Sweeps:
    """Compare the runs of a recipe that were scored on the same folds."""
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[Ranked, TrainConfig]]] = {}
    for one in content.ranked:
        config = _config(one)
        if config is not None:
            alike.setdefault((config.recipe, tuple(one.source.folds)), []).append((one, config))
    drawn = {}
    for (recipe, folds), runs in alike.items():
        found = charts(runs) if len(runs) >= FEWEST else []
        if found:
            drawn[f"{len(runs)} runs of {recipe}, {_folds_in_words(folds)}"] = found
    files = {
        f"sweep-{number}-{name}.svg": chart for number, each in enumerate(drawn.values(), 1) for name, chart in each
    }
    return Sweeps(drawn=drawn, charts=files)


def _config(one: Ranked) -> TrainConfig | None:
    """The config of a run; None for blends, and where it is not recorded or not readable."""
    config = next((fold.config for fold in one.folds if fold.config), None)
    if one.is_blend or config is None:
        return None
    try:
        return from_json(config, "config.json")
    except FerKitError:
        return None


def charts(runs: Sequence[tuple[Ranked, TrainConfig]]) -> list[tuple[str, str]]:
    """(setting, chart) of each setting that has two or more values."""
    names = dict.fromkeys(name for _, config in runs for name in _changed(config) if name != "seed")
    return [(name, chart_of(name, runs)) for name in names if len({getattr(config, name) for _, config in runs}) > 1]


def _changed(config: TrainConfig) -> list[str]:
    try:
        return [name for name, _, _ in recipes.changed(config)]
    except FerKitError:  # a recipe of another version
        return []


def chart_of(name: str, runs: Sequence[tuple[Ranked, TrainConfig]]) -> str:
    """The accuracy of each run over one setting."""
    values = [getattr(config, name) for _, config in runs]
    x, places = axis_of(name, values)
    dots = [
        Dot(place, one.accuracy, f"{one.name}: {name} {shown(value)}, {one.accuracy:.2%}")
        for place, value, (one, _) in zip(places, values, runs, strict=True)
    ]
    top = max(dots, key=lambda dot: dot.y)
    y = svg_charts.axis_of("accuracy", [dot.y for dot in dots], share=True)
    return svg_charts.scatter(dots, x, y, f"Accuracy of {len(dots)} runs over {name}; highest: {top.words}")


def axis_of(name: str, values: Sequence[Any]) -> tuple[Axis, list[float]]:
    """The axis of a setting, and the place of each value: a number, its logarithm, or the number of a choice."""
    if all(type(value) in (int, float) for value in values):
        low, high = min(values), max(values)
        if low > 0 and high >= WIDE * low:
            places = [math.log10(value) for value in values]
            axis = svg_charts.axis_of(name, places)
            return Axis(name, axis.low, axis.high, log=True), places
        return svg_charts.axis_of(name, values), [float(value) for value in values]
    names = sorted({shown(value) for value in values})
    stems = [choice.partition("@")[0] or "none" for choice in names]  # of files, which are NAME@DIGEST
    axis = Axis(name, -0.5, len(names) - 0.5, names=stems if len(set(stems)) == len(stems) else names)
    return axis, [float(names.index(shown(value))) for value in values]


def _folds_in_words(folds: Sequence[int]) -> str:
    return f"fold{'s' * (len(folds) != 1)} {', '.join(map(str, folds))}"


def as_html(part: Sweeps) -> str:
    """The charts of each group of runs."""
    if not part.drawn:
        return html.sentence(
            f"With {FEWEST} or more runs of one recipe that differ in a setting, charts compare them here; "
            "`fer-kit sweep --recipes vgg_small --settings hot lr=2e-3 --settings mild lr=5e-4 --folds every` "
            "trains some."
        )
    parts = []
    for words, each in part.drawn.items():
        figures = "".join(f"<figure>{chart}</figure>" for _, chart in each)
        parts.append(f'<h3>{html.text(words)}</h3><div class="charts">{figures}</div>')
    note = "Out-of-fold accuracy; runs may differ in other settings too, which the leaderboard lists."
    return "".join([*parts, html.paragraph(note, soft=True)])


SECTION = Section("sweeps", "Runs by setting", build, as_html)
