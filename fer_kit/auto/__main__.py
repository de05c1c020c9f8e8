"""From the competition's files to a checked submission within a given time, on the device at hand.

python -m fer_kit.auto --hours 2
python -m fer_kit.auto --minutes 10 --dry-run
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_kit import cli, revision
from fer_kit.auto import measure, plan, record, rounds, steps, worth
from fer_kit.auto.measure import Measured
from fer_kit.auto.plan import Plan, Task
from fer_kit.auto.pool import Pool
from fer_kit.auto.record import Record
from fer_kit.auto.steps import Places
from fer_kit.auto.worth import Worth
from fer_kit.config import recipes
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import table
from fer_kit.runs import folders, soft_targets
from fer_kit.sweep import slots
from fer_kit.sweep.slots import Slot

FOLDS = 5
LEAST_MINUTES, MOST_MINUTES = 0.1, 7 * 24 * 60.0
TWINS = ("off", "exact", "near")
# Seconds of a command that loads numpy and scipy (blend, build, check, report), as a part of the seconds in which a
# worker starts, which loads torch; each member adds reading, fitting and pictures.
COMMANDS, COMMAND_SHARE, MEMBER_SHARE = 4, 0.5, 0.5


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.auto`."""
    parser = cli.parser(
        "python -m fer_kit.auto",
        "Go from the competition's files to a checked submission within a given time: measure the device briefly, "
        "choose recipes, epochs and how many trainings run side by side, train, blend, forecast, build, check and "
        "report. The same command again goes on where it stopped.",
    )
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--hours", type=float, metavar="H", help="time for everything")
    which.add_argument("--minutes", type=float, metavar="M", help="time for everything")
    add("--data", help="folder with the competition's files; found by itself where not given")
    add("--runs", type=Path, default=Path("runs"), help="folder of runs")
    add("--folds", type=int, metavar="N", help=f"folds to deal where there are none yet ({FOLDS})")
    add("--device", default="auto", help="auto (all GPUs, or the CPU), cpu, cuda (all GPUs) or cuda:1")
    add("--recipes", nargs="+", metavar="R", help="choose among these only; the first one is measured first")
    add(
        "--at-once", type=cli.number_or_auto, default="auto", metavar="N", help="trainings side by side; auto: measured"
    )
    add(
        "--weights",
        nargs="+",
        default=[],
        metavar="RECIPE=FROM",
        help="initial weights of a recipe, as train's --weights",
    )
    add("--twins", choices=TWINS, default="off", help="as blend's; the submission is then that with labels of twins")
    add(
        "--shipped",
        action="store_true",
        help="train on soft targets by the network that ships with fer_kit, as made by fer-kit targets --shipped",
    )
    add("--name", help="names record, runs and blend; from the time if not given, such as auto-2h")
    add("--out", type=Path, metavar="FILE", help="the submission file; submissions/<date>-<name>.csv if not given")
    add("--dry-run", action="store_true", help="measure, print the plan and stop")
    return parser


def seconds_of(args: argparse.Namespace) -> float:
    """The time of --hours or --minutes.

    Raises:
        FerKitError: the time is out of range.
    """
    option, value, unit = ("--hours", args.hours, 60) if args.hours is not None else ("--minutes", args.minutes, 1)
    if not LEAST_MINUTES <= value * unit <= MOST_MINUTES:
        raise FerKitError(f"{option} {value:g}: give {LEAST_MINUTES / unit:.2g} to {MOST_MINUTES / unit:g}")
    return float(60 * unit * value)


def name_of(args: argparse.Namespace) -> str:
    """--name, or a name from the time."""
    if args.name is not None:
        return folders.safe_name(args.name, "--name")
    seconds = round(seconds_of(args))
    for unit, letter in ((3600, "h"), (60, "m")):
        if seconds % unit == 0:
            return f"auto-{seconds // unit}{letter}"
    return f"auto-{seconds}s"


def candidates_of(args: argparse.Namespace) -> list[Worth]:
    """The recipes to choose from.

    Raises:
        FerKitError: an unknown recipe, or one that is named twice.
    """
    if args.recipes is None:
        return [one for one in worth.WORTH if one.on_labels or may_have_targets(args)]
    known = {one.recipe: one for one in worth.WORTH}
    found = []
    for name in args.recipes:
        config = recipes.get(name)
        one = known.get(name) or worth.unknown(name, config.model, config.epochs)
        found.append(dataclasses.replace(one, on_labels=True))  # the user wants it in any case
    if len({one.recipe for one in found}) < len(found):
        raise FerKitError(f"--recipes {' '.join(args.recipes)}: name each recipe once")
    return found


def weights_of(args: argparse.Namespace, candidates: Sequence[Worth]) -> dict[str, str]:
    """The weights of --weights by recipe, files as absolute paths.

    Raises:
        FerKitError: another form, or a recipe that is not a candidate.
    """
    found, known = {}, [one.recipe for one in candidates]
    for typed in args.weights:
        recipe, _, source = typed.partition("=")
        if recipe not in known or not source:
            raise FerKitError(f"--weights {typed}: give RECIPE=FROM with a recipe of {', '.join(known)}")
        found[recipe] = str(Path(source).resolve()) if Path(source).exists() else source
    return found


def folds_of(args: argparse.Namespace, data: Path) -> int:
    """Number of folds; they are dealt where there are none.

    Raises:
        FerKitError: --folds is out of range, or differs from the folds that are there.
    """
    path = args.runs / "folds.csv"
    if path.exists():
        count = table.read(path).count
        if args.folds not in (None, count):
            raise FerKitError(f"--folds {args.folds}: {path} has {count}; leave the option out, or give another --runs")
        return count
    count = FOLDS if args.folds is None else args.folds
    if count < 2:
        raise FerKitError(f"--folds {count}: give 2 or more")
    if not args.dry_run:
        steps.shell("fer_kit.folds", "--data", str(data), "--runs", str(args.runs), "--folds", str(count))
    return count


def may_have_two_rounds(args: argparse.Namespace) -> bool:
    """Whether a second round on soft targets is worth its time: with the labels of near twins alone (see `worth`)."""
    return bool(args.twins == "near")


def may_have_targets(args: argparse.Namespace) -> bool:
    """Whether some trainings can be on soft targets, which are then called like the command's record."""
    return bool(args.shipped or may_have_two_rounds(args))


def begin(args: argparse.Namespace, name: str) -> Record:
    """The record to go on with, or a new one.

    Raises:
        FerKitError: the earlier attempt had another time; or a blend or file of that name was made by something else.
    """
    minutes = seconds_of(args) / 60
    kept = None if args.dry_run else record.read(args.runs, name)
    if kept is not None:
        if kept.content.get("minutes") != minutes:
            raise FerKitError(
                f"{kept.path} was made for {kept.content.get('minutes')} minutes, not {minutes:g}; give another --name"
            )
        print(f"resumed   {kept.path}, after {kept.spent / 60:.1f} minutes")
        return kept
    out = args.out or Path("submissions") / f"{datetime.now(UTC):%Y-%m-%d}-{name}.csv"
    blend = args.runs / folders.BLENDS / name
    targets = [soft_targets.path_of(args.runs, name)] if may_have_targets(args) else []
    for path in (blend, out, *targets):
        if path.exists() and not args.dry_run:
            raise FerKitError(f"{path} is there already; give another --name" + " or --out" * (path == out))
    content: dict[str, Any] = {
        "schema": record.SCHEMA,
        "name": name,
        "minutes": minutes,
        "began": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "commit": revision.commit(),
        "host": platform.node(),
        "cores": slots.cores(),
        "out": str(out),
        "state": "begun",
    }
    return Record(record.path_of(args.runs, name), content)


def task_of(runs: Path, data: Path, folds: int, dry: bool) -> Task:
    """Rows to train and to predict."""
    with tempfile.TemporaryDirectory() as aside:
        competition = loading.load(data, aside if dry else runs / folders.CACHE)
        rows, test = len(competition.train.labels), len(competition.test.ids)
    return Task(folds, rows - rows // folds, -(-rows // folds) + test)


def slots_of(args: argparse.Namespace, folds: int, seconds: float) -> tuple[list[int], list[Slot]]:
    """Numbers of trainings side by side to try, and the slots of the largest one."""
    gpus = 0 if args.device == "cpu" else slots.gpus()
    if gpus and args.device not in ("auto", "cuda"):
        gpus = 1
    tried = [args.at_once] if args.at_once else plan.numbers(slots.cores(), gpus, folds, seconds)
    return tried, slots.choose(args.device, tried[-1], tried[-1])


def make_plan(args: argparse.Namespace, kept: Record, task: Task, tried: Sequence[int], pool: Pool) -> Plan:
    """Measure and choose."""
    seconds, candidates = seconds_of(args), candidates_of(args)
    opened = pool.start()
    with tempfile.TemporaryDirectory(dir=args.runs if args.runs.is_dir() else None) as aside:
        measured = measure.measure(pool, candidates, tried, task, seconds, Path(aside), say, opened)
    kept.content |= {
        "worker_seconds": round(opened, 1),
        "speeds": {name: vars(speed) for name, speed in measured.speeds.items()},
        "rates": measured.rates,
        "left_out": measured.left_out,
    }
    task = with_end(task, opened)
    if args.shipped:
        task = with_prediction(task, measured, candidates[0].recipe)
    left = seconds - kept.spent
    two_rounds = may_have_two_rounds(args)
    found = plan.choose(candidates, measured.speeds, measured.rates, task, left, two_rounds, args.shipped)
    kept.content |= {"plan": record.plan_to_json(found), "end_seconds": round(end_seconds(found, task), 1)}
    return found


def with_end(task: Task, opened: float) -> Task:
    """The task with the time from the blend to the report, which follows from the seconds in which a worker opened."""
    return dataclasses.replace(
        task,
        end_seconds=COMMANDS * COMMAND_SHARE * opened,
        end_seconds_each=MEMBER_SHARE * opened,
        targets_seconds=COMMAND_SHARE * opened,
    )


def with_prediction(task: Task, measured: Measured, first: str) -> Task:
    """The task with the time in which the network that ships, of the recipe `worth.TEACHER`, predicts all train rows.

    first: the recipe whose speed is known; the other network is slower or faster by its FLOPs.
    """
    cost = measure.flops_of(worth.TEACHER) / (measure.flops_of(first) or measure.flops_of(worth.TEACHER))
    views = task.folds * task.train_rows // (task.folds - 1) * plan.VIEWS["flip"]
    seconds = views * cost / measured.speeds[first].predicted_per_second
    return dataclasses.replace(task, targets_seconds=task.targets_seconds + seconds)


def end_seconds(chosen: Plan, task: Task) -> float:
    """Seconds from the last fold to the end of the report."""
    return task.end_seconds + len(chosen.members) * task.end_seconds_each


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def dry_run(args: argparse.Namespace, kept: Record, name: str, data: Path) -> None:
    """Measure, and print the plan."""
    folds = folds_of(args, data)
    tried, chosen = slots_of(args, folds, seconds_of(args))
    task = task_of(args.runs, data, folds, dry=True)
    with tempfile.TemporaryDirectory() as logs:
        pool = Pool(chosen, Path(logs))
        try:
            found = make_plan(args, kept, task, tried, pool)
        finally:
            pool.stop()
    say("\n".join(rounds.described(found, name, folds, kept.content["end_seconds"])))
    say(f"dry run: measured for {kept.spent:.0f} s; nothing was trained or written")


def body(args: argparse.Namespace) -> int:
    """Measure, plan, train, blend, build, check, report; or with --dry-run show the plan."""
    name, weights = name_of(args), weights_of(args, candidates_of(args))
    slots.check(args.at_once)
    slots.check_device(args.device)
    kept = begin(args, name)
    if kept.content["state"] == "finished":
        say(f"finished  {kept.content['submission']}; give another --name to begin again\n{record.tell(kept.content)}")
        return cli.EXIT_OK
    data = loading.find(args.data).resolve()
    if args.dry_run:
        dry_run(args, kept, name, data)
        return cli.EXIT_OK
    with kept.part("prepare"):
        folds = folds_of(args, data)
        task = task_of(args.runs, data, folds, dry=False)
    places = Places(data, args.runs, Path(kept.content["out"]), weights)
    members = train(args, kept, name, task, places)
    kept.content["state"] = "trained"
    kept.save()
    steps.blend_and_build(members, places, kept, name, args.twins)
    kept.content["state"] = "finished"
    kept.save()
    say(f"{record.tell(kept.content)}\nrecord    {kept.path}\nsubmission {places.out}")
    return cli.EXIT_OK


def train(args: argparse.Namespace, kept: Record, name: str, task: Task, places: Places) -> list[str]:
    """Measure and plan, where no earlier attempt has, and train; the runs that have all their folds."""
    found = kept.plan
    if found is None or kept.content["state"] == "begun":
        if found is None:
            tried, chosen = slots_of(args, task.folds, seconds_of(args))
        else:
            tried, chosen = [found.at_once], slots.choose(args.device, found.at_once, found.at_once)
        pool = Pool(chosen, args.runs / folders.SWEEPS / "logs")
        try:
            if found is None:
                with kept.part("measure"):
                    found = make_plan(args, kept, task, tried, pool)
            say("\n".join(rounds.described(found, name, task.folds, kept.content["end_seconds"])))
            pool.keep(found.at_once)
            left = seconds_of(args) - kept.spent - kept.content["end_seconds"]
            with kept.part("train"):
                rounds.train(found, task, pool, places, kept, name, time.monotonic() + left)
        finally:
            pool.stop()
    return rounds.complete(rounds.rounds_of(found, task.folds, name, places), task.folds, places)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error, 130 when interrupted."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
