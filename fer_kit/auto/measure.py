"""Measure briefly: how many trainings side by side are fastest, and how fast each recipe is then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer_kit.auto import plan
from fer_kit.auto.plan import Speed, Task
from fer_kit.auto.pool import Pool
from fer_kit.auto.worth import Worth
from fer_kit.config import recipes
from fer_kit.config.networks import known_cost
from fer_kit.errors import FerKitError

SHARE = 0.08  # of the whole time, start of the processes included
LEAST_SECONDS, MOST_SECONDS = 0.5, 4.0  # of one measurement, behind its warm-up
LOADING_SECONDS = 1.0  # data and folds, before a training builds its network


@dataclass
class Measured:
    """What was measured: see `plan.choose`. left_out: recipes without a speed, and why."""

    speeds: dict[str, Speed] = field(default_factory=dict)
    rates: dict[int, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def measure(
    pool: Pool,
    candidates: Sequence[Worth],
    numbers: Sequence[int],
    task: Task,
    seconds: float,
    folder: Path,
    say: Callable[[str], None],
    opened: float = 0.0,
) -> Measured:
    """Measure all `numbers` with the first recipe, and the other recipes with the best number.

    A recipe that cannot fit, does not run, or finds the time for measuring over, is left out.

    Args:
        seconds: of the whole command; `SHARE` of them are for measuring.
        folder: where a checkpoint is written to be timed.
        opened: seconds that the start of the workers took, which count.

    Raises:
        FerKitError: the first recipe does not run.
    """
    began = time.monotonic() - opened
    window = SHARE * seconds / (2 * (len(numbers) + len(candidates) - 1))
    window = min(MOST_SECONDS, max(LEAST_SECONDS, window))
    found = Measured()

    def speed(recipe: str, at_once: int) -> Speed:
        one = pool.together(recipe, at_once, window, folder)
        start = one.pop("start_seconds") + LOADING_SECONDS
        made = Speed(at_once, start_seconds=start, **one)
        say(f"measured  {recipe}: {at_once} at once, {made.images_per_second:,.0f} images/s together")
        return made

    first, *others = candidates
    tried: list[Speed] = []
    for number in numbers:
        try:
            tried.append(speed(first.recipe, number))
        except FerKitError as error:
            if not tried:
                raise
            say(f"measured  {number} at once do not run: {error}")
            break
    found.rates = {one.at_once: one.images_per_second for one in tried}
    best = max(tried, key=lambda one: one.images_per_second * plan.filled(2 * task.folds, one.at_once))
    found.speeds[first.recipe] = best
    flops = flops_of(first.recipe)
    for one in others:
        if time.monotonic() - began > SHARE * seconds:
            found.left_out[one.recipe] = "the time for measuring was over"
        elif flops and not plan.feasible(one, flops_of(one.recipe), flops * best.images_per_second, task, seconds):
            found.left_out[one.recipe] = "too slow for the time"
        else:
            try:
                found.speeds[one.recipe] = speed(one.recipe, best.at_once)
            except FerKitError as error:
                found.left_out[one.recipe] = str(error)
    for recipe, why in found.left_out.items():
        say(f"left out  {recipe}: {why}")
    return found


def flops_of(recipe: str) -> float:
    """FLOPs an image; 0 where they are not known without building the network."""
    config = recipes.get(recipe)
    known = known_cost(config.model, config.width_mult)
    return float(known.flops) if known else 0.0
