"""How fast the loop trains, against bare steps on one fixed batch, its batches alone, and a plain DataLoader loop.

    python -m tests.benchmarks.bench_training --record tests/benchmarks/records/bench_training.json

The arms take turns, so that a machine that changes its speed changes it for all; medians of the rounds are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fer_kit import batches, cli, engine, files, models, recipes, revision, tracking
from fer_kit.augment import PIXEL_MEAN, PIXEL_STD, augment
from fer_kit.losses import make_loss
from fer_kit.precision import choose, choose_device


class PlainFaces(Dataset[tuple[torch.Tensor, int]]):
    """One PIL image at a time through torchvision's transforms, as the public FER projects do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        v3 = recipes.get("deep_v3")
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(v3.flip_prob),
                transforms.RandomAffine(
                    v3.rotation_deg,
                    (v3.shift_frac, v3.shift_frac),
                    (1 - v3.scale_frac, 1 + v3.scale_frac),
                    v3.shear_deg,
                    transforms.InterpolationMode.BILINEAR,
                ),
                transforms.ColorJitter(v3.brightness_frac, v3.contrast_frac),
                transforms.ToTensor(),
                transforms.Normalize(PIXEL_MEAN, PIXEL_STD),
                transforms.RandomErasing(v3.erase_prob),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), int(self.labels[row])


def arms(recipe: str, rows: int, device: torch.device, workers: int) -> dict[str, Any]:
    """Name → a function that goes through `rows` images once. The plain loop augments as deep_v3 does."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (rows, 48, 48), dtype=np.uint8)
    labels = rng.integers(0, 7, rows)
    config = recipes.get(recipe)
    fast = choose("auto", device)
    on_device, targets = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    loss_of = make_loss(config, labels, device)
    steps = batches.count(rows, config.batch_size)
    ours, bare = engine.start(config, fast, steps), engine.start(config, fast, steps)
    size = rows // steps
    fixed = augment(on_device[:size], config, torch.Generator(device)).contiguous(memory_format=torch.channels_last)

    plain_net = models.build(config).to(device)
    plain_optimizer = torch.optim.Adam(plain_net.parameters(), config.lr, weight_decay=config.weight_decay)
    loader = DataLoader(PlainFaces(images, labels), config.batch_size, shuffle=True, num_workers=workers)

    def loop() -> None:
        epoch = batches.epoch(on_device, targets, config, torch.Generator(device).manual_seed(0))
        engine.train_epoch(ours, epoch, loss_of, config, fast)

    def data() -> None:
        for x, _ in batches.epoch(on_device, targets, config, torch.Generator(device).manual_seed(0)):
            assert len(x)

    def bare_steps() -> None:
        epoch = ((fixed, targets[:size]) for _ in range(steps))
        engine.train_epoch(bare, epoch, loss_of, config, fast)

    def plain() -> None:
        plain_net.train()
        for x, y in loader:
            loss = F.cross_entropy(plain_net(x.to(device)), y.to(device))
            plain_optimizer.zero_grad()
            loss.backward()
            plain_optimizer.step()
            loss.item()

    return {"loop": loop, "bare": bare_steps, "data": data, "plain": plain}


def measure(recipe: str, rows: int, rounds: int, device: torch.device, workers: int) -> dict[str, Any]:
    """Images per second of each arm (median), the two ratios, each the median over rounds, and where the time goes."""
    run = arms(recipe, rows, device, workers)
    speeds: dict[str, list[float]] = {name: [] for name in run}
    for turn in range(rounds + 1):  # the first turn warms up
        for name, arm in run.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            arm()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                speeds[name].append(rows / (time.perf_counter() - began))

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(speeds["loop"], speeds[other], strict=True))

    medians = {name: statistics.median(found) for name, found in speeds.items()}
    step, data = (medians["loop"] / medians[name] for name in ("bare", "data"))
    return {
        "images_per_second": {name: round(value, 1) for name, value in medians.items()},
        "share_of_time": {"step": round(step, 3), "data": round(data, 3), "rest": round(1 - step - data, 3)},
        "loop_over_bare": round(ratio("bare"), 3),
        "loop_over_plain": round(ratio("plain"), 3),
        "all_rounds": {name: [round(value, 1) for value in found] for name, found in speeds.items()},
    }


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
    env = tracking.environment(choose("auto", device), "python -m tests.benchmarks.bench_training", revision.commit())
    print(f"{env['device']}, {env['precision']}, network and augmentation of {args.recipe}")
    for name, speed in found["images_per_second"].items():
        print(f"{name:<6} {speed:>8,.0f} images/s")
    print(f"loop / bare steps  {found['loop_over_bare']:.2f}   (goal: at least 0.90)")
    print(f"loop / plain loop  {found['loop_over_plain']:.2f}   (goal: at least 2)")
    shares = found["share_of_time"]
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    print(f"of the loop's time: {words}")
    if args.record:
        asked = {"recipe": args.recipe, "rows": args.rows, "rounds": args.rounds}
        files.write_json(args.record, {"schema": 1, **env, **asked, **found})
        print(f"wrote {args.record}")


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
