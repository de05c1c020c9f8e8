"""Batches of an epoch, made on the device from uint8 images: shuffled, selected and augmented; mixup and cutmix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from fer_kit.batches.augment import augment
from fer_kit.competition import NUM_CLASSES
from fer_kit.config.train_config import TrainConfig

T = TypeVar("T")

# Faces that are augmented at once. Augmentation launches about 70 small operations however many faces there are; on a
# GPU they take longer than the arithmetic for one batch of 64.
AUGMENTED_AT_ONCE = 1024


def count(rows: int, batch_size: int) -> int:
    """Number of batches in an epoch; the last one may be incomplete."""
    return -(-rows // batch_size)


def steps(rows: int, config: TrainConfig) -> int:
    """Number of optimizer steps in an epoch."""
    return count(count(rows, config.batch_size), config.accumulate)


def epoch(
    images: Tensor, labels: Tensor, config: TrainConfig, rng: Generator, targets: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch: faces float32 (B, 1, 48, 48), channels-last, and labels int64 (B,).

    The rows are divided into batches whose sizes differ by at most one, so that no row is dropped and no small last
    batch gives bad batch-norm statistics.

    Args:
        images: uint8 (N, 48, 48), on the device of `rng`, like the next arguments.
        labels: int64 (N,).
        targets: soft targets float32 (N, 7), yielded in place of the labels as float32 (B, 7).
    """
    rows = draw_rows(labels, config.sampler, rng)
    batches = rows.tensor_split(count(len(rows), config.batch_size))
    answers = labels if targets is None else targets
    for group in in_groups(batches, max(1, AUGMENTED_AT_ONCE // config.batch_size)):
        faces = augment(images[torch.cat(group)], config, rng).contiguous(memory_format=torch.channels_last)
        for picked, x in zip(group, faces.split([len(picked) for picked in group]), strict=True):
            yield x, answers[picked]


def resized(images: Tensor, side: int) -> Tensor:
    """Smaller images: uint8 (N, H, W) → uint8 (N, side, side), by bilinear interpolation with antialiasing."""
    if images.device.type == "cpu":
        return _interpolated(images, side)
    return resized_as_floats(images, side)


def resized_as_floats(images: Tensor, side: int) -> Tensor:
    """`resized` on GPUs, since CUDA cannot interpolate bytes. A pixel differs by one grey level at most."""
    return _interpolated(images.float(), side).round().clamp(0, 255).to(torch.uint8)


def _interpolated(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images[:, None], (side, side), mode="bilinear", align_corners=False, antialias=True)[:, 0]


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Group items into lists of `size`; the last list may be shorter."""
    remaining = iter(items)
    while group := list(islice(remaining, size)):
        yield group


def draw_rows(labels: Tensor, sampler: str, rng: Generator) -> Tensor:
    """Draw N positions, int64 (N,): a random order ("shuffle"), or with equally likely classes ("balanced")."""
    if sampler == "shuffle":
        return torch.randperm(len(labels), generator=rng, device=rng.device)
    counts = torch.bincount(labels, minlength=NUM_CLASSES)
    return torch.multinomial((1.0 / counts)[labels], len(labels), replacement=True, generator=rng)


Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mix(config: TrainConfig) -> Mix:
    """Make the function that applies mixup or cutmix of `config` to a batch.

    The function takes images float32 (B, 1, H, W) with labels int64 (B,) or soft targets (B, 7), and returns images and
    soft targets. Mixup averages two images (Zhang et al., ICLR 2018); cutmix copies a rectangle of one image into the
    other (Yun et al., ICCV 2019). With both, each batch gets one of them at random, drawn from torch's global
    generator. Without either the function returns the batch unchanged and draws nothing.
    """
    mixes: list[Mix] = []
    if config.mixup_alpha:
        mixes.append(MixUp(alpha=config.mixup_alpha, num_classes=NUM_CLASSES))
    if config.cutmix_alpha:
        mixes.append(CutMix(alpha=config.cutmix_alpha, num_classes=NUM_CLASSES))
    if not mixes:
        return lambda images, labels: (images, labels)
    return mixes[0] if len(mixes) == 1 else RandomChoice(mixes)
