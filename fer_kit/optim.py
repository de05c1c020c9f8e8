"""Optimizer, learning-rate schedule and weight average of a config, all of them timm's and torch's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fer_kit.config import TrainConfig

WARMUP_FROM, COSINE_TO = 0.01, 0.001  # shares of the full rate where the warm-up starts and the cosine ends


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with Nesterov's correction, in the fused form."""
    extra: dict[str, Any] = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        net,
        opt=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        filter_bias_and_bn=not config.decay_norms,
        fused=True,
        **extra,
    )
    return optimizer


def make_average(net: nn.Module, config: TrainConfig) -> ModelEmaV3 | None:
    """The exponential average of the weights, or None; its decay starts low, so that early weights are forgotten."""
    return ModelEmaV3(net, decay=config.average_decay, use_warmup=True) if config.average_decay else None


@dataclass
class Schedule:
    """Sets the rate before each step (cosine: a pure function of the step) or after each epoch (plateau)."""

    optimizer: torch.optim.Optimizer
    cosine: CosineLRScheduler | None
    plateau: ReduceLROnPlateau | None

    def before_step(self, step: int) -> None:
        """step: from 0, over the whole run."""
        if self.cosine is not None:
            self.cosine.step_update(step)

    def after_epoch(self, watched_accuracy: float | None) -> None:
        """watched_accuracy: of this epoch; None where nothing is watched."""
        if self.plateau is not None and watched_accuracy is not None:
            self.plateau.step(watched_accuracy)

    @property
    def lr(self) -> float:
        """The rate in force, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """What the plateau remembers; cosine remembers nothing."""
        return {} if self.plateau is None else self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        if self.plateau is not None:
            self.plateau.load_state_dict(state)


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, steps_an_epoch: int) -> Schedule:
    """The schedule of `config`; cosine (Loshchilov & Hutter, ICLR 2017) warms up linearly and ends near 0."""
    if config.schedule == "plateau":
        patience = config.plateau_patience_epochs
        return Schedule(optimizer, None, ReduceLROnPlateau(optimizer, "max", config.plateau_factor, patience))
    if config.schedule == "constant":
        return Schedule(optimizer, None, None)
    steps = config.epochs * steps_an_epoch
    warmup = min(round(config.warmup_epochs * steps_an_epoch), steps - 1)
    cosine = CosineLRScheduler(
        optimizer,
        t_initial=max(steps - warmup, 2),
        lr_min=config.lr * COSINE_TO,
        warmup_t=warmup,
        warmup_lr_init=config.lr * WARMUP_FROM,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    return Schedule(optimizer, cosine, None)
