"""The planner on simulated clocks: two cores, and a GPU with many slots."""

from __future__ import annotations

import dataclasses
import heapq
import json
from pathlib import Path

import pytest

from fer_kit.auto import plan, record, worth
from fer_kit.auto.plan import Plan, Speed, Task
from fer_kit.auto.worth import WORTH, Worth
from fer_kit.config import recipes
from fer_kit.engine.views import VIEWS
from fer_kit.errors import FerKitError

TASK = Task(5, 22_967, 5_742 + 7_178, end_seconds=8.0, end_seconds_each=2.0)
BY_NAME = {one.recipe: one for one in WORTH}
# Two cores of an Intel Xeon with AMX (record_cpu.json), and what a GPU might do.
TWO_CORES = {
    "vgg_small": Speed(2, 1135.0, 4500.0, 4.0, 0.02),
    "air_small": Speed(2, 1100.0, 3000.0, 4.0, 0.03),
    "vgg_tiny": Speed(2, 1000.0, 4500.0, 4.0, 0.02),
    "residual_tiny": Speed(2, 1800.0, 6000.0, 4.0, 0.02),
}
# Two cores of an AMD EPYC with bf16 (fer_kit.config.results.CPU_MS).
EPYC = {
    "vgg_small": Speed(2, 2290.0, 9000.0, 4.0, 0.02),
    "air": Speed(2, 957.0, 2900.0, 4.0, 0.03),
    "vgg_medium": Speed(2, 837.0, 2500.0, 4.0, 0.03),
    "air_large": Speed(2, 297.0, 900.0, 4.0, 0.1),
}
GPU = {
    "vgg_small": Speed(10, 90_000.0, 200_000.0, 12.0, 0.1),
    "air_small": Speed(10, 60_000.0, 150_000.0, 12.0, 0.1),
    "vgg": Speed(10, 45_000.0, 90_000.0, 12.0, 0.3),
    "wide": Speed(10, 25_000.0, 60_000.0, 12.0, 0.3),
    "residual": Speed(10, 40_000.0, 80_000.0, 12.0, 0.2),
}
RATES_OF_GPU = {1: 15_000.0, 5: 60_000.0, 10: 90_000.0}


def chosen(speeds: dict[str, Speed], rates: dict[int, float], seconds: float, task: Task = TASK) -> Plan:
    return plan.choose(WORTH, speeds, rates, task, seconds)


def simulate(found: Plan, task: Task, seconds: float, slowness: float) -> tuple[dict[tuple[str, int], int], float]:
    """Epochs of each run's shortest fold, and the end of the last fold, where all takes `slowness` times as long."""
    waiting = sorted((m for m in found.members for _ in range(task.folds)), key=lambda m: -m.seconds)
    running: list[tuple[float, int]] = []
    ends: dict[int, float] = {}
    epochs: dict[tuple[str, int], int] = {}
    now, number = 0.0, 0
    while waiting or running:
        while waiting and len(running) < found.at_once:
            one = waiting.pop(0)
            busy = [end - now for end, _ in running]
            left = seconds - now
            allowed = plan.allowance(one.seconds, busy, [m.seconds for m in waiting], found.at_once, left)
            an_epoch = slowness * (one.seconds - one.predict_seconds) / one.epochs
            trained = max(1, min(one.epochs, int((allowed - one.predict_seconds) / an_epoch)))
            key = (one.recipe, one.seed)
            epochs[key] = min(epochs.get(key, one.epochs), trained)
            heapq.heappush(running, (now + trained * an_epoch + slowness * one.predict_seconds, number))
            number += 1
        now, first = heapq.heappop(running)
        ends[first] = now
    return epochs, max(ends.values())


@pytest.mark.parametrize("minutes", [6, 20, 60, 120, 600])
@pytest.mark.parametrize("slowness", [0.8, 1.0, 1.3])
def test_two_cores(minutes, slowness):
    seconds = 60.0 * minutes
    found = chosen(TWO_CORES, {2: 1135.0}, seconds)
    given = seconds - TASK.end_seconds - TASK.end_seconds_each * len(found.members)
    assert found.train_seconds <= (1 - plan.RESERVE) * given
    if minutes <= 120:
        assert found.train_seconds > 0.85 * given  # whole epochs and the last round leave a little
    epochs, ended = simulate(found, TASK, given, slowness)
    assert set(epochs) == {(member.recipe, member.seed) for member in found.members}  # no recipe is lost
    assert ended <= given * (1.01 if slowness <= 1 else 1.06)
    assert min(epochs[m.recipe, m.seed] / m.epochs for m in found.members) > (0.99 if slowness <= 1 else 0.6)


@pytest.mark.parametrize(("hours", "members"), [(1, 1), (4, 2)])
def test_no_single_recipe_that_fits_is_better(hours, members):
    """Two members at half length are no better than one at full length; with time for both they are."""
    found = chosen(TWO_CORES, {2: 1135.0, 5: 1060.0}, 3600.0 * hours)
    assert len(found.members) >= members and found.views == "rotations"
    for one in TWO_CORES:
        alone = plan.plans_of([BY_NAME[one]], 1, "rotations", 2, TWO_CORES, TASK, 3600.0 * hours)
        assert alone is not None and alone.accuracy <= found.accuracy
        assert members == 1 or alone.accuracy < found.accuracy


def test_minutes_are_for_few_epochs_of_a_small_recipe():
    found = chosen(TWO_CORES, {2: 1135.0}, 360.0)
    assert len(found.members) == 1 and found.members[0].epochs <= 4
    with pytest.raises(
        FerKitError, match=r"0\.5 minutes are left .* 5 folds of one epoch .* about [\d.]+; .*--minutes"
    ):
        chosen(TWO_CORES, {2: 1135.0}, 30.0)


@pytest.mark.parametrize("minutes", [4, 10, 60])
def test_a_gpu_with_many_slots(minutes):
    found = chosen(GPU, RATES_OF_GPU, 60.0 * minutes)
    jobs = len(found.members) * TASK.folds
    assert found.at_once in (5, 10) and plan.filled(jobs, found.at_once) == 1.0
    assert len(found.members) >= 2
    assert max(m.epochs / BY_NAME[m.recipe].epochs for m in found.members) <= worth.MOST_STRETCH
    epochs, ended = simulate(found, TASK, 60.0 * minutes, 1.2)
    assert set(epochs) == {(member.recipe, member.seed) for member in found.members}
    assert ended <= 60.0 * minutes * 1.06
    if minutes == 10:  # most of the slots' time is steps
        steps = sum(m.seconds - m.predict_seconds - GPU[m.recipe].start_seconds for m in found.members) * TASK.folds
        assert steps / (found.at_once * 600.0) > 0.75


def test_time_to_spare_buys_seeds():
    found = chosen(GPU, RATES_OF_GPU, 24 * 3600.0)
    assert max(member.seed for member in found.members) == plan.MOST_SEEDS - 1


@pytest.mark.parametrize(("hours", "second"), [(1, False), (6, True), (24, True)])
def test_soft_targets_where_both_rounds_have_all_their_epochs(hours, second):
    found = plan.choose(WORTH, TWO_CORES, {2: 1135.0}, TASK, 3600.0 * hours, True)
    assert (found.teacher is not None) == second
    assert all(member.epochs >= BY_NAME[member.recipe].epochs for member in found.members) or not second
    if found.teacher is not None:  # without air, the most accurate member
        best = max(found.members, key=lambda member: BY_NAME[member.recipe].after(member.epochs))
        assert found.teacher == best
        students = plan.makespan([member.seconds for member in found.members for _ in range(5)], 2)
        assert found.train_seconds == pytest.approx(students + plan.makespan([best.seconds] * 5, 2))
    assert chosen(TWO_CORES, {2: 1135.0}, 3600.0 * hours).teacher is None
    kept = json.loads(json.dumps(record.plan_to_json(found)))
    assert record.plan_from_json(kept, Path("x.json")) == found
    kept.pop("teacher")  # of an earlier version
    assert record.plan_from_json(kept, Path("x.json")) == dataclasses.replace(found, teacher=None)


def test_the_network_that_ships_teaches_all_members_in_one_round():
    task = dataclasses.replace(TASK, targets_seconds=300.0)

    def planned(hours: float, shipped: bool) -> Plan:
        return plan.choose(WORTH, EPYC, {2: 2290.0, 5: 2200.0}, task, 3600.0 * hours, True, shipped)

    for hours in (1, 8):
        found = planned(hours, True)
        assert found.shipped and found.teacher is None and found.rounds == (found.members,)
        trainings = plan.makespan([m.seconds for m in found.members for _ in range(5)], found.at_once)
        assert found.train_seconds == pytest.approx(300 + trainings)
        kept = json.loads(json.dumps(record.plan_to_json(found)))
        assert record.plan_from_json(kept, Path("x.json")) == found
        assert found.accuracy >= planned(hours, False).accuracy
    assert "air_large" in {member.recipe for member in planned(8, True).members}


def test_a_recipe_measured_on_soft_targets_alone_is_trained_in_a_second_round_alone():
    def planned(hours: float, soft: bool) -> Plan:
        return plan.choose(WORTH, EPYC, {2: 2290.0, 5: 2200.0}, TASK, 3600.0 * hours, soft)

    assert not BY_NAME["air_large"].on_labels
    for hours in (1, 3, 8, 24):
        labels = planned(hours, False)
        assert labels.teacher is None and "air_large" not in {member.recipe for member in labels.members}
    short, long = planned(1, True), planned(8, True)
    assert short.teacher is None and "air_large" not in {member.recipe for member in short.members}
    assert long.teacher is not None and long.teacher.recipe == "air"
    assert long.members[0].recipe == "air_large" and long.accuracy > planned(8, False).accuracy
    large = [BY_NAME["air_large"]]
    with pytest.raises(FerKitError, match="one epoch of the fastest recipe"):
        plan.choose(large, EPYC, {2: 2290.0}, TASK, 8 * 3600.0, False)
    named = [dataclasses.replace(large[0], on_labels=True)]
    assert plan.choose(named, EPYC, {2: 2290.0}, TASK, 8 * 3600.0, False).members[0].recipe == "air_large"


def test_a_recipe_for_a_second_round_is_measured_where_all_its_epochs_fit():
    for hours, fits in ((1, False), (8, True)):
        assert plan.feasible(BY_NAME["air_large"], 0.823e9, 2290 * 0.059e9, TASK, 3600.0 * hours) == fits
    assert plan.feasible(BY_NAME["air"], 0.206e9, 2290 * 0.059e9, TASK, 3600.0)


def test_checkpoints_cost_time():
    slow = {
        name: Speed(2, one.images_per_second, one.predicted_per_second, 4.0, 30.0) for name, one in TWO_CORES.items()
    }
    assert chosen(slow, {2: 1135.0}, 3600.0).accuracy < chosen(TWO_CORES, {2: 1135.0}, 3600.0).accuracy


@pytest.mark.parametrize(
    ("cores", "gpus", "folds", "seconds", "expected"),
    [
        (2, 0, 5, 600, [2]),
        (2, 0, 5, 3600, [2, 5]),
        (16, 0, 5, 600, [5, 10, 15, 16]),
        (16, 1, 5, 600, [1, 5, 10]),
        (4, 1, 5, 600, [1]),
        (64, 8, 5, 600, [8, 10]),
    ],
)
def test_numbers_that_the_folds_fill(cores, gpus, folds, seconds, expected):
    assert plan.numbers(cores, gpus, folds, seconds) == expected


def test_slots_and_shares():
    assert plan.makespan([3, 3, 3, 3, 3], 2) == 9 and plan.makespan([3] * 5, 5) == 3
    assert plan.makespan([4.0], 2, busy=[10.0, 1.0]) == 10.0
    assert plan.filled(5, 2) == pytest.approx(5 / 6) and plan.filled(10, 5) == 1.0
    assert plan.allowance(10.0, [], [10.0], 1, 20.0) == 10.0  # in time
    assert plan.allowance(10.0, [], [10.0], 1, 16.0) == 8.0  # late: both lose the same part
    assert plan.allowance(10.0, [5.0], [10.0], 2, 30.0) == 20.0  # the next one begins in the slot that is free first


def test_the_table_of_recipes_is_that_of_recipes_and_views():
    assert all(one.recipe in recipes.RECIPES for one in WORTH)
    assert {name: len(VIEWS[name]) for name in plan.VIEWS} == plan.VIEWS
    assert set(plan.VIEWS) == set(worth.VIEW_GAINS)


def test_worth_grows_with_epochs_and_equal_members():
    one, other = Worth("a", "a", 40, 65.0), Worth("b", "b", 40, 65.0)
    rising = [one.after(epochs) for epochs in (1, 5, 20, 40, 80, 160)]
    assert rising == sorted(rising) and rising[3] == 65.0 and rising[4] == rising[5]
    alone = worth.of_blend([(one, 65.0)], "flip")
    assert (
        alone
        < worth.of_blend([(one, 65.0), (one, 65.0)], "flip")
        < worth.of_blend([(one, 65.0), (other, 65.0)], "flip")
    )
    assert worth.of_blend([(one, 65.0), (other, 50.0)], "flip") == alone
