"""How long the search for twins takes and what it finds: `python -m tests.benchmarks.bench_folds --data DIR`.

Each method is timed in a process of its own, in turn, several rounds over, on all train and test images; then
the train rows are dealt into five folds. Times leave out imports and reading; the peak of memory includes both.
Processor time stands beside the time by the clock, since it says more on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_kit import cli
from fer_kit.data import loading
from fer_kit.folds import deal, twins
from tests.benchmarks import bench_record
from tests.benchmarks.bench_record import machine, peak_mb

METHODS = ("aligned", "unaligned", "exact")
MEASURED = ("fer_kit/folds/*.py", "tests/benchmarks/bench_folds.py")

# What was seen on picture sheets of pairs drawn at random on FER2013, November 2026. Pairs of the same
# placeholder ("this photo is currently unavailable", a warning sign), about 2%, count as right.
JUDGED_BY_EYE = [
    {"pairs": "joined, any correlation", "looked_at": 240, "wrong": 0},
    {"pairs": "joined, mirrored", "looked_at": 60, "wrong": 0},
    {"pairs": "joined, correlation .78 to .81 (139 pairs)", "looked_at": 96, "wrong or doubtful": 5},
    {"pairs": "not joined, correlation .75 to .78 (80 pairs)", "looked_at": 80, "wrong or doubtful": 10},
    {"pairs": "not joined, correlation .72 to .75 (115 pairs)", "looked_at": 96, "wrong or doubtful": 30},
]


def run_method(method: str, folder: Path, cache: Path) -> dict[str, Any]:
    competition = loading.load(folder, cache)
    images = np.concatenate([competition.train.images, competition.test.images])
    clock, processor = time.perf_counter(), time.process_time()
    found = twins.find(images, method)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - processor

    clock, processor = time.perf_counter(), time.process_time()
    groups, test_groups = np.split(found.groups, [len(competition.train.ids)])
    labels = competition.train.labels
    dealt = deal.assign(twins.content_keys(competition.train.images), labels, groups)
    stages = found.seconds | {"deal": (time.perf_counter() - clock, time.process_time() - processor)}
    table = deal.Folds(competition.train.ids, labels, groups, dealt, "")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak_mb(),
        "stages": {stage: {"seconds": wall, "cpu_seconds": cpu} for stage, (wall, cpu) in stages.items()},
        "found": found.counts | deal.statistics(table, test_groups),
        "thresholds": found.thresholds,
    }


def measure(folder: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as cache:
        loading.load(folder, Path(cache))
        for _ in range(rounds):
            for method in METHODS:
                words = ("--data", str(folder), "--cache", cache)
                results[method].append(bench_record.run_arm("bench_folds", method, *words))
    return results


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, and what was found, which must not differ between them."""
    if any(run["found"] != runs[0]["found"] for run in runs):
        raise AssertionError("the rounds found different twins")

    def median(values: Sequence[float]) -> float:
        return round(statistics.median(values), 2)

    return {
        **{key: median([run[key] for run in runs]) for key in ("seconds", "cpu_seconds", "peak_mb")},
        "stages": {
            stage: {key: median([run["stages"][stage][key] for run in runs]) for key in ("seconds", "cpu_seconds")}
            for stage in runs[0]["stages"]
        },
        "thresholds": runs[0]["thresholds"],
        "found": runs[0]["found"],
    }


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_folds", "How long the search for twins takes, by stage.")
    parser.add_argument("--data", help="folder with the competition's files; found by itself where not given")
    parser.add_argument("--rounds", type=int, default=3, help="how often each method is timed")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    parser.add_argument("--arm", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    return parser


def body(args: argparse.Namespace) -> None:
    folder = loading.find(args.data).resolve()
    if args.arm:
        print(json.dumps(run_method(args.arm, folder, args.cache)))
        return
    host = machine()
    methods = {method: summary(runs) for method, runs in measure(folder, args.rounds).items()}
    record = {
        **bench_record.head("folds", host, MEASURED, ("numpy", "scipy", "scikit-learn")),
        "rounds": args.rounds,
        "methods": methods,
        "judged_by_eye": JUDGED_BY_EYE,
    }
    print(bench_record.headline(host))
    for method, one in methods.items():
        found = one["found"]
        print(
            f"{method:10} {one['seconds']:6.1f} s by the clock {one['cpu_seconds']:6.1f} s of processor"
            f" {one['peak_mb']:6,.0f} MB; {found['train_rows_in_them']:,} train rows in"
            f" {found['train_groups_of_two_and_more']:,} groups, {found['test_rows_with_a_train_twin']:,} test rows"
        )
        print("           " + ", ".join(f"{stage} {t['cpu_seconds']}" for stage, t in one["stages"].items()))
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
