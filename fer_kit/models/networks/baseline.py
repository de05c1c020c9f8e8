"""The study's two baselines: two 5×5 convolutions and dense layers."""

from __future__ import annotations

from torch import Tensor, nn

from fer_kit.competition import NUM_CLASSES


class BaselineV1(nn.Module):
    """conv 1→32, pool, conv 32→64, pool, dense 128; (B, 1, 48, 48) → logits (B, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * 12 * 12, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(128, NUM_CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, 64, 12, 12)
        return self.head(x)  # (B, 7)


class BaselineV2(nn.Module):
    """v1 with batch norm, spatial dropout, adaptive pooling and dense 512, 256, 128.

    The pooling keeps a 6×6 map. The two dropouts of v1 are at the same places, with probability 0.6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Dropout2d(0.2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Dropout2d(0.2),
            nn.AvgPool2d(2),  # equals adaptive pooling from 12 to 6, and its backward pass is deterministic on GPUs
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.6),
            nn.Linear(64 * 6 * 6, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.6),
            nn.Linear(128, NUM_CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (B, 64, 6, 6)
        return self.head(x)  # (B, 7)
