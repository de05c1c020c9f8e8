"""The leaderboard of the report: every source in one table, with a dot for each fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fer_kit import metrics
from fer_kit.drawing import svg_charts
from fer_kit.drawing.html import text
from fer_kit.drawing.html_tables import UP, WORDS, Cell, Column, board, number
from fer_kit.drawing.svg_charts import Axis
from fer_kit.evaluate.sources import BLEND, Groups, ScoredSource, common_ids
from fer_kit.evaluate.tables import SURE, interval
from fer_kit.report.found import Fold

FOLDS = "folds, in %"
COLUMNS = (
    Column("run or blend", WORDS, UP),
    Column("accuracy"),
    Column(FOLDS, ""),
    Column("95% interval", ""),
    Column("± folds", first=UP),
    Column("against the best"),
    Column("balanced"),
    Column("macro F1"),
    Column("log loss", first=UP),
    Column("cal. error", first=UP),
    Column("folds done"),
    Column("epochs", first=UP),
    Column("seconds an epoch", first=UP),
    Column("parameters", first=UP),
)


@dataclass(frozen=True, eq=False)
class Ranked:
    """A source with its scores. record: as in evaluate.json. folds: its fold folders, none for a blend.

    against: how it does against the first on the rows that both have, as JSON; None for the first itself, {} where
    no row is common.
    """

    source: ScoredSource
    record: dict[str, Any]
    folds: Sequence[Fold]
    against: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    @property
    def of_folds(self) -> str:
        """`2 of 5` for a run."""
        done = len(self.source.folds)
        return f"{done} of {done + len(self.source.missing)}"

    def mean(self, key: str) -> float | None:
        """The mean of what the results of its finished folds say under `key`; None where none says anything."""
        found = [fold.result.get(key) for fold in self.folds if fold.finished and fold.name[4:].isdigit()]
        values = [value for value in found if isinstance(value, int | float)]
        return sum(values) / len(values) if values else None


def ranked(
    sources: Sequence[ScoredSource], records: Sequence[dict[str, Any]], folds: dict[str, list[Fold]]
) -> list[Ranked]:
    """Best accuracy first."""
    pairs = sorted(zip(sources, records, strict=True), key=lambda pair: (-pair[1]["accuracy"], pair[0].name))
    return [Ranked(source, record, folds.get(source.name, [])) for source, record in pairs]


def compared(found: Sequence[Ranked], groups: Groups) -> list[Ranked]:
    """Each against the first, on the rows that both predict out of fold."""
    lines = list(found[:1])
    for one in found[1:]:
        best = found[0].source
        ids = common_ids([best, one.source])
        against: dict[str, Any] = {}
        if len(ids):
            at, of_best = np.searchsorted(one.source.oof.ids, ids), np.searchsorted(best.oof.ids, ids)
            logits, others = one.source.oof.logits[at], best.oof.logits[of_best]
            made = metrics.compare(logits, others, one.source.labels[at], groups.of(ids), best.name)
            against = {"rows": len(ids), **asdict(made)}
        lines.append(Ranked(one.source, one.record, one.folds, against))
    return lines


def table(found: Sequence[Ranked]) -> str:
    """The leaderboard as HTML."""
    ends = span(found)
    caption = "Out of fold: every row is answered by networks that never saw it"
    scale = f'<span class="unseen">{FOLDS}</span>{svg_charts.strip_scale(ends)}'
    columns = [replace(column, html=scale) if column.name == FOLDS else column for column in COLUMNS]
    return board(caption, columns, [_row(one, ends) for one in found], "accuracy")


def span(found: Sequence[Ranked]) -> Axis:
    """An axis that holds all folds and intervals."""
    values = [v for one in found for v in (*one.record["fold_accuracies"].values(), *one.record["interval"])]
    return svg_charts.axis_of("accuracy", values, share=True)


def strip(one: Ranked, ends: Axis) -> str:
    """The dots of one source."""
    dots = [(f"fold {fold}", share) for fold, share in one.record["fold_accuracies"].items()]
    each = ", ".join(f"{name} {share:.2%}" for name, share in dots) or "folds not known"
    alt = f"{one.name}: {one.record['accuracy']:.2%}, 95% interval {interval(one.record['interval'])}; {each}"
    return svg_charts.strip(dots, one.record["interval"], one.record["accuracy"], ends, alt)


def _row(one: Ranked, ends: Axis) -> list[Cell]:
    record = one.record
    spread = metrics.spread(list(record["fold_accuracies"].values()))
    star = " *" if one.source.note and not one.source.missing else ""
    badge = ' <span class="badge">blend</span>' if one.source.kind == BLEND else ""
    badge += f' <span class="badge">{one.of_folds}</span>' if one.source.missing else ""
    epochs, pace, size = (one.mean(key) for key in ("epochs_trained", "seconds_an_epoch", "parameters"))
    return [
        Cell(f"{text(one.name.removeprefix('blends/'))}{star}{badge}", one.name),
        Cell(f"<b>{record['accuracy']:.2%}</b>", record["accuracy"]),
        Cell(strip(one, ends)),
        Cell(text(interval(record["interval"]).replace(" to ", " – "))),
        number(f"{spread:.2%}", spread),
        _against(one),
        number(f"{record['balanced_accuracy']:.2%}", record["balanced_accuracy"]),
        number(f"{record['macro_f1']:.2%}", record["macro_f1"]),
        number(f"{record['log_loss']:.4f}", record["log_loss"]),
        number(f"{record['calibration_error']:.2%}", record["calibration_error"]),
        Cell("–") if one.source.kind == BLEND else Cell(one.of_folds, len(one.source.folds)),
        number(f"{epochs:.3g}" if epochs else "", epochs),
        number(f"{pace:.3g}" if pace else "", pace),
        number(f"{size:,.0f}" if size else "", size),
    ]


def _against(one: Ranked) -> Cell:
    """Points behind the best on common rows, and whether that is more than chance."""
    found = one.against
    if found is None:
        return Cell('<span class="soft">the best</span>', 0.0)
    if not found:
        return Cell('<span class="soft">no common rows</span>')
    error = 100 * found["standard_error"]
    verdict = "" if found["p"] < SURE else ' <span class="soft">not told apart</span>'
    return Cell(f"{100 * found['difference']:+.2f} ± {error:.2f}{verdict}", found["difference"])
