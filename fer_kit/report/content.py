"""Loads and scores everything that the sections of the report show, once; what is missing is named, not raised."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.evaluate import records, scores
from fer_kit.evaluate.sources import BLEND, Groups, ScoredSource, check_data, common_ids
from fer_kit.report.found import Found, find
from fer_kit.report.section import Content, Ranked, ReportOptions
from fer_kit.runs import blend_record, finished_folder, folders, ledger
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.ledger import Entry

if TYPE_CHECKING:
    from fer_kit.data.loading import Competition


def load(options: ReportOptions) -> Content:
    """Read the run folder, score every run and blend, and rank them.

    Raises:
        FerKitError: no run folder; the data folder that was given holds no data, or other rows.
    """
    from tqdm import tqdm

    found = find(options.runs_dir, options.trials)
    competition, no_faces = _competition(found, options)
    sources, others = _with_rows_of(competition, found.sources)
    found = replace(found, sources=sources, left_out=[*found.left_out, *others])
    blends = {
        source.name: blend_record.read(options.runs_dir / source.name / finished_folder.BLEND)
        for source in sources
        if source.kind == BLEND
    }
    scored = []
    for source in tqdm(sources, desc="scoring", unit="source", disable=None, leave=False):
        groups = found.groups
        found_scores = scores.scores(source.oof.logits, source.labels, groups.of(source.oof.ids))
        record = records.record_of(source, found_scores, groups)
        scored.append(Ranked(source, found_scores, record, found.folds.get(source.name, []), blends.get(source.name)))
    scored.sort(key=lambda one: (-one.accuracy, one.name))
    lookups = [one for one in scored if uses_lookup(one.name, blends)]
    ranked = _compared([one for one in scored if one not in lookups], found.groups)
    order = [one.name for one in ranked if one.name in found.folds]
    entries, ledger_error = _ledger(options.ledger)
    return Content(
        options=options,
        found=found,
        ranked=ranked,
        lookups=lookups,
        folds={run: found.folds[run] for run in [*order, *(run for run in found.folds if run not in order)]},
        ledger=entries,
        ledger_error=ledger_error,
        competition=competition,
        no_faces=no_faces,
    )


def uses_lookup(name: str, blends: Mapping[str, BlendRecord], seen: frozenset[str] = frozenset()) -> bool:
    """True if the blend, or a blend among its members, looked up labels of twins. blends: blend.json by name."""
    record = blends.get(name)
    if record is None or record.twins is not None:
        return record is not None
    inside = {source.path for member in record.members for source in member.sources} - seen - {name}
    return any(uses_lookup(part, blends, seen | {name}) for part in inside)


def _compared(ranked: Sequence[Ranked], groups: Groups) -> list[Ranked]:
    """Each with its difference to the best that has all folds, on the rows that both predict out of fold."""
    best = next((one for one in ranked if not one.source.missing), ranked[0] if ranked else None)
    return [
        one if one is best or best is None else replace(one, against=difference(one, best, groups)) for one in ranked
    ]


def difference(one: Ranked, other: Ranked, groups: Groups) -> dict[str, Any]:
    """`one` minus `other` on the rows of both, as JSON of `metrics.Comparison` with the number of rows; {} without."""
    ids = common_ids([other.source, one.source])
    if not len(ids):
        return {}
    at, of_other = np.searchsorted(one.source.oof.ids, ids), np.searchsorted(other.source.oof.ids, ids)
    logits, others = one.source.oof.logits[at], other.source.oof.logits[of_other]
    found = metrics.compare(logits, others, one.source.labels[at], groups.of(ids), other.name)
    return {"rows": len(ids), **asdict(found)}


def _competition(found: Found, options: ReportOptions) -> tuple[Competition | None, str]:
    """The competition's rows, or None and the reason."""
    if not options.faces:
        return None, "Faces were left out on request."
    if not found.sources or not options.sheets:
        return None, "No faces: there is nothing to show them for."
    from fer_kit.data import loading

    try:
        place = loading.find(options.data)
        with tempfile.TemporaryDirectory() as own:  # reads the cache of the run folder and writes nothing there
            for kept in (options.runs_dir / folders.CACHE).glob("*"):
                (Path(own) / kept.name).symlink_to(kept.resolve())
            competition = loading.load(place, own)
        check_data(competition, found.sources)
    except FerKitError as error:
        if options.data is not None:
            raise
        return None, f"No faces: {error}"
    return competition, ""


def _with_rows_of(
    competition: Competition | None, sources: Sequence[ScoredSource]
) -> tuple[list[ScoredSource], list[tuple[str, str]]]:
    """The sources whose rows and labels are those of the data, and the others with the reason; without data all."""
    from fer_kit.data.loading import check_labels

    if competition is None:
        return list(sources), []
    kept, reasons = [], []
    for source in sources:
        try:
            check_labels(competition, source.oof.ids, source.labels, f"'{source.name}'")
            kept.append(source)
        except FerKitError as error:
            reasons.append((source.name, f"{error}"))
    return kept, reasons


def _ledger(path: Path) -> tuple[list[Entry], str]:
    try:
        return ledger.read(path), ""
    except FerKitError as error:
        return [], str(error)
