"""Averages of the weights, both in torch's `AveragedModel`: exponential over the steps, plain over the last epochs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from fer_kit.config import TrainConfig
from fer_kit.precision import Precision

WARMUP_POWER = 2 / 3

Tensors = list[Tensor] | tuple[Tensor, ...]


def make(net: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """The average that `config` asks for, before the first weights went into it; None where it asks for none."""
    if config.average_decay:
        return exponential(net, config.average_decay)
    return AveragedModel(net) if config.average_epochs else None


def exponential(net: nn.Module, decay: float) -> AveragedModel:
    """Exponential average of parameters and batch-norm statistics.

    Its decay after n steps is 1 - (1 + n)^(-2/3) until that reaches `decay`, so that early weights are forgotten: the
    warm-up of timm's ModelEmaV3, whose results these are bit for bit.
    """
    average = AveragedModel(net, use_buffers=True)

    @torch.no_grad()
    def towards(averaged: Tensors, current: Tensors, _: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            steps = int(average.n_averaged)  # it is on the CPU: the copy in the third argument would wait for a GPU
            share = 1.0 - min(decay, 1 - (1 + steps) ** -WARMUP_POWER)
            torch._foreach_lerp_(averaged, current, share)
        else:  # counters of batches
            torch._foreach_copy_(averaged, current)

    average.multi_avg_fn = towards
    return average


def after_step(average: AveragedModel | None, net: nn.Module, config: TrainConfig) -> None:
    """Take the weights after an optimizer step into an exponential average."""
    if average is not None and config.average_decay:
        average.update_parameters(net)


def after_epoch(average: AveragedModel | None, net: nn.Module, config: TrainConfig, epoch: int) -> None:
    """Take the weights after `epoch` (from 1) into the plain average, if it is one of the last."""
    if average is not None and config.average_epochs and epoch > config.epochs - config.average_epochs:
        average.update_parameters(net)


def restore(average: AveragedModel, weights: dict[str, Tensor], count: int) -> None:
    """Put the `weights` of an average of `count` networks back."""
    average.module.load_state_dict(weights)
    average.n_averaged.fill_(count)


def renew_statistics(average: AveragedModel, images: Iterable[Tensor], precision: Precision) -> None:
    """Measure the batch-norm statistics of averaged weights on training batches float32 (B, 1, H, W).

    The mean of several networks has activations of its own, which no running statistic has seen (Izmailov et al.,
    "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018).
    """
    with precision.autocast():
        update_bn(images, average)
