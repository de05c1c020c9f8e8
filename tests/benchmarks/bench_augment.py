"""How many images a second the two ways of augmenting give: on the device, and by albumentations in workers.

    python -m tests.benchmarks.bench_augment --record tests/benchmarks/records/bench_augment.json

Both draw what deep_v3 draws (`--augment v3` on the one side), and nothing is trained: the iterators alone are timed,
from the first batch asked for to the last one on the device. The arms take turns, so that a machine that changes its
speed changes it for all; medians of the rounds are compared. Starting the workers belongs to the first turn, which is
not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_kit import cli
from fer_kit.batches import epoch as batches
from fer_kit.batches import pipeline_file
from fer_kit.batches import workers as user_batches
from fer_kit.batches.pipeline import Pipeline
from fer_kit.config import recipes
from fer_kit.engine import device as precision
from fer_kit.engine.environment import device_name
from tests.benchmarks import bench_record

DEVICE = "device"
MEASURED = (
    "fer_kit/batches/*.py",
    "fer_kit/albumentations_v3.py",
    "tests/benchmarks/bench_augment.py",
)


def arms(rows: int, device: torch.device, workers: Sequence[int]) -> dict[str, Callable[[], None]]:
    """Name → a function that runs through an epoch of `rows` images."""
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (rows, 48, 48), dtype=np.uint8)).to(device)
    labels = torch.from_numpy(rng.integers(0, 7, rows)).to(device)
    recipe, file = recipes.get("deep_v3"), pipeline_file.open_file("v3")
    config = pipeline_file.in_place(recipe, file)
    feeds = {f"{count} workers": user_batches.UserBatches(Pipeline(file), count).epoch for count in workers}

    def through(epoch: user_batches.Epoch, settings: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in epoch(images, labels, settings, torch.Generator(device).manual_seed(0), None):
                pass
            if device.type == "cuda":
                torch.cuda.synchronize()

        return run

    return {DEVICE: through(batches.epoch, recipe)} | {name: through(feed, config) for name, feed in feeds.items()}


def measure(rows: int, rounds: int, device: torch.device, workers: Sequence[int]) -> dict[str, Any]:
    """Images per second of each arm (median), and how many times as fast the device is (median over rounds)."""
    run = arms(rows, device, workers)
    speeds: dict[str, list[float]] = {name: [] for name in run}
    for turn in range(rounds + 1):  # the first turn warms up
        for name, arm in run.items():
            began = time.perf_counter()
            arm()
            if turn:
                speeds[name].append(rows / (time.perf_counter() - began))
    return {
        "images_per_second": {name: round(statistics.median(found), 1) for name, found in speeds.items()},
        "device_over": {
            name: round(statistics.median(a / b for a, b in zip(speeds[DEVICE], found, strict=True)), 2)
            for name, found in speeds.items()
            if name != DEVICE
        },
        "all_rounds": {name: [round(value, 1) for value in found] for name, found in speeds.items()},
    }


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_augment", "Augmentation on the device against workers.")
    parser.add_argument("--rows", type=int, default=4096, help="images an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", help="how many to try; 0 and one a core if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--record", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--note", help="what to say in the record, such as other work on the machine")
    return parser


def body(args: argparse.Namespace) -> None:
    device, host = precision.choose_device(args.device), bench_record.machine()
    workers = args.workers or (0, user_batches.default_workers())
    found = measure(args.rows, args.rounds, device, workers)
    print(bench_record.headline(host))
    for name, speed in found["images_per_second"].items():
        times = f"   device {found['device_over'][name]:.1f} times as fast" if name != DEVICE else ""
        print(f"{name:<10} {speed:>9,.0f} images/s{times}")
    record = {
        **bench_record.head("augment", host, MEASURED, ("torch", "albumentations", "numpy")),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "load_average_after": bench_record.machine()["load_average"],
        "note": args.note,
        "rows": args.rows,
        "rounds": args.rounds,
        **found,
    }
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
