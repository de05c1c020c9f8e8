"""Batches of an epoch augmented by a pipeline of albumentations in worker processes; same interface as `epoch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fer_kit.batches import epoch as batches
from fer_kit.batches.augment import normalise
from fer_kit.batches.pipeline import Pipeline, Pixels
from fer_kit.batches.pipeline_file import AugmentFile
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, first_line

Epoch = Callable[[Tensor, Tensor, TrainConfig, Generator, Tensor | None], Iterator[tuple[Tensor, Tensor]]]
Order = tuple[list[int], list[int]]  # rows of a batch, and a seed for each

MOST_WORKERS = 16  # by default; each is a process of some 300 MB where memory is not shared
PREFETCH = 4  # batches that each worker may be ahead


def epochs_of(file: AugmentFile | None, workers: int | None, face: NDArray[np.uint8]) -> Epoch:
    """The source of a run's batches: `batches.epoch`, or the same through the pipeline of `file`.

    face: uint8 (48, 48), which the pipeline is tried on.

    Raises:
        FerKitError: the pipeline does not work.
    """
    if file is None:
        return batches.epoch
    pipeline = Pipeline(file)
    pipeline.try_on(face)
    return UserBatches(pipeline, default_workers() if workers is None else workers).epoch


def default_workers() -> int:
    """The number of cores that this process may use, at most `MOST_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


class UserBatches:
    """Feeds epochs of the same images through a pipeline. workers: processes; with 0 it runs in this one.

    Every row of every epoch has a seed of its own, drawn from the epoch's generator: the pixels are the same whatever
    the number of workers, and after --resume.
    """

    def __init__(self, pipeline: Pipeline, workers: int) -> None:
        self.pipeline, self.workers = pipeline, workers
        self.orders = Orders()
        self.images: Tensor | None = None

    def epoch(
        self, images: Tensor, labels: Tensor, config: TrainConfig, rng: Generator, targets: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of one epoch, as `batches.epoch` gives them; other images than before start the workers anew.

        Raises:
            FerKitError: the pipeline fails on an image, or a worker was killed.
        """
        rows = batches.draw_rows(labels, config.sampler, rng)
        seeds = torch.randint(2**62, (len(rows),), generator=rng, device=rng.device)
        count = batches.count(len(rows), config.batch_size)
        parts = rows.tensor_split(count)
        listed = (part.cpu().tensor_split(count) for part in (rows, seeds))  # from a GPU in two copies
        self.orders.now = [(p.tolist(), s.tolist()) for p, s in zip(*listed, strict=True)]
        for picked, pixels in zip(parts, self._made(images), strict=True):
            x = moved(torch.from_numpy(pixels)[:, None], images.device)  # (B, 1, 48, 48)
            x = normalise(x.float().div_(255.0) if x.dtype == torch.uint8 else x)
            yield (
                x.contiguous(memory_format=torch.channels_last),
                labels[picked] if targets is None else targets[picked],
            )

    def _made(self, images: Tensor) -> Iterator[Pixels]:
        """The batches that the workers return."""
        try:
            for pixels in self._loader(images):
                if isinstance(pixels, str):
                    raise FerKitError(pixels)
                yield pixels
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise FerKitError(
                f"a worker of --augment is gone ({first_line(error)}); go on with --resume, and with fewer "
                "--workers where memory is short"
            ) from None

    def _loader(self, images: Tensor) -> DataLoader[Any]:
        """The workers, started by the first epoch and kept."""
        if self.images is not images:
            self.images = images
            self.loader: DataLoader[Any] = DataLoader(
                Augmented(images.cpu().numpy(), self.pipeline),
                batch_size=None,  # the orders are whole batches
                collate_fn=as_it_is,
                sampler=self.orders,
                num_workers=self.workers,
                prefetch_factor=PREFETCH if self.workers else None,
                persistent_workers=self.workers > 0,
                worker_init_fn=one_thread,
                generator=Generator(),  # its draws for workers' seeds must not move those of dropout
            )
        return self.loader


def moved(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device; to a GPU from pinned memory, so that nothing waits for the copy."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


class Orders(Sampler[Order]):
    """The batches that the workers make in this epoch."""

    def __init__(self) -> None:
        self.now: list[Order] = []

    def __iter__(self) -> Iterator[Order]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class Augmented(Dataset[Pixels | str]):
    """Batches by order: uint8 or float32 (B, 48, 48), or in one line why there is none."""

    def __init__(self, images: NDArray[np.uint8], pipeline: Pipeline) -> None:
        self.images, self.pipeline = images, pipeline

    def __getitem__(self, order: Order) -> Pixels | str:
        try:
            made = [self.pipeline(self.images[row], seed) for row, seed in zip(*order, strict=True)]
        except FerKitError as error:  # as an exception it would reach the user with a worker's whole traceback
            return str(error)
        if len({pixels.dtype for pixels in made}) > 1:
            made = [pixels if pixels.dtype == np.float32 else pixels / np.float32(255) for pixels in made]
        return np.stack(made)


def as_it_is(batch: Any) -> Any:
    """Arrays go through a pipe; tensors would need shared memory, which containers often have little of."""
    return batch


def one_thread(worker: int) -> None:
    """Let a worker use one core."""
    import cv2

    cv2.setNumThreads(0)
