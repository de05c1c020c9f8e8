"""Sheets of faces and plots as matplotlib figures, in light or dark colours, without the global state of pyplot.

`save` writes a figure to a file, `png` gives its bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES, SIDE_PX
from fer_kit.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fer_kit.metrics import Calibration

Images = NDArray[np.uint8]  # (N, 48, 48)
Floats = NDArray[np.float64]

DOTS_PER_INCH = 110
FACE_DOTS = 96  # a face of 48 px is shown twice as large
GAP_FRAC = 0.06  # of a face, between faces
LINE_FRAC = 0.16  # of a face, the height of one line of caption
CAPTION_POINTS = 7.5
TITLE_FRAC = 0.21  # of a face, the height of one line of title
TITLE_POINTS = 10.0
MATRIX_NUMBERS = 14  # members up to which a matrix has numbers; more cells are too small
LONGEST_NAME = 26  # characters of a member's name


@dataclass(frozen=True)
class Colours:
    """The colours of a figure; `heat` is a matplotlib colour map whose low end is close to `paper`."""

    paper: str
    ink: str
    faint: str
    bar: str
    second: str
    heat: str


LIGHT = Colours(paper="#ffffff", ink="#1d2430", faint="#c9ced6", bar="#3b6ea5", second="#c8702a", heat="Blues")
DARK = Colours(paper="#14181f", ink="#e4e8ee", faint="#3b434f", bar="#6ea3dc", second="#e39a5a", heat="Blues_r")


def face_sheet(
    images: Images,
    captions: Sequence[str],
    columns: int,
    title: str = "",
    row_names: Sequence[str] = (),
    colours: Colours = LIGHT,
) -> Figure:
    """Faces in rows of `columns`, each above its caption, which may have several lines.

    images: uint8 (N, 48, 48), row by row; `padded` fills up shorter rows. title: wrapped to the width of the faces.
    row_names: at the left of the rows.
    """
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images and {len(captions)} captions")
    rows = max(1, math.ceil(len(images) / columns))
    places = [number for number, caption in enumerate(captions) if caption or images[number].any()]
    used = max((place % columns + 1 for place in places), default=1)
    lines = max([caption.count("\n") + 1 for caption in captions if caption], default=0)
    across, down = 1 + GAP_FRAC, 1 + GAP_FRAC + lines * LINE_FRAC  # of a cell, in faces
    left = 0.28 + 0.11 * max(map(len, row_names)) if row_names else 0.1
    width = left + used * across + 0.05
    title_lines, longest = _fitted(title, width - 0.2)
    width = max(width, longest + 0.2)
    top = 0.4 + (len(title_lines) - 1) * TITLE_FRAC if title else 0.1
    height = top + rows * down + 0.05
    figure = blank_figure(
        width * FACE_DOTS / DOTS_PER_INCH, height * FACE_DOTS / DOTS_PER_INCH, colours, constrained=False
    )
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    for place in places:
        x, y = left + place % columns * across, top + place // columns * down
        extent = (x, x + 1, y + 1, y)
        axes.imshow(images[place], cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
        for line, text in enumerate(captions[place].split("\n")):
            at = y + 1 + (line + 0.55) * LINE_FRAC
            axes.text(x + 0.5, at, text, ha="center", va="center", fontsize=CAPTION_POINTS, color=colours.ink)
    for row, name in enumerate(row_names):
        axes.text(left - 0.1, top + row * down + 0.5, name, ha="right", va="center", fontsize=9, color=colours.ink)
    for line, text in enumerate(title_lines):
        at = 0.2 + line * TITLE_FRAC
        axes.text(0.1, at, text, ha="left", va="center", fontsize=TITLE_POINTS, color=colours.ink)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def _fitted(title: str, room: float) -> tuple[list[str], float]:
    """Wrap a title to lines of width `room`, in faces; returns the lines and the width of the widest line."""
    from matplotlib.textpath import TextPath

    def width_of(text: str) -> float:
        points = float(TextPath((0, 0), text, size=TITLE_POINTS).get_extents().width)
        return points / 72 * DOTS_PER_INCH / FACE_DOTS

    lines: list[str] = []
    for word in title.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines, max(map(width_of, lines), default=0.0)


def padded(rows: Sequence[tuple[Images, Sequence[str]]], columns: int) -> tuple[Images, list[str]]:
    """Rows of faces and captions for `face_sheet`, each filled up to `columns` with empty places."""
    images = np.zeros((len(rows), columns, SIDE_PX, SIDE_PX), np.uint8)
    captions = []
    for number, (faces, texts) in enumerate(rows):
        images[number, : len(faces)] = faces
        captions += [*texts, *[""] * (columns - len(texts))]
    return images.reshape(-1, SIDE_PX, SIDE_PX), captions


def confusion(counts: NDArray[np.int64], title: str, colours: Colours = LIGHT) -> Figure:
    """Confusion matrix (7, 7) with true classes down: numbers of rows, and shares of each true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = blank_figure(10.4, 5.0, colours)
    for axes, texts, name in zip(
        figure.subplots(1, 2),
        ([f"{n:,}" for n in counts.ravel()], [f"{s:.0%}" for s in shares.ravel()]),
        ("rows", "share of the true class"),
        strict=True,
    ):
        axes.imshow(shares, cmap=colours.heat, vmin=0, vmax=1)  # both by share, so that large classes do not dominate
        for place, text in enumerate(texts):
            row, column = divmod(place, len(CLASSES))
            colour = _readable(shares[row, column], colours)
            weight = "bold" if row == column else "normal"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour, weight=weight)
        axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(CLASSES)), CLASSES)
        plain_axes(axes, colours)
        axes.spines[:].set_visible(False)
        axes.set_title(name, fontsize=10, color=colours.ink)
        axes.set_xlabel("predicted class", color=colours.ink)
    figure.axes[0].set_ylabel("true class", color=colours.ink)
    figure.suptitle(title, fontsize=11, color=colours.ink)
    return figure


def reliability(found: Calibration, title: str, colours: Colours = LIGHT) -> Figure:
    """Accuracy against the probability of the predicted class, and below it the number of rows in each bin."""
    figure = blank_figure(5.2, 5.4, colours)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    there, bins = found.rows > 0, len(found.rows)
    upper.plot([0, 1], [0, 1], color=colours.faint, linewidth=1.5, label="calibrated")
    sizes = 8 + 120 * found.rows[there] / found.rows.max()
    upper.plot(found.confidence[there], found.accuracy[there], color=colours.bar, linewidth=1)
    upper.scatter(
        found.confidence[there],
        found.accuracy[there],
        sizes,
        color=colours.bar,
        label="observed",
        zorder=3,
        clip_on=False,
    )
    upper.set(ylim=(0, 1), xlim=(0, 1))
    upper.set_ylabel("accuracy", color=colours.ink)
    upper.legend(loc="upper left", frameon=False, labelcolor=colours.ink)
    upper.set_title(title, fontsize=10, color=colours.ink)
    lower.bar((np.arange(bins) + 0.5) / bins, found.rows, 0.9 / bins, color=colours.bar)
    lower.set_ylabel("rows", color=colours.ink)
    lower.set_xlabel("probability of the predicted class", color=colours.ink)
    for axes in (upper, lower):
        plain_axes(axes, colours)
    return figure


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    dots: Sequence[Sequence[float]],
    title: str,
    colours: Colours = LIGHT,
) -> Figure:
    """One line for each name: its value, the interval around it, and dots for its folds, in percent."""
    figure = blank_figure(7.0, 1.3 + 0.42 * len(names), colours)
    axes = figure.subplots()
    for place, (value, (low, high), others) in enumerate(zip(values, bounds, dots, strict=True)):
        axes.plot([100 * low, 100 * high], [place, place], color=colours.bar, linewidth=3, solid_capstyle="butt")
        axes.plot([100 * other for other in others], [place] * len(others), "o", color=colours.second, markersize=4)
        axes.plot([100 * value], [place], "|", color=colours.ink, markersize=14, markeredgewidth=2)
        axes.annotate(f"{value:.2%}", (100 * value, place), (0, 9), textcoords="offset points", ha="center", fontsize=8)
        axes.texts[-1].set_color(colours.ink)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.75)
    axes.set_xlabel("accuracy in % (bar: 95% interval; dots: folds)", color=colours.ink)
    axes.set_title(title, fontsize=10, color=colours.ink)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=colours.faint, linewidth=0.6)
    plain_axes(axes, colours)
    return figure


def grey_levels(shares: Sequence[tuple[str, Floats]], title: str, colours: Colours = LIGHT) -> Figure:
    """Share of pixels at each of 256 grey levels, a line for each (name, shares (256,))."""
    figure = blank_figure(7.0, 2.8, colours)
    axes = figure.subplots()
    for (name, values), colour in zip(shares, (colours.bar, colours.second), strict=False):
        axes.step(np.arange(256), 100 * values, color=colour, linewidth=1.2, where="mid", label=name)
    axes.set(xlim=(0, 255), ylim=(0, None))
    axes.set_xlabel("grey level", color=colours.ink)
    axes.set_ylabel("% of pixels", color=colours.ink)
    axes.set_title(title, fontsize=10, color=colours.ink)
    axes.legend(frameon=False, labelcolor=colours.ink)
    plain_axes(axes, colours)
    return figure


def alike(
    names: Sequence[str], correlation: Floats, disagreement: Floats, title: str = "", colours: Colours = LIGHT
) -> Figure:
    """Correlation of errors and share of rows answered differently, both (M, M), of M members side by side."""
    side = min(12.0, max(3.4, 0.42 * len(names)))
    figure = blank_figure(2 * side + 3.0, side + 1.6, colours)
    left, right = figure.subplots(1, 2)
    for axes, values, caption, form, top in (
        (left, correlation, "correlation of errors (low is good)", "{:.2f}", 1.0),
        (right, disagreement, "share of rows answered differently", "{:.0%}", max(float(disagreement.max()), 1e-9)),
    ):
        axes.imshow(values, cmap=colours.heat, vmin=0, vmax=top)
        if len(names) <= MATRIX_NUMBERS:
            for (row, column), value in np.ndenumerate(values):
                colour = _readable(min(max(value / top, 0.0), 1.0), colours)
                text = form.format(round(value, 2) + 0.0)
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(names)), map(_shortened, names), rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), map(_shortened, names))
        axes.set_title(caption, fontsize=10, color=colours.ink)
        plain_axes(axes, colours)
        axes.spines[:].set_visible(False)
    right.set_yticklabels([])
    figure.suptitle(title, fontsize=11, color=colours.ink)
    return figure


def members(
    names: Sequence[str],
    weights: Sequence[float] | None,
    value: Sequence[float],
    error: Sequence[float],
    title: str = "",
    colours: Colours = LIGHT,
) -> Figure:
    """Bars for M members of a blend, the first on top: its weight, if members have one, and its value.

    value, error: accuracy lost without the member and its standard error, shares of rows, shown as points.
    """
    columns = 1 if weights is None else 2
    figure = blank_figure(4.6 * columns + 1.5, max(2.2, 0.26 * len(names) + 1.2), colours)
    every = np.atleast_1d(figure.subplots(1, columns, sharey=True))
    places, points = np.arange(len(names)), 100 * np.asarray(value, np.float64)
    if weights is not None:
        every[0].barh(places, weights, color=colours.bar)
        every[0].axvline(1 / len(names), color=colours.faint, linewidth=1, linestyle=":")
        every[0].set_xlabel("weight (dotted: uniform)", color=colours.ink)
    colour = np.where(points >= 0, colours.bar, colours.second).tolist()
    errors = 100 * np.asarray(error, np.float64)
    every[-1].barh(places, points, color=colour, xerr=errors, ecolor=colours.ink, error_kw={"linewidth": 1})
    every[-1].axvline(0, color=colours.ink, linewidth=0.8)
    every[-1].set_xlabel("value: points of cross-fitted accuracy lost without it", color=colours.ink)
    every[0].set_yticks(places, map(_shortened, names))
    every[0].set_ylim(len(names) - 0.4, -0.6)
    for axes in every:
        plain_axes(axes, colours)
    figure.suptitle(title, fontsize=11, color=colours.ink)
    return figure


def bars(
    names: Sequence[str], values: Sequence[float], title: str, colours: Colours = LIGHT, texts: Sequence[str] = ()
) -> Figure:
    """A bar for each name, the first on top, with its text, by default its value."""
    figure = blank_figure(6.4, 1.0 + 0.3 * len(names), colours)
    axes = figure.subplots()
    drawn = axes.barh(range(len(names)), values, color=colours.bar)
    axes.bar_label(drawn, texts or [f"{value:.3f}" for value in values], padding=3, fontsize=8, color=colours.ink)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, (1.3 if texts else 1.15) * max(max(values), 1e-9))  # room for the text of the longest
    axes.set_title(title, fontsize=10, color=colours.ink)
    plain_axes(axes, colours)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes; the same figure gives the same bytes."""
    options: dict[str, Any] = {"format": "png", "dpi": DOTS_PER_INCH, "metadata": {"Software": None}}
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)
    return buffer.getvalue()


def save(figure: Figure, path: Path | str) -> None:
    """Write the figure to `path` as a PNG."""
    with atomic.replacing(path) as file:
        file.write(png(figure))


def _shortened(name: str) -> str:
    """`name`, or its two ends if it is long: runs often differ at the end."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def blank_figure(width: float, height: float, colours: Colours, constrained: bool = True) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    layout: Any = "constrained" if constrained else None
    return Figure(figsize=(width, height), layout=layout, facecolor=colours.paper)


def _readable(share: float, colours: Colours) -> str:
    """Ink or paper, whichever has more contrast on the heat colour of `share`, 0 to 1."""
    from matplotlib import colormaps, colors

    def light(rgb: Sequence[float]) -> float:  # WCAG: contrast is the ratio of two of these
        return float(np.power(rgb[:3], 2.2) @ (0.2126, 0.7152, 0.0722)) + 0.05

    cell = light(colormaps[colours.heat](float(share)))
    return max((colours.ink, colours.paper), key=lambda colour: abs(math.log(light(colors.to_rgb(colour)) / cell)))


def plain_axes(axes: Axes, colours: Colours) -> None:
    """Colours of an axes object, without lines at the top and right."""
    axes.set_facecolor(colours.paper)
    axes.tick_params(colors=colours.ink, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colours.faint)
