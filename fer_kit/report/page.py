"""The page of `report`, section by section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_kit.drawing import html, html_tables, svg_charts
from fer_kit.evaluate.sources import BLEND
from fer_kit.report import blends as report_blends
from fer_kit.report import curves as report_curves
from fer_kit.report import entries, leaderboard, mistakes, provenance
from fer_kit.report import maps as report_maps
from fer_kit.report.blends import Alike
from fer_kit.report.curves import Chart, Curves
from fer_kit.report.found import Found
from fer_kit.report.leaderboard import Ranked
from fer_kit.report.maps import Maps
from fer_kit.report.mistakes import Images

TITLE = "Facial expressions: runs and blends"
STYLE = """
body { max-width: 78rem; } #main:focus { outline: none; } h3 { font-size: 1rem; margin: 1.6rem 0 .2rem; }
h4 { font-size: .85rem; margin: .6rem 0 .2rem; color: var(--soft); font-weight: 600; }
.badge { font-size: .7rem; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .45rem; color: var(--soft);
  white-space: nowrap; }
.charts, .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr));
  gap: 1rem 1.6rem; }
.charts figure { margin: .3rem 0; } .charts > *, .pair > * { min-width: 0; } .overview { max-width: 60rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; list-style: none; font-size: .9rem; }
details { border-top: 1px solid var(--line); padding: .4rem 0; } details details { border: 0; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; } details details summary { font-weight: 400; }
dd, code { overflow-wrap: anywhere; } .origin table { font-size: .85rem; }
dl { grid-template-columns: fit-content(22rem) 1fr; } .pair { margin-top: .8rem; } .pair figure { max-width: 26rem; }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); }
@media (max-width: 40rem) { body { padding: .8rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { .stop, .skip, nav { display: none; } }
"""


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that the page shows, computed.

    blends: (source, blend.json, how alike its members are). images: uint8 (N, 48, 48), all train faces, None where
    they are not shown, for the reason `no_faces`; no_maps: why there are no maps either, "" where they were not made.
    sheets: sources whose mistakes are shown. made: (what, value) of the page itself.
    """

    runs_dir: Path
    found: Found
    ranked: Sequence[Ranked]
    overview: Sequence[Chart]
    curves: Sequence[Curves]
    curve_notes: Sequence[str]
    blends: Sequence[tuple[Ranked, dict[str, Any], Alike | str]]
    maps: Sequence[Maps]
    no_maps: str
    ledger: Sequence[dict[str, str]]
    ledger_path: Path
    images: Images | None
    no_faces: str
    sheets: int
    made: Sequence[tuple[str, str]]
    troubles: Sequence[str] = field(default_factory=list)


def page(content: Content) -> str:
    """The whole page."""
    sections = [
        ("board", "Leaderboard", _board(content)),
        ("curves", "Learning curves", _curves(content)),
        ("errors", "Where they err", _errors(content)),
        ("maps", "Where they look", _maps(content)),
        ("blends", "Blends", _blends(content)),
        ("ledger", "Entries made", _ledger(content)),
        ("origin", "Where each number came from", _origin(content)),
    ]
    when = dict(content.made).get("page made", "")
    where = f"From the folder {content.runs_dir}, {when}"
    parts = [html.paragraph(where, soft=True), html.cards(_cards(content))]
    for anchor, name, inside in sections:
        parts.append(f'<section aria-labelledby="{anchor}">{html.heading(name, anchor)}{inside}</section>')
    style = svg_charts.STYLE + html_tables.STYLE + mistakes.STYLE + STYLE
    contents = [(anchor, name) for anchor, name, _ in sections]
    return html.page(TITLE, *parts, contents=contents, style=style, script=html_tables.SCRIPT)


def _cards(content: Content) -> list[tuple[str, str]]:
    """What a friend would ask first."""
    cards = []
    whole = [one for one in content.ranked if not one.source.missing]
    singles = [one for one in whole if one.source.kind != BLEND]
    blends = [one for one in whole if one.source.kind == BLEND]
    partial = [one for one in content.ranked if one.source.missing]
    if blends:
        cards.append((f"{blends[0].record['accuracy']:.2%}", f"best blend, {blends[0].name.removeprefix('blends/')}"))
    if singles:
        cards.append((f"{singles[0].record['accuracy']:.2%}", f"best run with all folds, {singles[0].name}"))
    if partial and (not singles or partial[0].record["accuracy"] > singles[0].record["accuracy"]):
        one = partial[0]
        cards.append((f"{one.record['accuracy']:.2%}", f"best unfinished run, {one.name}, {one.of_folds} folds"))
    expected = [(report_blends.forecast(record), one) for one, record, _ in content.blends]
    first = next(((found, one) for found, one in expected if found is not None), None)
    if first is not None:
        cards.append((f"{first[0][0]:.2%}", f"leaderboard forecast, {first[1].name.removeprefix('blends/')}"))
    scored = entries.best(content.ledger)
    if scored is not None:
        cards.append((f"{scored[0]:.2%}", f"best public score, {scored[1]}"))
    cards.append(("{} of {}".format(*_folds_done(content)), "folds finished"))
    return cards


def _folds_done(content: Content) -> tuple[int, int]:
    """How many folds are finished, and how many there would be with all folds of every run, begun or not."""
    cut = content.found.groups.folds
    done = whole = 0
    for parts in content.found.folds.values():
        own = [fold for fold in parts if fold.name[4:].isdigit()]  # full fits and teachers leave out no fold
        done += sum(fold.finished for fold in own)
        whole += max(len(own), cut.count if own and cut is not None else 0)
    return done, whole


def _board(content: Content) -> str:
    if not content.ranked:
        parts = [html.paragraph("No fold is finished yet, so there is nothing to rank.")]
    else:
        parts = [
            leaderboard.table(content.ranked),
            html.paragraph(
                "Dots: folds, all on one scale; bar: 95% interval over groups of twins; tick: all rows. Against the "
                "best: points on the rows that both answer, with their standard error.",
                soft=True,
            ),
        ]
    notes: dict[str, list[str]] = {}
    for one in content.ranked:
        if one.source.note:
            notes.setdefault(one.source.note, []).append(one.name)
    if notes:
        parts.append(
            f"<h3>To be read with care</h3>{html.pairs([(', '.join(who), why) for why, who in notes.items()])}"
        )
    if content.found.left_out:
        parts.append(f"<h3>Not in the table</h3>{html.pairs(content.found.left_out)}")
    parts += [html.paragraph(note, soft=True) for note in [*content.found.notes, *content.troubles]]
    return "".join(parts)


def _curves(content: Content) -> str:
    if not content.curves:
        return html.paragraph("No run has a metrics.jsonl, so there are no curves.")
    parts = []
    if content.overview and len(content.curves) > 1:
        parts.append(report_curves.legend([one.run for one in content.curves][: svg_charts.COLOURED]))
        parts.append(f'<div class="charts overview">{"".join(map(_figure, content.overview))}</div>')
    parts += [html.paragraph(note[:1].upper() + note[1:] + ".", soft=True) for note in content.curve_notes]
    parts.append(
        html.paragraph(
            "Blue: rows that are learnt; orange: watched rows, cut from the training folds; a dot: the epoch whose "
            "weights were kept; dashed: a fold that is not finished. One thin line a fold; point at a chart to read "
            "it out. Accuracy and loss have the same axes for every run.",
            soft=True,
        )
    )
    for number, one in enumerate(content.curves):
        opened = " open" if number < report_curves.OPEN else ""
        inside = f'<div class="charts">{"".join(map(_figure, one.charts))}</div>'
        inside += "".join(html.paragraph(note, soft=True) for note in one.notes)
        numbers = f"<details><summary>{html.text(one.run)} in numbers</summary>{one.table}</details>"
        parts.append(f"<details{opened}><summary>{html.text(one.run)}</summary>{inside}{numbers}</details>")
    return "".join(parts)


def _errors(content: Content) -> str:
    if not content.ranked:
        return html.paragraph("Nothing is finished yet.")
    parts = [] if content.images is not None else [html.paragraph(content.no_faces, soft=True)]
    for number, one in enumerate(content.ranked):
        record = one.record
        promise = f"Calibration error {record['calibration_error']:.2%}; on the dashed line every promise is kept."
        kept = f"<figure>{mistakes.reliability(one.name, record)}<figcaption>{promise}</figcaption></figure>"
        inside = f'<div class="pair"><div>{mistakes.confusion(one.name, record)}</div>'
        inside += f"<div>{mistakes.classes(one.name, record)}{kept}</div></div>"
        if content.images is not None:
            if number < content.sheets:
                faces = mistakes.mistakes(one.name, record["confident_mistakes"], content.images)
                inside += f"<h3>Most confident mistakes</h3>{faces}"
            else:
                inside += html.paragraph(
                    f"Its mistakes as faces: python -m fer_kit.evaluate {one.name}, or this page with --sheets "
                    f"{len(content.ranked)}.",
                    soft=True,
                )
        opened = " open" * (number == 0)
        summary = f"{html.text(one.name)}, {record['accuracy']:.2%}"
        parts.append(f"<details{opened}><summary>{summary}</summary>{inside}</details>")
    return "".join(parts)


def _maps(content: Content) -> str:
    if not content.maps:
        best = next((one for one in content.ranked if one.source.kind != BLEND), None)
        again = f": python -m fer_kit.explain {best.name} --fold {best.source.folds[0]}" if best else ""
        return html.paragraph(content.no_maps or f"No activation maps of the best runs yet. Make some first{again}")
    return "".join(
        f"<details{' open' * (number == 0)}><summary>{html.text(one.fold.run)} {html.text(one.fold.name)}</summary>"
        f"{report_maps.shown(one)}</details>"
        for number, one in enumerate(content.maps)
    )


def _blends(content: Content) -> str:
    if not content.blends:
        return html.paragraph("No blend yet: python -m ensembles.blend first")
    return "".join(
        f"<details{' open' * (number == 0)}><summary>{html.text(one.name)}, {one.record['accuracy']:.2%}</summary>"
        f"{report_blends.shown(one.source, record, like)}</details>"
        for number, (one, record, like) in enumerate(content.blends)
    )


def _ledger(content: Content) -> str:
    if not content.ledger:
        return html.paragraph(
            f"No entries in {content.ledger_path} yet: python -m submissions upload writes one a line.", soft=True
        )
    parts = [entries.table(content.ledger)]
    chart = entries.chart(content.ledger)
    if chart is None:
        few = f"From {entries.FEWEST} scored entries on, a chart shows how far the one score foretells the other."
        parts.append(html.paragraph(few, soft=True))
    else:
        parts.append(f'<div class="charts overview">{chart}</div>')
        parts.append(html.paragraph("Numbered as in the table; on the dashed line both scores are equal.", soft=True))
    return "".join([*parts, html.paragraph(f"From {content.ledger_path}.", soft=True)])


def _origin(content: Content) -> str:
    records = {one.name: record for one, record, _ in content.blends}
    table = provenance.table(content.ranked, content.found.folds, records)
    return (
        f'<div class="origin sticky">{table}</div>'
        + html.paragraph(
            "Of everything on the leaderboard, every sha256 was taken anew when this page was made, and every accuracy "
            "computed anew from the rows.",
            soft=True,
        )
        + html.pairs(
            [("folder of runs", str(content.runs_dir.resolve())), *provenance.digests(content.ranked), *content.made]
        )
    )


def _figure(chart: Chart) -> str:
    return f"<figure>{chart.svg}</figure>"
