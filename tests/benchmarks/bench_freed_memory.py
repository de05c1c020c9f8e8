"""What it brings that freed memory stays with the process (`fer_kit.engine.heap`), recipe by recipe.

    python -m tests.benchmarks.bench_freed_memory --record tests/benchmarks/records/bench_freed_memory.json

The loop of `bench_training` runs on random faces in processes of their own, which take turns: `kept` as the product
does, `returned` with the C library's own rules. Processor time of an image, page faults of a step, and the most memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fer_kit import cli
from fer_kit.config import recipes
from fer_kit.engine import device as devices
from fer_kit.engine import heap
from tests.benchmarks import bench_record, bench_training

KEPT, RETURNED = "kept", "returned"
MODULE = "bench_freed_memory"
MEASURED = ("fer_kit/engine/*.py", f"tests/benchmarks/{MODULE}.py")


def arm(name: str, recipe: str, steps: int, epochs: int) -> dict[str, float]:
    """One process: the median over `epochs`, each of `steps` steps, after one to warm up."""
    torch.set_num_threads(1)
    if name == RETURNED:
        heap.keep_freed_memory = lambda: False
    rows = steps * recipes.get(recipe).batch_size
    loop = bench_training.arms(recipe, rows, devices.choose_device("cpu"), 0)["loop"]
    spent, faults = [], []
    for turn in range(epochs + 1):
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        loop()
        if turn:
            spent.append((time.process_time() - began) / rows)
            faults.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps)
    return {
        "cpu_ms_an_image": 1000 * statistics.median(spent),
        "faults_a_step": statistics.median(faults),
        "peak_mb": bench_record.peak_mb(),
    }


def compare(recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """Medians of both arms over `args.rounds` processes each, and the ratio of their times, the median over rounds."""
    words = ("--recipes", recipe, "--steps", str(args.steps), "--epochs", str(args.epochs))
    found: dict[str, list[dict[str, float]]] = {RETURNED: [], KEPT: []}
    for _ in range(args.rounds):
        for name, rounds in found.items():
            rounds.append(bench_record.run_arm(MODULE, name, *words))
    ratios = [old["cpu_ms_an_image"] / new["cpu_ms_an_image"] for old, new in zip(*found.values(), strict=True)]
    medians = {
        name: {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}
        for name, rounds in found.items()
    }
    return {
        "returned_over_kept": round(statistics.median(ratios), 3),
        "all_rounds": [round(value, 3) for value in ratios],
        **medians,
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(f"python -m tests.benchmarks.{MODULE}", "Kept against returned memory, recipe by recipe.")
    parser.add_argument("--recipes", nargs="+", default=["air", "air_large", "vgg_medium", "vgg_small", "vgg_tiny"])
    parser.add_argument("--steps", type=int, default=16, help="optimizer steps of an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="of each process, after one to warm up")
    parser.add_argument("--rounds", type=int, default=4, help="processes of each arm")
    parser.add_argument("--arm", choices=(KEPT, RETURNED), help=argparse.SUPPRESS)
    parser.add_argument("--record", metavar="JSON", type=Path, help="write the figures to this file")
    return parser


def body(args: argparse.Namespace) -> None:
    """Measure, print, record; or, with --arm, be one of the processes."""
    if args.arm:
        print(json.dumps(arm(args.arm, args.recipes[0], args.steps, args.epochs)))
        return
    host, found = bench_record.machine(), {}
    print(bench_record.headline(host))
    for recipe in args.recipes:
        one = found[recipe] = compare(recipe, args)
        old, new = one[RETURNED], one[KEPT]
        times = " → ".join(f"{arm['cpu_ms_an_image']:.2f}" for arm in (old, new))
        faults, peaks = (" → ".join(f"{arm[key]:,.0f}" for arm in (old, new)) for key in ("faults_a_step", "peak_mb"))
        print(
            f"{recipe}: {times} ms an image, ratio {one['returned_over_kept']:.3f}; {faults} faults a step; {peaks} MB"
        )
    head = bench_record.head(MODULE, host, MEASURED, ("numpy", "torch"))
    precision = devices.choose_precision("auto", devices.choose_device("cpu")).name
    sizes = {"steps": args.steps, "epochs": args.epochs, "rounds": args.rounds, "threads": 1}
    bench_record.keep(args.record, {**head, "precision": precision, **sizes, "recipes": found})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
