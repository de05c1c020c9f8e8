"""What fits into the minutes of a record run: how many recipes, how many epochs of each, how many seeds.

Every recipe gets the same multiple of its own epochs. While that would be under half of them, the last recipe of the
list goes; what is left over beyond `MOST` times buys further seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_kit.errors import FerKitError

LEAST, MOST = 0.5, 4.0  # of a recipe's own epochs
RESERVE = 0.06  # of the time, for what no measurement saw: a fold that is late by an epoch costs its recipe all folds


@dataclass(frozen=True)
class Speed:
    """How a recipe runs with `at_once` processes on the device.

    images_per_second: trained by all of them together. predict_seconds: of one fold's rows and the test rows, one
    process. start_seconds: from the command to the first step.
    """

    at_once: int
    images_per_second: float
    predict_seconds: float
    start_seconds: float


@dataclass(frozen=True)
class Job:
    """One fold of one recipe with one seed."""

    recipe: str
    epochs: int
    fold: int
    seed: int


@dataclass(frozen=True)
class Wish:
    """What a recipe would like: its own epochs, and the rows of one epoch."""

    recipe: str
    epochs: int
    rows: int


def filled(jobs: int, at_once: int) -> float:
    """The part of `at_once` slots that `jobs` of equal length keep busy: five in two slots leave one in six empty."""
    return jobs / (at_once * math.ceil(jobs / at_once))


def job_seconds(wish: Wish, speed: Speed, stretch: float) -> float:
    """Of one fold, while the other slots are busy too."""
    train = epochs_of(wish, stretch) * wish.rows / (speed.images_per_second / speed.at_once)
    return speed.start_seconds + train + speed.predict_seconds


def epochs_of(wish: Wish, stretch: float) -> int:
    """Whole epochs at `stretch` times the recipe's own."""
    return max(1, math.floor(wish.epochs * stretch))


def total_seconds(wishes: Sequence[Wish], speeds: Mapping[str, Speed], folds: int, stretch: float) -> float:
    """Of all folds of all `wishes`, in their order, spread over the slots; the last round of slots counts whole."""
    ends = [0.0] * max(speed.at_once for speed in speeds.values())
    for wish in wishes:
        for _ in range(folds):
            slot = ends.index(min(ends))
            ends[slot] += job_seconds(wish, speeds[wish.recipe], stretch)
    return max(ends)


def plan(wishes: Sequence[Wish], speeds: Mapping[str, Speed], folds: int, seconds: float) -> list[Job]:
    """The jobs that fit into `seconds` less `RESERVE`, in the order of `wishes`: what is late after all is the last.

    Raises:
        FerKitError: not even the first recipe fits at half its epochs.
    """
    given, seconds = seconds, (1 - RESERVE) * seconds
    for count in range(len(wishes), 0, -1):
        chosen = wishes[:count]
        stretch = widest(chosen, speeds, folds, seconds)
        if stretch >= LEAST:
            break
    else:
        first = wishes[0]
        needed = total_seconds(wishes[:1], speeds, folds, LEAST) / (1 - RESERVE)
        raise FerKitError(
            f"{given / 60:.1f} minutes of training are too few: {folds} folds of {first.recipe} at half its "
            f"{first.epochs} epochs take about {needed / 60:.1f}; give more --minutes or a faster recipe"
        )
    seeds = 1
    if stretch >= MOST:
        stretch, seeds = MOST, max(1, math.floor(seconds / total_seconds(chosen, speeds, folds, MOST)))
    return [
        Job(wish.recipe, epochs_of(wish, stretch), fold, seed)
        for seed in range(seeds)
        for wish in chosen
        for fold in range(folds)
    ]


def widest(wishes: Sequence[Wish], speeds: Mapping[str, Speed], folds: int, seconds: float) -> float:
    """The largest multiple of the recipes' epochs, up to `MOST`, whose jobs end within `seconds`; 0 where none does."""
    low, high = 0.0, MOST
    if total_seconds(wishes, speeds, folds, high) <= seconds:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if total_seconds(wishes, speeds, folds, middle) <= seconds else (low, middle)
    return low if total_seconds(wishes, speeds, folds, low) <= seconds else 0.0
