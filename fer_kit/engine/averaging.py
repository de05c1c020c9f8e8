"""Averages of the weights, both in torch's `AveragedModel`: exponential over the steps, plain over the last epochs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from fer_kit.config.train_config import TrainConfig
from fer_kit.engine.device import Precision

WARMUP_POWER = 2 / 3


def make(net: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """The average that `config` asks for, before the first weights went into it; None where it asks for none.

    The exponential one takes batch-norm statistics in, too.
    """
    if config.average_decay:
        return AveragedModel(net, use_buffers=True)
    return AveragedModel(net) if config.average_epochs else None


def after_step(average: AveragedModel | None, net: nn.Module, config: TrainConfig) -> None:
    """Take the weights after an optimizer step into an exponential average.

    Its decay after n steps is 1 - (1 + n)^(-2/3) until that reaches `average_decay`, so that early weights are
    forgotten: the warm-up of timm's ModelEmaV3, whose results these are bit for bit. AveragedModel's own update copies
    its count to the device at each step, which waits for a GPU; here nothing does.
    """
    if average is None or not config.average_decay:
        return
    steps = int(average.n_averaged)  # it is on the CPU
    if not steps:
        average.update_parameters(net)  # takes them as they are
        return
    share = 1.0 - min(config.average_decay, 1 - (1 + steps) ** -WARMUP_POWER)
    with torch.no_grad():
        torch._foreach_lerp_(tensors(average.module, True), tensors(net, True), share)
        if counters := tensors(average.module, False):  # of batches
            torch._foreach_copy_(counters, tensors(net, False))
    average.n_averaged += 1


def tensors(net: nn.Module, floating: bool) -> list[Tensor]:
    """The parameters and buffers of floating point, or the others."""
    return [value for value in chain(net.parameters(), net.buffers()) if value.is_floating_point() == floating]


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
