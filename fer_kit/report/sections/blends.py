"""Blends: weight and value of each member, and how similar the errors of the members are.

What blends of older versions do not record is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.drawing import html
from fer_kit.drawing.html import as_number
from fer_kit.drawing.html_tables import heat
from fer_kit.errors import FerKitError
from fer_kit.evaluate.sources import BLEND, ScoredSource
from fer_kit.evaluate.tables import interval
from fer_kit.files import atomic
from fer_kit.report.section import Content, Part, Ranked, Section, unfolding
from fer_kit.runs import folders
from fer_kit.runs.blend_record import (
    BlendRecord,
    ComparisonRecord,
    MemberRecord,
    MethodRecord,
    ScoreRecord,
    SourceRecord,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

NUMBERS_UP_TO = 16  # members; beyond, cells have no numbers


@dataclass(frozen=True, eq=False)
class Alike:
    """Correlation of the members' errors and share of rows predicted differently, (M, M), over `rows` rows."""

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
    runs_dir = content.options.runs_dir
    blends = [(one, alike(runs_dir, one.source, one.blend)) for one in content.ranked if one.blend is not None]
    return Blends(blends=blends, pictures=_drawn(blends))


def as_html(part: Blends) -> str:
    """Each blend, the best unfolded."""
    if not part.blends:
        return html.sentence("No blend yet. Make one with `fer-kit blend first`.")
    return unfolding(
        [
            (f"{one.name}, {one.accuracy:.2%}", shown(one.source, one.blend, like))
            for one, like in part.blends
            if one.blend is not None
        ]
    )


def _drawn(blends: Sequence[tuple[Ranked, Alike | str]]) -> dict[str, Callable[[], Figure]]:
    from fer_kit.drawing import pictures

    drawn: dict[str, Callable[[], Figure]] = {}
    for one, like in blends:
        bars = [(m.run, m.weight, m.value, m.value_standard_error) for m in members_of(one)]
        known = [bar for bar in bars if None not in bar]
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


def members_of(one: Ranked) -> Sequence[MemberRecord]:
    """The members of a blend, best first; () for a run."""
    return () if one.blend is None else one.blend.members


def alike(runs_dir: Path, blend: ScoredSource, record: BlendRecord) -> Alike | str:
    """From the members' own predictions; the reason as text if these are no longer what was blended.

    Runs that form one member (seeds) are averaged as the blend did.
    """
    if len(record.members) < 2:
        return "one member, so there is nothing to correlate"
    predictions = []
    for member in record.members:
        try:
            predictions.append(_predictions(runs_dir, member, blend))
        except FerKitError as error:
            return f"the correlation of members cannot be computed: {error}"
    predicted = np.array(predictions)
    return Alike(
        names=[member.run for member in record.members],
        correlation=metrics.error_correlation(predicted, blend.labels),
        disagreement=metrics.disagreement(predicted),
        rows=len(blend.labels),
    )


def _predictions(runs_dir: Path, member: MemberRecord, blend: ScoredSource) -> NDArray[np.int64]:
    """The classes that a member predicts on the blend's rows."""
    logits = []
    for source in member.sources or [SourceRecord(path=member.run)]:  # blends of older versions name the run alone
        if source.kind not in ("run", BLEND):
            raise FerKitError(f"member '{member.run}' comes from files outside the run folder, {source.path}")
        folder = runs_dir / source.path
        if not folder.is_dir():
            raise FerKitError(f"{folder} is gone")
        for name, digest in source.sha256.items():
            if not (folder / name).is_file() or atomic.sha256_of(folder / name) != digest:
                raise FerKitError(f"{folder / name} has changed since; blend again with --force")
        read = folders.load if source.kind == "run" else folders.load_blend
        oof = read(folder.parent if source.kind == "run" else folder.parent.parent, folder.name).oof
        at = np.searchsorted(oof.ids, blend.oof.ids).clip(max=len(oof) - 1)
        if not np.array_equal(oof.ids[at], blend.oof.ids):
            raise FerKitError(f"{folder} lacks rows that the blend has")
        logits.append(oof.logits[at])
    return metrics.predicted(metrics.mean_of_probabilities(logits))


def shown(blend: ScoredSource, record: BlendRecord, like: Alike | str) -> str:
    """One blend as HTML."""
    parts = [html.cards(_cards(record))]
    weights = [as_number(member.weight) or 0.0 for member in record.members]
    top = max(weights, default=0.0)
    shares = [weight / top for weight in weights] if top > 0 else []
    caption = f"Members of {blend.name}, best first; value: points lost without it" + "; bar: its weight" * bool(shares)
    head = ["member", "weight", "alone", "temperature", "value"]
    parts.append(html.table(caption, head, [_member_row(member) for member in record.members], shares))
    if len(record.methods) > 1:
        head = ["method", "cross-fitted", "95% interval", "log loss", "on rows of its fit"]
        rows = [_method_row(method) for method in record.methods]
        parts.append(html.table(f"Ways to blend {blend.name}, each scored on rows held out from its fit", head, rows))
    parts += [html.paragraph(_against(found), soft=True) for found in record.comparisons]
    parts.append(
        html.paragraph(f"{like[:1].upper()}{like[1:]}.", soft=True)
        if isinstance(like, str)
        else _alike(like, blend.name)
    )
    return "".join(parts)


def forecast(one: Ranked) -> tuple[float, Sequence[float]] | None:
    """The leaderboard forecast of a blend and its 95% interval, () if not recorded; None without a forecast."""
    found = None if one.blend is None else one.blend.forecast
    return None if found is None else (found.accuracy, bounds_of(found.interval))


def bounds_of(interval: Sequence[float] | None) -> Sequence[float]:
    """A recorded interval; () if there is none, or no two numbers."""
    known = [end for end in interval or () if as_number(end) is not None]
    return known if len(known) == 2 else ()


def _cards(record: BlendRecord) -> list[tuple[str, str]]:
    method = record.method or "method not recorded"
    kind = "out of fold, weights from a file" if record.asked == "given" else "cross-fitted, out of fold"
    cards = [(f"{record.oof_accuracy:.2%}", kind)]
    if bounds := bounds_of(record.interval):
        cards.append((interval(bounds).replace(" to ", " – "), "95% interval"))
    if record.forecast is not None:
        bounds = bounds_of(record.forecast.interval)
        around = f", {interval(bounds)}" if bounds else ""
        cards.append((f"{record.forecast.accuracy:.2%}", f"leaderboard forecast{around}"))
    chosen = f", chosen by {record.asked}" if record.asked and record.asked != method else ""
    cards.append((method, f"method{chosen}"))
    return cards


def _member_row(member: MemberRecord) -> list[str]:
    error = "" if member.value_standard_error is None else f" ± {100 * member.value_standard_error:.2f}"
    return [
        member.run,
        _cell(member.weight, "{:.3f}"),
        _cell(member.oof_accuracy, "{:.2%}"),
        _cell(member.temperature, "{:.2f}"),
        "–" if member.value is None else f"{html.signed(100 * member.value)}{error}",
    ]


def _method_row(method: MethodRecord) -> list[str]:
    held = method.cross_fitted or ScoreRecord()
    bounds = bounds_of(held.interval)
    return [
        method.method,
        _cell(held.oof_accuracy, "{:.2%}"),
        interval(bounds) if bounds else "–",
        _cell(held.log_loss, "{:.4f}"),
        _cell(method.fitted_accuracy, "{:.2%}"),
    ]


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _against(found: ComparisonRecord) -> str:
    if found.difference is None or found.standard_error is None or found.p is None:
        return f"Against {found.against}: not recorded."
    points, error = 100 * found.difference, 100 * found.standard_error
    return f"Against {found.against}: {html.signed(points)} ± {error:.2f} points, p = {found.p:.2g}."


def _alike(like: Alike, name: str) -> str:
    words = len(like.names) <= NUMBERS_UP_TO
    tables = []
    for caption, values, form in (
        (f"Correlation of errors in {name} (low is good: members with different errors)", like.correlation, "{:.2f}"),
        (f"Share of rows in {name} predicted differently", like.disagreement, "{:.0%}"),
    ):
        shown = [[(form.format(value + 0.0) if words else "", "") for value in row] for row in values]
        top = max(float(values.max()), 1e-9)
        tables.append(heat(f"{caption}, {like.rows:,} rows", like.names, like.names, (values / top).tolist(), shown))
    return f'<div class="pair">{"".join(tables)}</div>'


SECTION = Section("blends", "Blends", build, as_html)
