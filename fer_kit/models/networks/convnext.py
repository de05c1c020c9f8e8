"""A small ConvNeXt for 48 pixels, built from timm's stages."""

from __future__ import annotations

from timm.layers import LayerNorm2d, calculate_drop_path_rates
from timm.models.convnext import ConvNeXtStage
from torch import Tensor, nn

from fer_kit.competition import SIDE_PX
from fer_kit.models.networks.head import place_head, scaled


class ConvNext(nn.Module):
    """Patches of 2 pixels, then stages at 24, 12 and 6 pixels; (B, 1, 48, 48) → logits (B, 7).

    A residual block has a 7×7 depthwise convolution, layer norm and two 1×1 convolutions with GELU between them. timm's
    full network divides the resolution by 32 (by 4 in its stem), which would leave a map of 1½ pixels. So this network
    combines timm's stages with a smaller stem.

    Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022; drop path: Huang et al., "Deep Networks with Stochastic
    Depth", ECCV 2016.

    Args:
        widths: channels of each stage.
        width_mult: factor of all channels, which are rounded to multiples of 8 (see `head.scaled`).
        blocks: blocks in each stage.
        dropout: probability before the last layer.
        drop_path_prob: probability to skip the last block's branch for an image in training; rises from 0 with depth.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (64, 128, 256),
        width_mult: float = 1.0,
        blocks: tuple[int, ...] = (2, 4, 2),
        dropout: float = 0.2,
        drop_path_prob: float = 0.0,
    ) -> None:
        super().__init__()
        drops = calculate_drop_path_rates(drop_path_prob, list(blocks), stagewise=True)
        widths = tuple(scaled(width, width_mult) for width in widths)
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 2, stride=2), LayerNorm2d(widths[0])]
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
            layers.append(
                ConvNeXtStage(
                    inputs,
                    width,
                    stride=2 if stage else 1,
                    depth=depth,
                    drop_path_rates=drops[stage],
                    ls_init_value=1e-6,
                    conv_mlp=True,
                    norm_layer=LayerNorm2d,
                )
            )
            inputs = width
        self.features = nn.Sequential(*layers, LayerNorm2d(inputs))
        self.head = place_head(inputs, SIDE_PX // 2 ** len(widths), dropout)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.trunc_normal_(module.weight, std=0.02)  # as in the paper
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, 256, 6, 6) at width_mult 1
        return self.head(x)  # (B, 7)
