"""Figures of `evaluate`: confusion, calibration and mistakes of each source, and the accuracies of all sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fer_kit.drawing import pictures
from fer_kit.evaluate.records import MISTAKES_A_CLASS
from fer_kit.evaluate.scores import Scores
from fer_kit.evaluate.sources import ScoredSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fer_kit.data.loading import Competition

ACCURACIES = "accuracies.png"


def of_sources(
    sources: Sequence[ScoredSource],
    found: Sequence[Scores],
    records: Sequence[dict[str, Any]],
    data: Competition | None,
) -> dict[str, Callable[[], Figure]]:
    """For each figure's file name, a function that draws the figure. data: None leaves out the sheets of mistakes."""
    figures: dict[str, Callable[[], Figure]] = {}
    for source, scores, record in zip(sources, found, records, strict=True):
        folds = ("fold " if len(source.folds) == 1 else "folds ") + ", ".join(map(str, source.folds))
        only = f", {folds} only" if source.missing else ""
        title = f"{source.name}: {scores.accuracy:.2%} of {scores.rows:,} out-of-fold rows{only}"
        figures[f"{source.file_name}-confusion.png"] = partial(pictures.confusion, scores.confusion, title)
        title = f"{source.name}: calibration error {scores.calibration.error:.2%}{only}"
        figures[f"{source.file_name}-reliability.png"] = partial(pictures.reliability, scores.calibration, title)
        if data is not None and record["confident_mistakes"]:
            figures[f"{source.file_name}-mistakes.png"] = partial(
                mistake_sheet, source, record["confident_mistakes"], data
            )
    if len(sources) > 1:
        figures[ACCURACIES] = accuracies(sources, found, records)
    return figures


def accuracies(
    sources: Sequence[ScoredSource], found: Sequence[Scores], records: Sequence[dict[str, Any]]
) -> Callable[[], Figure]:
    """A function that draws the accuracies of all sources with their intervals."""
    return partial(
        pictures.intervals,
        [source.name + (" *" if source.missing else "") for source in sources],
        [scores.accuracy for scores in found],
        [scores.interval for scores in found],
        [list(record["fold_accuracies"].values()) for record in records],
        "out-of-fold accuracy" + (" (* some folds missing)" if any(source.missing for source in sources) else ""),
    )


def mistake_sheet(source: ScoredSource, wrong: Sequence[dict[str, Any]], data: Competition) -> Figure:
    """The most confident mistakes as faces, one row for each true class, with the predicted class and probability."""
    names = list(dict.fromkeys(mistake["true"] for mistake in wrong))
    rows = []
    for name in names:
        of_class = [mistake for mistake in wrong if mistake["true"] == name]
        captions = [f"→ {m['answer']}\n{m['probability']:.1%}  #{m['id']}" for m in of_class]
        rows.append((data.train.images[[m["id"] for m in of_class]], captions))
    images, captions = pictures.padded(rows, MISTAKES_A_CLASS)
    title = f"{source.name}: most confident mistakes, label at the left, prediction below"
    return pictures.face_sheet(images, captions, MISTAKES_A_CLASS, title, names)
