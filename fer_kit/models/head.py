"""What the 48-pixel networks share: a head where every place of the last map counts by itself, and their widths."""

from __future__ import annotations

from timm.layers import make_divisible
from torch import nn

from fer_kit.competition import NUM_CLASSES


def place_head(channels: int, side: int, dropout: float) -> nn.Sequential:
    """From a map (B, channels, side, side) to logits (B, 7).

    The faces are centred, so each place of the map has a weight of its own in each channel (a depthwise convolution as
    large as the map: a learnt global pooling) instead of the same one as in global average pooling.

    Source: the global depthwise convolution of Chen et al., "MobileFaceNets", CCBR 2018.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, side, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels, NUM_CLASSES),
    )


def scaled(channels: int, width_mult: float) -> int:
    """`channels` times `width_mult`, as a multiple of 8, at least 8 and no more than a tenth below the product.

    Source: the width multiplier of Howard et al., "MobileNets", arXiv 1704.04861.
    """
    return int(make_divisible(channels * width_mult, 8))
