"""Where each number came from: folder, digest, commit, device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_kit.drawing import html
from fer_kit.report.found import Fold
from fer_kit.report.section import Content, Part, Ranked, Section

SHORT = 12  # hex digits shown; all of them stand in report.json


@dataclass(frozen=True, kw_only=True)
class Provenance(Part):
    """rows: one for each fold of each run and each blend. facts: (name, value) of all of them and of the page."""

    rows: Sequence[Sequence[str]]
    facts: Sequence[tuple[str, str]]


def build(content: Content) -> Provenance:
    """The table's rows; the folder of runs in full only on a page that shows faces, which stays at home."""
    folder = content.options.runs_dir.resolve()
    where = str(folder) if content.options.faces else folder.name
    facts = [("folder of runs", where), *digests(content.every), *content.options.made]
    return Provenance(rows=_rows(content.every, content.folds), facts=facts)


def as_html(part: Provenance) -> str:
    """The table, then what all rows share."""
    head = ["folder", "out of fold", "sha256 of oof.npz", "commit", "device", "config", "started (UTC)"]
    table = html.table("Every fold and blend, in the folder of runs", head, part.rows)
    checked = "For the leaderboard every sha256 was checked and every accuracy computed anew when this page was made."
    return f'<div class="origin sticky">{table}</div>{html.paragraph(checked, soft=True)}{html.pairs(part.facts)}'


def _rows(found: Sequence[Ranked], folds: Mapping[str, list[Fold]]) -> list[list[str]]:
    rows: list[list[str]] = []
    for parts in folds.values():
        rows += [_fold_row(fold) for fold in parts]
    for one in found:
        if one.blend is not None:
            about = one.source.oof.meta
            made_of = ", ".join(member.run for member in one.blend.members)
            rows.append(
                [
                    one.name,
                    f"{one.record['accuracy']:.2%}",
                    _short(one.blend.oof_sha256),
                    _commits(about.get("commit")),
                    f"blend of {made_of}" if made_of else "blend",
                    _short(about["config_digest"]),
                    "–",
                ]
            )
    return rows


def digests(found: Sequence[Ranked]) -> list[tuple[str, str]]:
    """The digests that all sources share."""
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
    """One commit or several, shortened; `+changes` stays, as the code was not exactly that commit's."""
    values = value if isinstance(value, list) else [value]
    return ", ".join(dict.fromkeys(_commit(one) for one in values if one)) or "–"


def _commit(value: Any) -> str:
    head, plus, changes = str(value).partition("+")
    return head[:SHORT] + plus + changes


def _short(value: Any) -> str:
    return str(value)[:SHORT] if value else "–"


STYLE = """
.origin table { font-size: .85rem; }
"""
SECTION = Section("origin", "Where each number came from", build, as_html, style=STYLE)
