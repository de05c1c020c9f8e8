"""The log of a run: log.txt, metrics.jsonl and a progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from fer_kit import output
from fer_kit.engine.environment import utc_now
from fer_kit.files import atomic

NOTHING_SAVED = "no epoch is saved yet"


class Log:
    """Prints lines to the terminal and appends them, with the time, to log.txt."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        """Log one line.

        Raises:
            FerKitError: log.txt cannot be written.
        """
        output.line(line)
        atomic.append_line(self.path, f"{utc_now()} {line}")


def write_metrics(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write metrics.jsonl, one line per epoch. The file is replaced as a whole, so no line is partial or repeated."""
    atomic.write_text(path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in history))


def saved_epochs(path: Path) -> str:
    """The epochs that are saved when a training stops, in words, counted in the metrics.jsonl at `path`.

    A training writes this file last. `State.epoch` is one ahead of the file while watched rows are predicted.
    """
    epochs = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
    if not epochs:
        return NOTHING_SAVED
    return f"epochs 1 to {epochs} are saved" if epochs > 1 else "epoch 1 is saved"


class Progress:
    """A progress bar over one epoch: loss, accuracy, images per second, time left; hidden if stderr is no terminal."""

    REFRESH_SECONDS = 1.0  # reading the sums waits for the device

    def __init__(self, title: str, images: int) -> None:
        self.bar = tqdm(total=images, desc=title, unit=" images", unit_scale=True, leave=False, disable=None)
        self.next_look = time.monotonic() + self.REFRESH_SECONDS

    def __call__(self, images: int, loss_sum: Tensor, hits: Tensor) -> None:
        """Move the bar to `images` of the epoch; the sums are those of `engine.train_epoch`."""
        if self.bar.disable or time.monotonic() < self.next_look:
            return
        self.bar.set_postfix(loss=f"{float(loss_sum) / images:.4f}", acc=f"{float(hits) / images:.2%}", refresh=False)
        self.bar.update(images - self.bar.n)
        self.next_look = time.monotonic() + self.REFRESH_SECONDS

    def close(self) -> None:
        """Remove the bar from the screen."""
        self.bar.close()
