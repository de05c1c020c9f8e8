"""What `evaluate` prints, as lines of text: the scores in short, and the tables of --details."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fer_kit import metrics
from fer_kit.cli import aligned
from fer_kit.competition import CLASSES
from fer_kit.evaluate.scores import Scores, most_confused
from fer_kit.evaluate.sources import ScoredSource

SIGNIFICANCE = 0.05  # the difference of two sources is significant if its p-value is smaller
PAIRS_SHOWN = 5


def short(
    sources: Sequence[ScoredSource], found: Sequence[Scores], folds: Sequence[Sequence[float]], compared: Any
) -> list[str]:
    """Accuracies, the difference of the best two or the weak points of the only one. folds, compared: as below."""
    table = [["out of fold", "accuracy", "95% interval", "± folds", "rows"]]
    for source, scores, accuracies in sorted(zip(sources, found, folds, strict=True), key=lambda one: -one[1].accuracy):
        spread = metrics.spread(accuracies)
        table.append(
            [
                source.name + (" *" if source.note else ""),
                f"{scores.accuracy:.2%}",
                interval(scores.interval),
                "–" if math.isnan(spread) else f"{spread:.2%}",
                f"{scores.rows:,}",
            ]
        )
    lines = [*aligned(table), *(f"* {source.name}: {source.note}" for source in sources if source.note)]
    return [*lines, *(weak_points(found[0]) if len(sources) == 1 else [best_two(compared)])]


def best_two(compared: dict[str, Any] | None) -> str:
    """The difference of the best two sources on their common rows, and whether it is more than chance."""
    if compared is None:
        return "note: these sources have no out-of-fold row in common, so they are not compared"
    first, second = sorted(compared["accuracy"], key=compared["accuracy"].__getitem__, reverse=True)[:2]
    pair = next(pair for pair in compared["pairs"] if {pair["source"], pair["against"]} == {first, second})
    verdict = "more than chance" if pair["p"] < SIGNIFICANCE else "not more than chance"
    return (
        f"'{pair['source']}' against '{pair['against']}': {100 * pair['difference']:+.2f} ± "
        f"{100 * pair['standard_error']:.2f} points, {verdict} (p {pair['p']:.2g}, {compared['rows']:,} common rows)"
    )


def weak_points(scores: Scores) -> list[str]:
    """The class with the lowest recall, what it is taken for, and the calibration."""
    worst = min((one for one in scores.classes if one.rows), key=lambda one: one.recall)
    taken = next((pair for pair in most_confused(scores.confusion) if pair.true == worst.name), None)
    mistaken = f", most often taken for {taken.answer} ({taken.share:.1%})" if taken else ""
    sure = "overconfident" if scores.confidence > scores.accuracy else "underconfident"
    return [
        f"weakest class: {worst.name}, recall {worst.recall:.1%}{mistaken}",
        f"calibration: {sure}, mean confidence {scores.confidence:.2%}, error {scores.calibration.error:.2%}",
    ]


def test_in_short(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The accuracy of each source on each whole part of the test rows, whose labels are in the data folder."""
    return [
        f"{line['usage']}: '{line['source']}' {line['accuracy']:.2%}   (choose nothing by it)"
        for line in lines
        if line["part"] == "all"
    ]


def summary(sources: Sequence[ScoredSource], found: Sequence[Scores], folds: Sequence[Sequence[float]]) -> list[str]:
    """The scores of each source in one line. folds: for each source, the accuracy on each of its folds."""
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
    """Class scores, confusion and calibration of one source."""
    found = scores.calibration
    verdict = "overconfident" if scores.confidence > scores.accuracy else "underconfident"
    lines = [f"{source.name}", *aligned(class_table(scores)), "most confused:"]
    for pair in most_confused(scores.confusion, PAIRS_SHOWN):
        lines.append(f"  {pair.true} taken for {pair.answer}: {pair.rows:,} rows, {pair.share:.1%} of {pair.true}")
    balanced, macro = interval(scores.balanced_interval), interval(scores.macro_f1_interval)
    lines.append(f"95% intervals: balanced accuracy {balanced}, macro F1 {macro}")
    lines.append(
        f"calibration: mean confidence {scores.confidence:.2%}, accuracy {scores.accuracy:.2%}: {verdict}; expected "
        f"calibration error {found.error:.2%} ({len(found.rows)} bins)"
    )
    return lines


def class_table(scores: Scores) -> list[list[str]]:
    """For each class its scores, then the percentage of its rows predicted as each class."""
    table = [["class", "rows", "precision", "recall", "F1", "", *(f"→{name}" for name in CLASSES)]]
    for one, counts in zip(scores.classes, scores.confusion.tolist(), strict=True):
        shares = [f"{count / max(one.rows, 1):.0%}" for count in counts]
        table.append(
            [one.name, f"{one.rows:,}", f"{one.precision:.1%}", f"{one.recall:.1%}", f"{one.f1:.1%}", "", *shares]
        )
    return table


def comparisons(found: dict[str, Any] | None, sources: Sequence[ScoredSource]) -> list[str]:
    """The comparison of each two sources on their common rows, as `scores.compare_all` gives it."""
    if found is None:
        return ["note: these sources have no out-of-fold row in common, so they are not compared"]
    rows = f"compared on the {found['rows']:,} rows common to all"
    if any(len(source.oof) != found["rows"] for source in sources):
        shares = ", ".join(f"{name} {accuracy:.2%}" for name, accuracy in found["accuracy"].items())
        rows += f" (accuracy on them: {shares})"
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
                "significant" if pair["p"] < SIGNIFICANCE else "not significant",
            ]
        )
    note = (
        "won, lost: rows that only the better or only the worse source has right; significant: p of the cluster z "
        f"below {SIGNIFICANCE} (the cluster z counts twins as dependent rows, the McNemar test does not)"
    )
    return [rows, *aligned(table, left=(0, 1, 9)), note]


def on_test(lines: Sequence[dict[str, Any]], partial: bool, twins_known: bool) -> list[str]:
    """The scores on the test rows, whose labels are in the data folder.

    partial: some run has unfinished folds. twins_known: folds.csv and folds-test.csv are there.
    """
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
    notes = [
        "the labels of the test rows come from the data folder; do not choose models by these scores, and no score "
        "above uses these labels"
    ]
    if partial:
        notes.append("test predictions of a run with missing folds are the mean over its finished folds")
    if not twins_known:
        notes.append("folds.csv or folds-test.csv is missing: the rows without a train twin are unknown")
    return [*aligned(table, left=(0, 1, 3)), *notes]


def interval(bounds: Sequence[float]) -> str:
    """`62.10% to 63.20%`."""
    return f"{bounds[0]:.2%} to {bounds[1]:.2%}"
