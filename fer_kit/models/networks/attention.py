"""The study's attention network: three conv-conv-pool stages, each followed by CBAM.

CBAM: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018. The study computes the spatial map by a 1×1
convolution over all channels; the paper uses a 7×7 convolution over their mean and maximum.
"""

from __future__ import annotations

from timm.layers.cbam import ChannelAttn
from torch import Tensor, nn

from fer_kit.competition import NUM_CLASSES
from fer_kit.models.networks.deep import WIDTHS, conv_bn_relu


class SpatialAttention(nn.Module):
    """Multiply each place of the map by a weight in (0, 1), computed by a 1×1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).sigmoid()  # (B, C, H, W) × (B, 1, H, W)


class Attention(nn.Module):
    """Stages of 32, 64 and 128 channels, global pooling, dense 256; (B, 1, 48, 48) → logits (B, 7)."""

    def __init__(self) -> None:
        super().__init__()
        stages = []
        inputs = 1
        for width in WIDTHS:
            stages.append(
                nn.Sequential(
                    *conv_bn_relu(inputs, width),
                    *conv_bn_relu(width, width),
                    nn.MaxPool2d(2),
                    ChannelAttn(width),  # average and max pooling through one small perceptron
                    SpatialAttention(width),
                )
            )
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(inputs, 256, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(256, NUM_CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(x)  # (B, 128, 6, 6)
        return self.head(x)  # (B, 7)
