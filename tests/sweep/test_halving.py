"""Successive halving: who goes on does not depend on the order of the trainings, and nobody goes on in vain."""

from __future__ import annotations

import random

import pytest

from fer_kit.sweep.search.halving import Job, Standing, default_rungs, epochs_in_all, jobs, kept


def worked_off(trials, rungs, workers, seed, fails=()):
    """Trains `trials` trials with random durations; gives the rungs that each trial has reached, and the jobs."""
    rng = random.Random(seed)
    scores = {number: [(number * 7919 % 101) / 101 + rung / 1000 for rung in range(rungs)] for number in range(trials)}
    reached: dict[int, int] = {}
    failed: set[int] = set()
    running: list[Job] = []
    done: list[Job] = []
    while True:
        standings = [Standing(n, tuple(scores[n][:r]), n in failed) for n, r in sorted(reached.items())]
        open_jobs = [job for job in jobs(standings, trials, rungs) if job not in running]
        while len(running) < workers and (open_jobs or len(reached) < trials):
            if open_jobs:
                running.append(open_jobs.pop(0))
            else:
                reached[len(reached)] = 0
                running.append(Job(len(reached) - 1, 0))
        if not running:
            return reached, done
        job = running.pop(rng.randrange(len(running)))
        done.append(job)
        if job.trial in fails and job.rung == 0:
            failed.add(job.trial)
        else:
            assert reached[job.trial] == job.rung
            reached[job.trial] += 1


@pytest.mark.parametrize(("trials", "counts"), [(30, [30, 10, 3]), (9, [9, 3, 1]), (2, [2, 1, 1]), (1, [1, 1, 1])])
def test_the_promoted_trials_are_the_same_with_any_number_of_workers(trials, counts):
    expected, _ = worked_off(trials, 3, 1, 0)
    for workers in (1, 2, 5, 40):
        for seed in range(10):
            reached, done = worked_off(trials, 3, workers, seed)
            assert reached == expected
            assert [sum(job.rung == rung for job in done) for rung in range(3)] == counts
            assert len(set(done)) == len(done)
    best = max(range(trials), key=lambda number: number * 7919 % 101)
    assert expected[best] == 3


def test_a_trial_goes_on_before_all_others_are_scored():
    scored = [Standing(number, (number / 10,)) for number in range(8)]
    assert jobs(scored, 9, 2) == [Job(6, 1), Job(7, 1)]  # one is to come: the third place is open
    assert jobs([*scored, Standing(8)], 9, 2) == [Job(6, 1), Job(7, 1), Job(8, 0)]


def test_failed_trials_are_passed_over():
    for workers in (1, 3):
        reached, done = worked_off(9, 3, workers, 1, fails=range(8))
        assert reached[8] == 3 and len(done) == 11  # the one that is left goes to the end
    assert jobs([Standing(number, failed=True) for number in range(9)], 9, 3) == []


def test_more_trials_can_be_added():
    done = [Standing(n, (n / 10, n / 10) if n > 5 else (n / 10,)) for n in range(9)]
    assert jobs(done, 9, 2) == []
    more = [*done, *(Standing(n, (0.75,)) for n in range(9, 18))]
    assert [job.trial for job in jobs(more, 18, 2)] == [9, 10, 11, 12, 13]  # after 8: six are kept
    assert {job.rung for job in jobs(more, 18, 2)} == {1}


def test_rungs_and_their_cost():
    assert default_rungs(40) == (4, 13, 40) and default_rungs(1) == (1,) and default_rungs(3) == (1, 3)
    assert [kept(30, rung) for rung in (0, 1)] == [10, 3] and kept(2, 1) == 1
    assert epochs_in_all(30, (4, 13, 40)) == 30 * 4 + 10 * 9 + 3 * 27
