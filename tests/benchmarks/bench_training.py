"""How fast the loop trains, against bare steps on one fixed batch, its batches alone, and other loops.

    python -m tests.benchmarks.bench_training --record tests/benchmarks/records/bench_training.json

    loop       fer_kit's loop on its batches, which are augmented on the device
    bare       the same steps on one fixed batch: nothing but the network
    data       the batches alone
    plain      DataLoader, per-image torchvision transforms, float32
    timm       our steps on the batches of timm.data.create_loader
    lightning  Lightning's Trainer on the plain loop's DataLoader, in our number format
    trainer    Lightning's Trainer on our batches

The arms take turns, so that a machine that changes its speed changes it for all; medians of the rounds are compared.
Lightning's are left out where it is not installed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_kit import cli, revision
from fer_kit.batches import epoch as batches
from fer_kit.batches.augment import augment
from fer_kit.config import recipes
from fer_kit.engine import environment as run_environment
from fer_kit.engine import loop as engine
from fer_kit.engine.device import choose_device, choose_precision
from fer_kit.engine.losses import make_loss
from fer_kit.files import atomic
from tests.benchmarks import bench_record, loaders
from tests.benchmarks.clocks import CLOCKS, WALL


def arms(
    recipe: str, rows: int, device: torch.device, workers: int, clock: str = WALL
) -> dict[str, Callable[[], float | None]]:
    """Name → a function that goes through `rows` images once; its seconds where it has a clock of its own."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, 48, 48), dtype=np.uint8)
    labels = rng.integers(0, 7, rows)
    config = recipes.get(recipe)
    fast = choose_precision("auto", device)
    on_device, targets = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    loss_of = make_loss(config, labels, device)
    torch.backends.cudnn.benchmark = True  # as in training
    steps = batches.count(rows, config.batch_size)
    ours, bare, timm_fed = (engine.start(config, fast, steps) for _ in range(3))
    size = rows // steps
    fixed = augment(on_device[:size], config, torch.Generator(device)).contiguous(memory_format=torch.channels_last)
    plain_loader = loaders.plain_loader(images, labels, config, workers)
    timm_loader = loaders.timm_loader(images, labels, config, device, workers)

    def epoch() -> loaders.Batches:
        return batches.epoch(on_device, targets, config, torch.Generator(device).manual_seed(0))

    def loop() -> None:
        engine.train_epoch(ours, epoch(), loss_of, config, fast)

    def data() -> None:
        for x, _ in epoch():
            assert len(x)

    def bare_steps() -> None:
        engine.train_epoch(bare, ((fixed, targets[:size]) for _ in range(steps)), loss_of, config, fast)

    def timm() -> None:
        engine.train_epoch(timm_fed, loaders.laid_out(timm_loader, device), loss_of, config, fast)

    found: dict[str, Callable[[], float | None]] = {"loop": loop, "bare": bare_steps, "data": data}
    found |= {"plain": loaders.plain_training(plain_loader, config, device), "timm": timm}
    if loaders.has_lightning():
        found["lightning"] = loaders.lightning_training(plain_loader, config, loss_of, fast, CLOCKS[clock])
        found["trainer"] = loaders.lightning_training(loaders.Fed(epoch, steps), config, loss_of, fast, CLOCKS[clock])
    return found


def measure(
    recipe: str, rows: int, rounds: int, device: torch.device, workers: int, clock: str = WALL
) -> dict[str, Any]:
    """Images per second of each arm (median), the ratios, each the median over rounds, and where the time goes."""
    run = arms(recipe, rows, device, workers, clock)
    now = CLOCKS[clock]
    speeds: dict[str, list[float]] = {name: [] for name in run}
    peak_mb = 0.0
    for turn in range(rounds + 1):  # the first turn warms up
        for name, arm in run.items():
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            began = now()
            own_clock = arm()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = now() - began if own_clock is None else own_clock
            if turn:
                speeds[name].append(rows / seconds)
            elif name == "loop":  # the first: nothing of the other arms has run yet
                peak_mb = peak_memory_mb(device)

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(speeds["loop"], speeds[other], strict=True))

    medians = {name: statistics.median(found) for name, found in speeds.items()}
    step, data = (medians["loop"] / medians[name] for name in ("bare", "data"))
    return {
        "images_per_second": {name: round(value, 1) for name, value in medians.items()},
        "share_of_time": {"step": round(step, 3), "data": round(data, 3), "rest": round(1 - step - data, 3)},
        **{f"loop_over_{name}": round(ratio(name), 3) for name in speeds if name not in ("loop", "data")},
        "loop_peak_mb": round(peak_mb, 1),
        "all_rounds": {name: [round(value, 1) for value in found] for name, found in speeds.items()},
    }


def peak_memory_mb(device: torch.device) -> float:
    """The most memory so far, of the GPU where that is the device, else of this process."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else bench_record.peak_mb()


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(
        "python -m tests.benchmarks.bench_training", "Training throughput against bare and plain loops."
    )
    parser.add_argument("--recipe", default="deep_v3", help="whose network and augmentation")
    parser.add_argument("--rows", type=int, default=2048, help="images an epoch of each arm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--record", type=Path, help="write the figures to this JSON file")
    return parser


def body(args: argparse.Namespace) -> None:
    """Measure, print, record."""
    device = choose_device(args.device)
    found = measure(args.recipe, args.rows, args.rounds, device, args.workers)
    env = run_environment.environment(
        choose_precision("auto", device), "python -m tests.benchmarks.bench_training", revision.commit()
    )
    print(f"{env['device']}, {env['precision']}, network and augmentation of {args.recipe}")
    for name, speed in found["images_per_second"].items():
        print(f"{name:<9} {speed:>8,.0f} images/s")
    print(f"loop / bare steps  {found['loop_over_bare']:.2f}   (goal: at least 0.95)")
    print(f"loop / plain loop  {found['loop_over_plain']:.2f}   (goal: at least 2.5 on 2 cores, 10 on a GPU)")
    for name in (name for name in ("timm", "lightning", "trainer") if f"loop_over_{name}" in found):
        print(f"loop / {name:<11} {found[f'loop_over_{name}']:.2f}")
    shares = found["share_of_time"]
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    print(f"of the loop's time: {words}")
    if args.record:
        asked = {"workers": args.workers, "recipe": args.recipe, "rows": args.rows, "rounds": args.rounds}
        atomic.write_json(args.record, {"schema": 1, **env, **asked, **found})
        print(f"wrote {args.record}")


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
