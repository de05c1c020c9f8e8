"""What `report` computes before it writes: scores, curves, blends, faces; whatever is missing is named, not raised."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit.errors import FerKitError
from fer_kit.evaluate import figures
from fer_kit.evaluate import records as evaluate_records
from fer_kit.evaluate import scores as evaluate_scores
from fer_kit.evaluate import sources as evaluate_sources
from fer_kit.files import atomic
from fer_kit.report import blends as report_blends
from fer_kit.report import curves as report_curves
from fer_kit.report import entries, leaderboard
from fer_kit.report import maps as report_maps
from fer_kit.report.blends import Alike
from fer_kit.report.found import Found
from fer_kit.report.leaderboard import Ranked
from fer_kit.report.page import Content
from fer_kit.runs import folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fer_kit.data.loading import Competition

Pictures = dict[str, Callable[[], "Figure"]]


@dataclass(frozen=True)
class Wish:
    """What the page is asked to be. data: where the faces lie, None to look for them; sheets: how many of the best
    sources show faces; faces: whether any are shown. places: folders that may hold activation maps.
    """

    runs_dir: Path
    data: str | None
    ledger: Path
    sheets: int
    faces: bool
    places: Sequence[Path]
    made: Sequence[tuple[str, str]] = field(default_factory=list)


def build(found: Found, wish: Wish) -> tuple[Content, Pictures]:
    """The content of the page, and the pictures that are files only, undrawn.

    Raises:
        FerKitError: the data folder that was asked for holds none, or other rows.
    """
    from tqdm import tqdm

    faces, no_faces = _faces(found, wish)
    scored = {}
    for source in tqdm(found.sources, desc="scoring", unit="source", disable=None, leave=False):
        groups = found.groups
        scores = evaluate_scores.scores(source.oof.logits, source.labels, groups.of(source.oof.ids))
        scored[source.name] = scores, evaluate_records.record_of(source, scores, groups)
    records = [scored[source.name][1] for source in found.sources]
    ranked = leaderboard.compared(leaderboard.ranked(found.sources, records, found.folds), found.groups)
    order = [one.name for one in ranked if one.name in found.folds]
    folds = {run: found.folds[run] for run in [*order, *(run for run in found.folds if run not in order)]}
    overview, notes = report_curves.all_runs(folds)
    axes = report_curves.shared_axes(folds)
    drawn = [report_curves.of_run(run, parts, *axes) for run, parts in folds.items()]
    explained = [fold for run in order[: wish.sheets] for fold in folds[run]] if wish.faces else []
    maps, troubles = report_maps.find(explained, wish.places)
    blends = [blend for one in ranked if one.source.kind == evaluate_sources.BLEND for blend in [_blend(one, wish)]]
    ledger, ledger_troubles = _ledger(wish.ledger)
    content = Content(
        runs_dir=wish.runs_dir,
        found=found,
        ranked=ranked,
        overview=overview,
        curves=[curves for curves in drawn if curves is not None],
        curve_notes=notes,
        blends=blends,
        maps=maps,
        no_maps="" if wish.faces else no_faces,
        ledger=ledger,
        ledger_path=wish.ledger,
        images=None if faces is None else faces.train.images,
        no_faces=no_faces,
        sheets=wish.sheets,
        made=wish.made,
        troubles=[*troubles, *ledger_troubles],
    )
    pictures = _scores_drawn(ranked, scored, faces, wish.sheets) | _blends_drawn(blends)
    return content, pictures


def _faces(found: Found, wish: Wish) -> tuple[Competition | None, str]:
    """The competition's rows, or None and why not."""
    if not wish.faces:
        return None, "Faces were left out on request."
    if not found.sources or not wish.sheets:
        return None, "No faces: there is nothing to show them for."
    from fer_kit.data import loading as data

    try:
        place = data.find(wish.data)
        with tempfile.TemporaryDirectory() as own:  # reads the cache of the run folder and writes nothing there
            for kept in (wish.runs_dir / folders.CACHE).glob("*"):
                (Path(own) / kept.name).symlink_to(kept.resolve())
            competition = data.load(place, own)
        evaluate_sources.check_data(competition, found.sources)
    except FerKitError as error:
        if wish.data is not None:
            raise
        return None, f"No faces: {error}"
    return competition, ""


def _blend(one: Ranked, wish: Wish) -> tuple[Ranked, dict[str, Any], Alike | str]:
    record = atomic.read_json(wish.runs_dir / one.name / folders.BLEND)  # a readable object: `runs.load_blend` had it
    return one, record, report_blends.alike(wish.runs_dir, one.source, record)


def _ledger(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        return entries.read(path), []
    except FerKitError as error:
        return [], [str(error)]


def _scores_drawn(ranked: Sequence[Ranked], scored: dict[str, Any], faces: Competition | None, sheets: int) -> Pictures:
    """The pictures of `evaluate` for every source, mistakes for the best ones only."""
    drawn: Pictures = {}
    for part, data in ((ranked[:sheets], faces), (ranked[sheets:], None)):
        sources = [one.source for one in part]
        made = figures.of_sources(sources, [scored[one.name][0] for one in part], [one.record for one in part], data)
        drawn |= {name: draw for name, draw in made.items() if name != figures.ACCURACIES}
    every = [one.source for one in ranked]
    if every:
        found = [scored[one.name][0] for one in ranked]
        drawn[figures.ACCURACIES] = figures.accuracies(every, found, [one.record for one in ranked])
    return drawn


def _blends_drawn(blends: Sequence[tuple[Ranked, dict[str, Any], Alike | str]]) -> Pictures:
    from fer_kit.drawing import pictures

    drawn: Pictures = {}
    for one, record, like in blends:
        names, weights = report_blends.weights_known(record)
        if names:
            title = f"{one.name}: weights of its members"
            drawn[f"{one.source.file_name}-weights.png"] = partial(pictures.bars, names, weights, title)
        if not isinstance(like, str):
            title = f"{one.name}: correlation of errors over {like.rows:,} rows"
            draw = partial(pictures.matrix, like.names, like.correlation, title)
            drawn[f"{one.source.file_name}-correlation.png"] = draw
    return drawn
