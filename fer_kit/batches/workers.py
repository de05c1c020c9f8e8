"""Batches of an epoch, augmented by a pipeline of albumentations in worker processes; same interface as `epoch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fer_kit.batches import epoch
from fer_kit.batches.augment import normalise
from fer_kit.batches.pipeline import Pipeline, Pixels
from fer_kit.batches.pipeline_file import AugmentFile
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, first_line

Epoch = Callable[[Tensor, Tensor, TrainConfig, Generator, Tensor | None], Iterator[tuple[Tensor, Tensor]]]
Order = tuple[list[int], list[int]]  # rows of a batch, and a seed for each row

MOST_WORKERS = 16  # by default; a worker process takes about 300 MB if memory is not shared
PREFETCH = 4  # batches that each worker prepares ahead
GUARD = 'workers import the script: put its code under `if __name__ == "__main__":`, or give workers=0'


def epochs_of(file: AugmentFile | None, workers: int | None, face: NDArray[np.uint8]) -> Epoch:
    """The function that yields the batches of an epoch: `epoch.epoch`, or `UserBatches.epoch` with the pipeline.

    Args:
        file: the pipeline; None to augment on the device.
        workers: number of worker processes; None for the default.
        face: uint8 (48, 48), a face to test the pipeline on.

    Raises:
        FerKitError: the pipeline fails.
    """
    if file is None:
        return epoch.epoch
    pipeline = Pipeline(file)
    pipeline.try_on(face)
    return UserBatches(pipeline, default_workers() if workers is None else workers).epoch


def default_workers() -> int:
    """Number of cores that this process may use, at most `MOST_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


class UserBatches:
    """Augment epochs of the same images by a pipeline.

    Each row of each epoch has its own seed, drawn from the generator of the epoch. So the pixels do not depend on the
    number of workers, and are the same after --resume.

    Args:
        workers: number of worker processes; with 0 the pipeline runs in this process.
    """

    def __init__(self, pipeline: Pipeline, workers: int) -> None:
        self.pipeline, self.workers = pipeline, workers
        self.orders = Orders()
        self.images: Tensor | None = None

    def epoch(
        self, images: Tensor, labels: Tensor, config: TrainConfig, rng: Generator, targets: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch like `epoch.epoch`; other images than before restart the workers.

        Raises:
            FerKitError: the pipeline fails on an image, or a worker was killed.
        """
        rows = epoch.draw_rows(labels, config.sampler, rng)
        seeds = torch.randint(2**62, (len(rows),), generator=rng, device=rng.device)
        count = epoch.count(len(rows), config.batch_size)
        parts = rows.tensor_split(count)
        listed = (part.cpu().tensor_split(count) for part in (rows, seeds))  # two copies from a GPU, not two a batch
        self.orders.now = [(p.tolist(), s.tolist()) for p, s in zip(*listed, strict=True)]
        for picked, pixels in zip(parts, self._made(images), strict=True):
            x = moved(torch.from_numpy(pixels)[:, None], images.device)  # (B, 1, 48, 48)
            x = normalise(x.float().div_(255.0) if x.dtype == torch.uint8 else x)
            yield (
                x.contiguous(memory_format=torch.channels_last),
                labels[picked] if targets is None else targets[picked],
            )

    def _made(self, images: Tensor) -> Iterator[Pixels]:
        """Yield the batches that the workers return.

        Raises:
            FerKitError: the pipeline fails on an image, or a worker was killed.
        """
        try:
            for pixels in self._loader(images):
                if isinstance(pixels, str):
                    raise FerKitError(pixels)
                yield pixels
        except BrokenPipeError:
            raise FerKitError(f"the workers of augment did not start; {GUARD}") from None
        except RuntimeError as error:
            if "start a new process before" in str(error):  # Python's words for a script without the guard
                raise FerKitError(f"the workers of augment cannot start; {GUARD}") from None
            if "DataLoader worker" not in str(error):
                raise
            raise FerKitError(
                f"a worker of --augment was killed ({first_line(error)}); continue with --resume, and use fewer "
                "--workers if memory is short"
            ) from None

    def _loader(self, images: Tensor) -> DataLoader[Any]:
        """The loader with its workers, which the first epoch starts and later epochs reuse."""
        if self.images is not images:
            self.images = images
            # Where workers are new interpreters (macOS, and Linux from Python 3.14 on), they import no module of the
            # current folder in place of one of Python's.
            os.environ["PYTHONSAFEPATH"] = "1"
            self.loader: DataLoader[Any] = DataLoader(
                Augmented(images.cpu().numpy(), self.pipeline),
                batch_size=None,  # an order is a whole batch
                collate_fn=as_it_is,
                sampler=self.orders,
                num_workers=self.workers,
                prefetch_factor=PREFETCH if self.workers else None,
                persistent_workers=self.workers > 0,
                worker_init_fn=one_thread,
                generator=Generator(),  # drawing the workers' seeds must not change the random numbers of dropout
            )
        return self.loader


def moved(x: Tensor, device: torch.device) -> Tensor:
    """Copy `x` to the device; to a GPU from pinned memory, so that the copy is asynchronous."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


class Orders(Sampler[Order]):
    """The batches of this epoch, as rows and seeds for the workers."""

    def __init__(self) -> None:
        self.now: list[Order] = []

    def __iter__(self) -> Iterator[Order]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class Augmented(Dataset[Pixels | str]):
    """Batches by order: uint8 or float32 (B, 48, 48), or an error message of one line."""

    def __init__(self, images: NDArray[np.uint8], pipeline: Pipeline) -> None:
        self.images, self.pipeline = images, pipeline

    def __getitem__(self, order: Order) -> Pixels | str:
        try:
            made = [self.pipeline(self.images[row], seed) for row, seed in zip(*order, strict=True)]
        except FerKitError as error:  # an exception would reach the user with the whole traceback of the worker
            return str(error)
        if len({pixels.dtype for pixels in made}) > 1:
            made = [pixels if pixels.dtype == np.float32 else pixels / np.float32(255) for pixels in made]
        return np.stack(made)


def as_it_is(batch: Any) -> Any:
    """Return the batch as arrays, which go through a pipe; tensors need shared memory, often small in containers."""
    return batch


def one_thread(worker: int) -> None:
    """Limit a worker to one core."""
    import cv2

    cv2.setNumThreads(0)
