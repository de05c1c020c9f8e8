"""The plot of a search: the score of each trial over epochs, and over each setting at the first rung."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_kit.config.train_config import shown
from fer_kit.drawing import pictures
from fer_kit.drawing.pictures import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fer_kit.sweep.search.definition import Search
    from fer_kit.sweep.search.results import Row

COLUMNS = 3
MOST_SETTINGS = 8  # panels; further settings are in the table alone
WIDTH, HEIGHT = 3.5, 2.7  # inches of a panel
FIRST, BEST = "one trial", "best trial (selected)"


def draw(path: Path, search: Search, rows: Sequence[Row]) -> None:
    """Write the plot as a PNG."""
    names = list(search.space)[:MOST_SETTINGS]
    columns = min(COLUMNS, 1 + len(names))
    lines = math.ceil((1 + len(names)) / columns)
    figure = pictures.blank_figure(WIDTH * columns, HEIGHT * lines + 0.4, LIGHT)
    figure.suptitle(
        f"{search.name}: {sum(bool(row.standing.scores) for row in rows)} trials, scored on {search.scored_on}",
        color=LIGHT.ink,
        fontsize=pictures.TITLE_POINTS,
    )
    panels = [figure.add_subplot(lines, columns, place + 1) for place in range(1 + len(names))]
    scored = [row for row in rows if row.standing.scores]
    _curves(panels[0], search, scored)
    for name, axes in zip(names, panels[1:], strict=True):
        _over_setting(axes, search, scored, name)
    for axes in panels:
        pictures.plain_axes(axes, LIGHT)
        axes.set_ylabel("accuracy (%)", color=LIGHT.ink, fontsize=8)
    pictures.save(figure, path)


def _curves(axes: Axes, search: Search, scored: Sequence[Row]) -> None:
    """A line for each trial over the rungs that it has reached."""
    for row in reversed(scored):  # the best is drawn last
        best = row is scored[0]
        scores = row.standing.scores
        axes.plot(
            search.rungs[: len(scores)],
            [100 * score for score in scores],
            "o-",
            color=LIGHT.second if best else LIGHT.bar,
            alpha=1.0 if best else 0.45,
            linewidth=1.6 if best else 0.9,
            markersize=4 if best else 3,
            label=BEST if best else FIRST,
        )
    handles, labels = axes.get_legend_handles_labels()
    one_each = dict(zip(labels, handles, strict=True))
    axes.legend(one_each.values(), one_each.keys(), frameon=False, fontsize=7, labelcolor=LIGHT.ink, loc="best")
    axes.set_xticks(list(search.rungs))
    axes.set_xlabel("epoch", color=LIGHT.ink, fontsize=8)


def _over_setting(axes: Axes, search: Search, scored: Sequence[Row], name: str) -> None:
    """A point for each trial at the first rung, which all trials have reached; promoted trials are filled.

    Trials in which the setting has no effect are left out.
    """
    dimension = search.space[name]
    choices = dimension.choices
    for row in reversed([row for row in scored if name in row.params]):
        best = row is scored[0]
        colour = LIGHT.second if best else LIGHT.bar
        filled = best or len(row.standing.scores) > 1
        value = row.params[name]
        at = choices.index(value) if choices else float(value)
        score = 100 * row.standing.scores[0]
        axes.plot([at], [score], "o", color=colour, mfc=colour if filled else "none", markersize=4.5)
    if choices:
        axes.set_xticks(range(len(choices)), [shown(value) for value in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif dimension.log:
        low, high = dimension.low, dimension.high
        decades = [10.0**power for power in range(-12, 13) if 1.2 * low < 10.0**power < high / 1.2]
        axes.set_xscale("log")
        axes.set_xticks([low, *decades, high], [f"{value:g}" for value in (low, *decades, high)])
        axes.set_xticks([], minor=True)
        axes.set_xlim(low / 1.1, high * 1.1)
    axes.set_xlabel(f"{name} (after epoch {search.rungs[0]}; filled: went on)", color=LIGHT.ink, fontsize=8)
