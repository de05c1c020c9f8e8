"""The leaderboard: every fair run and blend with a dot for each fold; the rest of its numbers in a detail row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fer_kit import metrics
from fer_kit.drawing import html, svg_charts
from fer_kit.drawing.html import text
from fer_kit.drawing.html_tables import UP, WORDS, Cell, Column, board
from fer_kit.drawing.svg_charts import Axis
from fer_kit.evaluate import figures
from fer_kit.evaluate.tables import SIGNIFICANCE, interval
from fer_kit.report.section import Content, Part, Ranked, Section
from fer_kit.report.sections.blends import members_of
from fer_kit.report.settings import in_words

FOLDS = "folds, in %"
COLUMNS = (
    Column("run or blend", WORDS, UP),
    Column("accuracy"),
    Column(FOLDS, "", wide_only=True),
    Column("against the best"),
)


@dataclass(frozen=True, kw_only=True)
class Leaderboard(Part):
    """ranked: best first. left_out: (name, reason). remarks: what holds for all numbers. trials: hidden ones."""

    ranked: Sequence[Ranked]
    left_out: Sequence[tuple[str, str]]
    remarks: Sequence[str]
    trials: Sequence[str]


def build(content: Content) -> Leaderboard:
    """The ranking as it is; one picture of all accuracies."""
    every = content.every
    sources, scores = [one.source for one in every], [one.scores for one in every]
    drawn = {figures.ACCURACIES: figures.accuracies(sources, scores, [one.record for one in every])} if every else {}
    return Leaderboard(
        ranked=content.ranked,
        left_out=content.found.left_out,
        remarks=content.found.notes,
        trials=content.found.trials,
        pictures=drawn,
        notes=content.found.notes,
    )


def as_html(part: Leaderboard) -> str:
    """The table, then what is missing in it."""
    if not part.ranked:
        parts = [html.paragraph("No fold is finished yet, so there is nothing to rank.")]
    else:
        parts = [
            table(part.ranked),
            html.paragraph(
                "Below the accuracy its 95% interval over groups of twins. Dots: folds; bar: the interval; tick: all "
                "rows. Against the best: points on the rows that both predict, with the standard error.",
                soft=True,
            ),
        ]
    notes: dict[str, list[str]] = {}
    for one in part.ranked:
        if one.source.note:
            notes.setdefault(one.source.note, []).append(one.name)
    if notes:
        parts.append(f"<h3>Read with care</h3>{html.pairs([(', '.join(who), why) for why, who in notes.items()])}")
    if part.left_out:
        parts.append(f"<h3>Not in the table</h3>{html.pairs(part.left_out)}")
    if part.trials:
        hidden = f"Hidden: {len(part.trials)} trial{'s' * (len(part.trials) != 1)} of --smoke or of a search"
        parts.append(html.paragraph(f"{hidden} ({', '.join(part.trials)}); show them with --trials.", soft=True))
    parts += [html.paragraph(note, soft=True) for note in part.remarks]
    return "".join(parts)


def table(ranked: Sequence[Ranked]) -> str:
    """The leaderboard as HTML."""
    ends = span(ranked)
    caption = "Out of fold: every row is predicted by networks that were not trained on it"
    scale = f'<span class="unseen">{FOLDS}</span>{svg_charts.strip_scale(ends)}'
    columns = [replace(column, html=scale) if column.name == FOLDS else column for column in COLUMNS]
    rows = [_row(one, ends) for one in ranked]
    return board(caption, columns, rows, "accuracy", [details(one) for one in ranked])


def span(ranked: Sequence[Ranked]) -> Axis:
    """An axis that holds all folds and intervals."""
    values = [v for one in ranked for v in (*one.record["fold_accuracies"].values(), *one.record["interval"])]
    return svg_charts.axis_of("accuracy", values, share=True)


def strip(one: Ranked, ends: Axis) -> str:
    """The dots of one source."""
    dots = [(f"fold {fold}", share) for fold, share in one.record["fold_accuracies"].items()]
    each = ", ".join(f"{name} {share:.2%}" for name, share in dots) or "folds not known"
    alt = f"{one.name}: {one.accuracy:.2%}, 95% interval {interval(one.record['interval'])}; {each}"
    return svg_charts.strip(dots, one.record["interval"], one.accuracy, ends, alt)


def numbers(one: Ranked) -> list[tuple[str, str]]:
    """Every number of a source: (name, value)."""
    record = one.record
    spread = metrics.spread(list(record["fold_accuracies"].values()))
    epochs, pace, size, whole = (
        one.mean(key) for key in ("epochs_trained", "seconds_an_epoch", "parameters", "train_seconds")
    )
    each = ", ".join(f"{share:.2%}" for share in record["fold_accuracies"].values())
    found = [
        ("accuracy", f"{record['accuracy']:.2%}"),
        ("95% interval", interval(record["interval"]).replace(" to ", " – ")),
        ("folds", each),
        ("± folds", f"{spread:.2%}" if spread == spread else ""),
        ("balanced accuracy", f"{record['balanced_accuracy']:.2%}"),
        ("macro F1", f"{record['macro_f1']:.2%}"),
        ("log loss", f"{record['log_loss']:.4f}"),
        ("calibration error", f"{record['calibration_error']:.2%}"),
        ("folds done", "" if one.is_blend else one.of_folds),
        ("epochs", f"{epochs:.3g}" if epochs else ""),
        ("seconds an epoch", f"{pace:.3g}" if pace else ""),
        ("minutes a fold", f"{whole / 60:.3g}" if whole else ""),
        ("parameters", f"{size:,.0f}" if size else ""),
    ]
    return [(name, value) for name, value in found if value]


def details(one: Ranked) -> str:
    """The detail row: numbers, and the settings that differ from the recipe."""
    found = numbers(one)[1:]
    if one.is_blend:
        found.append(("members", ", ".join(member.run for member in members_of(one))))
    else:
        found.append(("recipe", str(one.record["recipe"])))
        config = next((fold.config for fold in one.folds if fold.config), {})
        found.append(("settings changed", in_words(config)))
    name = f'<span class="unseen"> of {text(one.name)}</span>'
    return f"<details><summary>details{name}</summary>{html.pairs(found)}</details>"


def _row(one: Ranked, ends: Axis) -> list[Cell]:
    record = one.record
    star = " *" if one.source.note and not one.source.missing else ""
    badge = ' <span class="badge">blend</span>' if one.is_blend else ""
    badge += f' <span class="badge">{one.of_folds}</span>' if one.source.missing else ""
    pick = f'<input type="checkbox" class="pick" data-pick="{text(one.name)}">'
    around = " – ".join(f"{100 * end:.1f}" for end in record["interval"])
    return [
        Cell(f'<label title="choose two to compare">{pick}{text(one.short_name)}</label>{star}{badge}', one.name),
        Cell(f"<b>{one.accuracy:.2%}</b><small>{around}</small>", one.accuracy),
        Cell(strip(one, ends)),
        _against(one),
    ]


def _against(one: Ranked) -> Cell:
    """Points behind the best on common rows, and whether that is more than chance."""
    found = one.against
    if found is None:
        return Cell('<span class="soft">the best</span>', 0.0)
    if not found:
        return Cell('<span class="soft">no common rows</span>')
    verdict = "" if found["p"] < SIGNIFICANCE else ", within chance"
    error = f"<small>± {100 * found['standard_error']:.2f}{verdict}</small>"
    return Cell(f"{html.signed(100 * found['difference'])}{error}", found["difference"])


SECTION = Section("board", "Leaderboard", build, as_html)
