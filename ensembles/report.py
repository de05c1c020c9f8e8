"""What the command prints: members, methods, the blend against others, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from ensembles.fit.compare import Comparison, Score
from ensembles.fit.crossfit import AUTO, GIVEN, ONE
from ensembles.fit.methods import METHODS, SINGLE
from ensembles.members import RUN, Member
from ensembles.rows import Rows
from ensembles.scores import ScoredBlend
from ensembles.twins.forecast import Forecast
from fer_kit import metrics
from fer_kit.cli import aligned

ABOUT = {
    **{name: method.about for name, method in METHODS.items()},
    ONE: SINGLE.about,
    GIVEN: "the weights of a file",
    AUTO: "the choice among these, itself cross-fitted",
}
SIGNIFICANCE = 0.05  # the difference of two blends is significant if its p-value is smaller


def report(
    name: str,
    members: Sequence[Member],
    rows: Rows,
    scored: ScoredBlend,
    runs_dir: str,
    forecasts: Mapping[str, Forecast],
) -> list[str]:
    """All lines but those on files. forecasts: by method, or none."""
    lines = [*member_table(members, rows, scored), ""]
    if scored.values is not None:
        lines += [*method_table(scored, forecasts), ""]
    lines += headline(name, rows, scored)
    lines += [comparison_line(comparison) for comparison in scored.comparisons]
    lines += drop_lines(members, scored)
    if rows.path is None:
        where = f"{runs_dir}/folds.csv is not there: members were checked against each other only"
        lines.append(f"{where}, and intervals take twins for strangers")
    return lines


def member_table(members: Sequence[Member], rows: Rows, scored: ScoredBlend) -> list[str]:
    """One line a member, best first."""
    table = [["member", "accuracy", "± folds", "log loss", "T", "weight", "value"]]
    for number, member in enumerate(members):
        accuracies = rows.fold_accuracies(member.oof.logits)
        spread = metrics.spread(accuracies)
        table.append(
            [
                member.name,
                f"{metrics.accuracy(member.oof.logits, rows.labels):.2%}",
                f"{spread:.2%}",
                f"{metrics.log_loss(member.oof.logits, rows.labels):.4f}",
                f"{scored.temperatures[number]:.2f}",
                "–" if scored.shares is None else f"{scored.shares[number]:.3f}",
                "–"
                if scored.values is None
                else f"{100 * scored.values.accuracy[number]:+.2f} ± {100 * scored.values.error[number]:.2f}",
            ]
        )
    lines = aligned(table)
    note = "T: temperature; value: points of cross-fitted accuracy lost without the member, ± standard error"
    return [*lines, *([] if scored.values is None else [note])]


def method_table(scored: ScoredBlend, forecasts: Mapping[str, Forecast]) -> list[str]:
    """Fitted and cross-fitted scores side by side, and the leaderboard forecast where there is one; a line a method."""
    ahead = ["forecast"] if forecasts else []
    table = [["method", "fitted", "cross-fitted", "95% interval", *ahead, "log loss", "optimism", ""]]
    for method in scored.methods:
        held = method.held_out
        table.append(
            [
                ("→ " if method is scored.scores else "  ") + method.method,
                f"{method.fitted_accuracy:.2%}",
                f"{held.accuracy:.2%}",
                interval(held),
                *([f"{forecasts[method.method].accuracy:.2%}"] if forecasts else []),
                f"{held.log_loss:.4f}",
                f"{100 * method.optimism:+.2f}",
                ABOUT[method.method],
            ]
        )
    return [
        *aligned(table, left=(0, len(table[0]) - 1)),
        "cross-fitted: on rows that weights, temperatures and choices never saw",
    ]


def headline(name: str, rows: Rows, scored: ScoredBlend) -> list[str]:
    """The score to believe, and how the blend was made. Further scores of the same blend belong beside it."""
    held = scored.scores.held_out
    photos = len(np.unique(rows.groups))
    of = f" of {photos:,} photos" if rows.path else ""
    strangers = "; the folds know no twins, and the interval takes all for strangers" if photos == len(rows) else ""
    how = f"method {scored.method}: {ABOUT[scored.method]}"
    if scored.asked == AUTO:
        why = (
            "no blend is better than it"
            if scored.method == ONE
            else "the simplest within one standard error of the best"
        )
        how = f"auto chose {scored.method}: {ABOUT[scored.method]}; {why}"
    elif scored.asked == GIVEN:
        how += "; if they were fitted to these rows, the score flatters"
    spread = "" if held.spread is None else f", ± {held.spread:.2%} over folds"
    score = "" if scored.values is None else "cross-fitted "
    return [
        how if scored.values is not None else "one member: the blend is that member, to the bit",
        f"blend '{name}': {held.accuracy:.2%} {score}out-of-fold accuracy, 95% interval {interval(held)}{spread}; "
        f"{len(rows):,} rows{of} in {len(rows.fold_numbers)} folds{strangers if rows.path else ''}",
    ]


def comparison_line(one: Comparison) -> str:
    """A against B in one line, with a verdict by the cluster test."""
    verdict = "no significant difference" if one.p >= SIGNIFICANCE else ("better" if one.difference > 0 else "worse")
    return (
        f"against {one.against}: {100 * one.difference:+.2f} ± {100 * one.standard_error:.2f} points, "
        f"{one.won:,} rows won, {one.lost:,} lost; cluster z {one.z:.2f} (p {one.p:.2g}), "
        f"McNemar p {one.mcnemar_p:.2g}: {verdict}"
    )


def drop_lines(members: Sequence[Member], scored: ScoredBlend) -> list[str]:
    """Which members the blend does without, as a hint."""
    values = scored.values
    if values is None or not values.drop:
        return []
    dropped = [members[number].name for number in values.drop]
    (before, loss_before), (after, loss_after) = values.whole, values.without
    return [
        f"to drop: {', '.join(dropped)} (without: {after:.2%}, log loss {loss_after:.4f}; with: {before:.2%}, "
        f"{loss_before:.4f}); found on these very rows, so a hint and no proof"
    ]


def doubles(members: Sequence[Member]) -> list[str]:
    """Notes on members that also sit inside a blend among the members: allowed, and easily overlooked."""
    seen = {source.path.resolve(): member.name for member in members for source in member.sources}
    notes = []
    for member in members:
        for folder in member.inside:
            if folder in seen:
                notes.append(f"note: '{seen[folder]}' is a member and also a part of '{member.name}'")
    return notes


def next_command(name: str, members: Sequence[Member], rows: Rows, scored: ScoredBlend, runs_dir: str) -> str:
    """What to type next: submit the blend, or the best member where that is better alone."""
    options = "" if runs_dir == "runs" else f" --runs {shlex.quote(runs_dir)}"
    best = members[0]
    if scored.scores.held_out.accuracy >= metrics.accuracy(best.oof.logits, rows.labels):
        return f"python -m submissions build {name}{options}"
    better = f"   ('{best.name}' alone is better than the blend)"
    if len(best.sources) > 1:
        seeds = " ".join(shlex.quote(source.path.name) for source in best.sources)
        return f"python -m ensembles.blend {name}-best --members {seeds}{options}{better}"
    source = best.name if best.kind == RUN else shlex.quote(str(best.sources[0].path))
    return f"python -m submissions build {source}{options}{better}"


def interval(score: Score) -> str:
    """`62.10% to 63.20%`."""
    return "{:.2%} to {:.2%}".format(*score.interval)
