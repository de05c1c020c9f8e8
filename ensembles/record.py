"""What a blend leaves behind: oof.npz, test.npz, blend.json; and when it may replace what lies there.

oof.npz holds the cross-fitted logits: each row is blended by weights, temperatures and choices that never saw it or
its twins. test.npz is blended by the fit to all rows. blend.json is written last and marks the blend as finished.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ensembles.fit import compare, greedy, methods, temperature
from ensembles.fit.compare import Score
from ensembles.members import Member
from ensembles.rows import Rows
from ensembles.study import Line, Study
from fer_kit import metrics
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.runs import folders, predictions
from fer_kit.runs.folders import BLEND, OOF, TEST
from fer_kit.runs.predictions import Predictions

SCHEMA = 2
RECIPE = "blend"
ADDED_LATER = ("twin_groups", "forecast")  # known once the folds' files or the data are where they were not
CONSTANTS = {  # what decides a blend's numbers besides its members and options
    "pull": methods.PULL,
    "stack": [methods.STACK_PULL, methods.STACK_FLOOR],
    "greedy": [greedy.BAGS, greedy.STEPS, greedy.PATIENCE, greedy.SEED],
    "log_temperature_limit": temperature.LOG_LIMIT,
}


def build_meta(name: str, members: Sequence[Member], rows: Rows, study: Study) -> dict[str, Any]:
    """meta of the blend's files. Its config digest covers the members' files and all options, not what was fitted:
    the same blend made with another number of threads differs in the last digits and is still the same blend.
    """
    parts = [
        {"run": member.name, "sha256": [source.sha256 for source in member.sources]}
        for member in sorted(members, key=lambda member: member.name)
    ]
    shares = dict(zip((member.name for member in members), _weights(study, len(members)), strict=True))
    weighed = shares if study.asked == "given" else None
    options = {"schema": SCHEMA, "asked": study.asked, "tempered": study.tempered, "given": weighed, **CONSTANTS}
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
    runs_dir: Path, members: Sequence[Member], rows: Rows, study: Study, meta: dict[str, Any], pool: str
) -> dict[str, Any]:
    """blend.json but for the hashes of the files: members best first, weights, scores, digests.

    "oof_accuracy", "fold_accuracies", "interval" and "log_loss" are cross-fitted; "fitted" is on the rows seen.
    """
    weights = _weights(study, len(members))
    values = study.values
    return {
        "schema": SCHEMA,
        "name": meta["run"],
        "asked": study.asked,
        "method": study.method,
        "pool": pool,
        "tempered": study.tempered,
        "learned": study.learned or any(member.learned for member in members),
        "sharpness": study.sharpness,
        "members": [
            {
                "run": member.name,
                "kind": member.kind,
                "recipe": member.oof.meta["recipe"],
                "weight": weights[number],
                "temperature": float(study.temperatures[number]),
                "value": None if values is None else float(values.accuracy[number]),
                "value_standard_error": None if values is None else _plain(float(values.error[number])),
                "value_log_loss": None if values is None else float(values.log_loss[number]),
                **_score_json(compare.score(member.oof.logits, rows.labels, rows.folds, rows.groups)),
                "config_digest": member.oof.meta["config_digest"],
                "sources": [
                    {**asdict(source), "path": os.path.relpath(source.path, runs_dir)} for source in member.sources
                ],
            }
            for number, member in enumerate(members)
        ],
        **_score_json(study.line.held_out),
        # of the very float32 logits in the file
        "oof_accuracy": metrics.accuracy(study.oof, rows.labels),
        "standard_error": _plain(
            metrics.cluster_standard_error(metrics.predicted(study.oof) == rows.labels, rows.groups)
        ),
        "fitted": {"accuracy": study.line.fitted_accuracy, "log_loss": study.line.fitted_log_loss},
        "optimism": study.line.optimism,
        "methods": [_line_json(line) for line in study.lines],
        "comparisons": [asdict(comparison) for comparison in study.comparisons],
        "drop": [] if values is None else [members[number].name for number in values.drop],
        "oof_rows": len(rows),
        "twin_groups": len(set(rows.groups.tolist())) if rows.path else None,
        "folds": len(rows.fold_numbers),
        **{key: meta[key] for key in ("config_digest", "folds_digest", "data_digest")},
    }


def is_there(folder: Path, record: dict[str, Any], force: bool) -> bool:
    """Whether the very same blend lies in `folder`, made from the same files with the same options, and tells as much.

    Raises:
        FerKitError: another blend is there and `force` is not given.
    """
    if not (folder / BLEND).exists() or force:
        return False
    there = folders.load_blend(folder.parent.parent, folder.name).record
    if there.get("config_digest") == record["config_digest"]:
        return all(there.get(key) is not None for key in ADDED_LATER if record.get(key) is not None)
    names = ", ".join(str(member["run"]) for member in there["members"])
    made = f"{there.get('asked', there.get('method'))} of {names}"
    raise FerKitError(f"{folder}: holds another blend ({made}); choose another name, or replace it with --force")


def write(folder: Path, oof: Predictions, test: Predictions, record: dict[str, Any]) -> None:
    """Write the blend, blend.json last: it is the finished mark. A kill leaves an unfinished blend, no mixed one.

    Raises:
        FerKitError: the folder cannot be written; a blend that it held is still there.
    """
    with atomic.together(folder, BLEND) as aside:
        predictions.write(aside / OOF, oof)
        predictions.write(aside / TEST, test)
        hashes = {"oof_sha256": atomic.sha256_of(aside / OOF), "test_sha256": atomic.sha256_of(aside / TEST)}
        atomic.write_json(aside / BLEND, {**record, **hashes})


def _score_json(score: Score) -> dict[str, Any]:
    return {
        "oof_accuracy": score.accuracy,
        "oof_spread": score.spread,
        "fold_accuracies": list(score.fold_accuracies),
        "interval": list(score.interval),
        "log_loss": score.log_loss,
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "method": line.method,
        "fitted_accuracy": line.fitted_accuracy,
        "fitted_log_loss": line.fitted_log_loss,
        "cross_fitted": _score_json(line.held_out),
    }


def _weights(study: Study, members: int) -> list[float | None]:
    """One weight a member, or None for each where the method has none."""
    return [None] * members if study.shares is None else [float(share) for share in study.shares]


def _plain(value: float) -> float | None:
    """NaN is no JSON."""
    return None if value != value else value


def _common(values: Sequence[Any]) -> Any:
    """The one value that all have, else the list of them."""
    return values[0] if all(value == values[0] for value in values) else list(values)
