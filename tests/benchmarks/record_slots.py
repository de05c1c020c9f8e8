"""Trainings side by side on one device: a fixed number of slots, jobs in order, nothing running after the deadline."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_kit.files import atomic
from fer_kit.runs import folders as runs
from tests.benchmarks.bench_record import ROOT, threads_each
from tests.benchmarks.record_plan import Job

GRACE_SECONDS = 5.0  # between the trainings' own time limit and the kill


@dataclass(frozen=True)
class Place:
    """Where the trainings read and write, on which device, and from which weights (by recipe) some of them start."""

    data: Path
    runs: Path
    device: str
    logs: Path
    weights: Mapping[str, str] = field(default_factory=dict)


def tag_of(job: Job) -> str:
    """What names the run beside its recipe: the epochs are not the recipe's own."""
    return "record" if job.seed == 0 else f"record-seed{job.seed}"


def run_of(job: Job) -> str:
    """The run's name."""
    return runs.run_name(job.recipe, tag_of(job))


def command(job: Job, place: Place, seconds: float) -> list[str]:
    """The training's command line; it stops by itself, at an epoch's end, after `seconds`."""
    words = [sys.executable, "-m", "fer_kit.train", "--recipe", job.recipe, "--fold", str(job.fold)]
    words += ["--set", f"epochs={job.epochs}", f"seed={job.seed}", "--tag", tag_of(job)]
    words += ["--weights", place.weights[job.recipe]] if job.recipe in place.weights else []
    words += ["--data", str(place.data), "--runs", str(place.runs), "--device", place.device]
    return [*words, "--limit-minutes", f"{seconds / 60:.3f}"]


def train_all(jobs: Sequence[Job], at_once: int, place: Place, deadline: float) -> list[dict[str, Any]]:
    """Run the jobs in `at_once` slots until `deadline` (time.monotonic()); one record a job, in order of their end.

    Each says the job, its slot, when it began and ended in seconds from now, and how: "finished", "failed" with the
    last line of its log, or "out of time". Jobs that found no slot in time are recorded as "not begun".
    """
    began = time.monotonic()
    waiting, running, done = list(jobs), {}, []
    threads = threads_each(at_once)
    place.logs.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            left = deadline - time.monotonic()
            for slot in sorted(set(range(at_once)) - set(running)):
                if waiting and left > 0:
                    job = waiting.pop(0)
                    log = (place.logs / f"{run_of(job)}-fold{job.fold}.txt").open("w")
                    child = subprocess.Popen(
                        command(job, place, left),
                        cwd=ROOT,
                        env=dict(os.environ) | {"OMP_NUM_THREADS": threads},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                    running[slot] = (job, child, log, time.monotonic() - began)
            for slot, (job, child, log, start) in list(running.items()):
                if child.poll() is None and left > -GRACE_SECONDS:
                    continue
                child.kill()
                child.wait()
                log.close()
                del running[slot]
                done.append(end_of(job, place, Path(log.name), slot, start, time.monotonic() - began))
                print(tell(done[-1], len(done), len(jobs)), flush=True)
            if left <= 0 and not running:
                break
            time.sleep(0.05)
    finally:
        for _, child, log, _ in running.values():
            child.kill()
            child.wait()
            log.close()
    return done + [{**vars(job), "end": "not begun"} for job in waiting]


def end_of(job: Job, place: Place, log: Path, slot: int, start: float, end: float) -> dict[str, Any]:
    """How a job ended, read from its run folder."""
    record: dict[str, Any] = {**vars(job), "slot": slot, "from": round(start, 1), "to": round(end, 1)}
    folder = runs.fold_folder(place.runs, run_of(job), job.fold)
    if runs.is_finished(folder):
        result = atomic.read_json(folder / runs.RESULT)
        kept = ("oof_accuracy", "oof_log_loss", "train_seconds", "predict_seconds", "images_per_second")
        return record | {"end": "finished", **{name: result[name] for name in kept}}
    if (folder / "last.pt").exists():
        return record | {"end": "out of time"}
    lines = log.read_text().strip().splitlines()
    return record | {"end": "failed", "last_line": lines[-1][:300] if lines else ""}


def tell(record: dict[str, Any], count: int, jobs: int) -> str:
    """One ended job in a line."""
    score = f"{record['oof_accuracy']:.2%}" if "oof_accuracy" in record else record["end"]
    words = f"  {record['last_line']}" if "last_line" in record else ""
    seed = f" seed {record['seed']}" if record["seed"] else ""
    return f"{count:>3}/{jobs}  {record['to']:>6.0f} s  {record['recipe']} fold {record['fold']}{seed}: {score}{words}"
