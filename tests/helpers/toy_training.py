"""A small network, batches and one epoch, for tests of the loop."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from fer_kit.config import recipes
from fer_kit.engine import averaging, device, loop, losses, optim

CPU = torch.device("cpu")


EXACT = device.Precision("fp32", CPU)


PLAIN = dataclasses.replace(  # the step is the gradient times the rate
    recipes.get("residual"),
    momentum=1e-9,
    weight_decay=0.0,
    lr=0.5,
    schedule="constant",
    mixup_alpha=0.0,
    label_smoothing=0.0,
    average_decay=0.0,
)


class Oracle(nn.Module):
    """Reads the targets from the first pixels of the images, where the test has written them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0, 0, :7] * self.weight


def small_net(seed=0, *, norm=True):
    """A network with all that draws or remembers: batch norm and dropout (or, without `norm`, neither)."""
    torch.manual_seed(seed)
    between = [nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)] if norm else [nn.ReLU()]
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=8), *between, nn.Flatten(), nn.Linear(4 * 36, 7))


def start(net, config, steps=8, form=EXACT):
    """A state around a network of the test's own."""
    optimizer = optim.make_optimizer(net, config)
    schedule = optim.make_schedule(optimizer, config, steps)
    return loop.State(net, optimizer, schedule, form.scaler(), averaging.make(net, config))


def drawn(sizes, seed=1):
    """Batches of random images and labels, of the given sizes."""
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 1, 48, 48, generator=rng), torch.randint(0, 7, (size,), generator=rng)) for size in sizes
    ]


def train(net, config, groups, form=EXACT, seed=2):
    """One epoch of `net`, in place; gives state, loss and accuracy."""
    labels = torch.cat([labels if labels.ndim == 1 else labels.argmax(1) for _, labels in groups])
    state = start(net, config, form=form)
    torch.manual_seed(seed)
    loss, accuracy = loop.train_epoch(state, groups, losses.make_loss(config, labels.numpy(), CPU), config, form)
    return state, loss, accuracy


def weights(net):
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])
