"""Blends: weight and value of each member, and how alike the members err.

blend.json is read here as plain JSON; what is missing in it, or of another kind, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.drawing import html
from fer_kit.drawing.html import as_number as _number
from fer_kit.drawing.html_tables import heat
from fer_kit.errors import FerKitError
from fer_kit.evaluate.sources import BLEND, ScoredSource
from fer_kit.evaluate.tables import interval
from fer_kit.files import atomic
from fer_kit.report.section import Content, Part, Ranked, Section, objects, unfolding
from fer_kit.runs import folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

BARS = ("weight", "value", "value_standard_error")
NUMBERS_UP_TO = 16  # members; beyond, cells have no numbers


@dataclass(frozen=True, eq=False)
class Alike:
    """How alike members err: correlation of errors and share of rows answered differently, (M, M), over `rows` rows."""

    names: Sequence[str]
    correlation: Floats
    disagreement: Floats
    rows: int


@dataclass(frozen=True, kw_only=True)
class Blends(Part):
    """blends: fair ones, best first, each with how alike its members are, or why that is not known."""

    blends: Sequence[tuple[Ranked, Alike | str]]


def build(content: Content) -> Blends:
    """The fair blends; weights and correlations as pictures."""
    found = [one for one in content.ranked if one.is_blend]
    blends = [(one, alike(content.options.runs_dir, one.source, one.blend)) for one in found]
    return Blends(blends=blends, pictures=_drawn(blends))


def as_html(part: Blends) -> str:
    """Each blend, the best unfolded."""
    if not part.blends:
        return html.paragraph("No blend yet. Make one with: fer-kit blend first")
    return unfolding(
        [(f"{one.name}, {one.accuracy:.2%}", shown(one.source, one.blend, like)) for one, like in part.blends]
    )


def _drawn(blends: Sequence[tuple[Ranked, Alike | str]]) -> dict[str, Callable[[], Figure]]:
    from fer_kit.drawing import pictures

    drawn: dict[str, Callable[[], Figure]] = {}
    for one, like in blends:
        found = [
            (str(member.get("run")), *map(_number, map(member.get, BARS)))
            for member in objects(one.blend.get("members"))
        ]
        known = [bars for bars in found if None not in bars]
        if known:
            names, weights, values, errors = map(list, zip(*known, strict=True))
            title = f"{one.name}: weight and value of its members"
            draw = partial(pictures.members, names, weights, values, errors, title)
            drawn[f"{one.source.file_name}-weights.png"] = draw
        if not isinstance(like, str):
            title = f"{one.name}, {like.rows:,} rows"
            draw = partial(pictures.alike, like.names, like.correlation, like.disagreement, title)
            drawn[f"{one.source.file_name}-correlation.png"] = draw
    return drawn


def alike(runs_dir: Path, blend: ScoredSource, record: dict[str, Any]) -> Alike | str:
    """From the members' own predictions; the reason as text if these are no longer what was blended.

    Runs that form one member (seeds) are averaged as the blend did.
    """
    members = [member for member in objects(record.get("members")) if member.get("run")]
    if len(members) < 2:
        return "one member, so there is nothing to correlate"
    answers = []
    for member in members:
        try:
            answers.append(_answers(runs_dir, member, blend))
        except FerKitError as error:
            return f"the correlation of members cannot be computed: {error}"
    predicted = np.array(answers)
    return Alike(
        names=[str(member["run"]) for member in members],
        correlation=metrics.error_correlation(predicted, blend.labels),
        disagreement=metrics.disagreement(predicted),
        rows=len(blend.labels),
    )


def _answers(runs_dir: Path, member: dict[str, Any], blend: ScoredSource) -> NDArray[np.int64]:
    """The classes that a member predicts on the blend's rows."""
    sources = member.get("sources")
    if isinstance(sources, list) and not all(isinstance(source, dict) for source in sources):
        raise FerKitError(f"the sources of member '{member['run']}' are damaged in blend.json")
    if not isinstance(sources, list) or not sources:  # blends of older versions name the run alone
        sources = [{"kind": "run", "path": member["run"], "sha256": member.get("sha256", {})}]
    logits = []
    for source in sources:
        kind, place = source.get("kind"), str(source.get("path"))
        if kind not in ("run", BLEND):
            raise FerKitError(f"member '{member['run']}' comes from files outside of the run folder, {place}")
        folder = runs_dir / place
        if not folder.is_dir():
            raise FerKitError(f"{folder} is gone")
        digests = source.get("sha256")
        for name, digest in digests.items() if isinstance(digests, dict) else ():
            if not (folder / name).is_file() or atomic.sha256_of(folder / name) != digest:
                raise FerKitError(f"{folder / name} has changed since; blend again with --force")
        read = folders.load if kind == "run" else folders.load_blend
        oof = read(folder.parent if kind == "run" else folder.parent.parent, folder.name).oof
        at = np.searchsorted(oof.ids, blend.oof.ids).clip(max=len(oof) - 1)
        if not np.array_equal(oof.ids[at], blend.oof.ids):
            raise FerKitError(f"{folder} lacks rows that the blend has")
        logits.append(oof.logits[at])
    return metrics.predicted(metrics.mean_of_probabilities(logits))


def shown(blend: ScoredSource, record: dict[str, Any], like: Alike | str) -> str:
    """One blend as HTML."""
    parts = [html.cards(_cards(record))]
    members = objects(record.get("members"))
    weights = [_number(member.get("weight")) for member in members]
    top = max((weight for weight in weights if weight is not None), default=0.0)
    shares = [(weight or 0.0) / top for weight in weights] if top > 0 else []
    caption = f"Members of {blend.name}, best first; value: points lost without it" + (
        "; bar: its weight" if shares else ""
    )
    head = ["member", "weight", "alone", "temperature", "value"]
    parts.append(html.table(caption, head, [_member_row(member) for member in members], shares))
    methods = record.get("methods")
    if isinstance(methods, list) and len(methods) > 1 and all(isinstance(line, dict) for line in methods):
        head = ["method", "cross-fitted", "95% interval", "log loss", "fitted would claim"]
        parts.append(
            html.table("Ways to blend, each scored on rows its fit never saw", head, [*map(_method_row, methods)])
        )
    comparisons = record.get("comparisons")
    for found in comparisons if isinstance(comparisons, list) else []:
        parts.append(html.paragraph(_against(found), soft=True))
    parts.append(html.paragraph(f"{like[:1].upper()}{like[1:]}.", soft=True) if isinstance(like, str) else _alike(like))
    return "".join(parts)


def forecast(record: dict[str, Any]) -> tuple[float, Sequence[float]] | None:
    """The blend's leaderboard forecast and its 95% interval, () where that is not recorded."""
    found = record.get("forecast")
    if not isinstance(found, dict) or (accuracy := _number(found.get("accuracy"))) is None:
        return None
    return accuracy, _bounds(found.get("interval"))


def _bounds(value: Any) -> Sequence[float]:
    """An interval, () where there is none."""
    numbers = [_number(end) for end in value] if isinstance(value, list) else []
    known = [end for end in numbers if end is not None]
    return known if len(known) == len(numbers) == 2 else ()


def _cards(record: dict[str, Any]) -> list[tuple[str, str]]:
    method = str(record.get("method", "method not recorded"))
    asked = record.get("asked")
    cards = [(f"{record['oof_accuracy']:.2%}", "cross-fitted, out of fold")]
    if bounds := _bounds(record.get("interval")):
        cards.append((interval(bounds).replace(" to ", " – "), "95% interval"))
    expected = forecast(record)
    if expected is not None:
        around = f", {interval(expected[1])}" if expected[1] else ""
        cards.append((f"{expected[0]:.2%}", f"leaderboard forecast{around}"))
    cards.append((method, "method" + (f", chosen by {asked}" if asked and asked != method else "")))
    return cards


def _member_row(member: dict[str, Any]) -> list[str]:
    weight, heat_up, alone = (_number(member.get(key)) for key in ("weight", "temperature", "oof_accuracy"))
    value, error = _number(member.get("value")), _number(member.get("value_standard_error"))
    worth = "–" if value is None else f"{100 * value:+.2f}" + ("" if error is None else f" ± {100 * error:.2f}")
    return [
        str(member.get("run")),
        "–" if weight is None else f"{weight:.3f}",
        "–" if alone is None else f"{alone:.2%}",
        "–" if heat_up is None else f"{heat_up:.2f}",
        worth,
    ]


def _method_row(line: dict[str, Any]) -> list[str]:
    held = line.get("cross_fitted")
    held = held if isinstance(held, dict) else {}
    score, loss, fitted = (
        _number(v) for v in (held.get("oof_accuracy"), held.get("log_loss"), line.get("fitted_accuracy"))
    )
    bounds = _bounds(held.get("interval"))
    return [
        str(line.get("method")),
        "–" if score is None else f"{score:.2%}",
        interval(bounds) if bounds else "–",
        "–" if loss is None else f"{loss:.4f}",
        "–" if fitted is None else f"{fitted:.2%}",
    ]


def _against(found: Any) -> str:
    if not isinstance(found, dict):
        return "A comparison is damaged in blend.json."
    points, error, p = (_number(found.get(key)) for key in ("difference", "standard_error", "p"))
    if points is None or error is None or p is None:
        return f"Against {found.get('against')}: not recorded."
    return f"Against {found.get('against')}: {100 * points:+.2f} ± {100 * error:.2f} points, p = {p:.2g}."


def _alike(like: Alike) -> str:
    words = len(like.names) <= NUMBERS_UP_TO
    tables = []
    for caption, values, form in (
        ("Correlation of errors (low is good: members that err apart)", like.correlation, "{:.2f}"),
        ("Share of rows answered differently", like.disagreement, "{:.0%}"),
    ):
        shown = [[(form.format(value + 0.0) if words else "", "") for value in row] for row in values]
        top = max(float(values.max()), 1e-9)
        tables.append(heat(f"{caption}, {like.rows:,} rows", like.names, like.names, (values / top).tolist(), shown))
    return f'<div class="pair">{"".join(tables)}</div>'


SECTION = Section("blends", "Blends", build, as_html)
