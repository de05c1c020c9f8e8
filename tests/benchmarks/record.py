"""The record run: as much honest accuracy as fits into some minutes on the device at hand.

    python -m tests.benchmarks.record --minutes 10 --out DIR --data data

Measures how many trainings side by side are fastest, plans recipes × folds × epochs to fit, trains them, blends, builds
the submission, and leaves DIR/record.json and DIR/submission.csv beside DIR/runs. All of it counts into the minutes.
Where it is cut short, blends rest on the recipes whose folds are all finished.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.config import recipes
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import table
from tests.benchmarks import record_speed, record_summary
from tests.benchmarks.bench_record import ROOT, check_at_once, head, headline, keep, machine
from tests.benchmarks.record_plan import Job, Speed, Wish, filled, plan
from tests.benchmarks.record_slots import Place, run_of, train_all

RECIPES = ("residual", "vgg", "wide", "convnext")  # narrow ones came in the order vgg, residual, wide on real faces
BLEND_SECONDS = 45.0  # kept back for the blend and the submission
MEASURED = ("fer_kit/*.py", "fer_kit/models/*.py", "ensembles/*.py", "submissions/*.py")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn")


def build_parser() -> argparse.ArgumentParser:
    """The command line of the record run."""
    parser = cli.parser("python -m tests.benchmarks.record", "Train, blend and submit what fits into some minutes.")
    parser.add_argument("--minutes", type=float, required=True, help="for everything, measuring and blending included")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, record.json and submission.csv")
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--folds-from", type=Path, metavar="DIR", help="take folds.csv and its neighbours from here")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="R", help="the first ones come first")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--at-once", type=int, nargs="+", metavar="N", help="numbers of processes to measure")
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="RECIPE=FILE",
        help="what a recipe starts from in place of its own weights, as train's --weights; needed offline for timm's",
    )
    parser.add_argument("--no-plain-loop", action="store_true", help="skip the comparison with a DataLoader loop")
    return parser


def shell(*words: str) -> None:
    """Run one of the project's commands, its output as it comes.

    Raises:
        FerKitError: it failed; it has said why.
    """
    if subprocess.run([sys.executable, "-m", *words], cwd=ROOT).returncode:
        raise FerKitError(f"python -m {' '.join(words)} failed, as said above; the record run stops")


def prepare(args: argparse.Namespace) -> tuple[Path, Path, int]:
    """Data folder, runs folder with folds, and how many folds there are."""
    place = loading.find(args.data).resolve()
    folder = (args.out / "runs").resolve()
    if folder.exists():
        raise FerKitError(f"{folder} is there already: a record run starts from nothing; give another --out")
    folder.mkdir(parents=True)
    if args.folds_from:
        for name in ("folds.csv", "folds-test.csv", "folds.json"):
            shutil.copyfile(args.folds_from / name, folder / name)
    else:
        shell("fer_kit.folds", "--data", str(place), "--runs", str(folder))
    return place, folder, table.read(folder / "folds.csv").count


def check(args: argparse.Namespace) -> dict[str, str]:
    """The weights of `--weights` by recipe, files as absolute paths.

    Raises:
        FerKitError: an option is out of range, or weights are given for no recipe of the run.
    """
    if not 60 * args.minutes > BLEND_SECONDS:
        raise FerKitError(f"--minutes {args.minutes:g}: the blend alone is given {BLEND_SECONDS:g} seconds; give more")
    for number in args.at_once or ():
        check_at_once(number)
    weights = {}
    for typed in args.weights:
        recipe, _, source = typed.partition("=")
        if recipe not in args.recipes or not source:
            raise FerKitError(f"--weights {typed}: give RECIPE=FILE, a recipe of {', '.join(args.recipes)}")
        weights[recipe] = str(Path(source).resolve()) if Path(source).exists() else source
    return weights


def measure(args: argparse.Namespace, rows: int, folds: int) -> tuple[dict[str, Speed], dict[str, str]]:
    """The best number of processes, from the first recipe; then the speed of every recipe with as many.

    The best is the fastest for `folds` trainings of each recipe: slots that stand empty at the end count. Second, why
    a recipe is left out: it does not run there, as with too little memory for so many.

    Raises:
        FerKitError: not even the smallest number runs with the first recipe.
    """
    numbers = sorted(set(args.at_once or default_numbers(args.device)))
    with tempfile.TemporaryDirectory() as folder:

        def speed(recipe: str, number: int) -> Speed:
            found = record_speed.together(recipe, args.device, number, 4.0, Path(folder), rows)
            print(f"{recipe}: {number} at once, {found.images_per_second:,.0f} images/s together", flush=True)
            return found

        first, *others = args.recipes
        tried: list[Speed] = []
        for number in numbers:
            try:
                tried.append(speed(first, number))
            except FerKitError as error:
                if not tried:
                    raise
                print(f"{number} at once will not do: {error}", flush=True)
                break
        jobs = folds * len(args.recipes)
        best = max(tried, key=lambda one: one.images_per_second * filled(jobs, one.at_once))
        found, left_out = {first: best}, {}
        for recipe in others:
            try:
                found[recipe] = speed(recipe, best.at_once)
            except FerKitError as error:
                left_out[recipe] = str(error)
                print(f"{recipe} is left out: {error}", flush=True)
        return found, left_out


def default_numbers(device: str) -> list[int]:
    """Processes to try: on a GPU up to one for two cores, on a CPU one or one a core."""
    import os

    from fer_kit.engine.device import choose_device

    cores = os.cpu_count() or 1
    if choose_device(device).type == "cuda":
        return [number for number in (1, 3, 6, 12) if number <= max(1, cores // 2)]
    return sorted({1, cores})


def complete(jobs: Sequence[Job], done: Sequence[dict[str, Any]], folds: int) -> list[str]:
    """Runs all of whose folds are finished, in the order of the plan."""
    finished = [run_of(Job(one["recipe"], one["epochs"], one["fold"], one["seed"])) for one in done if "to" in one
                and one["end"] == "finished"]  # fmt: skip
    names = dict.fromkeys(map(run_of, jobs))
    return [name for name in names if finished.count(name) == folds]


def blend_and_build(members: Sequence[str], place: Path, folder: Path, out: Path) -> dict[str, Any]:
    """Blend the members and build the submission; what blend.json and the file say."""
    shell("ensembles.blend", "record", "--members", *members, "--runs", str(folder), "--data", str(place))
    file = out / "submission.csv"
    shell("submissions", "build", "record", "--runs", str(folder), "--data", str(place), "--out", str(file))
    return record_summary.of_blend(folder, file)


def body(args: argparse.Namespace) -> None:
    """Measure, plan, train, blend, build, record."""
    began = time.monotonic()
    weights = check(args)
    configs = [recipes.get(name) for name in args.recipes]
    place, folder, folds = prepare(args)
    competition = loading.load(place, folder / "cache")
    rows = len(competition.train.labels)
    host = machine()
    print(headline(host))
    prepared = time.monotonic()
    speeds, left_out = measure(args, rows // folds + len(competition.test.ids), folds)
    measured = time.monotonic()
    chosen = [config for config in configs if config.recipe in speeds]
    wishes = [Wish(config.recipe, config.epochs, rows - rows // folds) for config in chosen]
    deadline = began + 60 * args.minutes - BLEND_SECONDS
    jobs = plan(wishes, speeds, folds, deadline - measured)
    epochs = ", ".join(f"{name} {count}" for name, count in {job.recipe: job.epochs for job in jobs}.items())
    at_once = max(speed.at_once for speed in speeds.values())
    print(f"{len(jobs)} trainings, {at_once} at once; epochs: {epochs}", flush=True)
    device = args.device
    done = train_all(jobs, at_once, Place(place, folder, device, weights), deadline)
    trained = time.monotonic()
    members = complete(jobs, done, folds)
    record = head("record", host, MEASURED, PACKAGES) | {
        "device": record_summary.device_of(folder, members),
        "minutes": args.minutes,
        "folds": folds,
        "speeds": {name: vars(speed) for name, speed in speeds.items()},
        "left_out": left_out,
        "trainings": done,
        **record_summary.scores(done, folds, measured - began),
    }
    if members:
        record["blend"] = blend_and_build(members, place, folder, args.out)
    ended = time.monotonic()
    record["seconds"] = record_summary.seconds(done, at_once, (began, prepared, measured, trained, ended))
    keep(args.out / "record.json", record)  # before the comparison, which may fail or be cut off
    print(record_summary.tell(record))
    if not args.no_plain_loop:
        record["loop"] = record_summary.loop(args.recipes[0], args.device, args.out)
        keep(args.out / "record.json", record)
        print(record_summary.tell_loop(record["loop"]))
    if not members:
        raise FerKitError(
            f"no recipe finished its {folds} folds; look into {folder / 'sweeps/logs'}, or give more --minutes"
        )


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
