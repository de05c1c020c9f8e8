"""Batches of an epoch, made on the device from uint8 images: shuffle, select, augment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from fer_kit.batches.augment import augment
from fer_kit.competition import NUM_CLASSES
from fer_kit.config.train_config import TrainConfig


def count(rows: int, batch_size: int) -> int:
    """Number of batches in an epoch; the last one may be incomplete."""
    return -(-rows // batch_size)


def steps(rows: int, config: TrainConfig) -> int:
    """Number of optimizer steps in an epoch."""
    return count(count(rows, config.batch_size), config.accumulate)


def epoch(
    images: Tensor, labels: Tensor, config: TrainConfig, rng: Generator, targets: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch: float32 (B, 1, 48, 48), channels-last, and int64 (B,), or targets float32 (B, 7).

    images: uint8 (N, 48, 48), labels: int64 (N,) and soft targets: float32 (N, 7), which take the labels' place where
    they are given; all on the device of `rng`. The rows are cut into batches
    whose sizes differ by one at most, so that none is dropped and no small last batch upsets batch norm.
    """
    rows = draw_rows(labels, config.sampler, rng)
    for picked in rows.tensor_split(count(len(rows), config.batch_size)):
        x = augment(images[picked], config, rng)
        yield x.contiguous(memory_format=torch.channels_last), labels[picked] if targets is None else targets[picked]


def draw_rows(labels: Tensor, sampler: str, rng: Generator) -> Tensor:
    """N positions, int64: each once in random order, or drawn with all classes equally likely ("balanced")."""
    if sampler == "shuffle":
        return torch.randperm(len(labels), generator=rng, device=rng.device)
    counts = torch.bincount(labels, minlength=NUM_CLASSES)
    return torch.multinomial((1.0 / counts)[labels], len(labels), replacement=True, generator=rng)


Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mix(config: TrainConfig) -> Mix:
    """What `config` does to a batch: images float32 (B, 1, H, W), and labels int64 (B,) or shares (B, 7) to shares.

    Mixup blends two images (Zhang et al., ICLR 2018), cutmix puts a rectangle of one into the other (Yun et al., ICCV
    2019); with both, each batch draws one of them. Chance comes from torch's global generator. Without either the batch
    stays as it is, and nothing is drawn.
    """
    mixes: list[Mix] = []
    if config.mixup_alpha:
        mixes.append(MixUp(alpha=config.mixup_alpha, num_classes=NUM_CLASSES))
    if config.cutmix_alpha:
        mixes.append(CutMix(alpha=config.cutmix_alpha, num_classes=NUM_CLASSES))
    if not mixes:
        return lambda images, labels: (images, labels)
    return mixes[0] if len(mixes) == 1 else RandomChoice(mixes)
