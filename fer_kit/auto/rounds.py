"""The trainings of a plan: one round on the labels, or two, the second one on soft targets of the first."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_kit.auto import plan, record
from fer_kit.auto.plan import Member, Plan, Task
from fer_kit.auto.pool import Pool
from fer_kit.auto.record import Record
from fer_kit.auto.steps import Places, shell
from fer_kit.errors import FerKitError
from fer_kit.runs import folders, soft_targets
from fer_kit.sweep.live import Live
from fer_kit.sweep.progress import look, seconds_left
from fer_kit.sweep.runner import Limits, Reporter, Runner, Stint, forget_failures
from fer_kit.sweep.training import Training

LATE_SECONDS, LATE_SHARE = 20.0, 0.05  # of the time for training: a training that is later than that is ended

Jobs = dict[Training, Member]


def run_of(member: Member, name: str, again: bool) -> tuple[str, str]:
    """The tag and the name of a run: `<recipe>-<name>`, or `<recipe>-<name>-again` of a second round."""
    tag = f"{name}-again" if again else name
    tag = f"{tag}-{member.seed}" if member.seed else tag
    return tag, folders.run_name(member.recipe, tag)


def training_of(
    member: Member,
    fold: int,
    name: str,
    views: str,
    weights: Mapping[str, str],
    targets: Path | None = None,
    again: bool = False,
) -> Training:
    """One fold of a run, as the runner starts it. targets: soft targets. again: it is in a second round."""
    tag, run_name = run_of(member, name, again)
    words = ["--recipe", member.recipe, "--set", f"epochs={member.epochs}", f"views={views}", f"seed={member.seed}"]
    words += [] if targets is None else [f"targets={targets.resolve()}"]
    words += ["--tag", tag, "--finish-at-limit", "--save-seconds", f"{plan.SAVE_SECONDS:g}"]
    words += ["--weights", weights[member.recipe]] if member.recipe in weights else []
    return Training(run_name, fold, tuple(words), member.seconds)


def rounds_of(chosen: Plan, folds: int, name: str, places: Places) -> list[Jobs]:
    """The trainings of each round; those of a second one are trained on soft targets of the first."""
    targets = soft_targets.path_of(places.runs, name)
    return [
        {
            training_of(
                member,
                fold,
                name,
                chosen.views,
                places.weights,
                targets if again or chosen.shipped else None,
                again,
            ): member
            for member in members
            for fold in range(folds)
        }
        for again, members in zip((False, True), chosen.rounds, strict=False)
    ]


def train(chosen: Plan, task: Task, pool: Pool, places: Places, kept: Record, name: str, deadline: float) -> None:
    """Train all rounds until `deadline`, in time.monotonic().

    Each round has its planned part of the time that is left, and each training its part of the time of its round.

    Raises:
        FerKitError: the teacher has not all its folds, or its soft targets cannot be written.
    """
    if chosen.shipped and not soft_targets.path_of(places.runs, name).exists():
        where = ["--data", str(places.data), "--runs", str(places.runs)]
        shell("ensembles.targets", name, "--shipped", *where)
    rounds = rounds_of(chosen, task.folds, name, places)
    every = [training for jobs in rounds for training in jobs]
    began = time.monotonic()
    stints: list[Stint] = []
    for number, jobs in enumerate(rounds):
        if number:
            [teacher] = complete(rounds[:1], task.folds, places)
            shell("ensembles.targets", name, "--from", teacher, "--runs", str(places.runs))
        own, *later = (unfinished_seconds(one, chosen.at_once, places.runs) for one in rounds[number:])
        now = time.monotonic()
        left = deadline - now - (task.targets_seconds if later else 0.0)
        runner = runner_of(jobs, chosen.at_once, pool, places, now + left * own / max(own + sum(later), 1e-9))
        try:
            run(runner, jobs, kept)
        finally:
            stints += runner.stints
            kept.content |= record.of_trainings(places.runs, every, stints, began, chosen.at_once, task.folds)


def unfinished_seconds(jobs: Jobs, at_once: int, runs: Path) -> float:
    """Planned seconds of the trainings that are not finished."""
    return plan.makespan([one.seconds for training, one in jobs.items() if not training.is_done(runs)], at_once)


def runner_of(jobs: Jobs, at_once: int, pool: Pool, places: Places, deadline: float) -> Runner:
    """A runner of one round, whose trainings leave out epochs so that all of them end at `deadline`."""
    members = jobs.values()
    predict = max(member.predict_seconds for member in members)
    late = max(LATE_SECONDS, LATE_SHARE * (deadline - time.monotonic()))
    ending = 1.2 * predict  # from the last epoch on
    limits = Limits(  # trainings leave out epochs from `deadline - ending` on, and are ended at `deadline + late`
        deadline + ending + 2 * late,
        2 * (ending + late),
        min(member.seconds / member.epochs for member in members),
    )

    def share(training: Training, left: float) -> float:
        found = [look(places.runs, child.training) for child in runner.running]
        known = seconds_left(found)
        busy = [known.get(one.training, jobs[one.training].seconds) for one in found]
        waiting = [jobs[other].seconds for other in runner.waiting]
        own = jobs[training].seconds
        whole = plan.allowance(own, busy, waiting, at_once, left + ending)
        return min(left, whole - jobs[training].predict_seconds)

    runner = Runner(
        jobs,
        places.runs,
        pool.slots,
        options=["--data", str(places.data), "--runs", str(places.runs)],
        limits=limits,
        reporter=Reporter(),
        launch=pool.launch,
        share=share,
    )
    return runner


def run(runner: Runner, jobs: Jobs, kept: Record) -> None:
    """Train one round, show how far it is, and print which trainings failed."""
    live = Live(runner, list(jobs))
    runner.reporter.say = live.say

    def meanwhile() -> None:
        live()
        kept.heartbeat()

    forget_failures(runner.runs, list(jobs))
    outcome = runner.run(meanwhile)
    for training, line in outcome.failed.items():
        print(f"failed    {training}: {line}", file=sys.stderr)


def complete(rounds: Sequence[Jobs], folds: int, places: Places) -> list[str]:
    """The runs of the last round that have all their folds; of the round before where there is none.

    Raises:
        FerKitError: no run of any round has all its folds.
    """
    known = folders.list_runs(places.runs)
    for jobs in reversed(rounds):
        names = list(dict.fromkeys(training.run for training in jobs))
        found = [run for run in names if run in known and folders.status(places.runs, run).complete]
        for run in names:
            if run not in found:
                print(f"left out  {run}: not all of its {folds} folds are finished")
        if found:
            if jobs is not rounds[-1]:
                print(f"takes     {', '.join(found)} in its place, trained on the labels")
            return found
    raise FerKitError(
        f"no run finished its {folds} folds; look into {places.runs / folders.SWEEPS / 'logs'}, or give more time "
        "with another --name"
    )


def described(chosen: Plan, name: str, folds: int, ending: float) -> list[str]:
    """The plan for people."""
    runs = "1 run" if len(chosen.members) == 1 else f"{len(chosen.members)} runs"
    before = "soft targets from a first round, then " if len(chosen.rounds) > 1 else ""
    before = "soft targets by the network that ships, then " if chosen.shipped else before
    lines = [f"plan      {before}{runs} of {folds} folds, {chosen.at_once} trainings at once, {chosen.views}"]
    for number, members in enumerate(chosen.rounds):
        for member in members:
            _, run_name = run_of(member, name, number > 0)
            lines.append(f"          {run_name}: {member.epochs} epochs, {member.seconds / 60:.1f} minutes a fold")
    minutes = f"training {chosen.train_seconds / 60:.1f} minutes, blend to report {ending / 60:.1f} minutes"
    return [*lines, f"          {minutes}"]
