"""The files of a blend, oof.npz, test.npz and blend.json, and when they may replace existing files.

oof.npz holds the cross-fitted logits: each row is blended by weights, temperatures and choices that were fitted
without the row and its twins. test.npz is blended by the fit to all rows. blend.json is written last and marks the
blend as finished.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ensembles.fit import compare, greedy, methods, temperature
from ensembles.fit.compare import Score
from ensembles.members import Member
from ensembles.rows import Rows
from ensembles.scores import MethodScores, ScoredBlend
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import blend_record, folders, predictions
from fer_kit.runs.blend_record import (
    SCHEMA,
    BlendRecord,
    ComparisonRecord,
    FittedRecord,
    MemberRecord,
    MethodRecord,
    ScoreRecord,
    SourceRecord,
)
from fer_kit.runs.finished_folder import BLEND, OOF, TEST
from fer_kit.runs.predictions import Predictions

RECIPE = "blend"
ADDED_LATER = ("twin_groups", "forecast")  # None if folds.csv or the data were missing when the blend was made
CONSTANTS = {  # constants that the blend's predictions depend on, besides members and options
    "pull": methods.PULL,
    "stack": [methods.STACK_PULL, methods.STACK_FLOOR],
    "greedy": [greedy.BAGS, greedy.STEPS, greedy.PATIENCE, greedy.SEED],
    "log_temperature_limit": temperature.LOG_LIMIT,
}


def build_meta(name: str, members: Sequence[Member], rows: Rows, scored: ScoredBlend) -> dict[str, Any]:
    """The meta of the blend's prediction files.

    The config digest covers the members' files and all options, but no fitted value: with another number of threads
    fitted values differ in the last digits, and the blend still counts as the same.
    """
    parts = [
        {"run": member.name, "sha256": [source.sha256 for source in member.sources]}
        for member in sorted(members, key=lambda member: member.name)
    ]
    shares = dict(zip((member.name for member in members), _weights(scored, len(members)), strict=True))
    weighed = shares if scored.asked == "given" else None
    options = {"schema": SCHEMA, "asked": scored.asked, "tempered": scored.tempered, "given": weighed, **CONSTANTS}
    first = members[0].oof.meta
    meta = predictions.build_meta(
        recipe=RECIPE,
        run=name,
        fold=rows.fold_numbers,
        epoch=None,
        views=_common([member.oof.meta["views"] for member in members]),
        config_digest=atomic.digest_of({"members": parts, **options}),
        folds_digest=first["folds_digest"],
        data_digest=first["data_digest"],
        commit=_common([member.oof.meta["commit"] for member in members]),
    )
    return {**meta, "members": [{**part, "weight": shares[str(part["run"])]} for part in parts]}


def build(
    runs_dir: Path, members: Sequence[Member], rows: Rows, scored: ScoredBlend, meta: dict[str, Any], pool: str
) -> BlendRecord:
    """The record of a blend, without full fits, forecast, twin lookup and the file hashes, which are added later."""
    score = scored.scores.held_out
    values = scored.values
    right = metrics.predicted(scored.oof) == rows.labels
    return BlendRecord(
        schema=SCHEMA,
        name=meta["run"],
        asked=scored.asked,
        method=scored.method,
        pool=pool,
        tempered=scored.tempered,
        learned=scored.learned or any(member.learned for member in members),
        sharpness=scored.sharpness,
        members=tuple(_member(runs_dir, member, number, rows, scored) for number, member in enumerate(members)),
        oof_accuracy=metrics.accuracy(scored.oof, rows.labels),  # of the float32 logits, as written
        oof_spread=score.spread,
        fold_accuracies=score.fold_accuracies,
        interval=score.interval,
        log_loss=score.log_loss,
        standard_error=_plain(metrics.cluster_standard_error(right, rows.groups)),
        fitted=FittedRecord(accuracy=scored.scores.fitted_accuracy, log_loss=scored.scores.fitted_log_loss),
        optimism=scored.scores.optimism,
        methods=tuple(_method(one) for one in scored.methods),
        comparisons=tuple(ComparisonRecord(**asdict(comparison)) for comparison in scored.comparisons),
        drop=() if values is None else tuple(members[number].name for number in values.drop),
        oof_rows=len(rows),
        twin_groups=len(set(rows.groups.tolist())) if rows.path else None,
        folds=len(rows.fold_numbers),
        config_digest=meta["config_digest"],
        folds_digest=meta["folds_digest"],
        data_digest=meta["data_digest"],
    )


def _member(runs_dir: Path, member: Member, number: int, rows: Rows, scored: ScoredBlend) -> MemberRecord:
    values = scored.values
    return MemberRecord(
        run=member.name,
        kind=member.kind,
        recipe=member.oof.meta["recipe"],
        weight=None if scored.shares is None else float(scored.shares[number]),
        temperature=float(scored.temperatures[number]),
        value=None if values is None else float(values.accuracy[number]),
        value_standard_error=None if values is None else _plain(float(values.error[number])),
        value_log_loss=None if values is None else float(values.log_loss[number]),
        **_scores(compare.score(member.oof.logits, rows.labels, rows.folds, rows.groups)),
        config_digest=member.oof.meta["config_digest"],
        sources=tuple(
            SourceRecord(kind=source.kind, path=os.path.relpath(source.path, runs_dir), sha256=source.sha256)
            for source in member.sources
        ),
    )


def _method(scores: MethodScores) -> MethodRecord:
    return MethodRecord(
        method=scores.method,
        fitted_accuracy=scores.fitted_accuracy,
        fitted_log_loss=scores.fitted_log_loss,
        cross_fitted=ScoreRecord(**_scores(scores.held_out)),
    )


def is_there(folder: Path, record: BlendRecord, force: bool) -> bool:
    """Whether `folder` holds a blend of the same files with the same options, whose record has at least these fields.

    Raises:
        FerKitError: the folder holds another blend, and `force` is False.
    """
    if not (folder / BLEND).exists() or force:
        return False
    there = folders.load_blend(folder.parent.parent, folder.name).record
    if there.config_digest == record.config_digest:
        renewed = there.forecast is not None and there.forecast.half_interval is None and record.forecast is not None
        missing = any(getattr(there, key) is None for key in ADDED_LATER if getattr(record, key) is not None)
        return not renewed and not missing  # a forecast of an older version, by another estimator, is made again
    made = f"{there.asked or there.method} of {', '.join(member.run for member in there.members)}"
    raise FerKitError(f"{folder}: holds another blend ({made}); choose another name, or replace it with --force")


def write(folder: Path, oof: Predictions, test: Predictions, record: BlendRecord) -> None:
    """Write the files of a blend, blend.json last, which marks the blend as finished.

    If the process is killed, the blend is unfinished; old and new files are never mixed.

    Raises:
        FerKitError: the folder cannot be written; a previous blend in it is unchanged.
    """
    with atomic.together(folder, BLEND) as aside:
        predictions.write(aside / OOF, oof)
        predictions.write(aside / TEST, test)
        oof_sha256, test_sha256 = atomic.sha256_of(aside / OOF), atomic.sha256_of(aside / TEST)
        blend_record.write(aside / BLEND, replace(record, oof_sha256=oof_sha256, test_sha256=test_sha256))


def _scores(score: Score) -> dict[str, Any]:
    return {
        "oof_accuracy": score.accuracy,
        "oof_spread": score.spread,
        "fold_accuracies": score.fold_accuracies,
        "interval": score.interval,
        "log_loss": score.log_loss,
    }


def _weights(scored: ScoredBlend, members: int) -> list[float | None]:
    """The weight of each member; None for each if the method has no weights."""
    return [None] * members if scored.shares is None else [float(share) for share in scored.shares]


def _plain(value: float) -> float | None:
    """None for NaN, which JSON does not allow."""
    return None if value != value else value


def _common(values: Sequence[Any]) -> Any:
    """The value, if all are equal; else the list of values."""
    return values[0] if all(value == values[0] for value in values) else list(values)
