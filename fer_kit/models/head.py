"""What the 48-pixel networks share: a head where every place of the last map counts by itself, and their widths."""

from __future__ import annotations

from timm.layers import make_divisible
from torch import Tensor, nn
from torch.nn import functional as F

from fer_kit.labels import NUM_CLASSES


def place_head(channels: int, side: int, dropout: float) -> nn.Sequential:
    """From a map (B, channels, side, side) to logits (B, 7).

    The faces are centred, so each place of the map has a weight of its own in each channel (a depthwise convolution as
    large as the map: a learnt global pooling) instead of the same one as in global average pooling.

    Source: the global depthwise convolution of Chen et al., "MobileFaceNets", CCBR 2018.
    """
    return nn.Sequential(
        PlaceConv(channels, channels, side, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels, NUM_CLASSES),
    )


class PlaceConv(nn.Conv2d):
    """A depthwise convolution as large as the map. A smaller map, of a smaller face, is weighed by the resized kernel.

    The resized kernel is scaled by the ratio of the areas, which keeps the size of the sum over all places.
    """

    def forward(self, x: Tensor) -> Tensor:
        side, own = x.shape[-1], self.kernel_size[0]
        if side == own:
            return super().forward(x)
        weight = F.interpolate(self.weight, (side, side), mode="bilinear", align_corners=False, antialias=side < own)
        return F.conv2d(x, weight * (own / side) ** 2, groups=self.groups)


def scaled(channels: int, width_mult: float) -> int:
    """`channels` times `width_mult`, as a multiple of 8, at least 8 and no more than a tenth below the product.

    Source: the width multiplier of Howard et al., "MobileNets", arXiv 1704.04861.
    """
    return int(make_divisible(channels * width_mult, 8))
