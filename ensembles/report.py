"""The lines that `python -m ensembles.blend` prints: what people look for first, and the tables of --details."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ensembles.fit.compare import Comparison, Score
from ensembles.fit.crossfit import AUTO, GIVEN, ONE
from ensembles.fit.methods import METHODS, SINGLE
from ensembles.members import RUN, Member
from ensembles.rows import Rows
from ensembles.scores import ScoredBlend
from ensembles.twins.forecast import Forecast
from ensembles.twins.pairs import NEAR
from ensembles.twins.twin_blend import SUFFIX, Twins
from fer_kit import metrics
from fer_kit.cli import aligned
from fer_kit.folds.table import unnoticed_twins

ABOUT = {
    **{name: method.about for name, method in METHODS.items()},
    ONE: SINGLE.about,
    GIVEN: "weights from a file",
    AUTO: "the method chosen from these, with a cross-fitted choice",
}
GIVEN_NOTE = "the weights are from a file: if they were fitted to these rows, this score and the forecast are too high"
SIGNIFICANCE = 0.05  # the difference of two blends is significant if its p-value is smaller


def short(name: str, members: Sequence[Member], rows: Rows, scored: ScoredBlend, twins: Twins) -> list[str]:
    """Accuracy, gain over the best member, and the leaderboard forecast without and with twin lookup."""
    held = scored.scores.held_out
    chosen = "chosen by auto" if scored.asked == AUTO else ""
    how = f"{len(members)} members by {scored.method}{f', {chosen}' if chosen else ''}"
    if scored.values is None:
        how = "only one member, so exactly its predictions"
    kind = "cross-fitted out of fold" if scored.cross_fitted else "out of fold"
    lines = [f"blend '{name}': {held.accuracy:.2%} {kind}, 95% interval {interval(held)}   ({how})"]
    if scored.asked == GIVEN:
        lines.append(GIVEN_NOTE)
    elif scored.comparisons:
        lines.append(gain_line(scored.comparisons[0]))
    if twins.plain is None:
        return [*lines, twins.why_none]
    lines.append(f"leaderboard forecast: {_forecast(twins.plain)}")
    if twins.with_lookup is not None:
        made = f"in blend '{name}{SUFFIX}'" if twins.twinned is not None else f"made by --twins {NEAR}"
        lines.append(f"with twin lookup:     {_forecast(twins.with_lookup)}   ({made})")
    return lines


def gain_line(one: Comparison) -> str:
    """The difference to the best member, and whether it is more than chance."""
    verdict = "more than chance" if one.p < SIGNIFICANCE else "not more than chance"
    return (
        f"gain over {one.against}: {100 * one.difference:+.2f} ± {100 * one.standard_error:.2f} points, "
        f"{verdict} (p {one.p:.2g})"
    )


def _forecast(one: Forecast) -> str:
    low, high = one.interval
    return f"{one.accuracy:.2%}, 95% interval {low:.2%} to {high:.2%}"


def warnings(rows: Rows, runs_dir: str) -> list[str]:
    """What makes the scores less certain."""
    if rows.path is not None:
        note = unnoticed_twins(Path(runs_dir))
        return [note] if note else []
    return [
        f"note: {runs_dir}/folds.csv is missing: members were only checked against each other, and the intervals "
        "treat twins as independent rows"
    ]


def details(
    name: str, members: Sequence[Member], rows: Rows, scored: ScoredBlend, forecasts: Mapping[str, Forecast]
) -> list[str]:
    """The tables and comparisons. forecasts: leaderboard forecast by method; empty if unknown."""
    lines = [*member_table(members, rows, scored), ""]
    if scored.values is not None:
        lines += [*method_table(scored, forecasts), ""]
    lines += headline(name, rows, scored)
    lines += [comparison_line(comparison) for comparison in scored.comparisons]
    return lines + drop_lines(members, scored)


def member_table(members: Sequence[Member], rows: Rows, scored: ScoredBlend) -> list[str]:
    """A line for each member: scores, temperature, weight and value."""
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
    note = "T: temperature; value: percentage points of cross-fitted accuracy lost without the member ± standard error"
    return [*lines, *([] if scored.values is None else [note])]


def method_table(scored: ScoredBlend, forecasts: Mapping[str, Forecast]) -> list[str]:
    """A line for each method: fitted and cross-fitted scores, and the leaderboard forecast if known."""
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
        "fitted: accuracy on the rows of the fit; cross-fitted: on rows held out from the fit of weights, temperatures "
        "and choice; optimism: the difference in percentage points",
    ]


def headline(name: str, rows: Rows, scored: ScoredBlend) -> list[str]:
    """The method of the blend and its cross-fitted score."""
    held = scored.scores.held_out
    photos = len(np.unique(rows.groups))
    of = f" of {photos:,} photos" if rows.path else ""
    independent = (
        "; folds.csv has no twins, so the interval treats all rows as independent" if photos == len(rows) else ""
    )
    how = f"method {scored.method}: {ABOUT[scored.method]}"
    if scored.asked == AUTO:
        why = (
            "no blend has a better score"
            if scored.method == ONE
            else "the simplest method within one standard error of the best"
        )
        how = f"auto chose {scored.method}: {ABOUT[scored.method]}; {why}"
    spread = "" if held.spread is None else f", ± {held.spread:.2%} over folds"
    score = "cross-fitted " if scored.cross_fitted else ""
    return [
        how if scored.values is not None else "only one member: the blend has exactly its predictions",
        f"blend '{name}': {held.accuracy:.2%} {score}out-of-fold accuracy, 95% interval {interval(held)}{spread}; "
        f"{len(rows):,} rows{of} in {len(rows.fold_numbers)} folds{independent if rows.path else ''}",
    ]


def comparison_line(one: Comparison) -> str:
    """A comparison in one line, with a verdict by the cluster z."""
    verdict = "no significant difference" if one.p >= SIGNIFICANCE else ("better" if one.difference > 0 else "worse")
    return (
        f"against {one.against}: {100 * one.difference:+.2f} ± {100 * one.standard_error:.2f} points, "
        f"{one.won:,} rows right only in the blend, {one.lost:,} only in the other; "
        f"cluster z {one.z:.2f} (p {one.p:.2g}), McNemar p {one.mcnemar_p:.2g}: {verdict}"
    )


def drop_lines(members: Sequence[Member], scored: ScoredBlend) -> list[str]:
    """A line that names the members whose removal does not lower the scores, if any."""
    values = scored.values
    if values is None or not values.drop:
        return []
    dropped = [members[number].name for number in values.drop]
    (before, loss_before), (after, loss_after) = values.whole, values.without
    return [
        f"to drop: {', '.join(dropped)} (accuracy {after:.2%}, log loss {loss_after:.4f} without; {before:.2%}, "
        f"{loss_before:.4f} with); only a hint, because it was found on the rows of these scores"
    ]


def doubles(members: Sequence[Member]) -> list[str]:
    """Notes on members that are also part of a blend among the members, which is allowed."""
    seen = {source.path.resolve(): member.name for member in members for source in member.sources}
    notes = []
    for member in members:
        for folder in member.inside:
            if folder in seen:
                notes.append(f"note: '{seen[folder]}' is a member and also a part of '{member.name}'")
    return notes


def next_command(
    name: str, members: Sequence[Member], rows: Rows, scored: ScoredBlend, runs_dir: str, data: str | None
) -> str:
    """The next command: build a submission of the blend, or of the best member if its score is higher."""
    options = path_options(runs_dir, data)
    best = members[0]
    if scored.scores.held_out.accuracy >= metrics.accuracy(best.oof.logits, rows.labels):
        return f"python -m submissions build {name}{options}"
    better = f"   ('{best.name}' alone has a higher score than the blend)"
    if len(best.sources) > 1:
        seeds = " ".join(shlex.quote(source.path.name) for source in best.sources)
        return f"python -m ensembles.blend {name}-best --members {seeds}{options}{better}"
    source = best.name if best.kind == RUN else shlex.quote(str(best.sources[0].path))
    return f"python -m submissions build {source}{options}{better}"


def path_options(runs_dir: str, data: str | None) -> str:
    """The options --runs and --data of a printed command, as far as they were given; begins with a space."""
    runs = "" if runs_dir == "runs" else f" --runs {shlex.quote(runs_dir)}"
    return runs + ("" if data is None else f" --data {shlex.quote(data)}")


def interval(score: Score) -> str:
    """`62.10% to 63.20%`."""
    return "{:.2%} to {:.2%}".format(*score.interval)
