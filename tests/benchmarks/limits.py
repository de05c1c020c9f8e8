"""What this machine can do at most, measured: moving bytes, digesting them, multiplying matrices.

Each is the best of several tries, since a limit is what nothing got in the way of. Times are those of one of `clocks`;
by the processor's, what several cores do together counts for the time of all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.clocks import CLOCKS

if TYPE_CHECKING:
    import torch

TRIES = 5
PIECE_BYTES = 1 << 20
COPIED_BYTES = 1 << 28


def best_seconds(call: Callable[[], object], clock: str, tries: int = TRIES) -> float:
    """The least time of several calls; one more before them warms up."""
    now = CLOCKS[clock]
    call()
    spent = []
    for _ in range(tries):
        began = now()
        call()
        spent.append(now() - began)
    return min(spent)


def copy_rate(clock: str) -> float:
    """Bytes a second that a copy of 256 MiB reads and writes, both counted, on one core."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.empty(COPIED_BYTES, np.uint8)
    return 2 * COPIED_BYTES / best_seconds(lambda: np.copyto(target, source), clock)


def read_seconds(clock: str, *paths: Path) -> float:
    """Time to read files from the page cache into one buffer that stays in the processor's cache."""
    buffer = bytearray(PIECE_BYTES)

    def read() -> None:
        for path in paths:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    return best_seconds(read, clock)


def digest_rate(clock: str) -> float:
    """Bytes a second that sha256 takes in on all cores together, from memory."""
    cores = os.cpu_count() or 1
    piece = bytes(16 * PIECE_BYTES)
    with ThreadPoolExecutor(cores) as threads:
        spent = best_seconds(lambda: list(threads.map(lambda _: hashlib.sha256(piece).digest(), range(cores))), clock)
    return cores * len(piece) / spent


def numpy_flops(clock: str) -> float:
    """Float32 operations a second of numpy's product of 2048 × 2048, 2 for each multiply-add."""
    one = np.random.default_rng(0).random((2048, 2048), np.float32)
    return 2 * 2048**3 / best_seconds(lambda: one @ one, clock)


def torch_flops(device: torch.device, dtype: torch.dtype, clock: str) -> float:
    """Operations a second of torch's product of square matrices, 2 for each multiply-add."""
    import torch

    side = 8192 if device.type == "cuda" else 2048
    one = torch.rand(side, side, device=device).to(dtype)

    def multiply() -> None:
        torch.mm(one, one)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return 2 * side**3 / best_seconds(multiply, clock)
