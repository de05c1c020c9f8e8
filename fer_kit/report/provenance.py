"""Where each number of the report came from: folder, digest, commit, device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fer_kit.drawing import html
from fer_kit.evaluate.sources import RUN
from fer_kit.report.found import Fold
from fer_kit.report.leaderboard import Ranked

SHORT = 12  # hex digits shown; all of them stand in report.json


def table(found: Sequence[Ranked], folds: dict[str, list[Fold]], records: dict[str, dict[str, Any]]) -> str:
    """A line for each fold of each run and for each blend. records: blend.json of each blend, by name."""
    rows: list[list[str]] = []
    for parts in folds.values():
        rows += [_fold_row(fold) for fold in parts]
    for one in found:
        if one.source.kind != RUN:
            about = one.source.oof.meta
            made_of = ", ".join(str(member.get("run")) for member in about.get("members") or [])
            rows.append(
                [
                    one.name,
                    f"{one.record['accuracy']:.2%}",
                    _short(records.get(one.name, {}).get("oof_sha256")),
                    _commits(about.get("commit")),
                    f"blend of {made_of}" if made_of else "blend",
                    _short(about["config_digest"]),
                    "–",
                ]
            )
    head = ["folder", "out of fold", "sha256 of oof.npz", "commit", "device", "config", "started (UTC)"]
    return html.table("Every fold and blend, in the folder of runs", head, rows)


def digests(found: Sequence[Ranked]) -> list[tuple[str, str]]:
    """What all of them share."""
    if not found:
        return []
    about = found[0].source.oof.meta
    return [("folds digest", about["folds_digest"]), ("data digest", about["data_digest"])]


def _fold_row(fold: Fold) -> list[str]:
    result, env = fold.result, fold.env
    score = result.get("oof_accuracy") if fold.finished else None
    device = str(result.get("device") or env.get("device") or "–")
    precision = result.get("precision") or env.get("precision")
    return [
        f"{fold.run}/{fold.name}",
        f"{score:.2%}" if isinstance(score, float) else ("no rows held out" if fold.finished else "not finished"),
        _short(result.get("oof_sha256")),
        _commits(result.get("commit") or env.get("commit")),
        f"{device}, {precision}" if precision else device,
        _short(result.get("config_digest")),
        str(env.get("started", "–"))[:16].replace("T", " "),
    ]


def _commits(value: Any) -> str:
    """One commit or several, short, with `+changes` kept: it says that the code was not that commit's."""
    values = value if isinstance(value, list) else [value]
    return ", ".join(dict.fromkeys(_commit(one) for one in values if one)) or "–"


def _commit(value: Any) -> str:
    head, plus, changes = str(value).partition("+")
    return head[:SHORT] + plus + changes


def _short(value: Any) -> str:
    return str(value)[:SHORT] if value else "–"
