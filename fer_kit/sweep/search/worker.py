"""A worker of a search: takes the next trial that must be trained further, or draws a new one."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from fer_kit.config import recipes
from fer_kit.config.settings import Value
from fer_kit.files import lock
from fer_kit.sweep.runner import LOOK_AGAIN_SECONDS, Runner, claimed, forget_failures
from fer_kit.sweep.search import halving
from fer_kit.sweep.search.definition import Search
from fer_kit.sweep.search.halving import Standing
from fer_kit.sweep.search.space import Space
from fer_kit.sweep.search.store import BusyError, Params, Store
from fer_kit.sweep.training import Training

LOCKED_SECONDS = 120.0  # that the trials may stay locked by another program before the worker gives up


class Trials:
    """The trials of a search: read from the store and the run folders, and drawn where they are needed."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.store = Store(search.folder, search.space)
        self._final: dict[int, Standing] = {}

    def look(self) -> list[tuple[Params, Standing]]:
        """Settings and standing of each trial, by number."""
        return [(params, self._standing(number, params)) for number, params in enumerate(self.store.params())]

    def _standing(self, number: int, params: Params) -> Standing:
        if number not in self._final:
            standing = self.search.standing(number, params)
            if len(standing.scores) < len(self.search.rungs):
                return standing
            self._final[number] = standing
        return self._final[number]

    def jobs(self, room: int) -> list[Training]:
        """The trainings that are open, those furthest first, after drawing new trials for `room` free slots.

        Raises:
            BusyError: another program has locked the trials.
        """
        with self.store.drawing():
            known = self.look()
            self.store.record([standing for _, standing in known], self.search.rungs)
            found = self._open(known)
            free = [one for one in found if not lock.is_held(claimed(one.folder(self.search.request.runs)))]
            for number in range(len(known), min(self.search.trials, len(known) + room - len(free))):
                params = self._draw(known)
                self.store.add(params)
                known.append((params, Standing(number)))
        return self._open(known)

    def _open(self, known: list[tuple[Params, Standing]]) -> list[Training]:
        standings = [standing for _, standing in known]
        wanted = halving.jobs(standings, self.search.trials, len(self.search.rungs))
        return [self.search.training(job.trial, known[job.trial][0], job.rung) for job in wanted]

    def _draw(self, known: list[tuple[Params, Standing]]) -> Params:
        """Settings for the next trial: at first the recipe's own, if they are in the space."""
        if not known and (own := own_values(self.search)) is not None:
            return own
        return self.store.sample(known, self.search.rungs)


def own_values(search: Search) -> Params | None:
    """The values of the recipe; None if one is outside the space."""
    recipe = recipes.get(search.request.recipe)
    own: dict[str, Value] = {name: getattr(recipe, name) for name in search.space}
    return own if all(_holds(search.space, name, value) for name, value in own.items()) else None


def _holds(space: Space, name: str, value: Any) -> bool:
    distribution = space[name].distribution()
    with contextlib.suppress(ValueError, TypeError):
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    return False


class SearchRunner(Runner):
    """A runner whose trainings are the open trials of a search."""

    def __init__(self, trials: Trials, *args: Any, **options: Any) -> None:
        super().__init__([], trials.search.request.runs, *args, **options)
        self.trials = trials
        self._look_for_jobs: float | None = None  # None before the first look
        self._locked_since: float | None = None
        self._ended_before = 0

    def _is_busy(self) -> bool:
        return super()._is_busy() or self._look_for_jobs is None or self._locked_since is not None

    def _fill(self) -> None:
        free = len(self.slots) - len(self.running)
        due = self._look_for_jobs is None or time.monotonic() >= self._look_for_jobs
        if free and (due or len(self.stints) > self._ended_before):
            self._ended_before = len(self.stints)
            self._look_for_jobs = time.monotonic() + LOOK_AGAIN_SECONDS
            self._fetch(free)
        super()._fill()

    def _fetch(self, free: int) -> None:
        """Put the open trials into `waiting`."""
        left = self.limits.left()
        if left is not None and left <= self.limits.least_seconds:
            self.waiting = []
            return
        try:
            found = self.trials.jobs(free)
        except BusyError as error:
            self._wait_for(error)
            return
        self._locked_since = None
        over = {child.training for child in self.running} | {*self.outcome.stopped} | {*self.outcome.failed}
        self.waiting = [one for one in found if one not in over]

    def _wait_for(self, error: BusyError) -> None:
        """Try again while another program holds the trials, but not for ever."""
        if self._locked_since is None:
            self._locked_since = time.monotonic()
            self.reporter.say(f"{error}; trying again for {LOCKED_SECONDS:.0f} s")
        elif time.monotonic() - self._locked_since > LOCKED_SECONDS:
            raise error


def forget_failed(trials: Trials) -> None:
    """Let failed trials be tried again."""
    search = trials.search
    drawn = enumerate(trials.store.params())
    forget_failures(search.request.runs, [search.training(number, params, 0) for number, params in drawn])
