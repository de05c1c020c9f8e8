"""A process that measures and trains, one order after the other: torch is imported and the GPU is opened only once.

    python -m fer_kit.auto.worker

Orders come as lines of JSON on stdin, one answer for each goes to stdout. An order that failed ends the process, so
that the next one begins in a clean one; so does the end of stdin. See `pool` for the other side.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch

from fer_kit.batches import epoch
from fer_kit.competition import CLASSES, SIDE_PX
from fer_kit.config import recipes
from fer_kit.config.growth import grows, side_of_epoch, work_of_epochs
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import loop
from fer_kit.engine.device import Precision, choose_device, choose_precision
from fer_kit.engine.losses import make_loss
from fer_kit.errors import FerKitError, first_line
from fer_kit.runs.training_record import LAST
from fer_kit.train import checkpoints

ROWS = 4096  # drawn images; the speed does not depend on their number
PREDICTED = 256
Measure = Callable[[float], dict[str, float]]


def prepare(recipe: str, device_name: str, folder: Path) -> Measure:
    """Warm up the training of `recipe` on drawn images; returns a function that measures for some seconds."""
    torch.manual_seed(0)
    own = recipes.get(recipe)
    config = dataclasses.replace(own, freeze_epochs=0, progressive_px=0)  # as most epochs are: nothing is frozen
    device = choose_device(device_name)
    precision = choose_precision(config.precision, device)
    images = torch.randint(0, 256, (ROWS, SIDE_PX, SIDE_PX), dtype=torch.uint8).to(device)
    labels = torch.randint(0, len(CLASSES), (ROWS,)).to(device)
    rng = torch.Generator(device).manual_seed(0)
    torch.backends.cudnn.benchmark = True
    state = loop.start(config, precision, epoch.count(ROWS, config.batch_size))
    loss_of = make_loss(config, labels.cpu().numpy(), device)
    sides = sides_of(own, device)
    faces = {side: images if side == SIDE_PX else epoch.resized(images, side) for side in sides}
    some = ROWS if device.type == "cuda" else 4 * config.batch_size  # each call ends by waiting for the device

    def train(rows: int, side: int) -> None:
        batches = epoch.epoch(faces[side][:rows], labels[:rows], config, rng)
        loop.train_epoch(state, batches, loss_of, config, precision)

    def rate_at(side: int, seconds: float) -> float:
        trained, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            train(some, side)
            trained += some
        return trained / (time.perf_counter() - began)

    def predict() -> None:
        loop.predict(state.averaged_net, images[:PREDICTED], "none", Precision("fp32", device))

    def measure(seconds: float) -> dict[str, float]:
        rate = statistics.harmonic_mean([rate_at(side, seconds / len(sides)) for side in sides], list(sides.values()))
        if len(sides) == 1:
            rate /= statistics.fmean(work_of_epochs(own))
        began = time.perf_counter()
        predict()
        predicted = PREDICTED / (time.perf_counter() - began)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=folder) as place:
            checkpoints.save(Path(place) / LAST, state, {})
        saved = time.perf_counter() - began
        return {"images_per_second": rate, "predicted_per_second": predicted, "save_seconds": saved}

    for side in sides:
        train(min(some, 2 * config.batch_size) if device.type == "cpu" else some, side)
    predict()
    return measure


def sides_of(config: TrainConfig, device: torch.device) -> dict[int, int]:
    """Sides of the faces to measure, each with its number of epochs.

    A CPU is measured with faces of full size, because there the number of pixels decides. A GPU is measured with the
    faces of each epoch: it may wait for the CPU, and small faces are then no faster.
    """
    if device.type == "cpu" or not (config.progressive_px and grows(config)):
        return {SIDE_PX: config.epochs}
    return dict(Counter(side_of_epoch(number, config, SIDE_PX) for number in range(config.epochs)))


@contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """What this process prints goes to the end of the file at `path`."""
    kept = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)


def train(words: list[str], log: Path) -> int:
    """Run `fer_kit.train` with `words`; its exit code, 1 for a bug."""
    with printing_to(log):
        try:
            code: int = importlib.import_module("fer_kit.train.__main__").main(words)
        except Exception:
            traceback.print_exc()
            return 1
    return code


def serve(orders: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    """Carry out one order after the other."""
    measure: Measure | None = None
    for line in orders:
        order = json.loads(line)
        if order.get("threads"):
            torch.set_num_threads(order["threads"])
        try:
            if order["do"] == "warm":
                began = time.perf_counter()
                measure = prepare(order["recipe"], order["device"], Path(order["folder"]))
                answer({"start_seconds": time.perf_counter() - began})
            elif order["do"] == "go" and measure is not None:
                answer(measure(order["seconds"]))
                measure = None
            else:
                measure = None
                code = train(order["words"], Path(order["log"]))
                answer({"code": code})
                if code:
                    return
        except (FerKitError, RuntimeError, MemoryError) as error:  # of a measurement: the recipe does not run here
            answer({"error": first_line(error)})
            return
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def main() -> int:
    """Serve until stdin ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # answers alone go to stdout

        def answer(record: dict[str, Any]) -> None:
            print(json.dumps(record), file=answers, flush=True)

        answer({"ready": True})
        try:
            serve(sys.stdin, answer)
        except (KeyboardInterrupt, BrokenPipeError):
            return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
