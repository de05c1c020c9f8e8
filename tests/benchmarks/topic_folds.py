"""Making folds with twins, at the competition's size and ten times that, on drawn faces.

    python -m tests.benchmarks --only folds tenfold

Each size runs in a process of its own, its times are those of the processor, and the record shows them by stage. All
stages grow with the images but two: pairs worth aligning are looked for among all pairs, and among strangers their
number grows with the square. So at ten times the size `SAMPLE` of them are aligned, drawn at random, and the time is
counted for all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np

from fer_kit import cli
from fer_kit.folds import deal, twin_alignment, twin_candidates, twins
from fer_kit.synthetic import draw
from tests.benchmarks import bench_record, limits
from tests.benchmarks.clocks import PROCESSOR
from tests.benchmarks.rows import CPU_SECONDS, Found, Plan, Row

ARMS = ("folds",)
TIMES = 10
SAMPLE = 20_000  # pairs
PRODUCTS = "the products that compare all pairs of images, at numpy's float32 rate, measured"


def measure(plan: Plan) -> Found:
    """At the plan's size."""
    runs = [run(plan, 1) for _ in range(min(plan.rounds, 3))]
    return Found([row(plan, 1, runs)], {"runs": runs})


def measure_tenfold(plan: Plan) -> Found:
    """At ten times that, once, beside the plan's size, once; the ratio is 1 where time grows as the images do."""
    small, large = run(plan, 1), run(plan, TIMES)
    stages = {name: round(large["stages"][name] / max(small["stages"][name], 1e-3), 1) for name in small["stages"]}
    line = row(plan, TIMES, [large])
    linear = TIMES * small["cpu_seconds"]
    line = Row(
        **{
            **vars(line),
            "other": linear,
            "other_is": f"{TIMES} times the time at a tenth of the size: 1× is linear growth",
            "ratio": linear / line.ours,
        }
    )
    return Found([line], {"runs": [small, large], "growth_by_stage": stages})


def run(plan: Plan, times: int) -> dict[str, Any]:
    words = ("--rows", str(plan.rows), "--test-rows", str(plan.test_rows), "--times", str(times))
    return bench_record.run_arm("topic_folds", "folds", *words)


def row(plan: Plan, times: int, runs: Sequence[dict[str, Any]]) -> Row:
    # upright and mirrored, half of all pairs each, 2 operations for each of the axes
    products = 2 * twin_candidates.AXES * float(runs[0]["pictures"]) ** 2
    return Row(
        f"folds with twins, {times * (plan.rows + plan.test_rows):,} images",
        statistics.median(one["cpu_seconds"] for one in runs),
        CPU_SECONDS,
        limit_is=PRODUCTS,
        limit=products / limits.numpy_flops(PROCESSOR),
        peak_mb=max(one["peak_mb"] for one in runs),
    )


def run_arm(rows: int, test_rows: int, times: int) -> dict[str, Any]:
    """Draw `times` competitions, and make the folds of all as one."""
    drawn = [draw.draw(rows, test_rows, seed) for seed in range(times)]
    images = np.concatenate([one.train_images for one in drawn] + [one.test_images for one in drawn])
    labels = np.concatenate([one.train_labels for one in drawn])
    del drawn
    aligned: list[tuple[int, int]] = []  # of so many pairs so many were aligned
    with mock.patch.object(twin_alignment, "similarities", sampling(aligned)):
        found = twins.find(images)
    stages = {name: cpu for name, (_, cpu) in found.seconds.items()}
    for stage, (pairs, tried) in zip(("align", "align_mirrored"), aligned, strict=True):
        stages[stage] *= pairs / max(tried, 1)
    began = time.process_time()
    deal.assign(twins.content_keys(images[: len(labels)]), labels, found.groups[: len(labels)])
    stages["deal"] = time.process_time() - began
    return {
        "images": len(images),
        "pictures": found.counts["images"] - found.counts["exact_copies"] - found.counts["flat"],
        "cpu_seconds": sum(stages.values()),
        "stages": stages,
        "aligned": aligned,
        "counts": found.counts,
        "peak_mb": bench_record.peak_mb(),
    }


def sampling(aligned: list[tuple[int, int]]) -> Any:
    """`twin_alignment.similarities`, of `SAMPLE` pairs where there are many more; the others count as strangers."""
    whole = twin_alignment.similarities

    def similarities(images: Any, pairs: Any, pool: Any, **options: Any) -> Any:
        values = np.full(len(pairs), twin_alignment.UNALIGNED, np.float32)
        tried = np.arange(len(pairs))
        if len(pairs) > 3 * SAMPLE:
            tried = np.sort(np.random.default_rng(0).choice(len(pairs), SAMPLE, replace=False))
        values[tried] = whole(images, pairs[tried], pool, **options)
        aligned.append((len(pairs), len(tried)))
        return values

    return similarities


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.topic_folds", "One size of folds, as JSON.")
    parser.add_argument("--arm", choices=ARMS, required=True)
    parser.add_argument("--rows", type=int, default=28_709)
    parser.add_argument("--test-rows", type=int, default=7_178)
    parser.add_argument("--times", type=int, default=1)
    return parser


def body(args: argparse.Namespace) -> None:
    print(json.dumps(run_arm(args.rows, args.test_rows, args.times)))


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
