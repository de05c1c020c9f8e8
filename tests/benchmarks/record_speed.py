"""How many images a second several training processes manage together on one device.

    python -m tests.benchmarks.record_speed --recipe residual --at-once 1 2 4

A small network cannot fill a large GPU by itself: its steps are too short. Processes side by side fill the gaps, up to
a point that only a measurement shows. Each runs the very loop of `fer_kit.train` on drawn images.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fer_kit import cli
from fer_kit.errors import FerKitError
from fer_kit.runs import folders
from tests.benchmarks.bench_record import ROOT, threads_each
from tests.benchmarks.record_plan import Speed

ROWS = 4096  # drawn images; the speed does not hang on their number
MOST_START_SECONDS = 180.0


def one(recipe: str, device_name: str, seconds: float, ready: Path, go: Path) -> dict[str, float]:
    """Train for `seconds` once the file `go` is there; says that it is warm by making the file `ready`."""
    began = time.perf_counter()
    import torch

    from fer_kit.batches import epoch
    from fer_kit.config import recipes
    from fer_kit.engine import loop
    from fer_kit.engine.device import Precision, choose_device, choose_precision
    from fer_kit.engine.losses import make_loss

    torch.manual_seed(0)
    # as most epochs are: nothing frozen any more, images of full size
    config = dataclasses.replace(recipes.get(recipe), freeze_epochs=0, progressive_px=0)
    device = choose_device(device_name)
    fast = choose_precision(config.precision, device)
    images = torch.randint(0, 256, (ROWS, 48, 48), dtype=torch.uint8).to(device)
    labels = torch.randint(0, 7, (ROWS,)).to(device)
    rng = torch.Generator(device).manual_seed(0)
    torch.backends.cudnn.benchmark = True
    state = loop.start(config, fast, epoch.count(ROWS, config.batch_size))
    loss_of = make_loss(config, labels.cpu().numpy(), device)
    some = ROWS if device.type == "cuda" else 4 * config.batch_size  # each epoch ends by waiting for the device

    def train(rows: int) -> None:
        loop.train_epoch(state, epoch.epoch(images[:rows], labels[:rows], config, rng), loss_of, config, fast)

    def predict() -> None:
        loop.predict(state.averaged_net, images[:512], config.views, Precision("fp32", device))

    train(some)
    predict()  # the first on a GPU looks for the fastest convolutions, once for each run
    starting = time.perf_counter() - began
    ready.touch()
    while not go.exists():
        time.sleep(0.01)
    trained, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:  # train_epoch ends by reading the loss, so the device is done then
        train(some)
        trained += some
    spent = time.perf_counter() - began
    began = time.perf_counter()
    predict()
    return {"images_per_second": trained / spent, "start": starting, "predict": (time.perf_counter() - began) / 512}


def marks(recipe: str, at_once: int, folder: Path) -> tuple[Path, list[Path]]:
    """The file that starts the clocks, and those by which each process says that it is warm."""
    name = folders.run_name(recipe, str(at_once))  # a recipe of timm has a slash
    return folder / f"go-{name}", [folder / f"ready-{name}-{number}" for number in range(at_once)]


def together(recipe: str, device: str, at_once: int, seconds: float, folder: Path, predicted_rows: int) -> Speed:
    """Measure `at_once` processes that start their clocks together.

    Raises:
        FerKitError: one of them failed; its last line is shown.
    """
    go, ready = marks(recipe, at_once, folder)
    env = dict(os.environ) | {"OMP_NUM_THREADS": threads_each(at_once)}
    head = [sys.executable, "-m", "tests.benchmarks.record_speed", "--recipe", recipe, "--device", device]
    running = [
        subprocess.Popen(
            [*head, "--seconds", str(seconds), "--ready", str(mark), "--go", str(go)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for mark in ready
    ]
    try:
        limit = time.monotonic() + MOST_START_SECONDS
        while not all(mark.exists() for mark in ready):
            failed = next((child for child in running if child.poll()), None)
            if failed or time.monotonic() > limit:
                error = failed.communicate()[1].strip().splitlines() if failed else ["it took too long to start"]
                raise FerKitError(f"measuring {recipe} with {at_once} at once failed: {error[-1] if error else '?'}")
            time.sleep(0.01)
        go.touch()
        found: list[dict[str, Any]] = [json.loads(child.communicate()[0]) for child in running]
    finally:
        for child in running:
            child.kill()
            child.wait()
    return Speed(
        at_once,
        sum(child["images_per_second"] for child in found),
        max(child["predict"] for child in found) * predicted_rows,
        max(child["start"] for child in found),
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line; --ready and --go are for the processes that it starts."""
    parser = cli.parser("python -m tests.benchmarks.record_speed", "Images a second of processes side by side.")
    parser.add_argument("--recipe", default="residual")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured, after warming up")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--ready", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--go", type=Path, help=argparse.SUPPRESS)
    return parser


def body(args: argparse.Namespace) -> None:
    """Measure and print a line for each number of processes, or be one of the processes."""
    if args.go:
        print(json.dumps(one(args.recipe, args.device, args.seconds, args.ready, args.go)))
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for number in args.at_once:
            speed = together(args.recipe, args.device, number, args.seconds, Path(folder), 0)
            print(f"{args.recipe}: {number} at once  {speed.images_per_second:,.0f} images/s together")


if __name__ == "__main__":
    raise SystemExit(cli.run(build_parser, body))
