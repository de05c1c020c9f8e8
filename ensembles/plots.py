"""Two pictures of a blend: how alike its members err, and what each weighs and is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

HEAT_MAP, WEIGHTS = "correlation.png", "weights.png"
NUMBERS_UP_TO = 14  # members; more cells are too small for numbers
LABEL_LENGTH = 26
DOTS_PER_INCH = 110


def heat_map(path: Path, names: Sequence[str], correlation: Floats, disagreement: Floats) -> None:
    """Error correlation and pairwise disagreement (both (M, M)) side by side as a PNG."""
    from matplotlib.figure import Figure

    side = min(12.0, max(3.4, 0.42 * len(names)))
    figure = Figure(figsize=(2 * side + 3.0, side + 1.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _matrix(figure, left, names, correlation, "correlation of errors (low is good)", "viridis", "{:.2f}", 0.0, 1.0)
    top = max(float(disagreement.max()), 1e-9)
    _matrix(figure, right, names, disagreement, "share of rows answered differently", "magma", "{:.0%}", 0.0, top)
    right.set_yticklabels([])
    _save(figure, path)


def weights(path: Path, names: Sequence[str], shares: Floats | None, value: Floats, error: Floats, title: str) -> None:
    """Bars: what each member weighs (M,), None where members have no weight, and its value with its standard error
    (both shares of rows, shown as points), as a PNG.
    """
    from matplotlib.figure import Figure

    columns = 1 if shares is None else 2
    figure = Figure(figsize=(4.6 * columns + 1.5, max(2.2, 0.26 * len(names) + 1.2)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, columns, sharey=True))
    places = np.arange(len(names))
    if shares is not None:
        axes[0].barh(places, shares, color="#3b6ea5")
        axes[0].axvline(1 / len(names), color="0.5", linewidth=1, linestyle=":")
        axes[0].set_xlabel("weight (dotted: uniform)")
    points = 100 * value
    colours = np.where(points >= 0, "#4c9a5b", "#b5523b").tolist()
    axes[-1].barh(places, points, color=colours, xerr=100 * error, ecolor="0.4", error_kw={"linewidth": 1})
    axes[-1].axvline(0, color="0.3", linewidth=0.8)
    axes[-1].set_xlabel("value: points of cross-fitted accuracy lost without it")
    axes[0].set_yticks(places, [_short(name) for name in names], fontsize=8)
    axes[0].set_ylim(len(names) - 0.4, -0.6)  # best first, from the top
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def _matrix(
    figure: Figure,
    axes: Axes,
    names: Sequence[str],
    values: Floats,
    title: str,
    colours: str,
    form: str,
    low: float,
    high: float,
) -> None:
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high)
    ticks, labels = np.arange(len(names)), [_short(name) for name in names]
    size = 8 if len(names) <= 30 else 5
    axes.set_xticks(ticks, labels, rotation=90, fontsize=size)
    axes.set_yticks(ticks, labels, fontsize=size)
    axes.set_title(title, fontsize=10)
    if len(names) <= NUMBERS_UP_TO:
        middle = (low + high) / 2
        for (row, column), value in np.ndenumerate(values):
            colour = "black" if value > middle else "white"
            axes.text(
                column, row, form.format(round(value, 2) + 0.0), ha="center", va="center", fontsize=7, color=colour
            )
    figure.colorbar(image, ax=axes, shrink=0.8)


def _short(name: str) -> str:
    """`name`, or its two ends where it is long: what differs between runs often stands last."""
    half = LABEL_LENGTH // 2
    return name if len(name) <= LABEL_LENGTH else f"{name[: half - 1]}…{name[-half:]}"


def _save(figure: Figure, path: Path) -> None:
    options: dict[str, Any] = {"format": "png", "dpi": DOTS_PER_INCH, "metadata": {"Software": None}}
    with atomic.replacing(path) as file:
        figure.savefig(file, **options)
