"""The study's deep networks: seven 3×3 convolutions in four blocks, global average pooling, one dense layer."""

from __future__ import annotations

from torch import Tensor, nn

from fer_kit.competition import NUM_CLASSES

WIDTHS = (32, 64, 128)


def conv_bn_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3×3 convolution that keeps the map size, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Deep(nn.Module):
    """Blocks of 2, 2, 2 and 1 convolutions, each ending in a 2×2 max-pool; (B, 1, 48, 48) → logits (B, 7).

    Args:
        last: channels of the seventh convolution.
        dense: width of the dense layer, which has batch norm.
        dropout: probability before the last layer.
        spatial_dropout: probability of Dropout2d after each of the first three blocks; 0 = no Dropout2d.
    """

    def __init__(self, *, last: int, dense: int, dropout: float, spatial_dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for width in WIDTHS:
            layers += [*conv_bn_relu(inputs, width), *conv_bn_relu(width, width), nn.MaxPool2d(2)]
            if spatial_dropout:
                layers.append(nn.Dropout2d(spatial_dropout))
            inputs = width
        layers += [*conv_bn_relu(inputs, last), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(last, dense, bias=False),
            nn.BatchNorm1d(dense),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(dense, NUM_CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, last, 1, 1)
        return self.head(x)  # (B, 7)


def deep_v1() -> Deep:
    """Last convolution 256, dense 512, dropout 0.5."""
    return Deep(last=256, dense=512, dropout=0.5)


def deep_v2() -> Deep:
    """Last convolution 192, dense 256, dropout 0.7, Dropout2d 0.1 between the early blocks."""
    return Deep(last=192, dense=256, dropout=0.7, spatial_dropout=0.1)
