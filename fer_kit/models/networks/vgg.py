"""VGG with batch norm for 48 pixels: eight 3×3 convolutions, and learned global pooling in place of dense layers."""

from __future__ import annotations

from torch import Tensor, nn

from fer_kit.competition import SIDE_PX
from fer_kit.models.networks.deep import conv_bn_relu
from fer_kit.models.networks.head import place_head, scaled
from fer_kit.models.networks.residual import he_normal_


class Vgg(nn.Module):
    """Stages of two convolutions at 48, 24, 12 and 6 pixels, a 2×2 max-pool between; (B, 1, 48, 48) → logits (B, 7).

    These are the first four of the five stages of VGG13; the fifth would have 3 pixels. timm's VGG does not suit 48
    pixels: after the stages it has a 7×7 convolution with 4,096 channels (a hundred million weights), which is larger
    than the map.

    Sources: Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015. The four stages with these widths
    on the same faces: Khaireddin and Chen, "Facial Emotion Recognition", arXiv 2105.03588.

    Args:
        widths: channels of each stage.
        width_mult: factor of all channels, which are rounded to multiples of 8 (see `head.scaled`).
        dropout: probability before the last layer.
    """

    def __init__(
        self, *, widths: tuple[int, ...] = (64, 128, 256, 512), width_mult: float = 1.0, dropout: float = 0.5
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for width in (scaled(width, width_mult) for width in widths):
            if layers:
                layers.append(nn.MaxPool2d(2))
            layers += [*conv_bn_relu(inputs, width), *conv_bn_relu(width, width)]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.head = place_head(inputs, SIDE_PX // 2 ** (len(widths) - 1), dropout)
        he_normal_(self.features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, 512, 6, 6) at width_mult 1
        return self.head(x)  # (B, 7)
