"""What a run tells of itself: env.json, metrics.jsonl, log.txt and a progress bar."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from fer_kit.engine.device import Precision
from fer_kit.files import atomic

PACKAGES = ("fer_kit", "torch", "torchvision", "timm", "numpy", "albumentations")


def utc_now() -> str:
    """The time as 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def environment(precision: Precision, command: str, code: str) -> dict[str, Any]:
    """Where a number came from: command, commit, versions, device, threads."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout or a bundle
            versions[package] = "not installed"
    return {
        "started": utc_now(),
        "command": command,
        "commit": code,
        "versions": versions,
        "device": device_name(precision.device),
        "precision": precision.name,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def device_name(device: torch.device) -> str:
    """`NVIDIA H200`, or the CPU's name and how many cores this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name") if hasattr(torch.cpu, "get_capabilities") else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name or platform.processor() or platform.machine()}, {cores} cores"


class Log:
    """Lines for people: on the terminal and, with the time, appended to log.txt."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        """Tell one line.

        Raises:
            FerKitError: log.txt cannot be written.
        """
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{utc_now()} {line}\n")
        except OSError as error:
            raise atomic.unwritable(self.path, error) from error


def write_metrics(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Replace metrics.jsonl by one line for each finished epoch: never half a line, never an epoch twice."""
    atomic.write_text(path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in history))


class Progress:
    """A bar over one epoch with loss, accuracy, images per second and time left; silent where stderr is no terminal."""

    REFRESH_SECONDS = 1.0  # reading the sums waits for the device: rarely

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
        """Take the bar off the screen."""
        self.bar.close()
