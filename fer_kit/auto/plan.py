"""What fits into the time: which recipes, epochs, seeds and views, and how many trainings side by side. Pure functions.

All members get the same multiple of the epochs that their recipe was measured with. Of all sets of recipes, views,
numbers of slots and rounds that fit, the plan with the highest expected accuracy is taken (see `worth`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from fer_kit.auto import worth
from fer_kit.auto.worth import Worth
from fer_kit.errors import FerKitError

RESERVE = 0.05  # of the time for training, for what no measurement saw
MOST_RECIPES, MOST_SEEDS = 4, 4
SAVE_SECONDS = 60.0  # from one checkpoint to the next
VIEWS = {"rotations": 6, "flip": 2}  # the sets to choose from, and their numbers of views
OVERSUBSCRIBED_SECONDS = 1800.0  # with less time more trainings than cores are not measured
BISECTIONS = 12


@dataclass(frozen=True)
class Speed:
    """How a recipe runs in `at_once` processes side by side.

    images_per_second: trained by all of them together. predicted_per_second: in one view, by all together.
    start_seconds: from the order to the first step. save_seconds: of one checkpoint.
    """

    at_once: int
    images_per_second: float
    predicted_per_second: float
    start_seconds: float
    save_seconds: float


@dataclass(frozen=True)
class Task:
    """The work that does not depend on recipes.

    train_rows: of one fold. predicted_rows: of one fold, with the test rows. end_seconds: blend, submission and report;
    end_seconds_each: for each member more. targets_seconds: to make soft targets between two rounds.
    """

    folds: int
    train_rows: int
    predicted_rows: int
    end_seconds: float = 0.0
    end_seconds_each: float = 0.0
    targets_seconds: float = 0.0


@dataclass(frozen=True)
class Member:
    """One run of the plan. seconds: of one of its folds, from the order to the predictions."""

    recipe: str
    seed: int
    epochs: int
    seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class Plan:
    """The plan.

    train_seconds: until the last fold has ended. accuracy: expected, in percent, to compare plans. teacher: trained in
    a first round, on the labels; its out-of-fold predictions are the soft targets of `members`. None: there is one
    round, and `members` are trained on the labels, or on soft targets by the network that ships if `shipped`.
    """

    members: tuple[Member, ...]
    views: str
    at_once: int
    train_seconds: float
    accuracy: float
    teacher: Member | None = None
    shipped: bool = False

    @property
    def rounds(self) -> tuple[tuple[Member, ...], ...]:
        """The members of each round of trainings."""
        return (self.members,) if self.teacher is None else ((self.teacher,), self.members)


def numbers(cores: int, gpus: int, folds: int, seconds: float) -> list[int]:
    """How many trainings side by side are worth a measurement, ascending: numbers that the folds fill.

    With five folds on a GPU: 1, 5 and 10. On a CPU: one a core, and multiples of the folds up to that; few cores can
    share themselves among one training a fold.
    """
    if gpus:
        wanted = {gpus, *(count for count in (folds, 2 * folds) if gpus <= count <= cores)}
        return sorted(wanted)
    wanted = {cores, *range(folds, cores + 1, folds)}
    if cores < folds <= 3 * cores and seconds >= OVERSUBSCRIBED_SECONDS:
        wanted.add(folds)
    return sorted(wanted)


def filled(jobs: int, at_once: int) -> float:
    """The part of `at_once` slots that `jobs` of equal length keep busy: five in two slots leave one in six empty."""
    return jobs / (at_once * math.ceil(jobs / at_once))


def makespan(jobs: Iterable[float], at_once: int, busy: Sequence[float] = ()) -> float:
    """Seconds until all jobs have ended, the longest first. busy: seconds that slots are still taken."""
    ends = sorted(busy, reverse=True)[:at_once]
    ends += [0.0] * (at_once - len(ends))
    for seconds in sorted(jobs, reverse=True):
        slot = ends.index(min(ends))
        ends[slot] += seconds
    return max(ends)


def allowance(own: float, busy: Sequence[float], waiting: Iterable[float], at_once: int, left: float) -> float:
    """Seconds that a training may take so that every later one keeps its planned share of the time that is `left`.

    A training that is late leaves out its last epochs; it takes no time from the others, and no fold is lost.
    """
    return own * left / makespan([own, *waiting], at_once, busy)


def member_of(one: Worth, seed: int, stretch: float, speed: Speed, at_once: int, task: Task, views: str) -> Member:
    """One run with `stretch` times its epochs."""
    epochs = max(1, math.floor(one.epochs * stretch))
    train = epochs * task.train_rows / (speed.images_per_second / at_once)
    predict = task.predicted_rows * VIEWS[views] / (speed.predicted_per_second / at_once)
    saves = (1 + train / SAVE_SECONDS) * speed.save_seconds
    return Member(one.recipe, seed, epochs, speed.start_seconds + train + saves + predict, predict)


def plans_of(
    chosen: Sequence[Worth],
    seeds: int,
    views: str,
    at_once: int,
    speeds: Mapping[str, Speed],
    task: Task,
    given: float,
    first: Worth | None = None,
    shipped: bool = False,
) -> Plan | None:
    """The longest plan of `chosen` recipes that fits into `given` seconds; None if one epoch does not fit.

    first: the recipe of a first round, which makes the soft targets of the others; None for a single round. shipped:
    the network that ships makes them.
    """
    by_name = {one.recipe: one for one in chosen}

    def made(stretch: float) -> Plan:
        members = tuple(
            member_of(one, seed, stretch, speeds[one.recipe], at_once, task, views)
            for seed in range(seeds)
            for one in chosen
        )
        valued = [(by_name[member.recipe], by_name[member.recipe].after(member.epochs)) for member in members]
        taught = shipped or first is not None
        seconds = makespan((member.seconds for member in members for _ in range(task.folds)), at_once)
        seconds += task.targets_seconds if taught else 0.0
        accuracy, teacher = worth.of_blend(valued, views, soft_targets=taught), None
        if first is not None:
            teacher = member_of(first, 0, stretch, speeds[first.recipe], at_once, task, views)
            seconds += makespan([teacher.seconds] * task.folds, at_once)
        return Plan(members, views, at_once, seconds, accuracy, teacher, shipped)

    limit = (1 - RESERVE) * (given - task.end_seconds - task.end_seconds_each * seeds * len(chosen))
    low, high = 0.0, worth.MOST_STRETCH
    best = made(low)
    if best.train_seconds > limit:
        return None
    if (longest := made(high)).train_seconds <= limit:
        return longest
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if (found := made(middle)).train_seconds <= limit:
            low, best = middle, found
        else:
            high = middle
    return best


def teacher_of(chosen: Sequence[Worth], there: Sequence[Worth]) -> Worth | None:
    """The recipe of a first round: `worth.TEACHER` if it is there, else the most accurate of `chosen`.

    None if no recipe of `chosen` can be trained on labels.
    """
    able = [one for one in there if one.recipe == worth.TEACHER] or [one for one in chosen if one.on_labels]
    return max(able, key=lambda one: one.accuracy, default=None)


def choose(
    candidates: Sequence[Worth],
    speeds: Mapping[str, Speed],
    rates: Mapping[int, float],
    task: Task,
    seconds: float,
    soft_targets: bool = False,
    shipped: bool = False,
) -> Plan:
    """The best plan that fits into `seconds`.

    Args:
        candidates: the recipes; those without a speed are left out.
        speeds: measured, all with the same number side by side.
        rates: for each number of trainings side by side, images per second of the first recipe.
        soft_targets: plans with a second round on soft targets are allowed, where both rounds have all their epochs.
        shipped: all members are trained on soft targets by the network that ships, in one round.

    Raises:
        FerKitError: not even one epoch of the fastest recipe fits.
    """
    there = [one for one in candidates if one.recipe in speeds]
    best: Plan | None = None
    least = math.inf
    sets = [chosen for count in range(1, min(len(there), MOST_RECIPES) + 1) for chosen in combinations(there, count)]
    for at_once, rate in rates.items():
        scaled = {one.recipe: rescale(speeds[one.recipe], at_once, rate, rates) for one in there}
        for chosen, views, second in product(sets, VIEWS, sorted({False, soft_targets and not shipped})):
            first = teacher_of(chosen, there) if second else None
            if first is None and not shipped and (second or not all(one.on_labels for one in chosen)):
                continue
            for seeds in range(1, MOST_SEEDS + 1):
                found = plans_of(chosen, seeds, views, at_once, scaled, task, seconds, first, shipped)
                if found is None:
                    break
                whole = all(m.epochs >= w.epochs for m, w in zip(found.members, chosen, strict=False))
                if (whole or not second) and (best is None or found.accuracy > best.accuracy):
                    best = found
                if not whole:
                    break  # further seeds only for members that have all their epochs
        for one in there:
            member = member_of(one, 0, 0.0, scaled[one.recipe], at_once, task, "flip")
            needed = makespan([member.seconds] * task.folds, at_once) / (1 - RESERVE)
            least = min(least, needed + task.end_seconds + task.end_seconds_each)
    if best is None:
        raise FerKitError(
            f"{seconds / 60:.1f} minutes are left for training and blending, but {task.folds} folds of one epoch of "
            f"the fastest recipe take about {least / 60:.1f}; give more --minutes"
        )
    return best


def rescale(speed: Speed, at_once: int, rate: float, rates: Mapping[int, float]) -> Speed:
    """The speed with another number side by side: throughput changes as that of the first recipe."""
    factor = rate / rates[speed.at_once]
    return Speed(
        at_once,
        speed.images_per_second * factor,
        speed.predicted_per_second * factor,
        speed.start_seconds * (at_once / speed.at_once) / factor if at_once > speed.at_once else speed.start_seconds,
        speed.save_seconds,
    )


def feasible(one: Worth, flops: float, rate: float, task: Task, seconds: float) -> bool:
    """Whether it makes sense to measure a recipe: a tenth of its epochs could fit, with thrice the FLOPs a second.

    All epochs must fit if the recipe is for a second round alone.

    flops: of the recipe, an image. rate: FLOPs a second of the first recipe, all processes together.
    """
    images = max(1.0, (0.1 if one.on_labels else 1.0) * one.epochs) * task.train_rows * task.folds
    return images * flops / (3 * rate) <= seconds
