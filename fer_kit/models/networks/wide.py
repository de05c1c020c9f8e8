"""A wide pre-activation residual network for 48 pixels, built from timm's blocks."""

from __future__ import annotations

from functools import partial

from timm.layers import BatchNormAct2d, calculate_drop_path_rates, create_conv2d
from timm.models.resnetv2 import DownsampleConv, PreActBasic
from torch import Tensor, nn

from fer_kit.competition import SIDE_PX
from fer_kit.models.networks.head import place_head, scaled
from fer_kit.models.networks.residual import he_normal_

plain_conv = partial(create_conv2d, bias=False)


class Wide(nn.Module):
    """WRN-16-5 with a 2×2 max-pool before each stage; (B, 1, 48, 48) → logits (B, 7).

    Batch norm and ReLU come before each convolution, so that shortcuts are identities, and few wide blocks replace many
    narrow blocks. The stem works at 48 pixels, the stages at 24, 12 and 6, without strided convolutions (see
    `residual`).

    Sources: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016; Zagoruyko and Komodakis, "Wide
    Residual Networks", BMVC 2016; drop path: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.

    Args:
        stem: channels of the first convolution.
        widths: channels of each stage.
        width_mult: factor of all channels, which are rounded to multiples of 8 (see `head.scaled`).
        blocks: residual blocks in each stage.
        dropout: probability before the last layer.
        drop_path_prob: probability to skip the last block's branch for an image in training; rises from 0 with depth.
    """

    def __init__(
        self,
        *,
        stem: int = 32,
        widths: tuple[int, ...] = (80, 160, 320),
        width_mult: float = 1.0,
        blocks: int = 2,
        dropout: float = 0.2,
        drop_path_prob: float = 0.0,
    ) -> None:
        super().__init__()
        drops = iter(calculate_drop_path_rates(drop_path_prob, blocks * len(widths)))
        inputs = scaled(stem, width_mult)
        layers: list[nn.Module] = [plain_conv(1, inputs, 3)]
        for width in (scaled(width, width_mult) for width in widths):
            layers.append(nn.MaxPool2d(2))
            for drop in [next(drops) for _ in range(blocks)]:
                layers.append(
                    PreActBasic(
                        inputs,
                        width,
                        conv_layer=plain_conv,
                        norm_layer=BatchNormAct2d,
                        proj_layer=DownsampleConv,
                        drop_path_rate=drop,
                    )
                )
                inputs = width
        layers.append(BatchNormAct2d(inputs))
        self.features = nn.Sequential(*layers)
        self.head = place_head(inputs, SIDE_PX // 2 ** len(widths), dropout)
        he_normal_(self.features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, 320, 6, 6) at width_mult 1
        return self.head(x)  # (B, 7)
