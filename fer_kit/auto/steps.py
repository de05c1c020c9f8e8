"""The steps behind the plan: train, blend with its forecast, build and check the submission, report."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_kit import programs
from fer_kit.auto import plan, record
from fer_kit.auto.plan import Member, Plan, Task
from fer_kit.auto.pool import Pool
from fer_kit.auto.record import Record
from fer_kit.errors import FerKitError
from fer_kit.runs import folders
from fer_kit.sweep.live import Live
from fer_kit.sweep.progress import look, seconds_left
from fer_kit.sweep.runner import Limits, Outcome, Reporter, Runner, forget_failures
from fer_kit.sweep.training import Training

TWINS_SUFFIX = "-twins"  # of the blend that `blend --twins` writes beside the other one
LATE_SECONDS, LATE_SHARE = 20.0, 0.05  # of the time for training: a training that is later than that is ended


@dataclass(frozen=True)
class Places:
    """data: the competition's files. runs: the folder of runs. out: the submission file. weights: by recipe."""

    data: Path
    runs: Path
    out: Path
    weights: dict[str, str]


def shell(*words: str) -> None:
    """Run one of the project's commands, its output as it comes.

    Raises:
        FerKitError: it failed; it has said why.
    """
    if subprocess.run(programs.python("-m", *words), env=programs.environ(os.environ)).returncode:
        raise FerKitError(f"python -m {' '.join(words)} failed, see above; the same fer-kit auto command goes on there")


def training_of(member: Member, fold: int, name: str, views: str, weights: dict[str, str]) -> Training:
    """One fold of a run, as the runner starts it."""
    tag = f"{name}-{member.seed}" if member.seed else name
    words = ["--recipe", member.recipe, "--set", f"epochs={member.epochs}", f"views={views}", f"seed={member.seed}"]
    words += ["--tag", tag, "--finish-at-limit", "--save-seconds", f"{plan.SAVE_SECONDS:g}"]
    words += ["--weights", weights[member.recipe]] if member.recipe in weights else []
    return Training(folders.run_name(member.recipe, tag), fold, tuple(words), member.seconds)


def trainings_of(chosen: Plan, folds: int, name: str, weights: dict[str, str]) -> dict[Training, Member]:
    """All trainings of the plan."""
    return {
        training_of(member, fold, name, chosen.views, weights): member
        for member in chosen.members
        for fold in range(folds)
    }


def train(chosen: Plan, task: Task, pool: Pool, places: Places, kept: Record, name: str, deadline: float) -> Outcome:
    """Train until `deadline`, in time.monotonic(). Every training has its share of the time that is left."""
    jobs = trainings_of(chosen, task.folds, name, places.weights)
    predict = max(member.predict_seconds for member in chosen.members)
    began = time.monotonic()
    late = max(LATE_SECONDS, LATE_SHARE * (deadline - began))
    ending = 1.2 * predict  # from the last epoch on
    limits = Limits(  # trainings leave out epochs from `deadline - ending` on, and are ended at `deadline + late`
        deadline + ending + 2 * late,
        2 * (ending + late),
        min(member.seconds / member.epochs for member in chosen.members),
    )

    def share(training: Training, left: float) -> float:
        found = [look(places.runs, child.training) for child in runner.running]
        known = seconds_left(found)
        busy = [known.get(one.training, jobs[one.training].seconds) for one in found]
        waiting = [jobs[other].seconds for other in runner.waiting]
        own = jobs[training].seconds
        whole = plan.allowance(own, busy, waiting, chosen.at_once, left + ending)
        return min(left, whole - jobs[training].predict_seconds)

    reporter = Reporter()
    runner = Runner(
        jobs,
        places.runs,
        pool.slots,
        options=["--data", str(places.data), "--runs", str(places.runs)],
        limits=limits,
        reporter=reporter,
        launch=pool.launch,
        share=share,
    )
    live = Live(runner, list(jobs))
    reporter.say = live.say

    def meanwhile() -> None:
        live()
        kept.heartbeat()

    forget_failures(places.runs, list(jobs))
    try:
        outcome = runner.run(meanwhile)
    finally:
        done = record.trainings_of(places.runs, list(jobs), runner.stints, began)
        kept.content["trainings"] = done
        kept.content |= record.environment_of(places.runs, list(jobs))
        kept.content["runs"] = record.runs_of(done, task.folds)
        kept.content["shares"] = record.shares_of(done, chosen.at_once, time.monotonic() - began)
    for training, line in outcome.failed.items():
        print(f"failed    {training}: {line}", file=sys.stderr)
    return outcome


def complete(chosen: Plan, folds: int, name: str, places: Places) -> list[str]:
    """The runs of the plan that have all their folds.

    Raises:
        FerKitError: there is none.
    """
    names = list(dict.fromkeys(training.run for training in trainings_of(chosen, folds, name, places.weights)))
    known = folders.list_runs(places.runs)
    found = [run for run in names if run in known and folders.status(places.runs, run).complete]
    for run in names:
        if run not in found:
            print(f"left out  {run}: not all of its {folds} folds are finished")
    if not found:
        raise FerKitError(
            f"no run finished its {folds} folds; look into {places.runs / folders.SWEEPS / 'logs'}, or give more time "
            "with another --name"
        )
    return found


def blend_and_build(members: Sequence[str], places: Places, kept: Record, name: str, twins: str) -> None:
    """Blend with its forecast, build the submission, check it, and write the report."""
    where = ["--runs", str(places.runs), "--data", str(places.data)]
    with kept.part("blend"):
        shell("ensembles.blend", name, "--members", *members, "--twins", twins, "--force", *where)
    source = name if twins == "off" else name + TWINS_SUFFIX
    kept.content["blend"] = record.of_blend(places.runs, source)
    with kept.part("build"):
        shell("submissions", "build", source, "--out", str(places.out), "--force", *where)
    with kept.part("check"):
        shell("submissions", "check", str(places.out), "--data", str(places.data))
    kept.content["submission"] = str(places.out)
    with kept.part("report"):
        shell("fer_kit.report", *where)


def described(chosen: Plan, name: str, folds: int, ending: float) -> list[str]:
    """The plan for people."""
    runs = "1 run" if len(chosen.members) == 1 else f"{len(chosen.members)} runs"
    lines = [f"plan      {runs} of {folds} folds, {chosen.at_once} trainings at once, {chosen.views}"]
    for member in chosen.members:
        run = training_of(member, 0, name, chosen.views, {}).run
        lines.append(f"          {run}: {member.epochs} epochs, {member.seconds / 60:.1f} minutes a fold")
    total = chosen.train_seconds
    return [*lines, f"          training {total / 60:.1f} minutes, blend to report {ending / 60:.1f} minutes"]
