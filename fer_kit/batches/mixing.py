"""Mixing the images of a batch with each other, and their labels likewise: torchvision's mixup and cutmix."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from fer_kit.competition import NUM_CLASSES
from fer_kit.config.train_config import TrainConfig

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make(config: TrainConfig) -> Mix:
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
