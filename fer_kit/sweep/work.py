"""Be a worker of a sweep or a search, with the options of `options.add_worker`, and tell how the trainings ended."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.sweep import slots
from fer_kit.sweep.live import Live, duration
from fer_kit.sweep.remote.cluster import Cluster, need_ray
from fer_kit.sweep.remote.runner import RayRunner, RaySearchRunner
from fer_kit.sweep.runner import Limits, Outcome, Reporter, Runner
from fer_kit.sweep.search import results
from fer_kit.sweep.search.worker import SearchRunner, Trials
from fer_kit.sweep.slots import Slot
from fer_kit.sweep.training import Training

RESERVE_SHARE, MOST_RESERVE_SECONDS = 0.1, 300.0  # of --limit-minutes, for predictions after the last epoch


def check(args: argparse.Namespace) -> None:
    """Refuse options of a worker that are out of range."""
    slots.check(args.at_once)
    if address_of(args) is None:
        slots.check_device(args.device)
    elif args.device not in ("auto", "cpu", "cuda"):
        raise FerKitError(f"--device {args.device} with --ray: give auto, cpu or cuda; Ray chooses the GPU")
    else:
        need_ray()
    if args.limit_minutes is not None and not args.limit_minutes > 0:
        raise FerKitError(f"--limit-minutes {args.limit_minutes:g}: give a number above 0")


def train(trainings: Sequence[Training], args: argparse.Namespace, data: Path) -> int:
    """Be a worker for `trainings`; the exit code."""
    reporter = Reporter()
    with _machines(args, data, len(trainings)) as (cluster, chosen):
        runner = Runner(trainings, args.runs, chosen, **_options(args, data, reporter))
        if cluster is not None:
            runner = RayRunner(cluster, trainings, args.runs, chosen, **_options(args, None, reporter))
        live = Live(runner, trainings)
        outcome, seconds = _run(runner, live, reporter)
    return tell(outcome, live, seconds)


@contextlib.contextmanager
def _machines(args: argparse.Namespace, data: Path, trainings: int) -> Iterator[tuple[Cluster | None, list[Slot]]]:
    """The Ray cluster, if one is asked for, and the slots there or on this machine."""
    if address_of(args) is None:
        yield None, slots.choose(args.device, args.at_once, trainings)
        return
    with Cluster(args.ray, args.runs, data, args.device) as cluster:
        chosen = cluster.slots(args.at_once, trainings)
        print(f"Ray cluster {args.ray}: {len(chosen)} trainings at once, {cluster.in_words()}", flush=True)
        yield cluster, chosen


def address_of(args: argparse.Namespace) -> str | None:
    """The address of --ray; None without the option, or for a command that lacks it."""
    return getattr(args, "ray", None)


def _options(args: argparse.Namespace, data: Path | None, reporter: Reporter) -> dict[str, Any]:
    """Options of a runner; data: None on a cluster, whose nodes have their own places."""
    places = [] if data is None else ["--data", str(data), "--runs", str(args.runs)]
    return {"options": places, "limits": _limits(args), "reporter": reporter}


def _limits(args: argparse.Namespace) -> Limits:
    if args.limit_minutes is None:
        return Limits()
    seconds = 60 * args.limit_minutes
    return Limits(time.monotonic() + seconds, min(RESERVE_SHARE * seconds, MOST_RESERVE_SECONDS))


def _run(runner: Runner, live: Live, reporter: Reporter) -> tuple[Outcome, float]:
    """Train until nothing is left to do; returns how the trainings ended, and the seconds."""
    reporter.say = live.say
    began = time.monotonic()
    try:
        outcome = runner.run(live)
    except KeyboardInterrupt:
        print(f"{live.lines()[0]}\nall of it can be resumed: give the same command again", flush=True)
        raise
    return outcome, time.monotonic() - began


def tell(outcome: Outcome, live: Live, seconds: float) -> int:
    """Print how the trainings ended; the exit code: 0, or 2 where a training failed."""
    live.say("\n".join(live.lines()[1:]))
    if outcome.stopped:
        print(f"{len(outcome.stopped)} stopped at the time limit; the same command again goes on with them")
    for training, line in outcome.failed.items():
        print(f"error: {training} failed: {line.removeprefix('error: ')}", file=sys.stderr)
    end = outcome.finished[0].end if outcome.finished else "finished"  # the same for all trainings of a command
    print(f"{len(outcome.finished)} {end}, {len(outcome.failed)} failed, after {duration(seconds)}")
    return cli.EXIT_USER_ERROR if outcome.failed else cli.EXIT_OK


def search(trials: Trials, args: argparse.Namespace, data: Path) -> int:
    """Be a worker for a search; the exit code: 0, or 2 if no trial has a score."""
    found = trials.search
    reporter = Reporter()
    try:
        with _machines(args, data, found.trials) as (cluster, chosen):
            runner = SearchRunner(trials, chosen, **_options(args, data, reporter))
            if cluster is not None:
                runner = RaySearchRunner(cluster, trials, chosen, **_options(args, None, reporter))
            live = results.SearchLive(runner)
            outcome, seconds = _run(runner, live, reporter)
    except BaseException:
        with contextlib.suppress(FerKitError):  # the first error is told
            results.write(found, results.rows_of(trials))
        raise
    rows = results.rows_of(trials)
    written = results.write(found, rows)
    live.say("\n".join([*results.table(found, rows), f"after {duration(seconds)}", *results.worth(found, rows)]))
    print(f"wrote {', '.join(map(str, written))}")
    if outcome.stopped:
        print(f"{len(outcome.stopped)} trials stopped at the time limit; the same command again goes on with them")
    return cli.EXIT_USER_ERROR if results.best_of(rows) is None else cli.EXIT_OK
