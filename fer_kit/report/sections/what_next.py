"""What to send next, and why: the best fair source, its forecast, what was sent, what is still training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fer_kit.drawing import html
from fer_kit.evaluate.tables import SIGNIFICANCE, interval
from fer_kit.folds.table import unordered
from fer_kit.report.found import Fold
from fer_kit.report.section import Content, Part, Ranked, Section
from fer_kit.report.sections import entries
from fer_kit.report.sections.blends import forecast, members_of
from fer_kit.runs.ledger import Entry

IDLE_SECONDS, IDLE_EPOCHS = 600.0, 4  # without a new epoch for longer, a fold counts as stopped
SHOWN = 5  # newest entries


@dataclass(frozen=True, kw_only=True)
class WhatNext(Part):
    """headline: what to do. reasons: why, a sentence each. command: what to type, or "". training: runs that are not
    finished, and the state of their folds. tries: runs that were trained on one fold only.
    """

    headline: str
    reasons: Sequence[str]
    command: str
    cards: Sequence[tuple[str, str]]
    sent: Sequence[Sequence[str]]
    sent_note: str
    training: Sequence[tuple[str, str]]
    tries: Sequence[str]


def build(content: Content) -> WhatNext:
    """Choose among finished runs and blends, see `choose`; lookups of twins are never chosen."""
    complete = [one for one in content.ranked if not one.source.missing]
    best = choose(complete)
    headline, reasons, command = _advice(content, best, complete)
    return WhatNext(
        headline=headline,
        reasons=reasons,
        command=command,
        cards=_cards(content, best, complete),
        sent=_sent(content.ledger),
        sent_note=_bias(content.ledger),
        training=_training(content),
        tries=[run for run, parts in content.folds.items() if _is_try(content, parts)],
        notes=[f"next: {headline[:1].lower()}{headline[1:]}" + (f": {command}" if command else "")],
    )


def choose(complete: Sequence[Ranked]) -> Ranked | None:
    """The blend with the highest leaderboard forecast, or the source with the most out of fold if that is a run that
    no blend is made of alone, and so has no forecast. complete: in the order of accuracy out of fold.
    """
    if not complete:
        return None
    first = complete[0]
    if not any(forecast(one) for one in complete if _same_source(one, first)):
        return first
    return max(complete, key=lambda one: (-1.0 if (told := forecast(one)) is None else told[0], one.accuracy))


def _advice(content: Content, best: Ranked | None, complete: Sequence[Ranked]) -> tuple[str, list[str], str]:
    """Headline, reasons, command."""
    runs = content.options.runs_option
    if best is None:
        some = content.ranked[0] if content.ranked else None
        reasons = ["No run has all of its folds, so no accuracy stands for the whole train set."]
        if some is not None:
            reasons.append(f"Furthest is {some.name}: {some.of_folds} folds, {some.accuracy:.2%} on their rows.")
        return "Finish a run first", reasons, "" if some or content.folds else f"fer-kit train --fold 0{runs}"
    reasons = _reasons(content, best, complete)
    if why := unordered(content.options.runs_dir):
        return f"Best is {best.name}", [*reasons, f"No submission can be built: {why}."], ""
    earlier = [(number, line) for number, line in _numbered(content.ledger) if _is_of(line, best)]
    same = [(number, line) for number, line in earlier if _same_score(line, best)]
    if not same:
        if earlier:
            number, line = earlier[-1]
            reasons.append(f"Entry #{number} came from an earlier version of it ({_scored(line)}).")
        return f"Send {best.name}", reasons, f"fer-kit submissions build {best.short_name}{runs}"
    number, line = same[-1]
    reasons.append(f"It was sent as entry #{number} on {line.utc[:10]} ({_scored(line)}).")
    members = [member.run for member in members_of(best)]
    unused = [one for one in complete if not one.is_blend and one.name not in {*members, best.name}]
    if unused:
        names = [*(members or [best.name]), *(one.name for one in unused)]
        reasons.append(f"Not in it: {', '.join(one.name for one in unused)}.")
        again = f"fer-kit blend next --members {' '.join(names)}{runs}"
        return f"{best.name} was sent; blend it with the new runs", reasons, again
    return f"{best.name} was sent; train another run and blend again", reasons, ""


def _reasons(content: Content, best: Ranked, complete: Sequence[Ranked]) -> list[str]:
    around, most = interval(best.record["interval"]), complete[0]
    leads = _same_source(best, most)
    if leads:
        which = f"Best of {len(complete)} finished runs and blends"
        second = next((one for one in complete if not _same_source(one, best)), None)
    else:
        which, second = f"Highest forecast of {sum(map(bool, map(forecast, complete)))} blends", None
    reasons = [f"{which}: {best.accuracy:.2%} out of fold, 95% interval {around}."]
    if second is not None and second.against:
        points, error = 100 * second.against["difference"], 100 * second.against["standard_error"]
        verdict = "more than chance" if second.against["p"] < SIGNIFICANCE else "within chance"
        same = not (second.against["won"] or second.against["lost"])
        distance = "has the same rows right" if same else f"is at {html.signed(points)} ± {error:.2f} points: {verdict}"
        reasons.append(f"The next, {second.name}, {distance}.")
    expected = forecast(best)
    if expected is not None:
        bounds = f", 95% interval {interval(expected[1])}" if expected[1] else ""
        reasons.append(f"Leaderboard forecast: {expected[0]:.2%}{bounds}.")
        told = next((told for one in complete if _same_source(one, most) and (told := forecast(one))), None)
        if told is not None and not leads:
            reasons.append(f"{most.name} has more out of fold, {most.accuracy:.2%}, but a forecast of {told[0]:.2%}.")
    elif not best.is_blend:
        command = f"fer-kit blend NAME --members {best.name}{content.options.runs_option}"
        reasons.append(f"Only a blend has a leaderboard forecast. Make a blend of this run alone with `{command}`.")
    top = entries.best(content.ledger)
    if top is not None:
        reasons.append(f"Best public score so far: {top[0]:.2%}, {top[1]}.")
    ahead = [(told[0], one.name) for one in content.lookups if (told := forecast(one))]
    if ahead:
        expected_there, name = max(ahead, key=lambda pair: pair[0])
        reasons.append(
            f"With twin lookup, {name} has a forecast of {expected_there:.2%}. It uses labels of train rows that show "
            "the same photo; see Twin lookups before you decide."
        )
    return reasons


def _same_source(one: Ranked, best: Ranked) -> bool:
    """True for a blend of one member and that member: they have the same answers, so a difference tells nothing."""
    return one is best or any(
        [member.run for member in members_of(a)] == [b.name] for a, b in ((one, best), (best, one))
    )


def _cards(content: Content, best: Ranked | None, complete: Sequence[Ranked]) -> list[tuple[str, str]]:
    """The numbers that people ask for first."""
    cards = []
    blend = best if best is not None and best.is_blend else next((one for one in complete if one.is_blend), None)
    run = next((one for one in complete if not one.is_blend), None)
    partial = next((one for one in content.ranked if one.source.missing), None)
    if blend is not None:
        cards.append((f"{blend.accuracy:.2%}", f"best blend, {blend.short_name}"))
        if (expected := forecast(blend)) is not None:
            around = f", {interval(expected[1])}" if expected[1] else ""
            cards.append((f"{expected[0]:.2%}", f"its leaderboard forecast{around}"))
    if run is not None:
        cards.append((f"{run.accuracy:.2%}", f"best run with all folds, {run.name}"))
    if partial is not None and (run is None or partial.accuracy > run.accuracy):
        cards.append((f"{partial.accuracy:.2%}", f"best unfinished run, {partial.name}, {partial.of_folds} folds"))
    scored = entries.best(content.ledger)
    if scored is not None:
        cards.append((f"{scored[0]:.2%}", f"best public score, {scored[1]}"))
    cards.append(("{} of {}".format(*_folds_done(content)), "folds finished"))
    return cards


def _folds_done(content: Content) -> tuple[int, int]:
    """How many folds are finished, and how many there would be with all folds of every run, begun or not.

    A run that was tried on a single fold is not counted: nobody means to finish it.
    """
    cut = content.found.groups.folds
    done = whole = 0
    for parts in content.folds.values():
        own = [fold for fold in parts if fold.is_held_out]
        if not _is_try(content, parts):
            done += sum(fold.finished for fold in own)
            whole += max(len(own), cut.count if own and cut is not None else 0)
    return done, whole


def _is_try(content: Content, parts: Sequence[Fold]) -> bool:
    """Whether a single fold of several is finished and no other fold was begun."""
    own, cut = [fold for fold in parts if fold.is_held_out], content.found.groups.folds
    return len(own) == 1 and own[0].finished and cut is not None and cut.count > 1


def _sent(ledger: Sequence[Entry]) -> list[list[str]]:
    """The newest entries, newest first: number, file, made of, forecast, public."""
    rows = []
    for number, line in reversed(_numbered(ledger)[-SHOWN:]):
        expected, public = line.forecast, line.public
        rows.append(
            [
                f"#{number}",
                PurePath(line.file).name,
                line.source or "–",
                "–" if expected is None else f"{expected:.2%}",
                line.status if public is None else f"{public:.2%}",
            ]
        )
    return rows


def _bias(ledger: Sequence[Entry]) -> str:
    """How far public scores lie from their forecasts, or "" where no entry has both."""
    pairs = [(line.public, line.forecast) for line in ledger]
    gaps = [100 * (public - expected) for public, expected in pairs if public is not None and expected is not None]
    if not gaps:
        return ""
    of = f"{len(gaps)} entr{'y' if len(gaps) == 1 else 'ies'}"
    return f"Public scores minus forecasts: {html.signed(sum(gaps) / len(gaps))} points on average, {of}."


def _training(content: Content) -> list[tuple[str, str]]:
    """Every run that is not finished, and the state of its folds, commands between backticks; the runs with begun
    folds come first.
    """
    cut = content.found.groups.folds
    begun: list[tuple[str, str]] = []
    waiting: list[tuple[str, str]] = []
    for run, parts in content.folds.items():
        states = [f"{fold.name} {_state(fold)}" for fold in parts if not fold.finished]
        if not states and _is_try(content, parts):
            continue
        place = begun if states else waiting
        own = {fold.name for fold in parts if fold.is_held_out}
        missing = [f"{k}" for k in range(cut.count) if f"fold{k}" not in own] if own and cut is not None else []
        if missing:
            states.append(f"{'folds' if len(missing) > 1 else 'fold'} {', '.join(missing)} not begun")
        if states:
            place.append((run, "; ".join(states)))
    return begun + waiting


def _state(fold: Fold) -> str:
    """How far the fold is, and whether it seems to be training now; a stopped one with the command that goes on."""
    if fold.written is None:
        return "has no epoch yet"
    done, planned = max((record["epoch"] for record in fold.epochs), default=0), fold.config.get("epochs")
    epochs = f"{done} of {planned} epochs" if isinstance(planned, int) else f"epoch {done}"
    idle = time.time() - fold.written
    pace = [seconds for record in fold.epochs if (seconds := html.as_number(record.get("seconds"))) is not None]
    if idle < max(IDLE_SECONDS, IDLE_EPOCHS * max(pace, default=0.0)):
        return f"is training, {epochs}"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(fold.written))
    command = fold.env.get("command")
    resume = f", go on with `{command.replace(' --resume', '')} --resume`" if isinstance(command, str) else ""
    return f"stopped after {epochs}, {when}{resume}"


def _numbered(ledger: Sequence[Entry]) -> list[tuple[int, Entry]]:
    return list(enumerate(ledger, start=1))


def _is_of(line: Entry, one: Ranked) -> bool:
    """True if the entry was built from a source of this kind and name."""
    return line.source == f"{one.source.kind} {one.short_name}"


def _same_score(line: Entry, one: Ranked) -> bool:
    """True if the entry has the very accuracy that the source has now."""
    accuracy = line.cv_accuracy
    return accuracy is not None and abs(accuracy - one.accuracy) < 1e-5


def _scored(line: Entry) -> str:
    public = line.public
    return line.status or "no score yet" if public is None else f"public {public:.2%}"


def as_html(part: WhatNext) -> str:
    """The first screen."""
    command = f"<p>{html.command(part.command)}</p>" if part.command else ""
    reasons = "".join(f"<li>{html.with_commands(reason)}</li>" for reason in part.reasons)
    parts = [
        f'<div class="advice"><p class="headline">{html.text(part.headline)}</p><ul>{reasons}</ul>{command}</div>',
        html.cards(part.cards),
        "<h3>Sent so far</h3>",
    ]
    if part.sent:
        head = ["entry", "file", "made of", "forecast", "public"]
        parts.append(html.table("Newest entries", head, part.sent))
        parts.append(html.paragraph(part.sent_note, soft=True) if part.sent_note else "")
    else:
        parts.append(html.paragraph("Nothing yet.", soft=True))
    parts.append("<h3>Still training, or not begun</h3>")
    if part.training:
        parts.append(html.pairs(part.training, commands=True))
    else:
        none = "No other run is unfinished." if part.tries else "Every fold of every run is finished."
        parts.append(html.paragraph(none, soft=True))
    if part.tries:
        parts.append(html.paragraph(f"Trained on one fold only: {', '.join(part.tries)}.", soft=True))
    return "".join(parts)


STYLE = """
.advice { background: var(--card); border-left: .3rem solid var(--bar); border-radius: .3rem; padding: .5rem 1rem; }
.advice .headline { font-size: 1.25rem; font-weight: 700; margin: .2rem 0; overflow-wrap: anywhere; }
.advice ul { margin: .3rem 0; padding-left: 1.2rem; max-width: 50rem; } .advice code { font-weight: 600; }
#next ~ .wide td:last-child { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
"""
SECTION = Section("next", "What to send next", build, as_html, style=STYLE)
