"""The trainings of a record run, by the runner of sweeps: a fixed number of slots, nothing after the deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_kit.files import atomic
from fer_kit.runs import folders as runs
from fer_kit.sweep.runner import Limits, Outcome, Runner
from fer_kit.sweep.slots import Slot
from fer_kit.sweep.training import Training
from tests.benchmarks.bench_record import ROOT, threads_each
from tests.benchmarks.record_plan import Job

GRACE_SECONDS = 10.0  # half of it lies between the trainings' own time limit and the kill


@dataclass(frozen=True)
class Place:
    """Where the trainings read and write, on which device, and from which weights (by recipe) some of them start."""

    data: Path
    runs: Path
    device: str
    weights: Mapping[str, str] = field(default_factory=dict)


def tag_of(job: Job) -> str:
    """What names the run beside its recipe: the epochs are not the recipe's own."""
    return "record" if job.seed == 0 else f"record-seed{job.seed}"


def run_of(job: Job) -> str:
    """The run's name."""
    return runs.run_name(job.recipe, tag_of(job))


def training_of(job: Job, place: Place) -> Training:
    """The job as the sweep runs it."""
    words = ["--recipe", job.recipe, "--set", f"epochs={job.epochs}", f"seed={job.seed}", "--tag", tag_of(job)]
    words += ["--weights", place.weights[job.recipe]] if job.recipe in place.weights else []
    return Training(run_of(job), job.fold, tuple(words))


def train_all(
    jobs: Sequence[Job], at_once: int, place: Place, deadline: float, module: str = "fer_kit.train"
) -> list[dict[str, Any]]:
    """Run the jobs in `at_once` slots until `deadline` (time.monotonic()); one record a job, in order of their end.

    Each says the job, its slot, when it began and ended in seconds from now, and how: "finished", "failed" with the
    last line of its log, or "out of time". Jobs that found no slot in time are recorded as "not begun".
    """
    began = time.monotonic()
    job_of = {training_of(job, place): job for job in jobs}
    environ = {**os.environ, "OMP_NUM_THREADS": threads_each(at_once)}
    runner = Runner(
        job_of,
        place.runs,
        [Slot(place.device, environ)] * at_once,
        options=["--data", str(place.data), "--runs", str(place.runs), "--device", place.device],
        limits=Limits(deadline + GRACE_SECONDS, GRACE_SECONDS),
        cwd=ROOT,
        module=module,
    )
    outcome = runner.run()
    stints = {stint.training: stint for stint in runner.stints}  # the last one of each
    done = []
    for training, stint in stints.items():
        job = job_of[training]
        times = {"slot": stint.slot, "from": round(stint.began - began, 1), "to": round(stint.ended - began, 1)}
        done.append({**vars(job), **times, **end_of(training, place, outcome)})
        print(tell(done[-1], len(done), len(jobs)), flush=True)
    return done + [{**vars(job), "end": "not begun"} for training, job in job_of.items() if training not in stints]


def end_of(training: Training, place: Place, outcome: Outcome) -> dict[str, Any]:
    """How a training ended, and what its run folder says."""
    if training in outcome.failed:
        return {"end": "failed", "last_line": outcome.failed[training][:300]}
    if training in outcome.stopped:
        return {"end": "out of time"}
    result = atomic.read_json(training.folder(place.runs) / runs.RESULT)
    kept = ("oof_accuracy", "oof_log_loss", "train_seconds", "predict_seconds", "images_per_second")
    return {"end": "finished", **{name: result[name] for name in kept}}


def tell(record: dict[str, Any], count: int, jobs: int) -> str:
    """One ended job in a line."""
    score = f"{record['oof_accuracy']:.2%}" if "oof_accuracy" in record else record["end"]
    words = f"  {record['last_line']}" if "last_line" in record else ""
    seed = f" seed {record['seed']}" if record["seed"] else ""
    return f"{count:>3}/{jobs}  {record['to']:>6.0f} s  {record['recipe']} fold {record['fold']}{seed}: {score}{words}"
