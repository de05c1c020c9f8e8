"""The loop: one epoch of training, and prediction. Both read top to bottom; neither knows files or arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torchvision.transforms.v2 import MixUp

from fer_kit import models, optim
from fer_kit.augment import normalise
from fer_kit.config import TrainConfig
from fer_kit.labels import NUM_CLASSES
from fer_kit.precision import Precision

Loss = Callable[[Tensor, Tensor], Tensor]
VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "none": (lambda x: x,),
    "flip": (lambda x: x, lambda x: x.flip(-1)),
}
PREDICT_BATCH = 256


@dataclass
class State:
    """All that a run carries from epoch to epoch, and that `checkpoints` saves and restores."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: optim.Schedule
    scaler: torch.amp.GradScaler
    average: ModelEmaV3 | None
    epoch: int = 0  # finished epochs
    step: int = 0  # finished optimizer steps
    best_epoch: int = 0  # of the best watched accuracy so far, from 1
    best_weights: dict[str, Tensor] | None = None  # of that epoch, kept where a recipe stops early
    seconds: float = 0.0  # spent in finished epochs
    history: list[dict[str, Any]] = field(default_factory=list)  # one record an epoch, as in metrics.jsonl

    @property
    def smooth(self) -> nn.Module:
        """The network to predict with: the weight average where there is one."""
        network: nn.Module = self.net if self.average is None else self.average.module
        return network


def start(config: TrainConfig, precision: Precision, steps_an_epoch: int) -> State:
    """A fresh network with its optimizer; draws from torch's global generator."""
    net = models.build(config.model).to(precision.device).to(memory_format=torch.channels_last)
    optimizer = optim.make_optimizer(net, config)
    schedule = optim.make_schedule(optimizer, config, steps_an_epoch)
    return State(net, optimizer, schedule, precision.scaler(), optim.make_average(net, config))


def train_epoch(
    state: State,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss_of: Loss,
    config: TrainConfig,
    precision: Precision,
    on_step: Callable[[int, Tensor, Tensor], None] = lambda images, loss, hits: None,
) -> tuple[float, float]:
    """One epoch; mean loss and accuracy over its images, as the network was at each step.

    batches: images float32 (B, 1, 48, 48) and labels int64 (B,) or shares of classes float32 (B, 7). `on_step` gets,
    after each step, the images so far and the sums of loss and hits as tensors on the device: reading them waits for
    the device, so not every step.
    Mixup (Zhang et al., ICLR 2018) is torchvision's; accuracy then counts the label of the heavier of the two images.
    """
    state.net.train()
    mixup = MixUp(alpha=config.mixup_alpha, num_classes=NUM_CLASSES) if config.mixup_alpha else None
    images = 0
    loss_sum = torch.zeros((), dtype=torch.float64, device=precision.device)
    hits = torch.zeros((), dtype=torch.int64, device=precision.device)
    for x, labels in batches:
        state.schedule.before_step(state.step)
        inputs, targets = mixup(x, labels) if mixup else (x, labels)
        with precision.autocast():
            logits = state.net(inputs).float()  # (B, 7)
            loss = loss_of(logits, targets)
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if state.average is not None:
            state.average.update(state.net, state.step)
        images += len(labels)
        loss_sum += loss.detach() * len(labels)
        hits += (logits.detach().argmax(1) == (targets.argmax(1) if targets.ndim == 2 else targets)).sum()
        on_step(images, loss_sum, hits)
    state.epoch += 1
    return float(loss_sum) / images, float(hits) / images


@torch.inference_mode()
def predict(net: nn.Module, images: Tensor, views: str, precision: Precision) -> NDArray[np.float32]:
    """Logits (N, 7), mean over the test-time views, of uint8 images (N, 48, 48) on the device."""
    net.eval()
    logits = []
    for rows in images.split(PREDICT_BATCH):
        x = normalise(rows[:, None].float().div_(255.0)).contiguous(memory_format=torch.channels_last)
        with precision.autocast():
            seen = torch.stack([net(view(x)).float() for view in VIEWS[views]])  # (V, B, 7)
        logits.append(seen.mean(0))
    result: NDArray[np.float32] = torch.cat(logits).cpu().numpy()
    return result
