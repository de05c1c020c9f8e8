"""The head that the 48-pixel networks share: every place of the last map counts by itself."""

from __future__ import annotations

from torch import nn

from fer_kit.labels import NUM_CLASSES


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
