"""A network for speed on 48 pixels: pooling before norm and activation, few channels where the map is large."""

from __future__ import annotations

from torch import Tensor, nn

from fer_kit.competition import SIDE_PX
from fer_kit.models.networks.deep import conv_bn_relu
from fer_kit.models.networks.head import place_head, scaled
from fer_kit.models.networks.residual import he_normal_


class Air(nn.Module):
    """The layout of airbench with one weight for each place in the head; (B, 1, 48, 48) → logits (B, 7).

    A 2×2 convolution takes the 48 pixels (its map has 47), then each block halves the side: 3×3 convolution, 2×2
    max-pool, batch norm, ReLU, 3×3 convolution, batch norm, ReLU. Since pooling comes before norm and activation,
    these process a quarter of the values, and only one convolution of a block has the larger size. Most channels are
    at 11 and 5 pixels, where the matrix products are large and the maps fit into the cache of a core.

    The head is not airbench's global maximum: the faces are centred (see `head.place_head`), and dropout suits
    trainings of tens of epochs better than airbench's ten.

    Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, and its code,
    github.com/KellerJordan/cifar10-airbench. Its whitened first convolution, identity initialisation and scaled logits
    are left out: they speed up the first epochs and gain nothing in 50 (docs/benchmarks.md).

    Args:
        stem: channels of the 2×2 convolution.
        widths: channels of each block.
        width_mult: factor of all channels, which are rounded to multiples of 8 (see `head.scaled`).
        dropout: probability before the last layer.
    """

    def __init__(
        self,
        *,
        stem: int = 16,
        widths: tuple[int, ...] = (32, 128, 256),
        width_mult: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        inputs = scaled(stem, width_mult)
        layers: list[nn.Module] = [nn.Conv2d(1, inputs, 2), nn.ReLU(inplace=True)]
        side = SIDE_PX - 1
        for width in (scaled(width, width_mult) for width in widths):
            conv, norm, relu = conv_bn_relu(inputs, width)
            layers += [conv, nn.MaxPool2d(2), norm, relu, *conv_bn_relu(width, width)]
            inputs, side = width, side // 2
        self.features = nn.Sequential(*layers)
        self.head = place_head(inputs, side, dropout)
        he_normal_(self.features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, 256, 5, 5) at width_mult 1
        return self.head(x)  # (B, 7)
