"""The loop itself: what it counts."""

from __future__ import annotations

import torch
from torch import nn

from fer_kit import engine, losses, optim, precision, recipes

CPU = torch.device("cpu")


class Oracle(nn.Module):
    """Reads the targets from the first pixels of the images, where the test has written them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, 0, :7] * self.weight


def test_accuracy_under_mixup_counts_the_heavier_image():
    torch.manual_seed(0)
    config = recipes.get("residual")
    net, exact = Oracle(), precision.choose("fp32", CPU)
    optimizer = optim.make_optimizer(net, config)
    state = engine.State(net, optimizer, optim.make_schedule(optimizer, config, 40), exact.scaler(), None)
    labels = torch.arange(56) % 7
    images = torch.zeros(56, 1, 48, 48)
    images[torch.arange(56), 0, 0, labels] = 1.0  # mixed images hold the mixed targets
    loss_of = losses.make_loss(config, labels.numpy(), CPU)
    _, accuracy = engine.train_epoch(state, [(images, labels)] * 40, loss_of, config, exact)
    assert accuracy == 1.0
