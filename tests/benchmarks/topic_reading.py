"""Reading train.csv and test.csv against torchvision, pandas, and the bytes that have to be moved and digested."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import bench_data, limits
from tests.benchmarks.clocks import WALL
from tests.benchmarks.rows import Found, Plan, Row, ratio

READ = "the file's bytes read from the page cache, measured"
DIGEST = "sha256 of the bytes of both files and of the cached arrays, on all cores, rate measured"
FIRST = "the same and the bytes read, measured"
IMAGE_BYTES = 48 * 48


def measure(plan: Plan) -> Found:
    folder = Path(plan.data)
    results = bench_data.measure(folder, plan.rounds)
    key = "seconds" if plan.clock == WALL else "cpu_seconds"
    seconds = {arm: [run[key] for run in runs] for arm, runs in results.items()}
    medians = bench_data.summary(results)["medians"]
    paths = [folder / name for name in ("train.csv", "test.csv")]
    text_bytes = sum(path.stat().st_size for path in paths)
    array_bytes = sum(lines_in(path) - 1 for path in paths) * IMAGE_BYTES
    digests = (text_bytes + array_bytes) / limits.digest_rate(plan.clock)
    possible = {
        "reader": (READ, limits.read_seconds(plan.clock, paths[0])),
        "first load": (FIRST, digests + limits.read_seconds(plan.clock, *paths)),
        "cached load": (DIGEST, digests),
    }
    others = {
        "torchvision": "torchvision.datasets.FER2013 on train.csv, its md5 check left out",
        "pandas": "pandas.read_csv on train.csv, each row's pixels split into an array",
    }
    whats = {"reader": "train.csv, first read", "first load": "both files, first load", "cached load": "both, cached"}
    rows = [
        Row(
            what,
            medians[arm][key],
            plan.seconds,
            others[other],
            medians[other][key],
            ratio(seconds[other], seconds[arm]),
            *possible[arm],
            peak_mb=medians[arm]["peak_mb"],
        )
        for arm, what in whats.items()
        for other in others
    ]
    return Found(rows, {"medians": medians, "runs": results, "bytes": {"csv": text_bytes, "arrays": array_bytes}})


def lines_in(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
