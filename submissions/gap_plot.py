"""Draw leaderboard scores over cross-validated accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_kit import metrics
from fer_kit.files import atomic
from fer_kit.runs.ledger import Entry

FEWEST = 3  # with fewer entries no picture is drawn
SIZE_PX = (1200, 900)

_DPI = 150
_PUBLIC, _PRIVATE, _GREY = "#1f5fa8", "#c2571a", "#777777"


def scored(known: Sequence[Entry]) -> list[tuple[float, float]]:
    """(cross-validated accuracy, public score) of the entries that have both."""
    return [(e.cv_accuracy, e.public) for e in known if e.cv_accuracy is not None and e.public is not None]


def draw(path: Path, known: Sequence[Entry], public_rows: int | None) -> None:
    """Write a PNG of SIZE_PX; each point is marked with the number of its entry in the ledger, from 1.

    public_rows: number of rows of a public score, for bars of one standard error; None if unknown.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE_PX[0] / _DPI, SIZE_PX[1] / _DPI), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    numbers = [n for n, e in enumerate(known, start=1) if e.cv_accuracy is not None and e.public is not None]
    cv, public = ([100 * value for value in column] for column in zip(*scored(known), strict=True))
    bars = None if public_rows is None else [100 * metrics.standard_error(y / 100, public_rows) for y in public]
    label = "public" if bars is None else "public, ± one standard error"
    axes.errorbar(cv, public, bars, fmt="o", color=_PUBLIC, elinewidth=0.8, capsize=2, label=label)
    both = [(e.cv_accuracy, e.private) for e in known if e.cv_accuracy is not None and e.private is not None]
    if both:
        across, up = ([100 * value for value in column] for column in zip(*both, strict=True))
        axes.plot(across, up, "s", mfc="none", color=_PRIVATE, label="private", zorder=3)
    for number, x, y in zip(numbers, cv, public, strict=True):
        axes.annotate(f"{number}", (x, y), xytext=(6, 5), textcoords="offset points", color=_PUBLIC)
    middle = (sum(cv) / len(cv), sum(public) / len(public))
    gap = f"average gap of public, {middle[1] - middle[0]:+.2f} points"
    axes.axline(middle, slope=1, color=_PUBLIC, lw=0.8, ls="--", label=gap)
    axes.axline((middle[0], middle[0]), slope=1, color=_GREY, lw=0.8, label="no gap")
    axes.set_xlabel("cross-validated accuracy (%)")
    axes.set_ylabel("leaderboard (%)")
    axes.set_title(f"{len(cv)} entries: leaderboard over cross-validation", loc="left")
    axes.grid(color="#dddddd", lw=0.5)
    axes.legend(frameon=False, fontsize="small")
    with atomic.replacing(path) as file:
        figure.savefig(file, format="png")
