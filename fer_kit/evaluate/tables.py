"""What `evaluate` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fer_kit import metrics
from fer_kit.cli import aligned
from fer_kit.competition import CLASSES
from fer_kit.evaluate.scores import Scores, most_confused
from fer_kit.evaluate.sources import ScoredSource

SURE = 0.05  # p below which two sources are told apart
PAIRS_SHOWN = 5


def summary(sources: Sequence[ScoredSource], found: Sequence[Scores], folds: Sequence[Sequence[float]]) -> list[str]:
    """One line a source; folds: accuracy of each of its folds."""
    head = [
        "out of fold",
        "rows",
        "accuracy",
        "95% interval",
        "± folds",
        "balanced",
        "macro F1",
        "log loss",
        "cal. error",
    ]
    table = [head]
    for source, scores, accuracies in zip(sources, found, folds, strict=True):
        spread = metrics.spread(accuracies)
        table.append(
            [
                source.name + (" *" if source.note else ""),
                f"{scores.rows:,}",
                f"{scores.accuracy:.2%}",
                interval(scores.interval),
                "–" if math.isnan(spread) else f"{spread:.2%}",
                f"{scores.balanced_accuracy:.2%}",
                f"{scores.macro_f1:.2%}",
                f"{scores.log_loss:.4f}",
                f"{scores.calibration.error:.2%}",
            ]
        )
    return [*aligned(table), *(f"* {source.name}: {source.note}" for source in sources if source.note)]


def details(source: ScoredSource, scores: Scores) -> list[str]:
    """Classes, confusion and calibration of one source."""
    found = scores.calibration
    promise = "more than they keep" if scores.confidence > scores.accuracy else "less than they keep"
    lines = [f"{source.name}", *aligned(class_table(scores)), "confused most:"]
    for pair in most_confused(scores.confusion, PAIRS_SHOWN):
        lines.append(f"  {pair.true} taken for {pair.answer}: {pair.rows:,} rows, {pair.share:.1%} of {pair.true}")
    balanced, macro = interval(scores.balanced_interval), interval(scores.macro_f1_interval)
    lines.append(f"95% intervals: balanced accuracy {balanced}, macro F1 {macro}")
    lines.append(
        f"calibration: answers promise {scores.confidence:.2%} on average and {scores.accuracy:.2%} come true, "
        f"{promise}; error {found.error:.2%} over {len(found.rows)} bins"
    )
    return lines


def class_table(scores: Scores) -> list[list[str]]:
    """Each class: its scores, then how its rows were answered."""
    table = [["class", "rows", "precision", "recall", "F1", "", *(f"→{name}" for name in CLASSES)]]
    for one, counts in zip(scores.classes, scores.confusion.tolist(), strict=True):
        shares = [f"{count / max(one.rows, 1):.0%}" for count in counts]
        table.append(
            [one.name, f"{one.rows:,}", f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.f1:.1%}", "", *shares]
        )
    return table


def comparisons(found: dict[str, Any] | None, sources: Sequence[ScoredSource]) -> list[str]:
    """Side by side on the rows that all have."""
    if found is None:
        return ["note: no row is out of fold for all of these sources, so they are not compared"]
    rows = f"compared on the {found['rows']:,} rows that all have"
    if any(len(source.oof) != found["rows"] for source in sources):
        shares = ", ".join(f"{name} {accuracy:.2%}" for name, accuracy in found["accuracy"].items())
        rows += f" (there: {shares})"
    table = [["better", "worse", "points", "± error", "won", "lost", "cluster z", "p", "McNemar p", ""]]
    for pair in found["pairs"]:
        table.append(
            [
                pair["source"],
                pair["against"],
                f"{100 * pair['difference']:+.2f}",
                f"{100 * pair['standard_error']:.2f}",
                f"{pair['won']:,}",
                f"{pair['lost']:,}",
                f"{pair['z']:.2f}",
                f"{pair['p']:.2g}",
                f"{pair['mcnemar_p']:.2g}",
                "told apart" if pair["p"] < SURE else "not told apart",
            ]
        )
    note = "won, lost: rows that only the first, only the second has right; decide by the cluster z, which knows twins"
    return [rows, *aligned(table, left=(0, 1, 9)), note]


def on_test(lines: Sequence[dict[str, Any]], partial: bool, twins_known: bool) -> list[str]:
    """The table of the test rows, whose labels lie in the data folder."""
    table = [["test rows", "", "rows", "source", "accuracy", "95% interval", "balanced", "macro F1", "log loss"]]
    parts = list(dict.fromkeys((line["usage"], line["part"]) for line in lines))
    for line in sorted(lines, key=lambda line: parts.index((line["usage"], line["part"]))):  # sources side by side
        table.append(
            [
                line["usage"],
                line["part"],
                f"{line['rows']:,}",
                line["source"],
                f"{line['accuracy']:.2%}",
                interval(line["interval"]),
                f"{line['balanced_accuracy']:.2%}",
                f"{line['macro_f1']:.2%}",
                f"{line['log_loss']:.4f}",
            ]
        )
    notes = ["labels of test rows, from the data folder: to read, not to choose by; never part of the numbers above"]
    if partial:
        notes.append("test predictions of a run with missing folds are the mean of its finished folds")
    if not twins_known:
        notes.append("without folds.csv and folds-test.csv twins are not known: no rows without a train twin")
    return [*aligned(table, left=(0, 1, 3)), *notes]


def interval(bounds: Sequence[float]) -> str:
    """`62.10% to 63.20%`."""
    return f"{bounds[0]:.2%} to {bounds[1]:.2%}"
