"""Parts that the networks for 48 pixels share: the head with a weight for each place, and scaled widths."""

from __future__ import annotations

import torch
from timm.layers import make_divisible
from torch import Tensor, nn
from torch.nn import functional as F

from fer_kit.competition import NUM_CLASSES


def place_head(channels: int, side: int, dropout: float) -> nn.Sequential:
    """Head that maps features (B, channels, side, side) to logits (B, 7).

    The faces are centred, so each place of the map has its own weight in each channel. These weights are a depthwise
    convolution as large as the map: a learned global pooling. Global average pooling would weight all places equally.

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
    """A depthwise convolution as large as the map.

    A smaller map (of a smaller face) is weighted by the resized kernel, scaled by the ratio of the areas so that the
    sum over all places keeps its magnitude.
    """

    def forward(self, x: Tensor) -> Tensor:
        side, own = x.shape[-1], self.kernel_size[0]
        if side == own:
            return super().forward(x)
        return F.conv2d(x, resized(self.weight, side) * (own / side) ** 2, groups=self.groups)


def resized(weight: Tensor, side: int) -> Tensor:
    """Kernels (C, 1, K, K) → (C, 1, side, side), by bilinear interpolation, with an antialiasing filter if side < K."""
    smaller = side < weight.shape[-1]
    if smaller and weight.is_cuda and torch.are_deterministic_algorithms_enabled():
        return resized_by_products(weight, side)
    return F.interpolate(weight, (side, side), mode="bilinear", align_corners=False, antialias=smaller)


def resized_by_products(weight: Tensor, side: int) -> Tensor:
    """`resized` for side < K as products of matrices; the gradient of the filter is not deterministic on GPUs."""
    own = weight.shape[-1]
    with torch.autocast(weight.device.type, enabled=False):
        columns = torch.eye(own, device=weight.device)[None, None]
        rows = F.interpolate(columns, (side, own), mode="bilinear", align_corners=False, antialias=True)[0, 0]
        return rows @ weight @ rows.T  # (side, K) · (C, 1, K, K) · (K, side)


def scaled(channels: int, width_mult: float) -> int:
    """`channels` times `width_mult`, as a multiple of 8, at least 8 and no more than a tenth below the product.

    Source: the width multiplier of Howard et al., "MobileNets", arXiv 1704.04861.
    """
    return int(make_divisible(channels * width_mult, 8))
