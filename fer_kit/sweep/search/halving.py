"""Successive halving by epochs: which trials go on, and to which epoch.

All trials train to the first rung, the best third of them to the second, and so on; those of the last rung train to the
end. A rung is an epoch of the whole training: the learning rate follows the schedule of all epochs, and a trial that
is promoted continues where it stopped.

A trial is promoted as soon as the trials that are still to come cannot push it out of the best third. So the promoted
trials are the same whether one worker trains or many, and none is promoted that would not be at the end.

Source: Jamieson and Talwalkar, arXiv 1502.07943; Li et al., arXiv 1603.06560.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KEEP = 3  # one trial in three goes on


@dataclass(frozen=True)
class Standing:
    """How far a trial is.

    Attributes:
        scores: at each rung that it has reached, in order; all of them if the training has ended early.
        failed: it ended with an error, and is not tried again.
    """

    number: int
    scores: tuple[float, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class Job:
    """A trial to be trained until rung number `rung`."""

    trial: int
    rung: int


def default_rungs(epochs: int) -> tuple[int, ...]:
    """A ninth, a third, and all of the epochs; fewer rungs where these are the same or less than an epoch."""
    rungs = [round(epochs / KEEP**power) for power in (2, 1, 0)]
    return tuple(sorted({rung for rung in rungs if rung >= 1}))


def kept(trials: int, rung: int) -> int:
    """How many of `trials` trials are promoted from rung number `rung`."""
    return max(1, trials // KEEP ** (rung + 1))


def epochs_in_all(trials: int, rungs: Sequence[int]) -> int:
    """The epochs that a search of `trials` trials trains."""
    total, before, count = 0, 0, trials
    for number, rung in enumerate(rungs):
        total += count * (rung - before)
        before, count = rung, min(count, kept(trials, number))
    return total


def jobs(standings: Sequence[Standing], trials: int, rungs: int) -> list[Job]:
    """The trials that have to be trained now, the furthest first.

    Args:
        standings: of all trials that have been drawn.
        trials: number of trials that the search will have.
        rungs: number of rungs.
    """
    found: list[Job] = []
    candidates, total = list(standings), max(trials, len(standings))
    for rung in range(rungs):
        scored = [one for one in candidates if len(one.scores) > rung]
        failed = [one for one in candidates if len(one.scores) <= rung and one.failed]
        found += [Job(one.number, rung) for one in candidates if len(one.scores) <= rung and not one.failed]
        to_come = total - len(scored) - len(failed)
        ranked = sorted(scored, key=lambda one: (-one.scores[rung], one.number))
        limit = kept(trials, rung)
        best = {one.number for place, one in enumerate(ranked, start=1) if place + to_come <= limit}
        total = min(limit, total - len(failed))
        candidates = [one for one in standings if one.number in best or len(one.scores) > rung + 1]
        total = max(total, len(candidates))
    return sorted(found, key=lambda job: (-job.rung, job.trial))
